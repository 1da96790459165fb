"""Dataset -> learner -> checkpoints -> score card. `python train.py --help` says what it takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from dt.config import TrainConfig, parse_train_args


def main() -> int:
    try:
        preset, config = parse_train_args(sys.argv[1:])
        return run(preset, config)
    except (ValueError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print(f"train.py: {str(interrupt) or 'stopped'}", file=sys.stderr)
        return 130


def run(preset: str, config: TrainConfig) -> int:
    # Imported here so that --help and a mistyped preset answer at once.
    from rich.console import Console

    from dt.data import EpisodeDataset, load_dataset
    from dt.evaluation import evaluate_policy, parse_targets, time_limit
    from dt.learner import TrainState
    from dt.policy import ReturnConditionedPolicy
    from dt.report import episode_progress, print_card, training_progress, write_card
    from dt.sharding import one_device, use_compilation_cache, use_cpu_cores
    from dt.spec import PolicySpec
    from dt.training import open_run, train, write_config
    from envs import load_demo

    console = Console(highlight=False)
    use_compilation_cache()
    use_cpu_cores()
    source, evaluation = config.data.source, config.evaluation
    if not source:
        raise ValueError(f"preset {preset} brings no data; name it with --data SOURCE")
    env_id, env_kwargs = evaluation.env or None, evaluation.env_kwargs
    dataset: EpisodeDataset = (
        load_demo(source)
        if source.startswith("demo:")
        else load_dataset(source, env_id, env_kwargs)
    )
    run_dir = open_run(preset, config)
    spec = PolicySpec.of(
        dataset,
        config.model,
        max_episode_steps=time_limit(dataset.env_id, dataset.env_kwargs),
        reference=evaluation.known_reference,
    )
    if not config.resume:
        write_config(run_dir, preset, config)
    console.print(
        f"{dataset.name}: {len(dataset)} episodes, {dataset.num_steps} steps, returns "
        f"{spec.dataset.percentile(5):.4g} (p5) to {spec.dataset.percentile(95):.4g} (p95)"
    )

    def card_of(
        state: TrainState, episodes: int, on_step: Callable[[int, int], None] = lambda *_: None
    ) -> dict[str, Any]:
        assert dataset.env_id is not None
        return evaluate_policy(
            ReturnConditionedPolicy(one_device(state.params), spec),
            parse_targets([f"p5:p95:{evaluation.num_targets}"], spec.dataset),
            episodes,
            env_id=dataset.env_id,
            env_kwargs=dataset.env_kwargs,
            seed=config.seed,
            checkpoint_step=int(state.step),
            command=" ".join(["train.py", *sys.argv[1:]]),
            on_step=on_step,
        )

    def measure(state: TrainState) -> float:
        card = card_of(state, max(1, evaluation.episodes // 5))
        return card["calibration"]["mae_over_range"] if card["calibration"] else 0.0

    with training_progress(console, config.num_steps) as on_round:
        state = train(
            spec,
            dataset,
            config,
            run_dir,
            say=console.print,
            on_round=on_round,
            measure=measure if dataset.env_id else None,
        )
    if dataset.env_id is None:
        console.print(f"{run_dir}: trained. The data names no environment: no score card.")
        return 0
    with episode_progress(console, evaluation.num_targets * evaluation.episodes) as on_step:
        card = card_of(state, evaluation.episodes, on_step)
    written = write_card(card, run_dir)
    print_card(card, console)
    console.print("wrote " + ", ".join(map(str, [run_dir, *written])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
