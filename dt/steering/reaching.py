"""The verb `reach`: the share of wanted outputs that so many edits of the input bring about."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from dt.acting.options import ActingOptions
from dt.data.batches.windows import Action
from dt.model.decision_transformer import DecisionTransformer
from dt.model.heads import Sampling
from dt.steering.contexts import Contexts, Demos, contexts_of
from dt.steering.inputs import TOKEN_SPACES, Reach, make_space, steps_needed
from dt.steering.outcome import Outcome, as_json, changed, paired_measure
from dt.steering.probe import Probe, Said
from dt.steering.problem import ModelProblem, Tokens
from dt.steering.reach_options import ReachOptions
from dt.steering.search.exact import in_parts
from dt.steering.subject import Steered, Subject

DEFAULTS = ReachOptions()
LEAST = 0.05  # share of outputs that edits must add
PART = 128  # drawn edits of a context that are tried at once


@dataclass(frozen=True)
class ReachFound:
    """The curve, for each context; what is reached with k edits is reached with more."""

    outcome: Outcome
    edits: tuple[int, ...]  # k = 0 .. the most
    exact: tuple[Float[np.ndarray, " B"] | None, ...]  # share of wanted outputs; None: too many
    random: tuple[Float[np.ndarray, " B"], ...]  # by as many drawn edits as `tried` says
    tried: tuple[int, ...]  # edits of each context that were drawn, up to this k
    all_edits: tuple[int, ...]  # edits that there are, up to this k
    wanted: str

    def to_json(self) -> dict[str, Any]:
        """Write all of it as JSON has it, with the curves' means."""

        def means(curve: tuple[np.ndarray | None, ...]) -> list[float | None]:
            return [None if x is None else float(x.mean()) for x in curve]

        curves = {"exact_curve": means(self.exact), "random_curve": means(self.random)}
        values = as_json(self)
        return {**values.pop("outcome"), **curves, **values}


def reach(
    steered: Steered,
    options: ReachOptions = DEFAULTS,
    *,
    demos: Demos | None = None,
    on: Contexts | None = None,
    command: str = "dt.steering.reach",
    **changes: Any,
) -> ReachFound:
    """Count the wanted outputs that some input with at most k edits brings about.

    Args:
        steered: a run's directory, a Hugging Face folder, or a policy.
        demos: makes the data of "demo:" sources.
        on: contexts in place of windows of the run's data.
        command: what the outcome says it was made by.
        changes: fields of `ReachOptions` in place of those of `options`.

    Raises:
        ValueError: for a space that the model does not have, and weights that changed meanwhile.
    """
    options = changed(options, changes)
    subject = Subject.of(steered, options.checkpoint, ActingOptions(null=options.null))
    edits = Reach(options.length, options.epsilon, options.levels)
    if on is None:
        least = steps_needed(options.space, edits)
        on = contexts_of(subject, options.contexts, options.seed, options.data, demos, least)
    ledger, rng = subject.ledger(), np.random.default_rng(options.seed)
    probe = Probe.of(subject.policy.params, subject.policy.spec, subject.policy.options.null)
    space: Tokens = make_space(TOKEN_SPACES, options.space, probe, on, edits)
    if not isinstance(space, Tokens):
        raise ValueError(
            f"past actions of {probe.spec.action_space} are numbers, and edits are counted of "
            f"tokens; take --space return or observation"
        )
    wanted, words = _wanted(probe, on, options, rng)
    problem = ModelProblem(probe, probe, on, wanted, _hits(options.tolerance), space, ledger)
    curve = _curve(problem, space, options, rng)
    last = [x for x in curve.exact if x is not None][-1]
    best = np.maximum(last, curve.random[-1])
    measure = paired_measure(
        f"share of wanted outputs within {curve.edits[-1]} edits of {options.space}",
        best,
        curve.random[0],
        "unedited",
        LEAST,
    )
    params = subject.policy.params
    outcome = ledger.close(
        params, "reach", measure, options, options.name or options.space, command
    )
    return ReachFound(
        outcome, curve.edits, curve.exact, curve.random, curve.tried, curve.all_edits, words
    )


