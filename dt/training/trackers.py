"""Places that a run's log is shown in: TensorBoard, Weights & Biases, and others by one protocol.

A tracker of one's own is a class with `write` and `close`, given as `Hooks(trackers=(mine,))`.
"""

from __future__ import annotations

import importlib.util
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

from dt.config import RunConfig, to_json

NOTHING: Mapping[str, str] = MappingProxyType({})
NO_PICTURES: Mapping[str, Path] = MappingProxyType({})
WANDB_ID = "wandb-id"  # file of a run directory: the run that a resumed one goes on with


class Record(NamedTuple):
    """What is logged at once, by name."""

    step: int
    """Updates done."""
    time: float
    """Seconds since 1970."""
    values: Mapping[str, float]
    texts: Mapping[str, str] = NOTHING
    pictures: Mapping[str, Path] = NO_PICTURES
    """PNG files."""


@runtime_checkable
class Tracker(Protocol):
    """Whatever else keeps or shows the numbers of metrics.jsonl; called in the first process."""

    def write(self, record: Record) -> None:
        """Take a record; an OSError ends the run, with what was saved before."""

    def close(self) -> None:
        """Finish: training is over, or has failed."""


class TensorBoard:
    """TensorBoard's event file, written on this thread.

    tensorboardX's own SummaryWriter queues for a thread that dies of a full disk, and then waits
    for it forever. The package is imported with the first record, as it imports PyTorch where that
    is installed: a second and more that the first update need not wait for.
    """

    def __init__(self, folder: Path, resume_at: int | None = None):
        """
        Args:
            resume_at: a step, after which TensorBoard hides what a run logged that lost it.
        """
        self._folder, self._resume_at = folder, resume_at
        self._events: _Events | None = None

    def write(self, record: Record) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.summary import scalar, text

        if self._events is None:
            self._events = self._open()
        shown = [scalar(name, value) for name, value in record.values.items()]
        shown += [text(name, words) for name, words in record.texts.items()]
        for name, path in record.pictures.items():
            image = Summary.Image(colorspace=4, encoded_image_string=path.read_bytes())
            shown.append(Summary(value=[Summary.Value(tag=name, image=image)]))
        for summary in shown:
            event = Event(step=record.step, wall_time=record.time, summary=summary)
            self._events.write_event(event)
        self._events.flush()

    def close(self) -> None:
        if self._events is not None:
            self._events.close()

    def _open(self) -> _Events:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._folder.mkdir(exist_ok=True)
        # tensorboardX names a file by the second, and would write over one where a clock was set
        # back; TensorBoard reads in the order of names: "events.part" stands after "events.out".
        part = sum("tfevents" in path.name for path in self._folder.iterdir())
        name = f"events.part-{part:04}" if part else "events"
        events: _Events = EventsWriter(str(self._folder / name))
        if self._resume_at is not None:
            log = SessionLog(status=SessionLog.START)
            start = Event(step=self._resume_at, session_log=log, wall_time=time.time())
            events.write_event(start)
        return events


@runtime_checkable
class _Events(Protocol):
    """What tensorboardX writes events with."""

    def write_event(self, event: object) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


class WeightsAndBiases:
    """A run of Weights & Biases, of the run directory's name; offline with WANDB_MODE=offline.

    A resumed run goes on with the one that it had. Records of steps that are there already are
    left out by wandb.
    """

    def __init__(self, run_dir: Path, config: RunConfig, is_over: bool = False):
        """
        Args:
            is_over: training is: what is written now stands behind its last record, of whatever
                step that is.

        Raises:
            ValueError: when nobody is logged in, or the service does not take the run.
        """
        import wandb

        place = run_dir / WANDB_ID
        if not (config.resume and place.is_file()):
            place.write_text(f"{uuid.uuid4().hex[:8]}\n")
        self._picture: Callable[[str], object] = wandb.Image
        self._is_over = is_over
        try:
            self._run = wandb.init(
                project=config.log.wandb,
                name=run_dir.resolve().name,
                dir=str(run_dir),
                id=place.read_text().strip(),
                resume="allow",
                config=to_json(config),
                settings=wandb.Settings(console="off"),
            )
        except wandb.Error as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise ValueError(
                f"--log.wandb {config.log.wandb}: {reason}; log in by `wandb login`, or set "
                f"WANDB_MODE=offline"
            ) from None

    def write(self, record: Record) -> None:
        pictures = {name: self._picture(str(path)) for name, path in record.pictures.items()}
        # wandb drops a record whose step it has already, and a resumed run has the last one's.
        step = max(record.step, self._run.step) if self._is_over else record.step
        self._run.log({**record.values, **record.texts, **pictures}, step=step)

    def close(self) -> None:
        self._run.finish()


def refuse_missing_trackers(config: RunConfig) -> None:
    """Refuse to log to what is not installed, before the data are read.

    Raises:
        ValueError: saying what to install.
    """
    if config.log.wandb and importlib.util.find_spec("wandb") is None:
        raise ValueError(
            f"--log.wandb {config.log.wandb}: needs Weights & Biases; pip install 'dt-steer[wandb]'"
        )


def trackers_of(run_dir: Path, config: RunConfig, *, is_over: bool = False) -> tuple[Tracker, ...]:
    """Open the trackers that the configuration asks for.

    Args:
        is_over: as of `WeightsAndBiases`.
    """
    return (WeightsAndBiases(run_dir, config, is_over),) if config.log.wandb else ()
