"""How long the segments should be that a model which acts from a ring cache is trained on.

    python benchmarks/segments.py --out DIR                       CartPole, on its own data
    python benchmarks/segments.py --out DIR --hopper FILE.npz     and Hopper, on this data

A segment of W windows trains tokens that see further back than one window, layer by layer, which is
what a ring cache does in acting. A batch always holds as many windows, so every run sees as many
tokens an update. Each run plays twice, from the ring cache and recomputing its last window, on the
same seeds; what is printed is over the training seeds, as `evaluate.py RUN_DIR...` has it. Runs
that are there already are not trained again: an interrupted benchmark goes on.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dt_envs  # noqa: F401 (threads for MuJoCo's tasks)
import numpy as np
import tyro

from dt.acting.options import ActingOptions
from dt.acting.targets import parse_targets
from dt.checkpoint.load import find_checkpoint, load_spec
from dt.config.presets import PRESETS
from dt.evaluation.aggregate import aggregate_cards
from dt.evaluation.card import AnyCard, Card, flat, rising
from dt.evaluation.intervals import mean_interval
from dt.evaluation.of_run import Playing, card_of_run
from dt.evaluation.parts import AnyTargetScore, RunsTargetScore
from dt.files import write_json
from dt.parallel.startup import use_compilation_cache

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
COLUMNS = "segment  acting    slope              error, % of range   at the top target"


@dataclass(frozen=True)
class Config:
    """Segments of one, two and four windows against each other."""

    out: Path
    """Folder for the runs and segments.json."""
    hopper: Path | None = None
    """Also train the hopper preset on this data."""
    cartpole: bool = True
    windows: tuple[int, ...] = (1, 2, 4)
    """Of context_length timesteps, in a segment."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Of training."""
    episodes: int = 50
    """For each target and training seed."""
    num_targets: int = 7
    num_steps: int = 0
    """Updates; 0: the preset's."""

    def __post_init__(self) -> None:
        if len(set(self.seeds)) < 2:
            raise ValueError(f"--seeds is {self.seeds}; intervals over runs need two or more")


def main() -> int:
    config = tyro.cli(Config, description=__doc__)
    use_compilation_cache()
    config.out.mkdir(parents=True, exist_ok=True)
    tasks: dict[str, list[str]] = {"cartpole": []} if config.cartpole else {}
    if config.hopper is not None:
        tasks["hopper"] = ["--data", str(config.hopper)]
    results = {preset: compare_segments(config, preset, words) for preset, words in tasks.items()}
    file = config.out / "segments.json"
    earlier = json.loads(file.read_text()) if file.exists() else {}
    write_json(file, {**earlier, **results})
    print(f"wrote {file}")
    return 0


def compare_segments(config: Config, preset: str, words: list[str]) -> list[dict[str, Any]]:
    """Train and play one preset with each length; the rows of its table."""
    batch = PRESETS[preset].data.batch_size * PRESETS[preset].model.context_length
    steps = config.num_steps or PRESETS[preset].num_steps
    print(f"{preset}: {steps} updates of {batch} timesteps, training seeds {config.seeds}")
    rows = []
    for windows in config.windows:
        runs = [trained(config, preset, words, windows, seed) for seed in config.seeds]
        cards = {acting: play(config, runs, acting == "window") for acting in ("cache", "window")}
        rows += [row_of(windows, acting, cards[acting]) for acting in cards]
        rows[-2]["cache_minus_window"] = difference(cards["cache"], cards["window"])
    print("  " + COLUMNS)
    for row in rows:
        print("  " + line(row), flush=True)
    best = min((row for row in rows if row["acting"] == "cache"), key=lambda row: row["error"])
    print(f"  least error from a cache: segments of {best['windows']}")
    return rows


def trained(config: Config, preset: str, words: list[str], windows: int, seed: int) -> Path:
    """A run directory whose training is over."""
    run_dir = config.out / f"{preset}-{windows}-windows-seed-{seed}"
    steps = config.num_steps or PRESETS[preset].num_steps
    if run_dir.exists():
        if int(find_checkpoint(run_dir).name) == steps:
            return run_dir
        words = [*words, "--resume"]
    flags = {
        "--run-dir": run_dir,
        "--seed": seed,
        "--num-steps": steps,
        "--data.windows-per-segment": windows,
        # The cards are made below.
        "--evaluation.episodes": 1,
        "--evaluation.num-targets": 1,
    }
    words = [preset, *words, *(str(word) for flag in flags.items() for word in flag)]
    subprocess.run([sys.executable, str(TRAIN), *words], check=True, stdout=subprocess.DEVNULL)
    return run_dir


def play(config: Config, runs: list[Path], recompute: bool) -> list[Card]:
    """A card of each run, all on the same episodes' seeds."""
    dataset = load_spec(find_checkpoint(runs[0])).dataset
    targets = parse_targets([f"p5:p95:{config.num_targets}"], dataset)
    playing = Playing(options=ActingOptions(recompute=recompute))
    return [card_of_run(run, targets, config.episodes, playing) for run in runs]


def row_of(windows: int, acting: str, cards: list[Card]) -> dict[str, Any]:
    card = aggregate_cards(cards, [str(number) for number in range(len(cards))])
    calibration, top = card.calibration, _top(card)
    assert calibration is not None and isinstance(top, RunsTargetScore)
    error = calibration.mae_over_range.scaled(100.0)
    return {
        "windows": windows,
        "acting": acting,
        **flat("slope", calibration.slope),
        **flat("error", error),
        "top_target": top.target,
        "top_return": top.return_iqm,
        "top_return_ci95": top.return_ci95,
        "top_run_means": top.run_means,
        "steps_per_second": card.env_steps_per_second,
    }


def difference(cache: list[Card], window: list[Card]) -> dict[str, Any]:
    """What the cache brings more at the top target, over all episodes, which are paired."""
    a, b = (
        np.concatenate([_top(card).sample for card in cards])[None] for cards in (cache, window)
    )
    interval = mean_interval(a - b, np.random.default_rng(0))[0]
    return {"mean": float((a - b).mean()), "ci95": interval.tolist()}


def _top(card: AnyCard) -> AnyTargetScore:
    return rising(card)[-1]


def line(row: dict[str, Any]) -> str:
    parts = [f"{row['windows']:<8} {row['acting']:8}"]
    for name, digits in (("slope", 3), ("error", 1), ("top_return", 1)):
        low, high = row[f"{name}_ci95"]
        parts.append(f"{row[name]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
    text = f"{parts[0]}  " + "  ".join(f"{part:18}" for part in parts[1:])
    if "cache_minus_window" in row:
        mean, (low, high) = (row["cache_minus_window"][name] for name in ("mean", "ci95"))
        text += f"  cache - window {mean:+.1f} ({low:.1f} to {high:.1f})"
    return text


if __name__ == "__main__":
    sys.exit(main())
