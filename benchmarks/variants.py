"""What variants of the model reach on the same data: DT, BC, 10 % BC, RvS, its own choice.

    python benchmarks/variants.py --out DIR

Every variant is the cartpole preset with other flags, trained by train.py with the same budget;
each plays the same seeds. Runs that are there already are not trained again. Prints one table and
writes variants.json and variants.md below DIR.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from dt_envs.cartpole import collect_cartpole

from dt.acting.options import ActingOptions
from dt.acting.targets import parse_targets
from dt.checkpoint.load import find_checkpoint, load_policy, load_spec
from dt.data.batches.windows import draw_windows, gather
from dt.data.store.rows import TrainingData
from dt.evaluation.intervals import mean_interval
from dt.evaluation.of_run import Playing, card_of_run
from dt.evaluation.parts import TargetScore
from dt.evaluation.predicted_returns import expected_calibration_error, quantile_calibration_error
from dt.files import write_json
from dt.model.heads import ReturnChoice
from dt.parallel.startup import use_compilation_cache

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
VARIANTS = {
    "DT": ["--model.layout", "return-observation-action"],
    "DT, fused token": ["--model.layout", "fused"],
    "DT, return added": ["--model.conditioning", "added"],
    "DT, adaLN": ["--model.conditioning", "adaln"],
    "DT, predicts returns": ["--model.layout", "observation-return-action"],
    "RvS": ["--model.layout", "return+observation", "--model.context-length", "1"],
    "BC": ["--model.layout", "observation-action"],
    "10 % BC": ["--model.layout", "observation-action", "--data.top-fraction", "0.1"],
}
KAPPAS = (0.0, 1.0, 10.0)


@dataclass(frozen=True)
class Config:
    """Variants of one model, side by side."""

    out: Path
    """Folder for the runs, variants.json and variants.md."""
    episodes: int = 50
    """For each target."""
    seed: int = 0
    """Of training and of play."""
    num_steps: int = 0
    """Updates; 0: the preset's."""
    only: tuple[str, ...] = ()
    """Variants by name; empty: all."""


def main() -> None:
    config = tyro.cli(Config)
    config.out.mkdir(parents=True, exist_ok=True)
    use_compilation_cache()
    rows: list[dict[str, Any]] = []
    for name, flags in VARIANTS.items():
        if config.only and name not in config.only:
            continue
        run_dir = train(config, name, flags)
        rows += played(config, name, run_dir)
        for row in rows[-1:]:
            print(line(row), flush=True)
        write_json(config.out / "variants.json", {"command": sys.argv, "rows": rows})
    text = "\n".join([HEAD, RULE, *map(line, rows)])
    (config.out / "variants.md").write_text(text + "\n")
    print(text)


def train(config: Config, name: str, flags: list[str]) -> Path:
    """The run of a variant, trained if it is not there yet."""
    run_dir = config.out / "".join(c if c.isalnum() else "-" for c in name.lower())
    if (run_dir / "card.json").exists():
        return run_dir
    words = [sys.executable, str(TRAIN), "cartpole", *flags]
    words += ["--run-dir", str(run_dir), "--seed", str(config.seed)]
    words += ["--evaluation.episodes", "1"]
    words += ["--num-steps", str(config.num_steps)] if config.num_steps else []
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
    return run_dir


def played(config: Config, name: str, run_dir: Path) -> list[dict[str, Any]]:
    """A row for the run at fixed targets, and one for each way in which it chooses its own."""
    spec = load_spec(find_checkpoint(run_dir))
    targets = parse_targets(["p5:p95:7"], spec.dataset)
    steered = spec.conditional
    card = card_of_run(
        run_dir,
        targets if steered else targets[-1:],
        config.episodes,
        Playing(seed=config.seed),
    )
    best = max(card.targets, key=lambda row: row.return_mean)
    row = {"variant": name, **summary(best)}
    if card.calibration is not None:
        follows = card.calibration
        row |= {"slope": follows.slope.value, "mae_over_range": follows.mae_over_range.value}
        row["monotone"] = follows.scores["monotone"]
    rows = [row]
    if spec.layout.return_predictor is not None:
        rows[0] |= calibration(run_dir)
        for kappa in KAPPAS:
            card = card_of_run(
                run_dir,
                targets,
                config.episodes,
                Playing(seed=config.seed, options=ActingOptions(expert=ReturnChoice(kappa))),
            )
            own = {"variant": f"{name}: expert, kappa {kappa:g}", **summary(card.targets[0])}
            rows.append(own | {"chosen": card.targets[0].target, "says": card.verdict})
    return rows


def summary(row: TargetScore) -> dict[str, Any]:
    returns = np.array([row.episode_returns])
    low, high = mean_interval(returns, np.random.default_rng(0))[0].tolist()
    return {"asked": row.target, "mean": row.return_mean, "low": low, "high": high}


def calibration(run_dir: Path) -> dict[str, Any]:
    """Expected calibration errors of what the run expects of new episodes of the data's players.

    Of first steps of windows, where no return that was told gives the next one away, and of all.
    """
    policy = load_policy(run_dir)
    spec, window = policy.spec, policy.spec.model.context_length
    data = TrainingData.of(collect_cartpole(seed=1), spec.transforms)
    windows = draw_windows(data.offsets, window, 1, 0, range(4096))
    batch = gather(spec.codec.encode(data.rows), windows, window)
    program, params = policy.program, policy.params
    predict = jax.jit(lambda batch: program.return_probabilities(params, batch))
    probabilities, edges = map(np.asarray, predict(batch))
    bins = np.searchsorted(edges, batch.returns_to_go, side="right") - 1
    bins = np.clip(bins, 0, len(edges) - 2)
    found = {}
    for name, kept in (("all", batch.mask), ("first", np.arange(window) == 0)):
        kept = np.broadcast_to(kept, batch.mask.shape) & batch.mask
        found[f"ece_{name}"] = expected_calibration_error(probabilities[kept], bins[kept])
        found[f"quantile_error_{name}"] = quantile_calibration_error(
            probabilities[kept], bins[kept]
        )
    return found


HEAD = "| variant | slope | error, % of range | best target | achieved | 95 % interval | ECE |"
RULE = "|---|---:|---:|---:|---:|---:|---:|"


def line(row: dict[str, Any]) -> str:
    slope = f"{row['slope']:.3f}" if "slope" in row else ""
    error = f"{100 * row['mae_over_range']:.1f}" if "slope" in row else ""
    span = f"{row['low']:.1f} to {row['high']:.1f}"
    ece = f"{row['ece_first']:.3f}" if "ece_first" in row else ""
    cells = [row["variant"], slope, error, f"{row['asked']:.1f}", f"{row['mean']:.1f}", span, ece]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
