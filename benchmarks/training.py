"""Updates a second against others' training of the same model, and how the cost grows.

    python benchmarks/training.py              Chen et al.'s gym model: 20 x 3 tokens, batch 64
    python benchmarks/training.py --atari      their Atari model: 30 x 3 tokens, pictures, batch 64
    python benchmarks/training.py --scaling    ours over batch, context, width, layout and data
    python benchmarks/training.py --startup    from the start of the process to the first update
    python benchmarks/training.py --gpu        on a GPU: 100,000 updates, and `large` in 16 bits

Everybody trains once a round, one after the other, so that whatever else the machine does meets
all; ratios are medians over the rounds of ratios within a round. Peers run where they are
installed: `pip install torch==2.13.0 transformers d3rlpy torchrl`. Ours draws its batches within
the clock, others' are ready before it starts. Dropout, loss, clipping and optimiser are the paper's
everywhere.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from gymnasium import spaces
from training_peers import (
    ACTION,
    EPISODE,
    HUGGING_FACE_SCRIPT,
    MOVES,
    STATE,
    Train,
    atari_peer,
    gym_peers,
)

from dt.config import DataConfig, EvaluationConfig, TrainConfig
from dt.config.presets import PRESETS, with_recipe, with_size
from dt.data import EpisodeDataset, TrainingData

MKL = (
    "  (torch multiplies with MKL, which does not take its AVX-512 path on AMD's processors: about "
    "1.5x of a\n  ratio is that. On Intel expect 1.2 to 1.6x.)"
)
PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L4": 121e12}  # dense, 16 bits


@dataclass(frozen=True)
class Config:
    """Training against each other."""

    atari: bool = False
    scaling: bool = False
    startup: bool = False
    gpu: bool = False
    rounds: int = 5
    updates: int = 20
    """Of everybody in a round."""
    threads: int = 2
    batch: int = 64
    micro_batches: int = 0
    """Ours, on a CPU; 0: one for numbers, and for pictures one for 16 rows, which caches hold."""
    trace: Path = Path("trace")
    """--gpu: where the profiler's trace is written."""
    json: Path | None = None
    """Write the figures there too."""


def main() -> None:
    config = tyro.cli(Config, description=__doc__)
    if hasattr(os, "sched_setaffinity") and not config.gpu:  # before JAX counts the cores
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[: config.threads]))
    command = "python " + " ".join(sys.argv)
    print(command)
    if config.startup:
        figures = startup(config)
    else:
        from dt.parallel.startup import use_compilation_cache, use_cpu_cores

        use_compilation_cache()
        if not config.gpu:
            os.environ.setdefault("JAX_PLATFORMS", "cpu")
            use_cpu_cores()
        if find_spec("torch"):
            import torch

            torch.set_num_threads(config.threads)
        part = gpu if config.gpu else scaling if config.scaling else against
        figures = part(config)
    if config.json is not None:
        written = {"command": command, "cpu": cpu_name(), "config": vars(config), **figures}
        config.json.write_text(json.dumps(written, indent=1, default=str) + "\n")


def against(config: Config) -> dict[str, Any]:
    """The gym or the Atari model, ours and others'."""
    if config.atari:
        print(f"Atari model, batch {config.batch}, {config.rounds} rounds of {config.updates}")
        trainers = {"torch, channels last": atari_peer(config.batch, 30, "cpu")}
        trainers = {"ours": ours(atari_config(config), pictures(2_000)), **trainers}
    else:
        print(f"gym model, batch {config.batch}, {config.rounds} rounds of {config.updates}")
        trainers = {"ours": ours(gym_config(config), vectors(100_000))}
        trainers |= gym_peers(config.batch, 20, "cpu")
    return report(alternate(trainers, config.rounds, config.updates))


def gym_config(config: Config) -> TrainConfig:
    """Table 8 of Chen et al. 2021."""
    data = DataConfig(batch_size=config.batch, windows_per_segment=1)
    run = with_recipe(dataclasses.replace(PRESETS["hopper"], data=data), "chen2021")
    return tuned(run, config, 1)


