"""Map from wanted returns to the requests that bring them, measured once and inverted.

A policy that is asked for 100 and brings 80 can be asked for what brings 100. The map from request
to achieved return is fitted on episodes of its own and kept in the run as `request_map.json`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from dt.acting.inputs import Inputs, refuse_other_environment, refuse_other_policy
from dt.acting.options import MEASURED_KEYS, ActingOptions
from dt.files import structured

REQUEST_MAP = "request_map.json"
FORMAT = 2
AGAIN = "fit it again with dt evaluate --fit-request-map"


@dataclass(frozen=True)
class RequestMap:
    """Achieved return as a function of the request that never falls, linear between requests.

    Raises:
        ValueError: for requests that do not rise, or achieved returns that fall.
    """

    requests: Float[np.ndarray, " N"]
    achieved: Float[np.ndarray, " N"]
    checkpoint_step: int
    acting: dict[str, Any]  # MEASURED_KEYS and guidance of the card that it was measured by
    env_id: str
    env_kwargs: dict[str, Any]
    measured: dict[str, Any]  # where it comes from: means, episodes, seed, versions, command

    def __post_init__(self) -> None:
        if len(self.requests) < 2 or len(self.requests) != len(self.achieved):
            raise ValueError(
                f"a request map has {len(self.requests)} requests and {len(self.achieved)} "
                f"achieved returns; it needs two or more of each"
            )
        if not np.isfinite([*self.requests, *self.achieved]).all():
            raise ValueError("a request map's requests and returns must be finite")
        if not (np.diff(self.requests) > 0).all() or not (np.diff(self.achieved) >= 0).all():
            raise ValueError("a request map's requests must rise, and its returns must not fall")

    @classmethod
    def fit(
        cls,
        requests: Float[np.ndarray, " N"],
        means: Float[np.ndarray, " N"],
        *,
        checkpoint_step: int,
        options: ActingOptions,
        env_id: str,
        env_kwargs: dict[str, Any],
        measured: dict[str, Any],
    ) -> RequestMap:
        """The rising function nearest to the mean returns (pool adjacent violators).

        Args:
            requests: in any order, with the mean return that each brought.
            measured: how they were measured, besides the means.

        Raises:
            ValueError: for fewer than two requests, or two that are the same.
        """
        from scipy.optimize import isotonic_regression  # takes as long to import as JAX

        order = np.argsort(requests, kind="stable")
        requests, means = requests[order], means[order]
        if len(requests) < 2 or not (np.diff(requests) > 0).all():
            raise ValueError(
                f"a request map needs two or more different requests, not {requests.tolist()}; "
                f"the data's returns are too alike to choose from"
            )
        entries = options.to_card()
        return cls(
            requests=requests,
            achieved=np.asarray(isotonic_regression(means).x, np.float64),
            checkpoint_step=checkpoint_step,
            acting={
                name: entries[name] for name in (*MEASURED_KEYS, "guidance") if name in entries
            },
            env_id=env_id,
            env_kwargs=env_kwargs,
            measured={"means": means.tolist(), **measured},
        )

    def request_for(self, wanted: Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
        """What to ask for; outside of what was achieved, the request that came nearest.

        Where many requests bring the wanted return, the one nearest to it: a map changes requests
        no more than it must.
        """
        inside = np.clip(wanted, self.achieved[0], self.achieved[-1])
        # Where equal returns stand in a row, interp answers with the last of their requests.
        highest = np.interp(inside, self.achieved, self.requests)
        lowest = -np.interp(-inside, -self.achieved[::-1], -self.requests[::-1])
        return np.clip(wanted, lowest, highest)

    def inputs_for(self, wanted: Float[np.ndarray, " B"]) -> Inputs:
        """What to give the policy: the request alone, by the weights that its options have."""
        return Inputs(self.request_for(wanted), None)

    def reaches(self, wanted: Float[np.ndarray, " B"]) -> Bool[np.ndarray, " B"]:
        """Whether the wanted return is one that was achieved, up to a hundredth of their span."""
        low, high = self.achieved[0], self.achieved[-1]
        slack = 0.01 * (high - low)
        return (wanted >= low - slack) & (wanted <= high + slack)

    def check(self, checkpoint_step: int, options: ActingOptions) -> None:
        """Refuse to stand before another policy than the one that was measured.

        Raises:
            ValueError: naming what differs.
        """
        measured = {"checkpoint_step": self.checkpoint_step, "guidance": None, **self.acting}
        refuse_other_policy(measured, options, checkpoint_step, f"{REQUEST_MAP} was fitted", AGAIN)

    def check_environment(self, env_id: str, env_kwargs: dict[str, Any]) -> None:
        """Refuse another environment than the one that the policy was measured in."""
        refuse_other_environment(
            (self.env_id, self.env_kwargs),
            (env_id, env_kwargs),
            "the request map was fitted",
            "fit one there with dt evaluate --fit-request-map",
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "requests": self.requests.tolist(),
            "achieved": self.achieved.tolist(),
            "checkpoint_step": self.checkpoint_step,
            "acting": self.acting,
            "env_id": self.env_id,
            "env_kwargs": self.env_kwargs,
            "measured": self.measured,
        }

    @classmethod
    def from_json(cls, values: object) -> RequestMap:
        """Read what `to_json` wrote.

        Raises:
            ValueError: for another format, and for values of other types.
        """
        if not isinstance(values, dict):
            raise ValueError(f"{REQUEST_MAP} does not read as a request map")
        if values.get("format") != FORMAT:
            raise ValueError(
                f"{REQUEST_MAP} has format {str(values.get('format'))[:20]}, this code reads "
                f"{FORMAT}; fit it again with dt evaluate --fit-request-map"
            )
        read = structured(_Stored, {key: values[key] for key in values if key != "format"})
        arrays = {key: np.asarray(getattr(read, key), np.float64) for key in ARRAYS}
        return cls(**{**vars(read), **arrays})


ARRAYS = ("requests", "achieved")


@dataclass(frozen=True)
class _Stored:
    """What request_map.json holds."""

    requests: list[float]
    achieved: list[float]
    checkpoint_step: int
    acting: dict[str, Any]
    env_id: str
    env_kwargs: dict[str, Any]
    measured: dict[str, Any]
