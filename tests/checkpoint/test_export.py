"""Does an exported policy act as the policy does, in a process that has JAX and nothing of ours?"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from gymnasium import spaces
from tiny import make_config, make_dataset

from dt.acting.options import ActingOptions
from dt.acting.policy import ReturnConditionedPolicy
from dt.checkpoint.export import export_policy
from dt.data import TrainingData
from dt.spec.spec import PolicySpec
from dt.training.step import Learner

ALONE = """
import sys, json
import jax, jax.export, numpy as np
file = np.load(sys.argv[1])
step = jax.jit(jax.export.deserialize(bytearray(file["program"])).call)
first = []
if len(sys.argv) > 2:
    beside = np.load(sys.argv[2])
    first = [[beside[f"weight_{i}"] for i in range(len(beside.files))]]
state = [file[f"state_{i}"] for i in range(file["num_state"])]
observations = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
targets, seeds = np.array([1.0, 2.5], np.float32), np.array([0, 1], np.uint32)
rewards, acted = np.zeros(2, np.float32), []
for t, row in enumerate(observations):
    begins, asks = np.full(2, t == 0), np.array([False, t == 3])
    asked = np.where(asks, np.float32(0.1), targets)
    actions, state = step(*first, state, row, rewards, begins, asks, asked, seeds)
    acted.append(np.asarray(actions).tolist())
    rewards = np.array([0.25, 0.5], np.float32)
assert not any(name.split(".")[0] in ("dt", "flax") for name in sys.modules)
print(json.dumps(acted))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("actions", "beside"),
    [
        (None, True),
        (spaces.Discrete(3, start=1), False),
        pytest.param(None, False, marks=pytest.mark.thorough),
        pytest.param(spaces.Discrete(3, start=1), True, marks=pytest.mark.thorough),
    ],
)
def test_the_file_alone_acts_as_the_policy(
    actions: spaces.Space | None, beside: bool, tmp_path: Path
) -> None:
    config = make_config(num_layers=1, context_length=2)
    data = TrainingData.of(make_dataset([9], actions))
    spec = PolicySpec.of(data, config.model)
    policy = ReturnConditionedPolicy(Learner(spec, config).init().params, spec)
    files = export_policy(policy, tmp_path / "policy.npz", batch_size=2, beside=beside)
    assert sorted(tmp_path.iterdir()) == sorted(files) and len(files) == 1 + beside
    command = [sys.executable, "-c", ALONE, *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    played = []
    for is_asked in (True, False):
        policy.reset([1.0, 2.5], seeds=[0, 1])
        acted = []
        for t, row in enumerate(np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)):
            if t == 3 and is_asked:
                policy.ask([9.0, 0.1], where=np.array([False, True]))
            acted.append(policy.act(row))
            policy.observe(np.array([0.25, 0.5]))
        played.append(np.array(acted))
    np.testing.assert_allclose(json.loads(done.stdout), played[0], atol=1e-5)
    if actions is None:  # to have been asked anew is to act otherwise, in that row and from then on
        differs = np.abs(played[0] - played[1]).max(axis=-1) > 1e-4
        assert differs.tolist() == [[False, False]] * 3 + [[False, True]] * 2


def test_one_program_is_for_every_platform(tmp_path: Path) -> None:
    config = make_config(num_layers=1)
    spec = PolicySpec.of(TrainingData.of(make_dataset([9])), config.model)
    policy = ReturnConditionedPolicy(Learner(spec, config).init().params, spec)
    (file,) = export_policy(policy, tmp_path / "policy.npz")
    program = jax.export.deserialize(bytearray(np.load(file)["program"]))
    assert program.platforms == ("cpu", "cuda", "tpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "discrete"),
    [
        ("default", True),
        ("chen2021", False),
        pytest.param("default", False, marks=pytest.mark.thorough),
        pytest.param("chen2021", True, marks=pytest.mark.thorough),
    ],
)
def test_past_the_known_timesteps_there_are_no_actions(
    recipe: str, discrete: bool, tmp_path: Path
) -> None:
    config = make_config(num_layers=1, context_length=2, return_dropout=0.0)
    model, data_config = config.model, dataclasses.replace(config.data, windows_per_segment=1)
    config = dataclasses.replace(
        config, model=dataclasses.replace(model, recipe=recipe), data=data_config
    )
    data = TrainingData.of(make_dataset([3, 2], spaces.Discrete(3) if discrete else None))
    spec = PolicySpec.of(data, config.model)
    policy = ReturnConditionedPolicy(Learner(spec, config).init().params, spec)
    (path,) = export_policy(policy, tmp_path / "policy.npz", batch_size=2, platforms=("cpu",))
    file = np.load(path)
    assert file["max_timesteps"] == spec.max_timesteps == 3
    step = jax.jit(jax.export.deserialize(bytearray(file["program"])).call)
    state = [file[f"state_{i}"] for i in range(file["num_state"])]
    zeros, seeds = np.zeros(2, np.float32), np.zeros(2, np.uint32)
    for t in range(5):
        begins = np.array([t == 0, t in (0, 2)])  # the second row begins again
        seen = np.zeros((2, 3), np.float32)
        actions, state = step(state, seen, zeros, begins, begins, zeros, seeds)
        none = np.asarray(actions) == -1 if discrete else np.isnan(actions).all(axis=1)
        assert none.tolist() == [t >= 3, False]

    clamped = ReturnConditionedPolicy(policy.params, spec, ActingOptions(past_end="clamp"))
    (path,) = export_policy(clamped, tmp_path / "clamped.npz", platforms=("cpu",))
    file = np.load(path)
    step = jax.jit(jax.export.deserialize(bytearray(file["program"])).call)
    state = [file[f"state_{i}"] for i in range(file["num_state"])]
    clamped.reset([0.0], seeds=[0])
    for t in range(5):
        seen = np.full((1, 3), t, np.float32)
        begins, asks = np.array([t == 0]), np.array([False])
        actions, state = step(state, seen, zeros[:1], begins, asks, zeros[:1], seeds[:1])
        np.testing.assert_allclose(actions, clamped.act(seen), atol=1e-5)
        clamped.observe(np.zeros(1))


def test_what_cannot_be_exported_is_named_before_anything_is_compiled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="policy.bin: the file's name must end in .npz"):
        export_policy(None, tmp_path / "policy.bin")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there is no folder .*nowhere; make it first"):
        export_policy(None, str(tmp_path / "nowhere" / "policy.npz"))  # type: ignore[arg-type]
