"""Parts of score cards: estimates, rows of targets, and what is said of runs and data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias

Interval: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where too little was drawn to have one."""

    value: float
    ci95: Interval | None = None

    def scaled(self, factor: float) -> Estimate:
        """Multiply the number and both ends of its interval."""
        ends = self.ci95 and (factor * self.ci95[0], factor * self.ci95[1])
        return Estimate(factor * self.value, ends)


# What a score may come to: a number with or without an interval, words, or nothing that is defined.
ScoreValue: TypeAlias = Estimate | float | str | None


@dataclass(frozen=True)
class TargetScore:
    """What the episodes that were asked for one return brought."""

    target: float
    ood: bool  # beyond all returns of the data
    return_mean: float
    return_std: float
    return_ci95: Interval | None
    normalized_score: float | None
    length_mean: float
    episode_returns: tuple[float, ...]
    request: float | None = None  # what a request map asked the policy for; None without a map
    reachable: bool = True

    @property
    def centre(self) -> float:
        """The number that stands for this target in tables and pictures."""
        return self.return_mean

    @property
    def sample(self) -> tuple[float, ...]:
        """What the interval is over."""
        return self.episode_returns


@dataclass(frozen=True)
class Control:
    """What the same weights brought in another way, on the seeds of a card's targets."""

    name: str
    return_mean: float
    return_ci95: Interval | None
    returns: tuple[float, ...]  # of each episode


@dataclass(frozen=True)
class Measured:
    """What it took to find the inputs that a policy is asked by, and how far they reach."""

    episodes: int
    steps: int
    lowest: float  # the least mean return that some input brings about
    highest: float


@dataclass(frozen=True)
class RunsTargetScore:
    """What several runs brought that were asked for one return."""

    target: float
    ood: bool
    return_iqm: float  # the interquartile mean of the runs' means
    return_ci95: Interval
    return_mean: float
    return_std: float
    normalized_score: float | None
    length_mean: float
    run_means: tuple[float, ...]

    request: ClassVar[float | None] = None
    reachable: ClassVar[bool] = True

    @property
    def centre(self) -> float:
        return self.return_iqm

    @property
    def sample(self) -> tuple[float, ...]:
        return self.run_means


AnyTargetScore: TypeAlias = TargetScore | RunsTargetScore


@dataclass(frozen=True)
class Calibration:
    """How achieved returns follow the targets: each score by its name in `scores.SCORES`."""

    scores: dict[str, ScoreValue]
    verdict: str

    @property
    def slope(self) -> Estimate:
        return self.estimate("slope")

    @property
    def mae_over_range(self) -> Estimate:
        return self.estimate("mae_over_range")

    def estimate(self, name: str) -> Estimate:
        """A score that is a number, without an interval where it has none.

        Raises:
            ValueError: for a score that is not there or no number.
        """
        value = self.scores.get(name)
        if isinstance(value, Estimate):
            return value
        if value is None or isinstance(value, str):
            raise ValueError(f"calibration.{name} is {value!r}; it must be a number")
        return Estimate(value)


@dataclass(frozen=True)
class Beyond:
    """What asking for more than the data holds brought, against the most within the data."""

    target: float
    against: float
    gain: float
    gain_ci95: Interval | None
    verdict: str


@dataclass(frozen=True)
class Expectation:
    """What a model that chooses its own returns expected of itself, against what came."""

    chosen_mean: float
    difference: float
    standard_error: float | None
    verdict: str


@dataclass(frozen=True)
class Histogram:
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class DatasetFacts:
    """The returns of the data that the policy learned from."""

    id: str
    episodes: int
    steps: int
    return_mean: float
    return_percentiles: dict[str, float]  # p0, p5, ..., p100
    return_histogram: Histogram


@dataclass(frozen=True)
class RunSummary:
    """One run of an aggregate."""

    name: str
    checkpoint_step: int
    seed: int
    slope: float | None
    mae_over_range: float | None
    verdict: str
