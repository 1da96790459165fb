"""The policy that a verb steers: from a run, a Hugging Face folder, or loaded already."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from dt.acting.options import AS_TRAINED, ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.checkpoint.hugging_face.folder import is_hugging_face
from dt.checkpoint.load import find_checkpoint, load_policy
from dt.evaluation.evaluate import Venue
from dt.evaluation.of_run import environment_of
from dt.play.make import Vectorization
from dt.steering.outcome import Ledger

Steered: TypeAlias = "str | Path | ReturnConditionedPolicy"
"""A run's directory, a Hugging Face folder, or a policy."""


@dataclass(frozen=True)
class Subject:
    """A policy, and where it comes from."""

    policy: ReturnConditionedPolicy
    source: Path | None  # None: it was loaded already
    checkpoint_step: int

    @classmethod
    def of(
        cls, steered: Steered, checkpoint: str = "last", options: ActingOptions = AS_TRAINED
    ) -> Subject:
        """Load a policy unless it is one.

        Args:
            checkpoint: of a run: last, best or an update's number.
            options: how a policy that is loaded acts.

        Raises:
            ValueError: for a run or checkpoint that there is not, and options that the model
                cannot follow.
        """
        if isinstance(steered, ReturnConditionedPolicy):
            return cls(steered, None, 0)
        path = Path(steered)
        if is_hugging_face(path):
            return cls(load_policy(path, checkpoint, options=options), path, 0)
        step = int(find_checkpoint(path, checkpoint).name)
        return cls(load_policy(path, step, options=options), path, step)

    @property
    def name(self) -> str:
        """What messages and outcomes call it."""
        return "a policy" if self.source is None else str(self.source)

    def ledger(self) -> Ledger:
        """Begin to count what is done with it."""
        return Ledger(self.policy.params, self.name, self.checkpoint_step)

    def venue(self, env_id: str = "", vectorization: Vectorization = "auto") -> Venue:
        """Find where it plays: in its data's environment unless another is named.

        Raises:
            ValueError: where nobody names one.
        """
        place = Path(self.name) if self.source is None else self.source
        env_id, env_kwargs = environment_of(place, self.policy.spec, env_id)
        return Venue(env_id, env_kwargs, vectorization=vectorization)
