"""Train a tiny problem in a process of its own, for tests that kill, divide or starve it.

Jobs, such as {"run_dir": ..., "num_steps": ...}, are read line by line, and each is done by a fork:
packages are imported once, and killing a job costs no new start. See `Trainer`, the tests' side.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium import spaces

from dt.config import (
    DataConfig,
    DistributedConfig,
    MeshConfig,
    ModelConfig,
    OptimizerConfig,
    TrainConfig,
)
from dt.data import EpisodeDataset, TrainingData
from dt.parallel.processes import first_decides, is_first, start, to_host
from dt.spec.spec import PolicySpec
from dt.training.hooks import Hooks
from dt.training.loop import train
from dt.training.run_directory import locked, open_run, write_config

LENGTH = 40  # steps of the three episodes

# What is learned, by name: observations and actions of every step, in spaces of three kinds.
CONTINUOUS, CARTPOLE, PICTURES = "continuous", "cartpole", "pictures"


def dataset(problem: str = CONTINUOUS) -> EpisodeDataset:
    """Random episodes of a problem; CartPole's are its own numbers, a pole that falls and falls."""
    rng = np.random.default_rng(0)
    observation_space, action_space, observations, actions = PROBLEMS[problem](rng)
    return EpisodeDataset(
        name="tiny",
        observations=observations,
        actions=actions,
        rewards=rng.uniform(0, 1, 40).astype(np.float32),
        terminations=np.isin(np.arange(40), [3, 24, 39]),
        truncations=np.zeros(40, bool),
        offsets=np.array([0, 4, 25, 40]),
        observation_space=observation_space,
        action_space=action_space,
    )


Steps = tuple[spaces.Space, spaces.Space, np.ndarray, np.ndarray]


def continuous(rng: np.random.Generator) -> Steps:
    observations = rng.normal(size=(LENGTH, 3)).astype(np.float32)
    actions = rng.uniform(-2, 2, (LENGTH, 2)).astype(np.float32)
    space = spaces.Box(-np.inf, np.inf, (3,), np.float32)
    return space, spaces.Box(-2.0, 2.0, (2,), np.float32), observations, actions


def cartpole(rng: np.random.Generator) -> Steps:
    env = gymnasium.make("CartPole-v1")
    actions = rng.integers(0, 2, LENGTH)
    observations = []
    observation, _ = env.reset(seed=0)
    for action in actions:
        observations.append(observation)
        observation, _, over, _, _ = env.step(action)
        if over:
            observation, _ = env.reset()
    env.close()
    return env.observation_space, env.action_space, np.stack(observations), actions


def pictures(rng: np.random.Generator) -> Steps:
    observations = rng.integers(0, 256, (LENGTH, 5, 4), np.uint8)
    space = spaces.Box(0, 255, (5, 4), np.uint8)
    return space, spaces.Discrete(3), observations, rng.integers(0, 3, LENGTH)


PROBLEMS: dict[str, Callable[[np.random.Generator], Steps]] = {
    CONTINUOUS: continuous,
    CARTPOLE: cartpole,
    PICTURES: pictures,
}


def tiny_config(job: dict[str, Any]) -> TrainConfig:
    return TrainConfig(
        data=DataConfig(
            source="tiny",
            batch_size=16,
            windows_per_segment=2,
            placement=job.get("placement", "device"),
            holdout_fraction=job.get("holdout_fraction", 0.0),
        ),
        model=ModelConfig(context_length=3, num_layers=1, num_heads=1, width=8),
        optimizer=OptimizerConfig(learning_rate=1e-2, warmup_steps=2),
        mesh=MeshConfig(**job.get("mesh", {})),
        distributed=DistributedConfig(**job.get("distributed", {})),
        num_steps=job.get("num_steps", 6),
        log_interval=job.get("log_interval", 2),
        keep_checkpoints=job.get("keep_checkpoints", 2),
        checkpoint_interval=job.get("checkpoint_interval", 2),
        run_dir=job["run_dir"],
        resume=job.get("resume", False),
        on_nonfinite=job.get("on_nonfinite", "stop"),
    )


class Trainer:
    """A process that does one job at a time."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def begin(self, job: dict[str, Any]) -> int:
        """Hand a job in; the process id of the fork that does it."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        return self.answer("began")

    def answer(self, name: str) -> Any:
        """Skip lines until the one that has the name; its value."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                values = json.loads(line)
                if name in values:
                    return values[name]
                assert "code" not in values, f"ended with {values} before {name!r}"
        raise AssertionError("the trainer died")

    def do(self, job: dict[str, Any]) -> dict[str, Any]:
        """A whole job that succeeds: what came out."""
        self.begin(job)
        result = self.answer("result")
        assert self.answer("code") == 0
        return result

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        assert self.process.stderr is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def tell(name: str, value: Any) -> None:
    print(json.dumps({name: value}), flush=True)


def work(job: dict[str, Any]) -> int:
    """Do one job, wired like train.py."""
    jax.config.update("jax_num_cpu_devices", job.get("devices", 1))
    config = tiny_config(job)
    losses: list[float] = []
    holdout_losses: list[float | None] = []

    def on_round(step: int, means: dict[str, float]) -> None:
        losses.append(means["loss"])
        holdout_losses.append(means.get("holdout_loss"))
        if step == job.get("stop_at"):
            os.kill(os.getpid(), signal.SIGTERM)
        if step == job.get("full_at"):  # from here on, files take no more than so many bytes
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))

    try:
        start(config.distributed)
        data = TrainingData.of(dataset(job.get("problem", CONTINUOUS)))
        spec = PolicySpec.of(data, config.model, max_episode_steps=40)
        run_dir = Path(first_decides(lambda: str(open_run("tiny", config))))
        lock = locked(run_dir)
        first_decides(lock.__enter__)
        if is_first() and not config.resume:
            write_config(run_dir, "tiny", config)
        state = train(
            spec,
            data,
            config,
            run_dir,
            hooks=Hooks(
                on_message=lambda line: tell("said", line),
                on_round=on_round,
                on_start=lambda learner, state, feed: tell("training", int(state.step)),
            ),
        )
    except (ValueError, OSError) as error:
        tell("error", str(error))
        return 2
    except KeyboardInterrupt as interrupt:
        tell("stopped", str(interrupt))
        return 130
    params, optimizer, step = to_host(state)
    parts = [[np.asarray(leaf) for leaf in jax.tree.leaves(part)] for part in (params, optimizer)]
    # A fork leaves without the farewell that ends other processes, and the first one's end would
    # abort those that are still at work.
    jax.distributed.shutdown()
    hashes = {"digest": digest(sum(parts, [])), "parts": [digest(part) for part in parts]}
    result = {"step": int(step), **hashes, "losses": losses}
    tell("result", {**result, "holdout_losses": holdout_losses})
    return 0


def digest(leaves: list[np.ndarray]) -> str:
    return hashlib.sha256(b"".join(leaf.tobytes() for leaf in leaves)).hexdigest()


def serve() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                os._exit(work(json.loads(line)))
            finally:  # an error we do not foresee: its trace is on stderr
                os._exit(70)
        tell("began", child)
        _, status = os.waitpid(child, 0)
        tell("code", os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    serve()
