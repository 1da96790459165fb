"""The verb `guide`: the dose curve of guidance, in episodes and at contexts of the data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.targets import parse_targets
from dt.data.batches.windows import Action, Batch
from dt.evaluation.evaluate import episode_seeds, play
from dt.model.decision_transformer import DecisionTransformer
from dt.model.heads import Sampling
from dt.model.heads.action import Prediction
from dt.model.params import Params
from dt.steering.contexts import Contexts, Demos, contexts_of
from dt.steering.guide_options import GuideOptions
from dt.steering.outcome import Ledger, Measure, Outcome, as_json, changed, paired_measure
from dt.steering.probe import AS_IT_IS, Probe
from dt.steering.subject import Steered, Subject

DEFAULTS = GuideOptions()
AT_BOUND = 1e-3  # of a number's distance to its bound, in the model's units
SURE = 0.99  # probability of a category from which on it is as good as fixed
LEAST = 0.02  # share of the data's range of returns by which guidance must come nearer


@dataclass(frozen=True)
class Dose:
    """What one weight does when one return is asked for."""

    weight: float
    target: float
    returns: Float[np.ndarray, " E"]
    lengths: Float[np.ndarray, " E"]
    distance: float  # from the unconditional action, mean over contexts
    at_bounds: float  # share of an action's numbers at a bound, and of categories that are sure


@dataclass(frozen=True)
class GuideFound:
    """The dose curve."""

    outcome: Outcome
    doses: tuple[Dose, ...]
    best: float  # weight whose first half of episodes came nearest; the other half judges it
    distance_unit: str

    def to_json(self) -> dict[str, Any]:
        """Write all of it as JSON has it, with each dose's mean return."""
        values = as_json(self)
        for dose, entry in zip(self.doses, values["doses"], strict=True):
            entry["return_mean"] = float(dose.returns.mean())
            entry["return_std"] = float(dose.returns.std())
        return {**values.pop("outcome"), **values}


def guide(
    steered: Steered,
    options: GuideOptions = DEFAULTS,
    *,
    demos: Demos | None = None,
    on: Contexts | None = None,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
    command: str = "dt.steering.guide",
    **changes: Any,
) -> GuideFound:
    """Play every weight of guidance at every target, and compare the actions at contexts.

    Args:
        steered: a run's directory or a policy.
        demos: makes the data of "demo:" sources.
        on: contexts in place of windows of the run's data.
        on_step: called after every step with the episodes done and the steps made.
        command: what the outcome says it was made by.
        changes: fields of `GuideOptions` in place of those of `options`.

    Raises:
        ValueError: for a model that cannot be guided, and weights that changed meanwhile.
        RolloutFault: when an environment breaks.
    """
    options = changed(options, changes)
    acting = ActingOptions(deterministic=options.deterministic)
    subject = Subject.of(steered, options.checkpoint, acting)
    params, spec = subject.policy.params, subject.policy.spec
    # Refuses what cannot be guided, before anything is played.
    ActingOptions(guidance=2.0).of_model(spec)
    policy = ReturnConditionedPolicy(params, spec, acting, guides_each_row=True)
    targets = np.asarray(parse_targets(list(options.targets), spec.dataset))
    if on is None:
        on = contexts_of(subject, options.contexts, options.seed, options.data, demos)
    ledger = subject.ledger()
    doses = _doses(policy, subject, targets, on, options, ledger, on_step)
    best, measure = judged(doses, spec.dataset.percentile(95) - spec.dataset.percentile(5))
    outcome = ledger.close(params, "guide", measure, options, "", command)
    kinds = ["total variation"] if spec.action_counts else []
    kinds += ["length in the model's units"] if spec.action_dim else []
    return GuideFound(outcome, doses, best, " and ".join(kinds))


def _doses(
    policy: ReturnConditionedPolicy,
    subject: Subject,
    targets: Float[np.ndarray, " R"],
    contexts: Contexts,
    options: GuideOptions,
    ledger: Ledger,
    on_step: Callable[[int, int], None],
) -> tuple[Dose, ...]:
    weights, episodes = np.asarray(options.weights), options.episodes
    pairs = [(w, r) for w in range(len(weights)) for r in range(len(targets))]
    guidance = np.repeat([[weights[w], weights[w], 0.0] for w, _ in pairs], episodes, axis=0)
    asked = np.repeat([targets[r] for _, r in pairs], episodes)
    seeds = np.tile(episode_seeds(options.seed, episodes), len(pairs))
    venue = subject.venue(options.env)
    rollouts, _ = play(policy, asked, seeds, venue, on_step, guidance)
    ledger.played(len(asked), int(rollouts.lengths.sum()), passes_a_step=2)
    returns, lengths = (
        x.reshape(len(pairs), episodes) for x in (rollouts.returns, rollouts.lengths)
    )
    compared = [_compared(policy, contexts, target, weights, ledger) for target in targets]
    return tuple(
        Dose(
            float(weights[w]),
            float(targets[r]),
            returns[i],
            lengths[i].astype(np.float64),
            float(compared[r][0][w]),
            float(compared[r][1][w]),
        )
        for i, (w, r) in enumerate(pairs)
    )


