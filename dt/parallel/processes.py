"""Processes of a run on several machines: how they find each other, and agree."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict, TypeVar, cast

import jax
import numpy as np
from jax.experimental import multihost_utils
from numpy.typing import ArrayLike

from dt.config import DistributedConfig

T = TypeVar("T")  # a JSON value, or a tree of arrays

# What a process started by `srun` has; JAX works the rest out from these.
SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")


class _Given(TypedDict):
    coordinator_address: str | None
    num_processes: int | None
    process_id: int | None


def start(config: DistributedConfig) -> None:
    """Join the run's other processes, before any other call of JAX; alone, nothing happens.

    Nor does anything happen where this process has joined them before.

    Slurm, Open MPI and TPU pods are found by JAX. Flags come before the variables
    JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID, and both before what is found.

    Raises:
        ValueError: when it is not known which process this is, or the others do not answer.
    """
    if jax.distributed.is_initialized():
        return
    given: _Given = {
        "coordinator_address": config.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS"),
        "num_processes": config.num_processes or _variable("JAX_NUM_PROCESSES"),
        "process_id": config.process_id if config.process_id >= 0 else _variable("JAX_PROCESS_ID"),
    }
    is_given = any(value is not None for value in given.values())
    if given["num_processes"] == 1 or not (is_given or is_cluster()):
        return
    try:
        jax.distributed.initialize(**given)
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"several processes, of which this is one, do not find each other "
            f"({str(error).splitlines()[0]}); give each --distributed.coordinator HOST:PORT, "
            f"--distributed.num-processes and --distributed.process-id"
        ) from error


def is_cluster() -> bool:
    """Tell whether a launcher that JAX knows started more than this process."""
    environ = os.environ
    if all(name in environ for name in SLURM):
        return int(environ.get("SLURM_STEP_NUM_TASKS", environ["SLURM_NTASKS"])) > 1
    if int(environ.get("OMPI_COMM_WORLD_SIZE", 1)) > 1:
        return True
    hosts = [name for name in environ.get("TPU_WORKER_HOSTNAMES", "").split(",") if name]
    if len(hosts) > 1 or int(environ.get("MEGASCALE_NUM_SLICES", 1)) > 1:
        return True
    # A TPU machine of Google's, whose metadata say how many there are; JAX asks them.
    return "TPU_SKIP_MDS_QUERY" not in environ and not hosts and _has_tpu()


def is_first() -> bool:
    """Tell whether this process logs and writes for all."""
    return not several() or jax.process_index() == 0


def several() -> bool:
    """Tell whether there are other processes; asking does not start JAX's devices."""
    return jax.distributed.is_initialized() and jax.process_count() > 1


def barrier(name: str) -> None:
    """Wait until every process is here."""
    if several():
        multihost_utils.sync_global_devices(name)


def largest(values: ArrayLike) -> np.ndarray:
    """Find, element by element, the largest value of any process; the same float32s on all."""
    values = np.asarray(values, np.float32)
    return multihost_utils.process_allgather(values).max(axis=0) if several() else values


def first_decides(decide: Callable[[], T]) -> T:
    """Give every process what process 0 finds, a JSON value; what it refuses, all refuse.

    Raises:
        ValueError: of process 0.
        OSError: of process 0.
    """
    if not several():
        return decide()
    answer: dict[str, object] = {}
    error: Exception | None = None
    if is_first():
        try:
            answer = {"found": decide()}
        except (ValueError, OSError) as failure:
            error, answer = failure, {"refused": str(failure)}
    text = np.frombuffer(json.dumps(answer).encode(), np.uint8)
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(text))))
    padded = np.zeros(size, np.uint8)
    padded[: min(size, len(text))] = text[:size]
    answer = json.loads(bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded))))
    if error is not None:
        raise error
    if "refused" in answer:
        raise ValueError(answer["refused"])
    return cast(T, answer["found"])


def to_host(tree: T) -> T:
    """Copy whole arrays to NumPy on every process, however they are divided."""
    return (
        multihost_utils.process_allgather(tree, tiled=True) if several() else jax.device_get(tree)
    )


def _variable(name: str) -> int | None:
    value = os.environ.get(name, "")
    if value and not value.isdigit():
        raise ValueError(f"{name} is {value!r}; it must be a number of 0 or more")
    return int(value) if value else None


def _has_tpu() -> bool:
    chips = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")]
    return bool(chips) and importlib.util.find_spec("libtpu") is not None
