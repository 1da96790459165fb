"""What an input is to bring about, as scores of what the model says: more is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dt.data.batches.windows import Action
from dt.model.decision_transformer import DecisionTransformer
from dt.model.heads import CategoricalReturnHead, DeterministicHead
from dt.spec.spec import PolicySpec
from dt.steering.contexts import Contexts
from dt.steering.probe import AS_IT_IS, Probe, Said, Score

Unit: TypeAlias = Literal["nats", "distance", "return"]


@dataclass(frozen=True)
class Objective:
    """A score, and what it is measured in."""

    what: str
    unit: Unit
    score: Score
    wanted: Any  # a tree of arrays (B, ...): of each context
    least: float  # difference that counts

    @property
    def in_bits(self) -> bool:
        """Whether differences are of logarithms of probabilities or densities."""
        return self.unit == "nats"


def action_objective(spec: PolicySpec, wanted: Action) -> Objective:
    """Score a wanted action at the contexts' ends: by its log-probability or log-density, or minus
    its distance where the head says one action and no spread.

    Args:
        wanted: (B, ...), in the model's units.

    Raises:
        ValueError: for a head from elsewhere that has neither.
    """
    numbers = spec.action_dim > 0
    deterministic = numbers and spec.model.head == "deterministic"

    def score(model: DecisionTransformer, said: Said, wanted: Action) -> Array:
        head, total = model.head, jnp.zeros(())
        if said.action.categories is not None:
            total = total + head.categories.log_prob(said.action.categories, wanted.categories)
        if said.action.numbers is None:
            return total
        if isinstance(head.numbers, DeterministicHead):
            apart = said.action.numbers - wanted.numbers
            return total - jnp.sqrt(jnp.square(apart).sum(axis=-1) + 1e-12)
        if not hasattr(head.numbers, "log_prob"):
            raise ValueError(
                f"model.head {spec.model.head} has no method `log_prob`, so nothing says how "
                f"likely a wanted action is; give it one"
            )
        return total + jnp.asarray(head.numbers.log_prob(said.action.numbers, wanted.numbers))

    if deterministic:
        return Objective("minus distance to the wanted action", "distance", score, wanted, 0.02)
    kind = "density" if numbers else "probability"
    return Objective(f"log-{kind} of the wanted action, nats", "nats", score, wanted, 0.05)


def return_objective(spec: PolicySpec, count: int) -> Objective:
    """Score the return that the model's own head predicts at the contexts' ends.

    Raises:
        ValueError: for a layout that predicts none.
    """
    if spec.layout.return_predictor is None:
        raise ValueError(
            f"layout {spec.layout} predicts no return; train with --model.layout "
            f"observation-return-action, or take --objective action or rollouts"
        )
    scale, mean = (float(x) for x in (spec.return_normalizer.scale, spec.return_normalizer.mean))

    def score(model: DecisionTransformer, said: Said, wanted: Array) -> Array:
        assert said.expected is not None
        head = model.return_head
        if isinstance(head, CategoricalReturnHead):
            value = head.mean(said.expected)
        else:
            value = head.choose(said.expected)
        return value * scale + mean

    low, high = spec.return_range
    return Objective(
        "predicted return", "return", score, np.zeros(count, np.float32), 0.02 * (high - low)
    )


def wanted_actions(
    probe: Probe, contexts: Contexts, want: str, rng: np.random.Generator
) -> tuple[Action, str]:
    """Find the action that is wanted at the end of each context, in the model's units.

    Args:
        probe: of the model without a prefix.
        want: the environment's own action ("1", or numbers "0.5,-0.2,0"); "least" the least likely
            category; "other" what was logged in another context; "asked:R" what the policy does
            that is asked for the return R; empty: least for a category, other for numbers.

    Returns:
        The actions, and what they are in words.

    Raises:
        ValueError: for a word that is none of these, and for an action out of the space.
    """
    spec = probe.spec
    single = spec.action_dim == 0 and len(spec.action_counts) == 1
    want = want or ("least" if single else "other")
    if want == "least":
        if not single:
            raise ValueError("--want least is of one category; give numbers, other or asked:R")
        said = _said(probe, contexts)
        assert said.action.categories is not None
        least = np.asarray(said.action.categories).argmin(axis=-1)[:, None]
        return _action(spec, len(contexts), categories=least), "the least likely action"
    if want == "other":
        donors = np.roll(rng.permutation(len(contexts)), 1)
        logged = jax.tree.map(
            lambda x: np.asarray(x)[donors, contexts.last[donors]], contexts.batch.actions
        )
        return logged, "an action logged in another context"
    if want.startswith("asked:"):
        asked = contexts.asked(spec, _number(want.removeprefix("asked:"), want))
        told = Probe.of(probe.params, spec)
        said = _said(told, asked)
        return _likeliest(told, said), f"what is done when asked for {want.removeprefix('asked:')}"
    return _given(spec, contexts, want), f"action {want}"


def _given(spec: PolicySpec, contexts: Contexts, want: str) -> Action:
    numbers = [_number(word, want) for word in want.split(",")]
    count = len(contexts)
    if spec.action_dim == 0 and len(spec.action_counts) == len(numbers):
        starts = spec.action_parts.starts
        categories = np.asarray(numbers) - starts
        if (categories != categories.round()).any() or not (
            (categories >= 0) & (categories < np.asarray(spec.action_counts))
        ).all():
            raise ValueError(f"--want {want} is no action of {spec.action_space}")
        return _action(spec, count, categories=np.tile(categories.astype(np.int32), (count, 1)))
    if spec.action_counts or len(numbers) != spec.action_dim:
        raise ValueError(
            f"--want {want} has {len(numbers)} number(s), and an action of {spec.action_space} has "
            f"{spec.action_dim + len(spec.action_counts)}"
        )
    rows = np.tile(np.asarray(numbers, np.float32), (count, 1))
    return _action(spec, count, numbers=np.asarray(spec.action_normalizer(rows), np.float32))


def _action(
    spec: PolicySpec,
    count: int,
    numbers: Float[np.ndarray, "B A"] | None = None,
    categories: np.ndarray | None = None,
) -> Action:
    none = spec.codec.no_action(count)
    return Action(
        none.numbers if numbers is None else numbers,
        none.categories if categories is None else categories.astype(np.int32),
    )


def _number(word: str, want: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise ValueError(
            f"--want {want!r} is no action; give the environment's own (1, or 0.5,-0.2,0), least, "
            f"other or asked:RETURN"
        ) from None


def _said(probe: Probe, contexts: Contexts) -> Said:
    def say(params: Any, batch: Any, last: Array) -> Said:
        return probe.say(probe.model(params), batch, last, AS_IT_IS)

    return jax.jit(say)(probe.params, contexts.batch, contexts.last)


def _likeliest(probe: Probe, said: Said) -> Action:
    from dt.model.heads import Sampling

    model, key = probe.model(probe.params), jax.random.key(0)
    taken = jax.vmap(lambda p: model.head.act(p, key, Sampling(deterministic=True)))(said.action)
    return jax.tree.map(np.asarray, taken)
