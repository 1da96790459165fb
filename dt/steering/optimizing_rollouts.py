"""Inputs that bring a return about in played episodes, found without gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.acting.targets import parse_targets
from dt.evaluation.evaluate import Venue, episode_seeds, play
from dt.model.prefix import with_prefix
from dt.steering.optimize_options import OptimizeOptions
from dt.steering.outcome import Ledger, Outcome, as_json, changed, paired_measure
from dt.steering.problem import Tokens, Vectors
from dt.steering.search.drawing import cross_entropy, random
from dt.steering.search.exact import sweep
from dt.steering.subject import Steered, Subject

DEFAULTS = OptimizeOptions(objective="rollouts")
EPISODES = 10  # of each input, unless said
POPULATION = 8  # inputs of a round of the cross-entropy method


@dataclass(frozen=True)
class PlayedInputs:
    """What searches found that only saw episodes' returns, judged on seeds of its own."""

    outcome: Outcome
    wanted: float | None  # None: the most
    method: str
    inputs: Float[np.ndarray, "1 d"]
    unedited: Float[np.ndarray, " E"]  # returns on seeds that no search saw
    found: Float[np.ndarray, " E"]
    random: Float[np.ndarray, " E"]
    tried: Float[np.ndarray, " N"]  # mean return of every input that the search played

    def to_json(self) -> dict[str, Any]:
        """Write all of it as JSON has it."""
        values = as_json(self)
        return {**values.pop("outcome"), **values}


class _Episodes:
    """The problem: a candidate's score is how near its episodes come, or how much they bring."""

    count = 1

    def __init__(
        self,
        subject: Subject,
        space: Vectors,
        options: OptimizeOptions,
        wanted: float | None,
        ledger: Ledger,
    ):
        self.space: Vectors | Tokens = space
        self.policy, self.options, self.wanted, self.ledger = (
            subject.policy,
            options,
            wanted,
            ledger,
        )
        self.venue: Venue = subject.venue(options.env)
        self.request = parse_targets([options.request], subject.policy.spec.dataset, "--request ")
        self.episodes = options.episodes or EPISODES
        self.seeds = episode_seeds(options.seed, self.episodes, fitting=True)
        self.tried: list[float] = []
        self.spent = 0
        self._with_prefix: ReturnConditionedPolicy | None = None

    def values(self, candidates: np.ndarray) -> Float[np.ndarray, "Q N"]:
        returns = self.returns_of(candidates[0], self.seeds)
        self.tried += returns.mean(axis=1).tolist()
        self.spent += len(returns)
        return self.scores(returns).mean(axis=1)[None]

    def slopes(self, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise ValueError("episodes have no gradient; take --method cem, sweep or random")

    def scores(self, returns: np.ndarray) -> np.ndarray:
        return returns if self.wanted is None else -np.abs(returns - self.wanted)

    def returns_of(self, candidates: np.ndarray, seeds: np.ndarray) -> Float[np.ndarray, "N E"]:
        """Play each candidate on the seeds."""
        if self.options.space == "return":
            asked = np.repeat(candidates[:, 0], len(seeds))
            return self._play(self.policy, asked, np.tile(seeds, len(candidates))).reshape(
                len(candidates), -1
            )
        asked = np.full(len(seeds), self.request[0])
        rows = [self._play(self._prefixed(each), asked, seeds) for each in candidates]
        return np.stack(rows)

    def unedited(self, seeds: np.ndarray) -> Float[np.ndarray, " E"]:
        return self._play(self.policy, np.full(len(seeds), self.request[0]), seeds)

    def _prefixed(self, values: np.ndarray) -> ReturnConditionedPolicy:
        """The policy with these vectors before all tokens; all share their programs."""
        vectors = values.reshape(self.options.length, -1).astype(np.float32)
        params, spec = with_prefix(self.policy.params, self.policy.spec, vectors)
        if self._with_prefix is None:
            self._with_prefix = ReturnConditionedPolicy(params, spec, self.policy.options)
        return self._with_prefix.another(params)

    def _play(
        self, policy: ReturnConditionedPolicy, asked: np.ndarray, seeds: np.ndarray
    ) -> np.ndarray:
        rollouts, _ = play(policy, asked, seeds, self.venue, lambda done, steps: None)
        self.ledger.played(len(seeds), int(rollouts.lengths.sum()))
        return rollouts.returns


def optimize_rollouts(
    steered: Steered,
    options: OptimizeOptions = DEFAULTS,
    *,
    command: str = "dt.steering.optimize",
    **changes: Any,
) -> PlayedInputs:
    """Search for the request, or the soft prefix, whose episodes bring a wanted return.

    Args:
        steered: a run's directory, a Hugging Face folder, or a policy.
        command: what the outcome says it was made by.
        changes: fields of `OptimizeOptions` in place of those of `options`.

    Raises:
        ValueError: for what the model cannot do, and for weights that changed meanwhile.
        RolloutFault: when an environment breaks.
    """
    options = changed(options, {"objective": "rollouts", **changes})
    subject = Subject.of(steered, options.checkpoint, ActingOptions(null=options.null))
    ledger, rng = subject.ledger(), np.random.default_rng(options.seed)
    wanted = _wanted(options, subject)
    problem = _Episodes(subject, _space(options, subject), options, wanted, ledger)
    method = "cem" if options.method == "auto" else options.method
    if method == "sweep":
        best = sweep(problem, min(options.levels, options.budget))
    elif method == "cem":
        best = cross_entropy(problem, rng, options.budget, min(POPULATION, options.budget))
    else:
        best = random(problem, rng, options.budget)
    tried = np.array(problem.tried)
    chance = random(problem, rng, problem.spent)
    seeds = episode_seeds(options.seed, max(20, problem.episodes))
    unedited = problem.unedited(seeds)
    found, lucky = (problem.returns_of(each.candidate, seeds)[0] for each in (best, chance))
    what = "mean return" if wanted is None else f"minus the distance to a return of {wanted:g}"
    span = subject.policy.spec.dataset.percentile(95) - subject.policy.spec.dataset.percentile(5)
    measure = paired_measure(
        f"{what}, new seeds",
        problem.scores(found),
        problem.scores(unedited),
        "unedited",
        0.02 * abs(span),
    )
    return PlayedInputs(
        ledger.close(subject.policy.params, "optimize", measure, options, options.label, command),
        wanted,
        method,
        best.candidate,
        unedited,
        found,
        lucky,
        tried,
    )


def _wanted(options: OptimizeOptions, subject: Subject) -> float | None:
    if not options.want:
        return None
    return parse_targets([options.want], subject.policy.spec.dataset, "--want ")[0]


def _space(options: OptimizeOptions, subject: Subject) -> Vectors:
    """The space of one input; a prefix's norm is bounded by what a norm of tokens gives."""
    spec = subject.policy.spec

    def unwritten(*_: Any) -> Any:
        raise AssertionError("episodes are played, not written into contexts")

    if options.space == "return":
        if not spec.conditional or options.null:
            raise ValueError("the policy is told no return, so there is none to change")
        low, high = (np.full((1, 1), spec.dataset.percentile(p)) for p in (0, 100))
        return Vectors("return", (low + high) / 2, low, high, unwritten, "returns")
    width = spec.model.width
    radius = float(np.sqrt(width))  # of vectors whose numbers have deviation 1, as norms make them
    wide = np.full((1, options.length * width), radius)
    return Vectors("prefix", 0 * wide, -wide, wide, unwritten, "norm", width, radius)
