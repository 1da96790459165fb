"""Judge whether the returns of a data set are spread enough to steer a policy by.

It sees returns and lengths alone. Whether their differences come from what was done or from luck
is for an evaluation to show; no evaluation shows a dial where this says there is no spread.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from jaxtyping import Float, Int

NUM_TARGETS = 7  # as an evaluation asks for: equally spaced from p5 to p95
NEAR = 0.07  # an episode is near a target within this share of the span from p5 to p95
MIN_EPISODES = 20  # fewer do not show how returns are spread
MIN_NEAR = 5  # a target with fewer episodes near it is one that little was learned about
MIN_SPREAD = 0.1  # of the returns' own size, or of the reference's range where there is one
MAX_LEVELS = 5  # so few different returns are levels to choose from, not a dial
LENGTH_R2 = 0.99  # a return that follows its length this closely is its length


# The widest stretch from p5 to p95 that no episode returns, and its share of that span.
Gap = TypedDict("Gap", {"from": float, "to": float, "share": float})


class Target(TypedDict):
    """A target that an evaluation would ask for, and how many episodes return about that."""

    target: float
    episodes_near: int


class Numbers(TypedDict):
    """What the verdict rests on."""

    p5: float
    p95: float
    spread: float  # from p5 to p95, in parts of the returns' size or of the reference's range
    different_returns: int
    largest_gap: Gap
    length_r2: float | None
    targets: list[Target]


class Steerability(Numbers):
    """The verdict in a word, the line with its reason, and the numbers both rest on."""

    verdict: str
    line: str


def steerability(
    returns: Float[np.ndarray, " E"],
    lengths: Int[np.ndarray, " E"],
    reference_range: float | None = None,
) -> Steerability:
    """Judge the spread of returns.

    Verdicts: steerable; length (steerable, but a target is a length); thin and gaps (steerable
    in parts); levels (a few returns to choose from); hardly; too few.

    Args:
        returns: finite, one an episode.
        reference_range: expert's less random's return, to hold the spread against.
    """
    low, high = np.percentile(returns, [5, 95]).tolist() if len(returns) else (0.0, 0.0)
    span = high - low
    size = reference_range or max(abs(low), abs(high))
    levels = _levels(returns)
    gap = _largest_gap(returns, low, high)
    targets = np.linspace(low, high, NUM_TARGETS)
    near = [int((np.abs(returns - target) <= NEAR * span).sum()) for target in targets]
    numbers: Numbers = {
        "p5": low,
        "p95": high,
        "spread": span / size if size else 0.0,
        "different_returns": len(levels),
        "largest_gap": gap,
        "length_r2": length_r2(returns, lengths),
        "targets": [
            {"target": target, "episodes_near": count}
            for target, count in zip(targets.tolist(), near, strict=True)
        ],
    }
    verdict, reason = _verdict(len(returns), levels, reference_range is not None, numbers)
    return {"verdict": verdict, "line": f"{verdict}: {reason}", **numbers}


def length_r2(returns: Float[np.ndarray, " E"], lengths: Int[np.ndarray, " E"]) -> float | None:
    """Find what share of the returns' variance lengths explain; None where either is constant."""
    if len(returns) < 2 or np.ptp(returns) == 0 or np.ptp(lengths) == 0:
        return None
    return float(np.corrcoef(returns, lengths)[0, 1] ** 2)


def decimals(span: float) -> int:
    """Count the digits after the point that show a difference of `span` between numbers."""
    return min(max(2 - math.floor(math.log10(span)), 0), 6) if span > 0 else 2


def number_format(values: Sequence[float] | np.ndarray) -> str:
    """Choose how to print numbers that stand side by side, such as ".1f"."""
    span, size = float(np.ptp(values)), float(np.abs(values).max())
    plain = 1e-4 <= span and size < 1e6
    return f".{decimals(span)}f" if plain else ".4g"


def _verdict(
    count: int, levels: list[float], referenced: bool, numbers: Numbers
) -> tuple[str, str]:
    low, high, gap = numbers["p5"], numbers["p95"], numbers["largest_gap"]
    form = number_format([low, high])

    def show(value: float) -> str:
        return f"{value:{form}}"

    if count < MIN_EPISODES:
        return "too few", f"{count} episodes have a return; its spread shows from {MIN_EPISODES} on"
    if len(levels) == 1:
        return "hardly", f"every episode returns {levels[0]:g}"
    if numbers["spread"] < MIN_SPREAD:
        of = "the reference's range" if referenced else "their size"
        share = f"{100 * numbers['spread']:.1f} % of {of}"
        return "hardly", f"returns are nearly all alike (p5 {show(low)}, p95 {show(high)}, {share})"
    if len(levels) <= MAX_LEVELS:
        shown = ", ".join(f"{level:g}" for level in levels)
        return "levels", f"returns take {len(levels)} values ({shown}); between them is no data"
    r2 = numbers["length_r2"] or 0.0
    by_length = f"; length explains {100 * r2:.0f} % of it" if r2 >= 0.5 else ""
    if gap["share"] >= 2 * NEAR:  # a target in its middle has no episode near
        between = f"no episode returns {show(gap['from'])} to {show(gap['to'])}"
        share = f"{100 * gap['share']:.0f} % of p5 to p95"
        return "gaps", f"{between} ({share}); targets there are interpolation{by_length}"
    worst = min(numbers["targets"], key=lambda row: row["episodes_near"])
    thin = sum(row["episodes_near"] < MIN_NEAR for row in numbers["targets"])
    if thin:
        return "thin", (
            f"{thin} of {NUM_TARGETS} targets have fewer than {MIN_NEAR} episodes near, "
            f"{show(worst['target'])} only {worst['episodes_near']}; expect misses{by_length}"
        )
    if r2 >= LENGTH_R2:
        return "length", (
            f"returns {show(low)} to {show(high)} (p5 to p95) follow the episode's length "
            f"(r2 {r2:.3f}); a target asks how long to last"
        )
    return "steerable", (
        f"returns spread from {show(low)} to {show(high)} (p5 to p95), at least "
        f"{worst['episodes_near']} episodes near each of {NUM_TARGETS} targets{by_length}"
    )


def _levels(returns: np.ndarray) -> list[float]:
    """List the different returns, rising; rounding in a sum does not make another one."""
    rising = np.sort(returns)
    same = 1e-9 * np.abs(rising).max(initial=0.0)
    return rising[np.diff(rising, prepend=-np.inf) > same].tolist()


def _largest_gap(returns: np.ndarray, low: float, high: float) -> Gap:
    """Find the widest stretch from p5 to p95 that no episode returns."""
    inside = np.concatenate([[low], np.sort(returns[(returns > low) & (returns < high)]), [high]])
    widths = np.diff(inside)
    widest = int(widths.argmax())
    share = float(widths[widest] / (high - low)) if high > low else 0.0
    return {"from": float(inside[widest]), "to": float(inside[widest + 1]), "share": share}
