"""The verb `intervene`: an edit of an input or inside the model, and what it does to behaviour."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.steering import Steering
from dt.acting.targets import parse_targets
from dt.checkpoint.steer_file import check_name, save_steering
from dt.evaluation.evaluate import Venue, episode_seeds, play, targets_for
from dt.evaluation.intervals import mean_interval
from dt.evaluation.parts import Estimate
from dt.evaluation.scores import calibrate
from dt.model.edits import Edit
from dt.steering.contexts import Contexts, Demos
from dt.steering.edit_making import make_edit
from dt.steering.intervene_options import InterveneOptions
from dt.steering.outcome import Ledger, Measure, Outcome, as_json, changed, paired_measure
from dt.steering.subject import Steered, Subject

DEFAULTS = InterveneOptions()
LEAST = 0.02  # share of the data's range by which an episode's return must change to count
EMPTY_EPISODES = 4  # of each target, played again without any edit: nothing may change
NEVER = 2**30  # a timestep that no episode reaches
OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class AtTarget:
    """Episodes of one target with and without the edit, of the same seeds."""

    target: float
    intact: Float[np.ndarray, " E"]  # returns
    edited: Float[np.ndarray, " E"]
    difference: Estimate  # edited less intact, paired

    @classmethod
    def of(cls, target: float, intact: np.ndarray, edited: np.ndarray) -> AtTarget:
        ends = mean_interval(edited - intact, np.random.default_rng(0)).tolist()
        difference = Estimate(float((edited - intact).mean()), (ends[0], ends[1]))
        return cls(target, intact, edited, difference)


@dataclass(frozen=True)
class Intervened:
    """What an edit did to behaviour."""

    outcome: Outcome
    point: str
    rows: tuple[AtTarget, ...]
    slope_intact: Estimate | None  # of what came over what was asked; None for one target
    slope_edited: Estimate | None
    empty_is_identical: bool  # whether no edit at all left every return as it was
    control: tuple[float, ...]  # returns of the control, the first target's, where there is one
    control_name: str
    edit: Edit

    def to_json(self) -> dict[str, Any]:
        """Write all of it as JSON has it, but for the edit's values, which a .steer file keeps."""
        shown = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "edit"
        }
        values = as_json(shown)
        return {**values.pop("outcome"), **values}


def intervene(
    steered: Steered,
    options: InterveneOptions = DEFAULTS,
    *,
    edits: Mapping[str, Edit] | None = None,
    demos: Demos | None = None,
    on: Contexts | None = None,
    on_step: OnStep = lambda done, steps: None,
    command: str = "dt.steering.intervene",
    **changes: Any,
) -> Intervened:
    """Play episodes with and without an edit, of the same seeds, from step a to step b.

    Args:
        steered: a run's directory, a Hugging Face folder, or a policy.
        edits: in place of the one that the options describe.
        demos: makes the data of "demo:" sources.
        on: contexts whose values are shuffled, in place of windows of the run's data.
        on_step: called after every step with the episodes done and the steps made.
        command: what the outcome says it was made by.
        changes: fields of `InterveneOptions` in place of those of `options`.

    Raises:
        ValueError: for a point that there is not, an edit that does not fit, a model that cannot
            do it, and weights that changed meanwhile.
        RolloutFault: when an environment breaks.
    """
    options = changed(options, changes)
    if options.keep:
        check_name(Path(options.keep))
    acting = ActingOptions(deterministic=options.deterministic)
    subject = Subject.of(steered, options.checkpoint, acting)
    policy, ledger = subject.policy, subject.ledger()
    if edits is None:
        edits = {options.at: make_edit(subject, options, on, demos)}
    game = _Game(subject, options, ledger, on_step)
    edited_by = Steering(edits=edits)
    intact, edited = game.play(policy), game.play(_with(policy, edited_by))
    control = _random(edits)
    control_name = "a random vector as long"
    if control is None:
        control, control_name = Steering(edits=_never(edits)), "an edit that never holds"
    by_control = game.play(_with(policy, control))
    by_nothing = game.play(_with(policy, Steering()), EMPTY_EPISODES)
    same = bool((by_nothing == intact[:, : by_nothing.shape[1]]).all())
    rows = tuple(map(AtTarget.of, game.targets.tolist(), intact, edited))
    measure = _measure(policy, intact, edited, by_control, control_name)
    outcome = ledger.close(policy.params, "intervene", measure, options, options.name, command)
    found = Intervened(
        outcome=outcome,
        point=", ".join(edits),
        rows=rows,
        slope_intact=game.slope(intact),
        slope_edited=game.slope(edited),
        empty_is_identical=same,
        control=tuple(by_control[0].tolist()),
        control_name=control_name,
        edit=next(iter(edits.values())),
    )
    if options.keep:
        _keep(Path(options.keep), found, edited_by)
    return found


