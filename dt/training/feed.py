"""The way of batches to the devices: the data lies there, or a thread reads ahead."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias, TypeVar

import jax
import numpy as np
from numpy.typing import DTypeLike

from dt.config import TrainConfig
from dt.data.batches.split import EpisodePart, split_episodes
from dt.data.batches.windows import Batch, Steps, Windows, as_batch, map_arrays
from dt.data.store.reading import RowFile, read_rows
from dt.data.store.rows import TrainingData
from dt.data.store.store import IMAGES, ROWS
from dt.files import free_memory
from dt.parallel.memory import free_bytes
from dt.parallel.mesh import Mesh, along_rows, place, replicated
from dt.parallel.processes import largest
from dt.spec.spec import PolicySpec

Draw: TypeAlias = Windows | Batch
"""Windows (U, B) to cut out of the data on the devices, or batches (U, B, T, ...) themselves."""
AnyDraw = TypeVar("AnyDraw", Windows, Batch)

HOLDOUT_BATCHES = 16  # at most, of held-out episodes
ROUND_BYTES = 256 << 20  # of read-ahead batches that one compiled program is given


class Feed:
    """What the compiled training program is given: constant `steps`, and each round's draw.

    With the data on the devices, `steps` is all of it and a round is the windows to cut out of
    it; otherwise `steps` is None and a round is the batches themselves, read on a thread while
    the devices work on the round before. Either way update number s sees the same batch.
    """

    def __init__(self, data: TrainingData, spec: PolicySpec, config: TrainConfig, mesh: Mesh):
        self.data, self.spec, self.config = data, spec, config
        self.num_steps = config.model.context_length * config.data.windows_per_segment
        self.training, self.holdout = split_episodes(
            data.offsets, data.returns, config.data.holdout_fraction, config.seed
        )
        # Where the memory of one process does not do, all read: they run the same program.
        self.on_device = not largest(not _fits(data, config, mesh))
        self._sharding = along_rows(mesh, axis=1)
        # Of a batch's rows, those that this process's devices hold: all there is, if it is alone.
        shape = (1, config.data.num_segments)
        held = self._sharding.addressable_devices_indices_map(shape).values()
        slices = [range(*index[1].indices(shape[1])) for index in held if index is not None]
        self.rows = range(min(s.start for s in slices), max(s.stop for s in slices))
        self._ahead: tuple[int, Future[Batch]] | None = None
        self.updates_per_round = min(config.log_interval, config.num_steps)
        self.steps: Steps | None = None
        if self.on_device:
            self.steps = place(spec.codec.encode(data.rows, data.images), replicated(mesh))
        else:
            self.updates_per_round = max(1, min(self.updates_per_round, self._batches_at_once()))
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="reading")
        self._files: list[RowFile] = []
        if not self.on_device and data.folder is not None and _exceeds_memory(data, config):
            self._files.append(RowFile(data.folder / ROWS, data.rows.shape[1]))
            if data.images is not None:
                size = data.images.shape[1]
                self._files.append(RowFile(data.folder / IMAGES, size, np.uint8))

    def round(self, step: int, next_step: int) -> Draw:
        """Draw the updates from `step` on, onto the devices.

        Args:
            next_step: where the following round begins; it is read meanwhile.
        """
        steps = self._of_round(step)
        if self.on_device:
            return self._place(self._windows(self.training, steps, np.int32))
        if self._ahead is not None and self._ahead[0] == step:
            batch = self._ahead[1].result()
        else:
            batch = self._read(self.training, steps)
        following = self._of_round(next_step)
        self._ahead = next_step, self._thread.submit(self._read, self.training, following)
        return self._place(batch)

    def holdout_draw(self) -> Draw | None:
        """Draw batches of held-out episodes, always the same; None where none are held out."""
        if self.holdout is None:
            return None
        enough = -(-self.holdout.num_steps // (self.num_steps * self.config.data.num_segments))
        steps = range(max(1, min(enough, HOLDOUT_BATCHES, self._batches_at_once())))
        if self.on_device:
            return self._place(self._windows(self.holdout, steps, np.int32))
        return self._place(self._read(self.holdout, steps))

    def _batches_at_once(self) -> int:
        """Count the batches that one compiled program may be given."""
        data, rows = self.data, self.config.data.num_segments
        return ROUND_BYTES // (self.num_steps * rows * (data.num_bytes // data.num_steps))

    def _of_round(self, step: int) -> range:
        """The steps of a round; a shorter one leaves the last ones unused."""
        return range(step, step + self.updates_per_round)

    def describe(self, step: int) -> str:
        """Say where the batch of the update after `step` comes from, for whoever looks for it."""
        rows = range(self.config.data.num_segments)
        windows = self.training.draw(self.num_steps, self.config.seed, step, rows)
        episodes = np.searchsorted(self.data.offsets, np.asarray(windows.start), side="right") - 1
        places = [f"{e}@{t}" for e, t in zip(episodes, windows.timestep, strict=True)]
        more = f" and {len(places) - 8} more" if len(places) > 8 else ""
        return (
            f"seed {self.config.seed}, step {step}, windows (episode@timestep) "
            f"{', '.join(places[:8])}{more}"
        )

    def _place(self, draw: AnyDraw) -> AnyDraw:
        """Copy this process's rows (U, b, ...) to its devices, as a part of all rows' arrays."""
        num_rows = self.config.data.num_segments
        placed: AnyDraw = jax.tree.map(
            lambda x: jax.make_array_from_process_local_data(
                self._sharding, x, (len(x), num_rows, *x.shape[2:])
            ),
            draw,
        )
        return placed

    def close(self) -> None:
        if not self.on_device:
            self._thread.shutdown(cancel_futures=True)
        for file in self._files:
            file.close()

    def _windows(
        self, part: EpisodePart, steps: range, start_dtype: DTypeLike = np.int64
    ) -> Windows:
        """Draw this process's rows of the windows of U batches, (U, B), and their prefixes."""
        model, seed = self.config.model, self.config.seed
        prefix = None if model.prefix == "none" else model.prefix
        length = model.prompt_length
        draws = [part.draw(self.num_steps, seed, step, self.rows, prefix, length) for step in steps]
        windows: Windows = jax.tree.map(lambda *fields: np.stack(fields), *draws)
        if windows.prefix is not None:
            windows = windows._replace(prefix=_with_starts(windows.prefix, start_dtype))
        return _with_starts(windows, start_dtype)

    def _read(self, part: EpisodePart, steps: range) -> Batch:
        """Read the same windows' batches, (U, B, T, ...)."""
        windows = self._windows(part, steps)
        flat = map_arrays(lambda field: field.reshape(-1), windows)
        batch = self._cut(flat._replace(prefix=None), self.num_steps)
        if flat.prefix is not None:
            batch = batch._replace(prefix=self._cut(flat.prefix, self.spec.prefix_steps))
        return map_arrays(lambda x: x.reshape(*windows.start.shape, *x.shape[1:]), batch)

    def _cut(self, flat: Windows, num_steps: int) -> Batch:
        """Cut out these windows' steps, from memory or from the files."""
        if self._files:
            read = [file.read(flat, num_steps) for file in self._files]
        else:
            held = [rows for rows in (self.data.rows, self.data.images) if rows is not None]
            read = [read_rows(rows, flat, num_steps) for rows in held]
        return as_batch(self.spec.codec.encode(*read), flat, num_steps)


def _with_starts(windows: Windows, dtype: DTypeLike) -> Windows:
    return windows._replace(start=windows.start.astype(dtype))


def _fits(data: TrainingData, config: TrainConfig, mesh: Mesh) -> bool:
    """Tell whether all of the data may lie on every device, its row numbers in 32 bits."""
    if config.data.placement in ("host", "disk") or data.num_steps >= 2**31:
        return False
    return (
        config.data.placement == "device" or data.num_bytes <= free_bytes(mesh.local_devices) // 4
    )


def _exceeds_memory(data: TrainingData, config: TrainConfig) -> bool:
    if config.data.placement == "auto":
        return data.num_bytes > free_memory() // 2
    return config.data.placement == "disk"
