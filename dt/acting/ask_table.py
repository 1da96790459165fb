"""Table of measured inputs: what each request with its weights of guidance brought.

A policy that is asked for a return by the table gets the input that was measured to bring it: a
request that may be another than the wanted return, and the weights that the request is read by.
`dt.steering.ask` measures it, and it is kept in the run as `ask.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from dt.acting.inputs import Inputs, refuse_other_environment, refuse_other_policy
from dt.acting.options import MEASURED_KEYS, ActingOptions
from dt.acting.request_map import RequestMap
from dt.files import structured

ASK_TABLE = "ask.json"
FORMAT = 1


@dataclass(frozen=True)
class AskTable:
    """Measured inputs of one checkpoint in one environment.

    Raises:
        ValueError: for fewer than two inputs, or numbers that are not finite.
    """

    requests: Float[np.ndarray, " N"]
    guidance: Float[np.ndarray, "N 3"]  # as ActingOptions.guidance_numbers
    achieved: Float[np.ndarray, " N"]  # the mean return that is expected
    deviation: Float[np.ndarray, " N"]  # standard deviation of that mean: how well it is known
    spread: Float[np.ndarray, " N"]  # standard deviation of single episodes' returns
    episodes: Int[np.ndarray, " N"]  # played with this input
    checkpoint_step: int
    acting: dict[str, Any]  # MEASURED_KEYS of the card that it was measured by
    env_id: str
    env_kwargs: dict[str, Any]
    measured: dict[str, Any]  # where it comes from: budget, seed, versions, command

    def __post_init__(self) -> None:
        columns = (self.requests, self.achieved, self.deviation, self.spread, self.episodes)
        count = len(self.requests)
        if count < 2 or any(column.shape != (count,) for column in columns):
            raise ValueError(
                f"an ask table has {count} requests and {[len(c) for c in columns]} numbers of "
                f"each kind; it needs two or more, as many of each"
            )
        if self.guidance.shape != (count, 3):
            raise ValueError(
                f"an ask table of {count} inputs has guidance of shape {self.guidance.shape}; it "
                f"needs three numbers for each"
            )
        for name in ("requests", "guidance", "achieved", "deviation", "spread"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"an ask table's {name} has a number that is not finite")

    def chosen(self, wanted: Float[np.ndarray, " B"]) -> Int[np.ndarray, " B"]:
        """Choose the input for each wanted return: the nearest mean, of those known well enough.

        How far a mean may be off counts as its distance does; among inputs alike in both, single
        episodes shall stray least.
        """
        miss = np.abs(self.achieved - np.asarray(wanted)[:, None]) + self.deviation
        return (miss + 0.1 * self.spread).argmin(axis=1)

    def inputs_for(self, wanted: Float[np.ndarray, " B"]) -> Inputs:
        """Find what to give the policy that these returns come about."""
        rows = self.chosen(wanted)
        return Inputs(self.requests[rows], self.guidance[rows])

    def request_for(self, wanted: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """Find the requests alone of `inputs_for`."""
        return self.inputs_for(wanted).requests

    @property
    def interval(self) -> tuple[float, float]:
        """The least and the most mean return that some input brings about."""
        return float(self.achieved.min()), float(self.achieved.max())

    def reaches(self, wanted: Float[np.ndarray, " B"]) -> Bool[np.ndarray, " B"]:
        """Whether some input brings the wanted return, up to a hundredth of the interval."""
        low, high = self.interval
        slack = 0.01 * (high - low)
        return (wanted >= low - slack) & (wanted <= high + slack)

    def check(self, checkpoint_step: int, options: ActingOptions) -> None:
        """Refuse to stand before another policy than the one that was measured.

        Raises:
            ValueError: naming what differs.
        """
        measured = {"checkpoint_step": self.checkpoint_step, **self.acting}
        again = "measure again with dt steer RUN ask"
        refuse_other_policy(measured, options, checkpoint_step, f"{ASK_TABLE} was measured", again)

    def check_environment(self, env_id: str, env_kwargs: dict[str, Any]) -> None:
        """Refuse another environment than the one that the policy was measured in."""
        refuse_other_environment(
            (self.env_id, self.env_kwargs),
            (env_id, env_kwargs),
            f"{ASK_TABLE} was measured",
            "measure there with dt steer RUN ask",
        )

    @classmethod
    def of(
        cls,
        inputs: Inputs,
        achieved: Float[np.ndarray, " N"],
        deviation: Float[np.ndarray, " N"],
        spread: Float[np.ndarray, " N"],
        episodes: Int[np.ndarray, " N"],
        *,
        checkpoint_step: int,
        options: ActingOptions,
        env_id: str,
        env_kwargs: dict[str, Any],
        measured: dict[str, Any],
    ) -> AskTable:
        """Make the table of inputs that a policy of these options was measured by."""
        assert inputs.guidance is not None
        entries = options.to_card()
        return cls(
            requests=np.asarray(inputs.requests, np.float64),
            guidance=np.asarray(inputs.guidance, np.float64),
            achieved=achieved,
            deviation=deviation,
            spread=spread,
            episodes=episodes,
            checkpoint_step=checkpoint_step,
            acting={name: entries[name] for name in MEASURED_KEYS},
            env_id=env_id,
            env_kwargs=env_kwargs,
            measured=measured,
        )

    def to_json(self) -> dict[str, Any]:
        """The table as JSON has it: an input a row."""
        names = ("request", "guidance", "achieved", "deviation", "spread", "episodes")
        columns = (
            self.requests,
            self.guidance,
            self.achieved,
            self.deviation,
            self.spread,
            self.episodes,
        )
        rows = zip(*(column.tolist() for column in columns), strict=True)
        return {
            "format": FORMAT,
            "inputs": [dict(zip(names, row, strict=True)) for row in rows],
            "checkpoint_step": self.checkpoint_step,
            "acting": self.acting,
            "env_id": self.env_id,
            "env_kwargs": self.env_kwargs,
            "measured": self.measured,
        }

    @classmethod
    def from_json(cls, values: object) -> AskTable:
        """Read what `to_json` wrote.

        Raises:
            ValueError: for another format, for values of other types, and as the table itself.
        """
        if not isinstance(values, dict):
            raise ValueError(f"{ASK_TABLE} does not read as an ask table")
        if values.get("format") != FORMAT:
            raise ValueError(
                f"{ASK_TABLE} has format {str(values.get('format'))[:20]}, this code reads "
                f"{FORMAT}; measure again with dt steer RUN ask"
            )
        if not isinstance(values.get("inputs"), list):
            raise ValueError(
                f"{ASK_TABLE}: inputs must be a list; measure again with dt steer RUN ask"
            )
        read = structured(_Stored, {key: values[key] for key in values if key != "format"})

        def column(name: str, kind: type = np.float64) -> np.ndarray:
            return np.asarray([getattr(row, name) for row in read.inputs], kind)

        return cls(
            requests=column("request"),
            guidance=column("guidance").reshape(-1, 3),
            achieved=column("achieved"),
            deviation=column("deviation"),
            spread=column("spread"),
            episodes=column("episodes", np.int64),
            checkpoint_step=read.checkpoint_step,
            acting=read.acting,
            env_id=read.env_id,
            env_kwargs=read.env_kwargs,
            measured=read.measured,
        )


@dataclass(frozen=True)
class _Input:
    """A row of ask.json."""

    request: float
    guidance: tuple[float, float, float]
    achieved: float
    deviation: float
    spread: float
    episodes: int


@dataclass(frozen=True)
class _Stored:
    """What ask.json holds."""

    inputs: list[_Input]
    checkpoint_step: int
    acting: dict[str, Any]
    env_id: str
    env_kwargs: dict[str, Any]
    measured: dict[str, Any]


def check_measured(options: ActingOptions, request_map: RequestMap | AskTable | None) -> None:
    """Refuse options that go by what was measured, without it, and what was measured without them.

    Raises:
        ValueError: saying what there is.
    """
    by_map, by_table = isinstance(request_map, RequestMap), isinstance(request_map, AskTable)
    if (options.calibrated, options.asked) != (by_map, by_table):
        raise ValueError(
            f"calibrated is {options.calibrated}, asked is {options.asked} and the request map "
            f"is {request_map}; give what belongs together, or load the policy from its run "
            f"with load_policy"
        )
