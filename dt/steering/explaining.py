"""The verb `explain`: which input is an action owed to, and what would change it?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from dt.model.params import Params
from dt.steering.answer import Answer, Inputs
from dt.steering.attribution import METHODS, completeness
from dt.steering.contexts import Contexts, Demos, contexts_of
from dt.steering.explain_checks import (
    LARGEST_CORRELATION,
    SHARES,
    Curve,
    Deletion,
    correlation_with_random,
    curve_of,
    deletion,
)
from dt.steering.explain_options import ExplainOptions
from dt.steering.outcome import Ledger, Outcome, as_json, changed, paired_measure
from dt.steering.smallest import Dose, SmallestEdit, dose_response, smallest_edits
from dt.steering.subject import Steered, Subject
from dt.words import there_are

DEFAULTS = ExplainOptions()
NUM_RETURNS = 41  # of the dose-response


@dataclass(frozen=True)
class Owed:
    """One method's attribution: means over contexts, by steps before the action (0: its own)."""

    method: str
    steps_back: dict[str, Float[np.ndarray, "T F"]]  # of sizes, by modality
    shares: dict[str, float]  # of all that is owed, by modality
    random_correlation: float  # of ranks, with randomised weights: near 0 if it says something
    deletion: Deletion
    completeness: float | None  # of integrated gradients: how far the sum is from the difference

    @property
    def is_sound(self) -> bool:
        """Whether it tells learned from random weights, and what matters from what does not."""
        return abs(self.random_correlation) < LARGEST_CORRELATION and self.deletion.p_value < 0.05


@dataclass(frozen=True)
class Explained:
    """All that `explain` found."""

    outcome: Outcome
    answer: str
    owed: tuple[Owed, ...]  # the method that is judged first
    edits: tuple[SmallestEdit, ...]
    distance: float | None  # by which edits move the action; None: they flip a choice
    dose: Dose | None  # None where the model is told no return
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Write all of it as JSON has it."""
        values = as_json(self)
        return {**values.pop("outcome"), **values}


def explain(
    steered: Steered,
    options: ExplainOptions = DEFAULTS,
    *,
    demos: Demos | None = None,
    on: Contexts | None = None,
    command: str = "dt.steering.explain",
    **changes: Any,
) -> Explained:
    """Explain the actions of a policy at the ends of contexts.

    Args:
        steered: a run's directory, a Hugging Face folder, or a policy.
        demos: makes the data of "demo:" sources.
        on: contexts in place of windows of the run's data.
        command: what the outcome says it was made by.
        changes: fields of `ExplainOptions` in place of those of `options`.

    Raises:
        ValueError: for a method that there is not, a head whose action has no slope, and weights
            that changed meanwhile.
    """
    options = changed(options, changes)
    if options.method not in METHODS:
        raise ValueError(f"no method {options.method!r}; {there_are(options.method, METHODS)}")
    subject = Subject.of(steered, options.checkpoint)
    policy, ledger = subject.policy, subject.ledger()
    if on is None:
        on = contexts_of(subject, options.contexts, options.seed, options.data, demos)
    answer = Answer.of(policy, on, None if options.number < 0 else options.number)
    params = policy.params
    names = [options.method, *(name for name in METHODS if name != options.method)]
    names = [name for name in names if name != "rollout" or _attends(answer)]
    curve = curve_of(answer)
    owed = tuple(_owed(answer, params, name, options, ledger, curve) for name in names)
    distance = None if answer.chosen is not None else options.distance
    edits = tuple(smallest_edits(answer, params, options.distance, options.seed))
    ledger.passes(150 * len(edits) * len(on), 24 * len(edits) * len(on))
    dose = None
    if policy.spec.conditional:
        dose = dose_response(answer, params, NUM_RETURNS)
        ledger.passes(NUM_RETURNS * len(on))
    judged = owed[0].deletion
    measure = paired_measure(
        f"loss of {answer.name} when what {options.method} names is deleted first",
        judged.areas,
        judged.random_areas,
        "in random order",
    )
    outcome = ledger.close(params, "explain", measure, options, options.method, command)
    return Explained(outcome, answer.name, owed, edits, distance, dose, _notes(answer, owed))


def _owed(
    answer: Answer,
    params: Params,
    method: str,
    options: ExplainOptions,
    ledger: Ledger,
    curve: Curve,
) -> Owed:
    """Compute one attribution with its controls."""
    compute = jax.jit(lambda params: METHODS[method](answer, params, options.steps))
    found = compute(params)
    count, rows = len(answer.last), options.draws + 1
    slopes = {"integrated-gradients": options.steps, "gradient": 1, "gradient-x-input": 1}
    places = sum(each.shape[1] * each.shape[2] for each in found.values())
    ledger.passes(
        rows * count * ({"occlusion": places}.get(method, 1) + len(SHARES)),
        rows * count * slopes.get(method, 0),
    )
    whole = None
    if method == "integrated-gradients":
        whole = completeness(answer, params, found)
    sizes = {name: _by_steps_back(answer, name, found) for name in found}
    total = max(sum(float(np.abs(each).sum()) for each in sizes.values()), 1e-30)
    return Owed(
        method,
        sizes,
        {name: float(np.abs(each).sum()) / total for name, each in sizes.items()},
        correlation_with_random(answer, params, compute, options.draws, found),
        deletion(answer, params, method, found, options.draws, options.seed, curve),
        whole,
    )


def _by_steps_back(answer: Answer, name: str, owed: Inputs) -> Float[np.ndarray, "T F"]:
    """Mean sizes over the contexts that are so long, counted back from the step that acts."""
    real, last = answer.real(owed)[name], np.asarray(answer.last)
    sizes = np.where(real, np.abs(np.asarray(owed[name])), 0.0)
    places = last[:, None] - np.arange(sizes.shape[1])
    there = (places >= 0)[..., None]
    back = np.take_along_axis(sizes, np.maximum(places, 0)[..., None], axis=1) * there
    means: np.ndarray = back.sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    return means


def _attends(answer: Answer) -> bool:
    model = answer.spec.model
    return model.context_length * answer.spec.layout.tokens_per_step + answer.spec.num_prefix > 1


def _notes(answer: Answer, owed: tuple[Owed, ...]) -> tuple[str, ...]:
    """What a reader should know of what was not explained, and of methods that say nothing."""
    notes = []
    seen = answer.spec.observation_parts
    if len(seen.counts) or seen.num_pixels:
        notes.append("categories and pictures of observations are held as they are")
    if answer.chosen is not None and len(answer.spec.action_counts) > 1:
        notes.append("of several choices the first is explained")
    for each in owed:
        if not each.is_sound:
            notes.append(
                f"{each.method} proves little here: rank correlation {each.random_correlation:.2f} "
                f"with randomised weights, deletion p = {each.deletion.p_value:.2g}"
            )
    return tuple(notes)