def atari_config(config: Config) -> TrainConfig:
    """Table 7 of Chen et al. 2021."""
    data = DataConfig(batch_size=config.batch, windows_per_segment=1)
    run = dataclasses.replace(PRESETS["atari-chen2021"], data=data)
    return tuned(run, config, max(1, config.batch // 16))


def tuned(run: TrainConfig, config: Config, micro_batches: int) -> TrainConfig:
    """Rounds of as many updates as are timed, and micro-batches for a CPU's cache."""
    count = 1 if config.gpu else config.micro_batches or micro_batches
    return dataclasses.replace(
        run,
        data=dataclasses.replace(run.data, num_micro_batches=count),
        num_steps=100_000,
        log_interval=config.updates,
    )


def ours(run: TrainConfig, data: TrainingData) -> Train:
    """What train.py does between two log lines."""
    from dt.model.parameter_names import DIVIDED
    from dt.parallel.mesh import make_mesh, place, shardings, usable_devices
    from dt.spec.spec import PolicySpec
    from dt.training.feed import Feed
    from dt.training.program import make_train_steps
    from dt.training.step import Learner

    spec = PolicySpec.of(data, run.model, max_episode_steps=EPISODE)
    learner = Learner(spec, run)
    rows = run.data.num_segments // run.data.num_micro_batches
    mesh = make_mesh(usable_devices(rows, run.mesh), run.mesh)
    state = learner.init()
    state_shardings = shardings(state, mesh, DIVIDED)
    state = place(state, state_shardings)
    feed = Feed(data, spec, run, mesh)
    train_steps = make_train_steps(learner, state_shardings)
    done = 0

    def train(updates: int) -> None:
        nonlocal state, done
        for begin in range(done, done + updates, feed.updates_per_round):
            end = min(begin + feed.updates_per_round, done + updates)
            draw = feed.round(begin, end)
            state, metrics = train_steps(state, feed.steps, draw, np.int32(end - begin))
        done += updates
        float(metrics.means["loss"])  # waits for the device

    return train


def alternate(trainers: dict[str, Train], rounds: int, updates: int) -> dict[str, np.ndarray]:
    """Updates a second of each in each round, after a round that compiles and warms up."""
    speeds: dict[str, list[float]] = {name: [] for name in trainers}
    for number in range(rounds + 1):
        for name, train in trainers.items():
            begin = time.perf_counter()
            train(updates)
            if number:
                speeds[name].append(updates / (time.perf_counter() - begin))
    return {name: np.array(values) for name, values in speeds.items()}


def report(speeds: dict[str, np.ndarray]) -> dict[str, Any]:
    """Print and return medians, and how much faster ours is than each and than the fastest."""
    base = speeds["ours"]
    figures: dict[str, Any] = {}
    for name, values in speeds.items():
        ratios = base / values
        figures[name] = {"updates_per_second": float(np.median(values)), "rounds": values.tolist()}
        line = f"  {name:24}{np.median(values):8.2f} updates/s {1000 / np.median(values):8.1f} ms"
        if name != "ours":
            figures[name]["ours_is_times"] = float(np.median(ratios))
            line += f"   ours x{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"
        print(line, flush=True)
    if len(speeds) > 1:
        fastest = np.max([values for name, values in speeds.items() if name != "ours"], axis=0)
        figures["against_fastest"] = float(np.median(base / fastest))
        print(f"  against the fastest of them: x{figures['against_fastest']:.2f}")
        if "amd" in cpu_name().lower():
            print(MKL)
    return figures


def scaling(config: Config) -> dict[str, Any]:
    """Ours, one thing changed at a time, its values in turns; the data's size must not matter."""
    figures: dict[str, dict[str, float]] = {}
    for what, runs in variations(gym_config(config)).items():
        trainers = {name: ours(run, vectors(steps)) for name, (run, steps) in runs.items()}
        speeds = alternate(trainers, config.rounds, config.updates)
        figures[what] = {name: float(np.median(values)) for name, values in speeds.items()}
        first = next(iter(speeds.values()))
        for name, values in speeds.items():
            ratio = np.median(values / first)
            line = f"  {what:16}{name:>28}{np.median(values):10.2f} updates/s"
            print(f"{line}   x{ratio:.2f}", flush=True)
    return {"updates_per_second": figures}


def variations(base: TrainConfig) -> dict[str, dict[str, tuple[TrainConfig, int]]]:
    """What is changed, to what: the run, and the steps of its data."""

    def with_model(**changes: Any) -> tuple[TrainConfig, int]:
        model = dataclasses.replace(base.model, **changes)
        return dataclasses.replace(base, model=model), 100_000

    def with_data(run: TrainConfig, **changes: Any) -> tuple[TrainConfig, int]:
        return dataclasses.replace(run, data=dataclasses.replace(run.data, **changes)), 100_000

    # Of the default recipe, whose attention ends with its window.
    banded = dataclasses.replace(
        base, model=dataclasses.replace(PRESETS["hopper"].model, dropout=0.1)
    )
    layouts = ("return-observation-action", "fused")
    return {
        "batch": {f"{size}": with_data(base, batch_size=size) for size in (16, 32, 64, 128, 256)},
        "context_length": {f"{k}": with_model(context_length=k) for k in (10, 20, 40, 80)},
        "width": {f"{width}": with_model(width=width) for width in (64, 128, 256, 512)},
        # The same tokens a batch, in longer segments.
        "windows/segment": {f"{w}": with_data(banded, windows_per_segment=w) for w in (1, 2, 4, 8)},
        "layout": {
            name: (
                dataclasses.replace(banded, model=dataclasses.replace(banded.model, layout=name)),
                100_000,
            )
            for name in layouts
        },
        "data": {f"{steps:,}": (base, steps) for steps in (100_000, 1_000_000, 10_000_000)},
    }


def startup(config: Config) -> dict[str, Any]:
    """Seconds from the start of a process to its first update: cold, warm, and Hugging Face's."""
    repository = Path(__file__).resolve().parent.parent
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(repository)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # what Python compiles is kept, as usual
    seconds: dict[str, list[float]] = {"train.py, cold": [], "train.py, warm": []}
    rng, count = np.random.default_rng(0), 20_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = folder / "data.npz"
        np.savez(
            data,
            observations=rng.normal(size=(count, STATE)).astype(np.float32),
            actions=rng.uniform(-1, 1, (count, ACTION)).astype(np.float32),
            rewards=rng.uniform(0, 1, count).astype(np.float32),
            episode_lengths=np.full(count // EPISODE, EPISODE),
        )
        for number in range(-1, config.rounds):  # the first round fills the disk's cache
            caches = folder / f"caches-{number}"  # empty: compiled programs and training stores
            environment["JAX_COMPILATION_CACHE_DIR"] = str(caches / "jax")
            for kind, times in list(seconds.items())[:2]:
                run_dir = folder / f"{kind[-4:]}-{number}"
                words = [sys.executable, str(repository / "train.py"), "hopper"]
                words += ["--data", str(data), "--run-dir", str(run_dir), "--log-interval", "1"]
                words += ["--data.cache", str(caches / "data"), "--model.dropout", "0.1"]
                log = run_dir / "metrics.jsonl"
                times.append(until(words, environment, lambda log=log: written(log)))
            if find_spec("torch") and find_spec("transformers"):
                words = [sys.executable, "-c", HUGGING_FACE_SCRIPT, str(data), str(config.threads)]
                times = seconds.setdefault("Hugging Face", [])
                times.append(until(words, environment, None))
    seconds = {kind: times[1:] for kind, times in seconds.items()}
    if "Hugging Face" not in seconds:
        print("  Hugging Face: skipped, torch or transformers not installed")
    for kind, times in seconds.items():
        print(f"  {kind:24}{np.median(times):8.2f} s ({min(times):.2f} to {max(times):.2f})")
    return {"seconds": seconds}


def written(log: Path) -> bool:
    return log.exists() and log.stat().st_size > 0


def until(words: list[str], environment: dict[str, str], happened: Any) -> float:
    """Seconds until it happened, or without it until the process has ended; then it is stopped."""
    begin = time.perf_counter()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(words, env=environment, stdout=said, stderr=said)
        while process.poll() is None and not (happened and happened()):
            time.sleep(0.005)
        seconds = time.perf_counter() - begin
        done = happened() if happened else process.returncode == 0
        process.kill()
        process.wait()
        if not done:
            said.seek(0)
            raise RuntimeError(f"{words[:3]} ended before its first update: {said.read()[-2000:]}")
    return seconds


def gpu(config: Config) -> dict[str, Any]:
    """Not yet run: no GPU was at hand. The paper's whole training, the peers, and `large`."""
    import jax

    if jax.default_backend() != "gpu":
        print("  no GPU that JAX sees (pip install 'jax[cuda12]'); this part is not yet run")
        return {"gpu": "not yet run"}
    fast = dataclasses.replace(config, updates=1000)
    trainers = {"ours": ours(gym_config(fast), vectors(1_000_000))}
    trainers["ours"](1000)  # compiles
    begin = time.perf_counter()
    trainers["ours"](100_000)
    seconds = time.perf_counter() - begin
    print(f"  the paper's 100,000 updates: {seconds:.1f} s, {100_000 / seconds:.0f} updates/s")
    trainers |= gym_peers(config.batch, 20, "cuda")
    figures = report(alternate(trainers, config.rounds, 200))
    large = large_config(fast)
    train = ours(large, vectors(1_000_000))
    train(20)
    begin = time.perf_counter()
    train(100)
    speed = 100 / (time.perf_counter() - begin)
    flops = flops_of_update(large)
    device = jax.devices()[0].device_kind
    peak = next((peak for name, peak in PEAKS.items() if name in device), None)
    share = f"{flops * speed / peak:.0%} of its peak" if peak else "its peak is not known here"
    print(
        f"  large, bfloat16: {speed:.2f} updates/s, {flops * speed / 1e12:.0f} TFLOP/s on {device}"
    )
    print(f"  that is {share}")
    with jax.profiler.trace(str(config.trace)):
        train(20)
    print(f"  trace in {config.trace}: open it with `xprof {config.trace}` for the top costs")
    return {**figures, "hundred_thousand_seconds": seconds, "large_flops_per_second": flops * speed}


def large_config(config: Config) -> TrainConfig:
    """Lee et al.'s largest, on segments of two windows of 80 steps, in 16 bits."""
    run = with_size(PRESETS["hopper"], "large")
    model = dataclasses.replace(
        run.model, dtype="bfloat16", context_length=80, scan_layers=True, dropout=0.0
    )
    data = DataConfig(batch_size=256, windows_per_segment=2)
    evaluation = EvaluationConfig()
    run = dataclasses.replace(run, model=model, data=data, evaluation=evaluation)
    return tuned(run, dataclasses.replace(config, updates=20), 1)


def flops_of_update(run: TrainConfig) -> float:
    """Of the blocks' matrix products and attention, forward and twice that backward."""
    model, tokens = run.model, 3 * run.model.context_length * run.data.batch_size
    seen = 1.5 * 3 * model.context_length  # keys of an average query, in windows after the first
    per_token = 24 * model.width**2 + 4 * seen * model.width
    return 3.0 * model.num_layers * tokens * per_token


def vectors(num_steps: int) -> TrainingData:
    """Random logs of Hopper's shape."""
    rng = np.random.default_rng(0)
    return made(
        rng.normal(size=(num_steps, STATE)).astype(np.float32),
        rng.uniform(-1, 1, (num_steps, ACTION)).astype(np.float32),
        spaces.Box(-np.inf, np.inf, (STATE,), np.float32),
        spaces.Box(-1.0, 1.0, (ACTION,), np.float32),
    )


def pictures(num_steps: int) -> TrainingData:
    """Random logs of an Atari game's shape: four grey frames, and a few moves."""
    rng = np.random.default_rng(0)
    return made(
        rng.integers(0, 256, (num_steps, 84, 84, 4), dtype=np.uint8),
        rng.integers(0, MOVES, num_steps),
        spaces.Box(0, 255, (84, 84, 4), np.uint8),
        spaces.Discrete(MOVES),
    )


def made(observations: Any, actions: Any, seen: spaces.Space, done: spaces.Space) -> TrainingData:
    num_steps = len(observations)
    ends = np.arange(num_steps) % EPISODE == EPISODE - 1
    return TrainingData.of(
        EpisodeDataset(
            name="random",
            observations=observations,
            actions=actions,
            rewards=np.random.default_rng(1).uniform(0, 1, num_steps).astype(np.float32),
            terminations=ends,
            truncations=np.zeros(num_steps, bool),
            offsets=np.arange(0, num_steps + 1, EPISODE),
            observation_space=seen,
            action_space=done,
        )
    )


def cpu_name() -> str:
    """As the kernel says it; empty where it does not."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if "model name" in line), "")


if __name__ == "__main__":
    main()