@dataclass(frozen=True)
class _Curve:
    edits: tuple[int, ...]
    exact: tuple[np.ndarray | None, ...]
    random: tuple[np.ndarray, ...]
    tried: tuple[int, ...]
    all_edits: tuple[int, ...]


def _curve(
    problem: ModelProblem, space: Tokens, options: ReachOptions, rng: np.random.Generator
) -> _Curve:
    """Try edits of 0, 1, 2, ... positions; what was reached stays so."""
    most, count = min(options.most, space.positions), problem.count
    own = np.full((count, 1, space.positions), -1)
    reached = _reached(problem, own)
    drawn, every = reached.copy(), reached.copy()
    exact: list[np.ndarray | None] = [every.mean(axis=1)]
    random, tried, total = [drawn.mean(axis=1)], [1], [1]
    for k in range(1, most + 1):
        new = math.comb(space.positions, k) * space.size**k
        total.append(total[-1] + new)
        if exact[-1] is not None and new * count <= options.exact:
            for part in in_parts(space, k, k):
                every |= _reached(problem, np.broadcast_to(part, (count, *part.shape)))
            exact.append(every.mean(axis=1))
        else:
            exact.append(None)
        for begin in range(0, options.budget, PART):
            part = space.sample(rng, min(PART, options.budget - begin), k)
            drawn |= _reached(problem, part)
        random.append(drawn.mean(axis=1))
        tried.append(tried[-1] + options.budget)
    return _Curve(tuple(range(most + 1)), tuple(exact), tuple(random), tuple(tried), tuple(total))


def _reached(problem: ModelProblem, candidates: np.ndarray) -> Bool[np.ndarray, "B W"]:
    """Which wanted outputs any of a context's candidates, (B, N, P), brings about."""
    return np.asarray(problem.values(candidates)).max(axis=1) > 0.5


def _hits(tolerance: float) -> Any:
    """Make the score of rows: whether each of W wanted actions is what is chosen, (R, W)."""

    def hits(model: DecisionTransformer, said: Said, wanted: Action) -> Array:
        key = jax.random.key(0)  # nothing is drawn: the likeliest action is taken
        chosen = jax.vmap(lambda p: model.head.act(p, key, Sampling(deterministic=True)))(
            said.action
        )
        same = (chosen.categories[:, None] == wanted.categories).all(axis=-1)
        apart = jnp.square(chosen.numbers[:, None] - wanted.numbers)
        size = max(1, apart.shape[-1])
        near = jnp.sqrt(apart.sum(axis=-1) / size) <= tolerance
        return (same & near).astype(jnp.float32)

    return hits


def _wanted(
    probe: Probe, contexts: Contexts, options: ReachOptions, rng: np.random.Generator
) -> tuple[Action, str]:
    """List the outputs that are wanted in each context, (B, W, ...): all values of one category
    where there are few, else actions that were logged in other contexts."""
    spec, count = probe.spec, len(contexts)
    single = spec.action_dim == 0 and len(spec.action_counts) == 1
    if single and spec.action_counts[0] <= max(options.wanted, 2):
        values = np.arange(spec.action_counts[0], dtype=np.int32)
        categories = np.tile(values[None, :, None], (count, 1, 1))
        none = np.zeros((*categories.shape[:2], 0), np.float32)
        return Action(none, categories), f"all {len(values)} actions"
    donors = np.stack([rng.permutation(count)[: options.wanted] for _ in range(count)])
    logged = jax.tree.map(
        lambda x: np.asarray(x)[donors, contexts.last[donors]], contexts.batch.actions
    )
    words = f"{donors.shape[1]} actions logged in other contexts"
    return logged, words if single else f"{words}, within {options.tolerance:g}"
