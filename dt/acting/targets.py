"""Returns to ask for, as words: numbers, percentiles of the data's returns, and spans of either."""

from __future__ import annotations

import numpy as np

from dt.data.summary import DatasetSummary

MOST_TARGETS = 10_000  # of a span; each is played for episodes


def parse_targets(
    words: list[str], dataset: DatasetSummary, flag: str = "--targets "
) -> list[float]:
    """`["p5:p95:7"]`, `["p50"]` or `["50", "100"]` -> returns to ask for.

    `A:B:N` is N targets equally spaced from A to B; `pX` is the X-th percentile of the data's
    returns.

    Raises:
        ValueError: naming the word that is no target, after `flag`.
    """
    targets: list[float] = []
    for word in words:
        parts = word.split(":")
        if len(parts) == 3 and parts[2].isdecimal() and parts[2].strip("0"):
            if len(parts[2]) > 9 or int(parts[2]) > MOST_TARGETS:
                raise ValueError(
                    f"{flag}{word[:80]!r} asks for more than {MOST_TARGETS} returns; give fewer"
                )
            low, high = (_one_target(part, f"{flag}{word!r}", dataset) for part in parts[:2])
            targets += np.linspace(low, high, int(parts[2])).tolist()
        else:
            targets.append(_one_target(word, f"{flag}{word!r}", dataset))
    return targets


def targets_beyond(factor: float, dataset: DatasetSummary, count: int = 3) -> list[float]:
    """Targets above every return in the data, up to p5 + factor * (p95 - p5), equally spaced.

    Raises:
        ValueError: for a factor that does not lead beyond the data, naming one that does.
    """
    low, high = dataset.percentile(5), dataset.percentile(95)
    highest, top = dataset.percentile(100), low + factor * (high - low)
    if high <= low:
        raise ValueError(
            f"--ood {factor:g}: the data's returns from p5 to p95 are all {low:.5g}; name the "
            f"returns to ask for with --targets"
        )
    if not highest < top < float(np.finfo(np.float32).max):
        raise ValueError(
            f"--ood {factor:g} asks for up to {top:.5g}, but the data holds returns up to "
            f"{highest:.5g}; give a number above {(highest - low) / (high - low):.4g}"
        )
    return np.linspace(highest, top, count + 1)[1:].tolist()


def _one_target(part: str, named: str, dataset: DatasetSummary) -> float:
    try:
        if part.startswith("p"):
            percent = float(part[1:])
            if not 0 <= percent <= 100:
                raise ValueError
            return dataset.percentile(percent)
        value = float(part)
        if not abs(value) < float(np.finfo(np.float32).max):
            raise ValueError
        return value
    except ValueError:
        raise ValueError(
            f"{named} is no target; give returns (50 100), percentiles of the data's "
            f"returns (p5 p95) or a span (p5:p95:7)"
        ) from None
