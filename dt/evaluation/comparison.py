"""Is one card better than another? Differences with intervals; nothing is played."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from dt.evaluation.evaluate import Card
from dt.evaluation.intervals import improvement_interval, mean_interval, slope, welch_interval

# Without these a file is no card, or one that an older version wrote.
NEEDED = ("env_id", "env_kwargs", "episodes", "targets", "calibration", "verdict")


def read_card(path: Path) -> Card:
    """A card from its file, or the `card.json` of a run directory.

    Raises:
        ValueError: when there is none, or the file holds something else.
    """
    file = path / "card.json" if path.is_dir() else path
    if not file.is_file():
        raise ValueError(f"{file}: no such card; make one with evaluate.py RUN_DIR")
    try:
        card = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file}: is no card: {error}") from None
    missing = [name for name in NEEDED if not isinstance(card, dict) or name not in card]
    if missing:
        raise ValueError(f"{file}: is no card of this version: it has no {missing[0]}")
    return card


def compare_cards(a: Card, b: Card, names: tuple[str, str]) -> dict[str, Any]:
    """What changes from a to b, at the targets that both asked for.

    A card's sample is its episodes, or its runs where it is an aggregate. Two cards of the same
    environment and seed played the same starts, and are compared episode by episode.

    P(B > A): a draw of B brings a higher return than one of A; P(B closer): one nearer to the
    target, which is what a low target asks for.

    Raises:
        ValueError: for cards of two environments, with no target in common, or of which one is an
            aggregate.
    """
    for name in ("env_id", "env_kwargs"):
        if a[name] != b[name]:
            raise ValueError(
                f"--compare: {names[0]} played {a[name]}, {names[1]} {b[name]}; "
                f"returns of two environments do not compare"
            )
    if ("runs" in a) != ("runs" in b):
        raise ValueError(
            f"--compare: {names['runs' in b]} aggregates runs, {names['runs' in a]} is a single "
            f"one's; compare two of a kind"
        )
    pairs = _shared_targets(a, b)
    if not pairs:
        raise ValueError(
            f"--compare: the cards share no target ({_asked(a)}; {_asked(b)}); evaluate both with "
            f"the same --targets"
        )
    unit = "runs" if "runs" in a else "episodes"
    field = "run_means" if "runs" in a else "episode_returns"
    returns_a = np.array([row[field] for row, _ in pairs], np.float64)  # (T, n)
    returns_b = np.array([row[field] for _, row in pairs], np.float64)
    # On the device a seed starts another episode than on the host.
    alike = all(a.get(name) == b.get(name) for name in ("seed", "episodes", "on_device"))
    paired = unit == "episodes" and alike
    targets = np.array([row["target"] for row, _ in pairs])
    ood = np.array([row["ood"] for row, _ in pairs])
    rng = np.random.default_rng(0)

    differences = _difference(returns_a, returns_b, paired, rng)
    misses_a, misses_b = (np.abs(r - targets[:, None]) for r in (returns_a, returns_b))
    rows = []
    for t, target in enumerate(targets):
        own = slice(t, t + 1)
        rows.append(
            {
                "target": float(target),
                "ood": bool(ood[t]),
                "a_mean": float(returns_a[t].mean()),
                "b_mean": float(returns_b[t].mean()),
                "difference": float(returns_b[t].mean() - returns_a[t].mean()),
                "difference_ci95": _pair(differences[t]),
                **_probability("higher", returns_a[own], returns_b[own], paired),
                **_probability("closer", -misses_a[own], -misses_b[own], paired),
            }
        )
    # Over the targets within the data; an episode counts with all that its seed came to.
    kept = ~ood if (~ood).any() else ood
    mean_a, mean_b = returns_a[kept].mean(axis=0), returns_b[kept].mean(axis=0)
    overall = {
        "targets": int(kept.sum()),
        "difference": float(mean_b.mean() - mean_a.mean()),
        "difference_ci95": _pair(_difference(mean_a, mean_b, paired, rng)),
        **_probability("higher", returns_a[kept], returns_b[kept], paired),
        **_probability("closer", -misses_a[kept], -misses_b[kept], paired),
    }
    return {
        "env_id": a["env_id"],
        "a": _origin(a, names[0]),
        "b": _origin(b, names[1]),
        "unit": unit,
        "paired": paired,
        "targets": rows,
        "overall": overall,
        "slope": _slopes(targets[kept], returns_a[kept], returns_b[kept], paired, rng),
    }


def _difference(
    a: Float[np.ndarray, "*T n"],
    b: Float[np.ndarray, "*T m"],
    paired: bool,
    rng: np.random.Generator,
) -> Float[np.ndarray, "*T 2"]:
    return mean_interval(b - a, rng) if paired else welch_interval(a, b)


def _slopes(
    targets: Float[np.ndarray, " T"],
    a: Float[np.ndarray, "T n"],
    b: Float[np.ndarray, "T m"],
    paired: bool,
    rng: np.random.Generator,
) -> dict[str, Any] | None:
    if np.ptp(targets) == 0:
        return None
    slopes_a, slopes_b = slope(targets, a.T), slope(targets, b.T)
    return {
        "a": float(slopes_a.mean()),
        "b": float(slopes_b.mean()),
        "difference": float(slopes_b.mean() - slopes_a.mean()),
        "difference_ci95": _pair(_difference(slopes_a, slopes_b, paired, rng)),
    }


def _probability(
    name: str, a: Float[np.ndarray, "T n"], b: Float[np.ndarray, "T m"], paired: bool
) -> dict[str, Any]:
    p, interval = improvement_interval(a, b, paired)
    return {f"probability_{name}": p, f"probability_{name}_ci95": _pair(np.array(interval))}


def _pair(interval: Float[np.ndarray, " 2"]) -> list[float] | None:
    """As JSON, which knows no NaN: a single episode or run has no interval."""
    return interval.tolist() if np.isfinite(interval).all() else None


def _shared_targets(a: Card, b: Card) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Rows of both cards that asked for the same return, the lowest first; those of models that
    chose it themselves stand side by side."""
    if a.get("expert") and b.get("expert"):
        return list(zip(a["targets"], b["targets"], strict=True))
    return [
        (row, other)
        for row in sorted(a["targets"], key=lambda row: row["target"])
        for other in b["targets"]
        if np.isclose(row["target"], other["target"], rtol=1e-6, atol=1e-9)
    ]


def _asked(card: Card) -> str:
    return ", ".join(f"{row['target']:.5g}" for row in card["targets"])


def _origin(card: Card, name: str) -> dict[str, Any]:
    """Which card it was; an aggregate's runs stand for its update."""
    kept = ("checkpoint_step", "runs", "selection", "baseline", "calibrated", "episodes", "seed")
    facts = {key: card[key] for key in (*kept, "commit") if key in card}
    return {"name": name, **facts}