def _keep(path: Path, found: Intervened, steering: Steering) -> None:
    """Write the edit as a steering file, with its effect and its control."""
    outcome = found.outcome
    slopes = {"intact": found.slope_intact, "edited": found.slope_edited}
    save_steering(
        path,
        steering,
        weights=outcome.weights.before,
        source=outcome.source,
        checkpoint_step=outcome.checkpoint_step,
        made_by=outcome.command,
        effect={
            "verdict": outcome.verdict,
            **as_json(outcome.measure),
            "slopes": as_json(slopes),
        },
        controls={
            found.control_name: outcome.measure.control,
            "empty_is_identical": found.empty_is_identical,
        },
    )


@dataclass(frozen=True)
class _Game:
    """The episodes that all policies play: of the same targets and seeds."""

    subject: Subject
    options: InterveneOptions
    ledger: Ledger
    on_step: OnStep

    @property
    def targets(self) -> np.ndarray:
        spec = self.subject.policy.spec
        words = parse_targets(list(self.options.targets), spec.dataset)
        return np.asarray(targets_for(spec, words))

    def play(self, policy: ReturnConditionedPolicy, count: int = 0) -> Float[np.ndarray, "T E"]:
        """Play all, or the first `count` of each target."""
        targets, most = self.targets, self.options.episodes
        episodes = min(count or most, most)
        seeds = episode_seeds(self.options.seed, self.options.episodes)[:episodes]
        asked, every = np.repeat(targets, episodes), np.tile(seeds, len(targets))
        before, stepped = self.ledger.episodes, self.ledger.env_steps

        def on_step(done: int, steps: int) -> None:
            self.on_step(before + done, stepped + steps)

        rollouts, _ = play(policy, asked, every, self._venue(), on_step)
        passes = 2 if policy.program.is_guided else 1
        self.ledger.played(len(asked), int(rollouts.lengths.sum()), passes)
        returns: np.ndarray = rollouts.returns.reshape(len(targets), episodes)
        return returns

    def slope(self, returns: Float[np.ndarray, "T E"]) -> Estimate | None:
        data = self.subject.policy.spec.dataset
        scored = calibrate(self.targets, returns, data, np.random.default_rng(0))
        return None if scored is None else scored.slope

    def _venue(self) -> Venue:
        return self.subject.venue(self.options.env)


def _with(policy: ReturnConditionedPolicy, steering: Steering) -> ReturnConditionedPolicy:
    if not steering.edits:
        return policy.another()
    return ReturnConditionedPolicy(
        policy.params, policy.spec, policy.options, policy.request_map, steering=steering
    )


def _never(edits: Mapping[str, Edit]) -> dict[str, Edit]:
    """The same edits, at no timestep."""
    return {
        name: dataclasses.replace(edit, first=NEVER, last=NEVER) for name, edit in edits.items()
    }


def _random(edits: Mapping[str, Edit]) -> Steering | None:
    """Vectors drawn at random in place of those that are added, as long; None of other edits."""
    rng, drawn = np.random.default_rng(0), {}
    for name, edit in edits.items():
        values = None if edit.values is None else np.asarray(edit.values, np.float32)
        if edit.how != "add" or values is None or values.size < 2:
            return None
        other = rng.normal(size=values.shape)
        other *= np.linalg.norm(values) / np.linalg.norm(other)
        drawn[name] = dataclasses.replace(edit, values=other.astype(np.float32))
    return Steering(edits=drawn)


def _measure(
    policy: ReturnConditionedPolicy,
    intact: np.ndarray,
    edited: np.ndarray,
    control: np.ndarray,
    control_name: str,
) -> Measure:
    data = policy.spec.dataset
    span = data.percentile(95) - data.percentile(5)
    return paired_measure(
        "change of an episode's return",
        np.abs(edited - intact).ravel(),
        np.abs(control - intact).ravel(),
        f"by {control_name}",
        LEAST * span,
    )
