"""Do several processes train as one, and find each other; does a checkpoint fit any of them?"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from training_process import Trainer, dataset, digest, tiny_config

import dt.parallel.processes
from dt.checkpoint.manifest import complete_steps
from dt.checkpoint.restore import restore_state
from dt.config import DistributedConfig
from dt.data import TrainingData
from dt.model.parameter_names import DIVIDED
from dt.parallel.mesh import make_mesh, shardings
from dt.parallel.processes import is_cluster, start
from dt.spec.spec import PolicySpec
from dt.training.step import Learner

SLURM = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_NODELIST": "node1",
    "SLURM_NTASKS": "2",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "1",
}


@pytest.fixture(scope="module")
def trainers() -> Iterator[tuple[Trainer, Trainer]]:
    pair = Trainer(), Trainer()
    yield pair
    for trainer in pair:
        trainer.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def together(trainers: tuple[Trainer, Trainer], job: dict[str, Any], address: str) -> list[Any]:
    """One job in two processes; the results of both."""
    for i, trainer in enumerate(trainers):
        place = {"coordinator": address, "num_processes": 2, "process_id": i}
        trainer.begin({**job, "distributed": place})
    results = [trainer.answer("result") for trainer in trainers]
    assert [trainer.answer("code") for trainer in trainers] == [0, 0]
    return results


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mesh", "placement"),
    [
        pytest.param({}, "device", marks=pytest.mark.thorough),
        ({"fsdp": 8}, "host"),
        pytest.param({}, "host", marks=pytest.mark.thorough),
        pytest.param({"fsdp": 8}, "device", marks=pytest.mark.thorough),
    ],
)
def test_two_processes_of_four_devices_train_as_one_of_eight(
    tmp_path: Path, trainers: tuple[Trainer, Trainer], mesh: dict[str, int], placement: str
) -> None:
    job = {"mesh": mesh, "placement": placement, "holdout_fraction": 0.3}
    alone = trainers[0].do({**job, "run_dir": str(tmp_path / "one"), "devices": 8})
    two = {**job, "run_dir": str(tmp_path / "two"), "devices": 4}
    results = together(trainers, two, f"localhost:{free_port()}")
    assert results[0]["digest"] == results[1]["digest"]
    assert len(alone["losses"]) == 3 and results[1]["losses"] == []  # the first process logs
    for name in ("losses", "holdout_losses"):
        np.testing.assert_allclose(results[0][name], alone[name], rtol=1e-5)
    assert complete_steps(tmp_path / "two" / "checkpoints") == [4, 6]

    # What two processes wrote, one reads; and nothing is left to do.
    config = tiny_config({**job, "run_dir": "x"})
    spec = PolicySpec.of(TrainingData.of(dataset()), config.model, max_episode_steps=40)
    state = restore_state(
        tmp_path / "two", jax.eval_shape(Learner(spec, config).init), spec, pytest.fail
    )
    assert digest_of(state) == results[0]["digest"]


def digest_of(state: Any) -> str:
    leaves = jax.tree.leaves((state.params, state.optimizer))
    return digest([np.asarray(leaf) for leaf in leaves])


@pytest.mark.thorough
def test_a_checkpoint_of_eight_devices_goes_on_on_four_and_on_one(
    tmp_path: Path, trainers: tuple[Trainer, Trainer]
) -> None:
    trainer = trainers[0]
    job = {"mesh": {"fsdp": 2}, "num_steps": 12}  # each number of devices has one program
    written = trainer.do({**job, "run_dir": str(tmp_path / "a"), "devices": 8})
    config = tiny_config({"run_dir": "x"})
    spec = PolicySpec.of(TrainingData.of(dataset()), config.model, max_episode_steps=40)
    learner = Learner(spec, config)
    for count in (4, 1):
        mesh = make_mesh(jax.devices()[:count])
        state_shardings = shardings(jax.eval_shape(learner.init), mesh, DIVIDED)
        state = restore_state(
            tmp_path / "a", jax.eval_shape(learner.init), learner.spec, pytest.fail, state_shardings
        )
        assert digest_of(state) == written["digest"]
        assert all(len(leaf.sharding.device_set) == count for leaf in jax.tree.leaves(state))

    unbroken = trainer.do({"run_dir": str(tmp_path / "b"), "devices": 1, "num_steps": 12})
    job = {**job, "run_dir": str(tmp_path / "c")}
    losses = []
    for devices, stop in ((8, 4), (4, 8)):
        trainer.begin({**job, "devices": devices, "stop_at": stop, "resume": devices < 8})
        assert f"stopped at update {stop} of 12, saved" in trainer.answer("stopped")
        assert trainer.answer("code") == 130
    lines = (tmp_path / "c" / "metrics.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in lines]
    alone = {"devices": 1, "mesh": {}, "resume": True}
    losses += trainer.do({**job, **alone})["losses"]
    np.testing.assert_allclose(losses, unbroken["losses"], rtol=1e-3)


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, False),
        (SLURM, True),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "1"}, False),  # a step of one task in a larger job
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "2"}, False),  # no step: an interactive shell
        ({"OMPI_COMM_WORLD_SIZE": "4"}, True),
        ({"OMPI_COMM_WORLD_SIZE": "1"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
        ({"TPU_WORKER_HOSTNAMES": "a"}, False),
        ({"TPU_WORKER_HOSTNAMES": "a", "MEGASCALE_NUM_SLICES": "2"}, True),
    ],
)
def test_launchers_are_recognised(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], found: bool
) -> None:
    for name in (*SLURM, "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TPU_SKIP_MDS_QUERY", "1")  # as JAX does where there is no TPU
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_cluster() is found


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda **given: calls.append(given))
    monkeypatch.setattr(dt.parallel.processes, "is_cluster", lambda: False)
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name, raising=False)
    return calls


def test_flags_come_before_variables_and_both_before_what_is_found(
    monkeypatch: pytest.MonkeyPatch, joined: list[dict[str, Any]]
) -> None:
    start(DistributedConfig())
    assert joined == []
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "a:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "0")
    start(DistributedConfig(process_id=2))
    assert joined == [{"coordinator_address": "a:1", "num_processes": 4, "process_id": 2}]
    start(DistributedConfig(num_processes=1))
    assert len(joined) == 1  # one process has nobody to join
    monkeypatch.setenv("JAX_PROCESS_ID", "first")
    with pytest.raises(ValueError, match="JAX_PROCESS_ID is 'first'"):
        start(DistributedConfig())
    monkeypatch.setattr(dt.parallel.processes, "is_cluster", lambda: True)
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
        monkeypatch.delenv(name)
    start(DistributedConfig())
    assert set(joined[1].values()) == {None}  # JAX finds them


def test_a_process_that_does_not_know_its_place_says_what_to_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in SLURM:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(jax._src.xla_bridge, "backends_are_initialized", lambda: False)
    with pytest.raises(ValueError, match="give each --distributed.coordinator HOST:PORT") as caught:
        start(DistributedConfig(num_processes=2))
    assert "\n" not in str(caught.value)


def test_a_wrong_address_is_refused() -> None:
    with pytest.raises(ValueError, match="distributed.coordinator is host; it must be HOST:PORT"):
        DistributedConfig(coordinator="host")
    with pytest.raises(ValueError, match="distributed.process_id is 2; it must be from -1 to 1"):
        DistributedConfig(num_processes=2, process_id=2)