def _compared(
    policy: ReturnConditionedPolicy,
    contexts: Contexts,
    target: float,
    weights: Float[np.ndarray, " W"],
    ledger: Ledger,
) -> tuple[Float[np.ndarray, " W"], Float[np.ndarray, " W"]]:
    """Compare guided actions with the unconditional ones, where `target` is asked for."""
    told, untold = (Probe.of(policy.params, policy.spec, null) for null in (False, True))
    asked = contexts.asked(policy.spec, target)

    def compare(params: Params, batch: Batch, last: Array, weights: Array) -> tuple[Array, Array]:
        model = told.model(params)
        c, u = (probe.say(model, batch, last, AS_IT_IS).action for probe in (told, untold))

        def one(weight: Array) -> tuple[Array, Array]:
            guided = model.head.guide(c, u, jnp.full(len(last), weight))
            held = at_bounds(model, guided, policy.spec.bounded)
            return distances(model, guided, u).mean(), held

        return jax.vmap(one)(weights)

    ledger.passes(2 * len(contexts))
    values = jnp.asarray(weights, jnp.float32)
    apart, held = jax.jit(compare)(policy.params, asked.batch, asked.last, values)
    return np.asarray(apart), np.asarray(held)


def distances(
    model: DecisionTransformer, guided: Prediction, unconditional: Prediction
) -> Float[Array, " B"]:
    """Measure how far actions are apart: the length between the likeliest numbers, plus the total
    variation between the distributions of each category."""
    apart = jnp.zeros(())
    if guided.numbers is not None:
        a, b = (_likeliest(model, each).numbers for each in (guided, unconditional))
        apart = apart + jnp.linalg.norm(a - b, axis=-1)
    if guided.categories is not None and unconditional.categories is not None:
        p, q = (_shares(model, x) for x in (guided.categories, unconditional.categories))
        apart = apart + 0.5 * jnp.abs(p - q).sum(axis=(-1, -2))
    return apart


def at_bounds(
    model: DecisionTransformer, guided: Prediction, bounded: tuple[bool, ...]
) -> Float[Array, ""]:
    """Count the share of numbers at a bound of their space, and of categories that are sure.

    Args:
        bounded: which of the numbers have bounds.
    """
    shares = []
    if guided.numbers is not None:
        if any(bounded):
            numbers = _likeliest(model, guided).numbers[:, np.array(bounded)]
            shares.append((jnp.abs(numbers) >= 1.0 - AT_BOUND).ravel())
    if guided.categories is not None:
        shares.append((_shares(model, guided.categories).max(axis=-1) >= SURE).ravel())
    return jnp.concatenate(shares).mean() if shares else jnp.zeros(())


def _likeliest(model: DecisionTransformer, prediction: Prediction) -> Action:
    key = jax.random.key(0)  # nothing is drawn
    sampling = Sampling(deterministic=True)
    taken: Action = jax.vmap(lambda p: model.head.act(p, key, sampling))(prediction)
    return taken


def _shares(model: DecisionTransformer, logits: Array) -> Float[Array, "B C n"]:
    return model.head.categories.probabilities(logits)


def judged(doses: tuple[Dose, ...], span: float) -> tuple[float, Measure]:
    """Choose the weight whose episodes came nearest to what was asked, and judge it against not
    asking. Even episodes choose, odd ones judge, so that the choice's luck does not count."""
    span = max(abs(span), 1e-9)
    weights = sorted({dose.weight for dose in doses})

    def misses(weight: float, half: int) -> np.ndarray:
        rows = [d for d in doses if d.weight == weight]
        return np.concatenate([np.abs(d.returns[half::2] - d.target) for d in rows]) / span

    best = min((w for w in weights if w > 0), key=lambda w: float(misses(w, 0).mean()))
    measure = paired_measure(
        f"minus the distance to what was asked (share of the data's range), weight {best:g}",
        -misses(best, 1),
        -misses(0.0, 1),
        "unconditional",
        LEAST,
    )
    return best, measure
