"""Verdicts in one line: whether achieved returns follow what was asked for, and where not.

Three words begin them, and the interval of the slope decides which: it lies above a tenth (steers),
below (ignores the return), or holds it (undecided, so that more episodes are needed).
"""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
from jaxtyping import Bool, Float

from dt.data.card.steerability import MIN_SPREAD
from dt.data.summary import DatasetSummary
from dt.evaluation.intervals import mean_interval, slope
from dt.evaluation.parts import Beyond, Estimate, Expectation

ONE_TARGET = "one target: ask for two or more to see whether returns follow"
NO_RETURN = "this model takes no return: it was played once, and cannot be steered"

_DEAF = 0.1  # a slope up to here is none

# How cards of earlier releases begin.
_EARLIER = {
    "steerable": "steers",
    "saturates": "steers",
    "stays": "steers",
    "follows the return weakly": "steers weakly",
    "one episode a target": "undecided",
}

# Shares of the span of the targets.
_ON_TARGET = 0.05  # a mean error up to here needs no word, and a miss up to here is none
_SHORT = 0.10  # the top target missed by more than this is out of reach, if there it is also flat
_FLAT = 1 / 3  # of what is asked for more: less than this share comes


def judge(
    targets: Float[np.ndarray, " T"],
    returns: Float[np.ndarray, "T E"],
    line: Estimate,
    data: DatasetSummary,
    size: float | None = None,
) -> str:
    """Say in one line whether returns follow their targets; targets rise.

    Args:
        line: the slope of achieved over asked.
        size: as of `calibrate`.
    """
    if not np.isfinite(returns).all():
        return "returns are not finite"
    low, high = data.percentile(5), data.percentile(95)
    if high - low <= MIN_SPREAD * (size or max(abs(low), abs(high))):
        return f"no coverage in the data: 90 % of its returns lie from {low:.5g} to {high:.5g}"
    if line.ci95 is None:
        return "undecided: one episode a target is too few to say; play more"
    least, most = line.ci95
    between = f"slope {least:.2f} to {most:.2f}"
    if most < _DEAF:
        return f"ignores the return: {between}"
    if least <= _DEAF:
        return f"undecided: {between}; play more episodes"
    errors = returns.std(axis=1, ddof=1) / np.sqrt(returns.shape[1])
    return describe(targets, returns.mean(axis=1), errors)


def expected(chosen: Float[np.ndarray, " E"], returns: Float[np.ndarray, " E"]) -> Expectation:
    """Hold the returns that a model chose for itself against what came.

    Where good returns are luck, a model that asks for the best of them gets the average, and only
    this difference tells (Paster et al. 2022, "You can't count on luck").

    Args:
        chosen, returns: of episodes of one model, or the means of several runs.
    """
    over = chosen - returns
    mean = float(over.mean())
    error = float(over.std(ddof=1) / np.sqrt(len(over))) if len(over) > 1 else None
    came = f"the model chose {chosen.mean():.5g} and {returns.mean():.5g} came"
    if error is None:
        verdict = f"{came}: one sample, too few to say"
    elif mean > 2 * error:
        verdict = f"{came}, {mean / max(error, 1e-12):.1f} standard errors less: luck in the data?"
    else:
        verdict = f"{came}: what it expects of itself holds"
    return Expectation(float(chosen.mean()), mean, error, verdict)


def describe(
    targets: Float[np.ndarray, " T"],
    means: Float[np.ndarray, " T"],
    errors: Float[np.ndarray, " T"],
    miss: float | None = None,
) -> str:
    """Describe an agent that steers, with where it does not; both rise, and `errors` are standard.

    An end of the range is out of reach where the last target is missed by more than a tenth of the
    span, and beyond the furthest return that ever came asking for more hardly changes anything.

    Args:
        miss: the mean error as a share of the span where it is not that of the means, as of several
            runs, whose misses do not make up for each other.
    """
    span = targets[-1] - targets[0]
    top = _limit(targets, means, errors)
    bottom = _limit(-targets[::-1], -means[::-1], errors[::-1])
    below = ""
    if bottom is not None:
        below = f"stays at {-bottom[0]:.4g}, asked for {-bottom[1]:.4g} and less"
    if top is not None:
        above = f"steers; saturates at {top[0]:.4g}, asked for {top[1]:.4g} and more"
        return "; ".join([above, below] if below else [above])
    within = targets > (-np.inf if bottom is None else -bottom[1])
    if within.sum() < 2:
        return f"steers; {below}"
    whole = bool(within.all())
    targets, means = targets[within], means[within]
    gain, error = slope(targets, means), np.abs(means - targets).mean() / span
    error = miss if miss is not None and whole else error
    if error <= _ON_TARGET:
        follows = "steers"
    elif gain < 0.5:
        follows = f"steers weakly: {gain:.2f} for each 1 asked for"
    else:
        follows = f"steers, but is off by {100 * error:.0f} % of the range on average"
    return "; ".join([follows, below] if below else [follows])


def agreement(verdicts: list[str], line: str) -> str:
    """Give one line for several runs: `line` if all came to that kind of verdict, else who did."""
    kinds = Counter(_kind(verdict) for verdict in verdicts)
    if len(kinds) == 1:
        (kind,) = kinds
        return f"{line if _kind(line) == kind else kind} (all {len(verdicts)} runs)"
    return "runs differ: " + ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())


def beyond(
    targets: Float[np.ndarray, " T"],
    returns: Float[np.ndarray, "T E"],
    ood: Bool[np.ndarray, " T"],
    rng: np.random.Generator,
) -> Beyond | None:
    """Judge what asking for more than the data holds does; None without both kinds of target.

    The episodes (or runs) of the highest target are compared with those of the highest within the
    data, one by one.
    """
    if ood.all() or not ood.any() or targets[ood].max() < targets[~ood].max():
        return None
    first = int(np.argmax(np.where(ood, -np.inf, targets)))
    last = int(np.argmax(targets))
    gains = returns[last] - returns[first]
    gain = float(gains.mean())
    if len(gains) == 1:
        interval, says = None, "one episode a target is too few to say"
    else:
        low, high = interval = tuple(mean_interval(gains, rng).tolist())
        if low <= 0 <= high:
            says = "changes nothing that shows"
        else:
            says = f"brings {abs(gain):.3g} {'more' if gain > 0 else 'less'}"
        says += f" ({low:+.3g} to {high:+.3g})"
    asked = f"asking for {targets[last]:.4g} instead of {targets[first]:.4g}"
    return Beyond(
        target=float(targets[last]),
        against=float(targets[first]),
        gain=gain,
        gain_ci95=interval,
        verdict=f"beyond the data: {asked} {says}",
    )


def _kind(verdict: str) -> str:
    """The words that a verdict begins with, those of an earlier release by the present ones."""
    kind = re.split(r" at |[,:;]", verdict)[0]
    return _EARLIER.get(kind, kind)


def _limit(
    targets: np.ndarray, means: np.ndarray, errors: np.ndarray
) -> tuple[float, float] | None:
    """The most that ever comes and the first target well above it, if the top is out of reach."""
    span = targets[-1] - targets[0]
    best = int(means.argmax())
    level = means[best]
    if targets[-1] - level <= _SHORT * span + 2 * errors[best]:
        return None
    # From where as much is asked for as ever comes: does asking for more still bring more?
    begin = max(level, targets[0])
    rise = means[-1] - np.interp(begin, targets, means)
    if rise > _FLAT * (targets[-1] - begin):
        return None
    return float(level), float(targets[targets > level + _ON_TARGET * span][0])
