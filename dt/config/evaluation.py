"""Options of the score cards that training makes, and of the environment they are played in."""

from __future__ import annotations

from dataclasses import dataclass

from dt.config.checks import Count, CountOrNone, NotNegative, check_bounds, require
from dt.data.reference import Reference

NO_ENVIRONMENT = "none"  # what `env` may say in place of an id


@dataclass(frozen=True)
class EvaluationConfig:
    """The score card at the end of training, and the environment it is played in."""

    env: str = ""
    """Environment id; empty: the data's own, unless it is in a module; none: nothing is played."""
    max_episode_steps: CountOrNone = 0
    """Time limit of an episode, in steps; 0: the environment's own."""
    num_targets: Count = 7
    """Targets, equally spaced from the 5th to the 95th percentile of the data's returns."""
    episodes: Count = 20
    """Episodes for each target."""
    guidance: NotNegative = 1.0
    """Weight of what the return changes, by which the run's policy acts unless it is told
    otherwise; 1: the model as it is, which no other weight beats on all sets (docs/steering.md)."""
    guidance_enough: NotNegative = 1.0
    """The weight once all that was asked for has come, where agents tend to go on playing."""
    interval: CountOrNone = 0
    """Updates between cards; 0: only at the end. The best card's checkpoint is kept."""
    reference: tuple[str, float, float] | None = None
    """Source, random and expert return of a normalised score; data may bring its own."""

    def __post_init__(self) -> None:
        check_bounds(self, "evaluation.")
        enough = self.num_targets >= 2 or not self.interval
        needed = "at least 2 where evaluation.interval asks for cards to choose by"
        require(enough, "evaluation.num_targets", self.num_targets, needed)

    @property
    def known_reference(self) -> Reference | None:
        return Reference(*self.reference) if self.reference else None

    @property
    def env_kwargs(self) -> dict[str, int]:
        """Keyword arguments of `gymnasium.make`."""
        return {"max_episode_steps": self.max_episode_steps} if self.max_episode_steps else {}
