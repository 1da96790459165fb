"""Checkpoint -> rollouts at target returns -> score card. `python evaluate.py --help` for more."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro

from dt.cli import parse_args


@dataclass(frozen=True)
class EvaluateConfig:
    """Play a trained run at the returns it is asked for, and print its score card."""

    run_dir: Annotated[Path, tyro.conf.Positional]
    """The run directory; nothing else is needed."""
    targets: list[str] = field(default_factory=lambda: ["p5:p95:7"])
    """Returns (50 100 200), percentiles of the data's returns (p50) or a span (p5:p95:7)."""
    episodes: int = 50
    """Episodes for each target."""
    env: str = ""
    """Environment id; empty: the one the data came from."""
    checkpoint: str = "last"
    """last, best (the lowest calibration error measured in training) or an update's number."""
    baseline: Literal["none", "null"] = "none"
    """null: the null token in place of the return, which should make targets meaningless."""
    deterministic: bool = False
    """Take the likeliest discrete action instead of sampling."""
    json: Path | None = None
    """Write the card to this file too."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.episodes < 1:
            raise ValueError(f"--episodes is {self.episodes}; it must be at least 1")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"--seed is {self.seed}; it must be from 0 to 2^32 - 1")
        if not self.targets:
            raise ValueError("--targets is empty; give returns (50 100) or a span (p5:p95:7)")
        if self.json is not None and not self.json.parent.is_dir():
            raise ValueError(f"--json {self.json}: there is no folder {self.json.parent}")


def main() -> int:
    try:
        return run(parse_args(EvaluateConfig, None, "evaluate.py"))
    except (ValueError, OSError) as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("evaluate.py: stopped, nothing written", file=sys.stderr)
        return 130


def run(config: EvaluateConfig) -> int:
    # Imported here so that --help and mistyped flags answer at once.
    from rich.console import Console

    from dt.checkpoint import find_checkpoint, load_policy, write_json
    from dt.evaluation import evaluate_policy, parse_targets
    from dt.report import episode_progress, print_card, write_card
    from dt.sharding import use_compilation_cache

    console = Console(highlight=False)
    use_compilation_cache()
    null = config.baseline == "null"
    best = config.checkpoint == "best"
    folder = find_checkpoint(config.run_dir, config.checkpoint)
    policy = load_policy(
        config.run_dir, int(folder.name), deterministic=config.deterministic, null=null
    )
    spec = policy.spec
    newest = find_checkpoint(config.run_dir, "last")
    env_id = config.env or spec.env_id
    if not env_id:
        raise ValueError(f"{config.run_dir}: the data names no environment; give one with --env")
    targets = parse_targets(config.targets, spec.dataset)
    with episode_progress(console, len(targets) * config.episodes) as on_step:
        card = evaluate_policy(
            policy,
            targets,
            config.episodes,
            env_id=env_id,
            env_kwargs=spec.env_kwargs if env_id == spec.env_id else {},
            seed=config.seed,
            checkpoint_step=int(folder.name),
            selection="best" if best else "last" if folder == newest else "chosen",
            command=" ".join(["evaluate.py", *sys.argv[1:]]),
            on_step=on_step,
        )
    print_card(card, console)
    # The headline card is that of the last checkpoint in its own environment; others say so.
    name = "-".join(
        [*(["null"] if null else []), *([] if folder == newest else [f"update-{folder.name}"])]
    )
    written = write_card(card, config.run_dir, name)
    if config.json is not None:
        write_json(config.json, card)
        written.append(config.json)
    console.print("wrote " + ", ".join(map(str, written)), markup=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
