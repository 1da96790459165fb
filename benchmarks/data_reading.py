"""Windows a second off the disk, ours and others': `python benchmarks/data_reading.py`

Warm: batches of 256 windows of 20 steps, 11 + 3 numbers and a return-to-go a step, from 2 million
steps, by the training store, separate arrays in memory, Grain, h5py and Minari, one after another
in every round; the medians' ratios count. Grain and Minari: pip install grain minari.

Cold: a process that may hold a quarter of its store in memory (a cgroup, made by root) reads
batches from the file, and, for comparison, from a map of it; then one trains a small model so.

Many: a million episodes of 10 steps; how long the store takes to open, and how many windows are
drawn until every step was in one.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import h5py
import numpy as np

from dt.data import EpisodeDataset, TrainingData, Transforms, Windows, draw_windows
from dt.data.episodes import Episode
from dt.data.store.reading import RowFile, read_rows
from dt.data.store.store import ROWS, open_or_build, open_store
from dt.data.streams import EpisodeStream

T, BATCH, OBSERVATION, ACTION, EPISODE = 20, 256, 11, 3, 1000
BOX = gymnasium.spaces.Box

Batches = Callable[[int], object]  # reads batch number i


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--cold-gib", type=float, default=6.0, help="size of the store read cold")
    parser.add_argument("--folder", type=Path, help="where the data is made; on a real disk")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dt-reading-", dir=options.folder))
    try:
        warm(folder, options.steps, options.rounds)
        many(folder, 1_000_000)
        cold(folder, options.cold_gib)
    finally:
        shutil.rmtree(folder)


def warm(folder: Path, num_steps: int, rounds: int) -> None:
    dataset = make_dataset(num_steps)
    data = open_or_build(folder / "store", lambda: dataset, Transforms())
    offsets = np.asarray(data.offsets)

    draws = [draw_windows(offsets, T, 0, i, range(BATCH)) for i in range(200)]
    readers: dict[str, tuple[Batches, int]] = {
        "training store": (lambda i: read_rows(data.rows, draws[i], T), 200),
        "separate arrays": (separate_arrays(data, draws), 200),
        "h5py": (h5py_slices(folder, data, draws), 3),
    }
    for name, make in (("Grain by window", grain_windows), ("Minari by index", minari_episodes)):
        try:
            readers[name] = make(folder, dataset, draws)
        except ImportError as error:
            print(f"{name}: not measured ({error})")
    for reader, _ in readers.values():
        reader(0)  # warm
    speeds: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, (reader, count) in readers.items():
            begin = time.perf_counter()
            for i in range(count):
                reader(i)
            speeds[name].append(count * BATCH / (time.perf_counter() - begin))
    print(f"\nwarm, {num_steps} steps, batches of {BATCH} windows of {T}, {rounds} rounds:")
    for name, values in speeds.items():
        low, median, high = np.percentile(values, [25, 50, 75])
        ratio = np.median(np.array(speeds["training store"]) / np.array(values))
        print(
            f"{name:18s} {median:12,.0f} windows/s ({low:,.0f} to {high:,.0f})  ours x{ratio:.1f}"
        )


def make_dataset(num_steps: int, length: int = EPISODE) -> EpisodeDataset:
    rng = np.random.default_rng(0)
    ends = np.zeros(num_steps, bool)
    ends[length - 1 :: length] = True
    return EpisodeDataset(
        name="random",
        observations=rng.standard_normal((num_steps, OBSERVATION), np.float32),
        actions=rng.uniform(-1, 1, (num_steps, ACTION)).astype(np.float32),
        rewards=rng.standard_normal(num_steps).astype(np.float32),
        terminations=np.zeros(num_steps, bool),
        truncations=ends,
        offsets=np.arange(0, num_steps + 1, length),
        observation_space=BOX(-np.inf, np.inf, (OBSERVATION,), np.float32),
        action_space=BOX(-1, 1, (ACTION,), np.float32),
    )


def separate_arrays(data: TrainingData, draws: list[Windows]) -> Batches:
    """Observations, actions and returns-to-go each in an array of its own, in memory."""
    columns = data.columns
    parts = [
        np.ascontiguousarray(data.rows[:, c])
        for c in (columns.observation, columns.action, columns.return_to_go)
    ]
    step = np.arange(T)

    def read(batch: int) -> object:
        windows = draws[batch]
        rows = windows.start[:, None] + step
        return [part[rows] for part in parts]

    return read


def h5py_slices(folder: Path, data: TrainingData, draws: list[Windows]) -> Batches:
    """A slice of each of three HDF5 data sets for every window."""
    columns = data.columns
    file = h5py.File(folder / "flat.hdf5", "w")
    for name, c in zip(
        ("observations", "actions", "returns"),
        (columns.observation, columns.action, columns.return_to_go),
        strict=True,
    ):
        file[name] = data.rows[:, c]

    def read(batch: int) -> object:
        windows = draws[batch]
        names = ("observations", "actions", "returns")
        return [np.stack([file[n][s : s + T] for s in windows.start]) for n in names]

    return read


def grain_windows(
    folder: Path, dataset: EpisodeDataset, draws: list[Windows]
) -> tuple[Batches, int]:
    """grain.MapDataset over windows, shuffled and batched."""
    import grain

    class Source:
        def __len__(self) -> int:
            return dataset.num_steps - T

        def __getitem__(self, i: int) -> dict[str, np.ndarray]:
            names = ("observations", "actions", "rewards")
            return {name: getattr(dataset, name)[i : i + T] for name in names}

    batches: Iterator[object] = iter(
        grain.MapDataset.source(Source()).shuffle(seed=0).repeat().batch(BATCH).to_iter_dataset()
    )
    return (lambda batch: next(batches)), 20


def minari_episodes(
    folder: Path, dataset: EpisodeDataset, draws: list[Windows]
) -> tuple[Batches, int]:
    """A Minari episode by its index for every window, of which T steps are kept."""
    os.environ["MINARI_DATASETS_PATH"] = str(folder / "minari")
    import minari
    from minari.data_collector import EpisodeBuffer

    buffers = [
        EpisodeBuffer(
            observations=np.concatenate([e.observations, e.observations[-1:]]),
            actions=e.actions,
            rewards=e.rewards,
            terminations=e.terminations,
            truncations=e.truncations,
            infos={},
        )
        for e in dataset
    ]
    made = minari.create_dataset_from_buffers(
        dataset_id="random-v0",
        buffer=buffers,
        observation_space=dataset.observation_space,
        action_space=dataset.action_space,
        algorithm_name="random",
        code_permalink="none",
        author="none",
        author_email="none",
        description="random",
        eval_env=None,
    )

    def read(batch: int) -> object:
        windows = draws[batch]
        read = []
        for start in windows.start:
            episode, step = divmod(int(start), EPISODE)
            e = made[episode]
            read.append((e.observations[step : step + T], e.actions[step : step + T]))
        return read

    return read, 1


def many(folder: Path, num_episodes: int) -> None:
    length = 10
    dataset = make_dataset(num_episodes * length, length)
    begin = time.perf_counter()
    open_or_build(folder / "many", lambda: dataset, Transforms())
    print(f"\n{num_episodes} episodes of {length}: built in {time.perf_counter() - begin:.1f} s")
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        data = open_store(folder / "many")
        seconds.append(time.perf_counter() - begin)
    print(f"opened in {np.median(seconds):.3f} s (median of {len(seconds)})")
    # A window of 4 steps of 10: counted are the windows that each step lay in.
    counts, rows = np.zeros(data.num_steps, np.int64), 1_000_000
    for batch in range(1000):
        windows = draw_windows(data.offsets, 4, 0, batch, range(rows))
        assert (windows.timestep + windows.length <= length).all()  # none crosses an episode
        for step in range(4):
            np.add.at(counts, windows.start + step, 1)
        if counts.min() > 0:
            break
    print(f"every step was drawn after {(batch + 1) * rows / 1e6:.0f} million windows of 4")


def cold(folder: Path, gib: float) -> None:
    width = OBSERVATION + ACTION + 1
    num_steps = int(gib * 2**30 / (4 * width)) // EPISODE * EPISODE
    rng = np.random.default_rng(0)

    def episodes() -> Iterator[Episode]:
        none, end = np.zeros(EPISODE, bool), np.arange(EPISODE) == EPISODE - 1
        for _ in range(num_steps // EPISODE):
            yield Episode(
                rng.standard_normal((EPISODE, OBSERVATION), np.float32),
                rng.uniform(-1, 1, (EPISODE, ACTION)).astype(np.float32),
                np.ones(EPISODE, np.float32),
                none,
                end,
            )

    stream = EpisodeStream(
        name="large",
        observation_space=BOX(-np.inf, np.inf, (OBSERVATION,), np.float32),
        action_space=BOX(-1, 1, (ACTION,), np.float32),
        episodes=episodes,
    )
    begin = time.perf_counter()
    open_or_build(folder / "large", lambda: stream, Transforms())
    size = (folder / "large" / ROWS).stat().st_size
    print(f"\nlarge store: {size / 2**30:.2f} GiB built in {time.perf_counter() - begin:.1f} s")
    for mapped in (False, True):
        queue = multiprocessing.get_context("spawn").Queue()
        process = multiprocessing.get_context("spawn").Process(
            target=_cold_reader, args=(folder / "large", size // 4, mapped, queue)
        )
        process.start()
        limited, speed = queue.get(timeout=600)
        process.join()
        how = "mapped" if mapped else "read from the file (what training does)"
        where = f"in {size / 2**32:.2f} GiB of memory" if limited else "(memory NOT limited)"
        print(f"cold {where}, {how}: {speed:,.0f} windows/s")

    queue = multiprocessing.get_context("spawn").Queue()
    process = multiprocessing.get_context("spawn").Process(
        target=_cold_trainer, args=(folder, size // 4, queue)
    )
    process.start()
    print(queue.get(timeout=600))
    process.join()


def _cold_trainer(folder: Path, limit: int, queue) -> None:  # type: ignore[no-untyped-def]
    """Train a model of the smallest size, so that reading is what it waits for, if for anything."""
    limited = _limit_memory(limit, room=0)
    from dt.config import DataConfig, ModelConfig, TrainConfig
    from dt.spec.spec import PolicySpec
    from dt.training.hooks import Hooks
    from dt.training.loop import train

    data = open_store(folder / "large")
    model = ModelConfig(num_layers=1, width=16)
    config = TrainConfig(model=model, data=DataConfig(windows_per_segment=1), num_steps=1000)
    (folder / "run").mkdir()
    losses: list[float] = []
    state = train(
        PolicySpec.of(data, model),
        data,
        config,
        folder / "run",
        hooks=Hooks(
            on_message=lambda line: None,
            on_round=lambda step, metrics: losses.append(metrics["loss"]),
        ),
    )
    how = f"in {limit / 2**30:.2f} GiB of memory" if limited else "(memory NOT limited)"
    queue.put(f"trained {state.step} updates {how}: loss {losses[0]:.3f} to {losses[-1]:.3f}")


def _cold_reader(folder: Path, limit: int, mapped: bool, queue) -> None:  # type: ignore[no-untyped-def]
    """Windows a second over 30 seconds, of rounds of 100 updates as training asks for them."""
    limited = _limit_memory(limit)
    data = open_store(folder)
    file = RowFile(folder / ROWS, data.rows.shape[1])
    # Nothing is warm at the start.
    os.posix_fadvise(os.open(folder / ROWS, os.O_RDONLY), 0, 0, os.POSIX_FADV_DONTNEED)
    done, begin = 0, time.perf_counter()
    for batch in range(100_000):
        windows = draw_windows(data.offsets, T, 0, batch, range(64 if mapped else 64 * 100))
        if mapped:
            read_rows(data.rows, windows, T)
        else:
            file.read(windows, T)
        done += len(windows.start)
        if time.perf_counter() - begin > 30:
            break
    queue.put((limited, done / (time.perf_counter() - begin)))


def _limit_memory(limit: int, room: int = 200 << 20) -> bool:
    """Put this process into a memory cgroup of its own, with room for Python and NumPy."""
    for root, name in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = root / f"dt-reading-{os.getpid()}"
        try:
            group.mkdir()
            (group / name).write_text(str(limit + room))
            (group / "cgroup.procs").write_text(str(os.getpid()))
            return True
        except OSError:
            continue
    return False


if __name__ == "__main__":
    main()
