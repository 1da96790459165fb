"""A run that starts from another's weights has its units, and refuses those that do not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
from gymnasium import spaces
from tiny import make_config, make_dataset

from dt.checkpoint.load import load_policy, load_spec
from dt.config import TrainConfig
from dt.data import EpisodeDataset
from dt.training.hooks import Hooks
from dt.training.run import fit, prepare

CONFIG = dataclasses.replace(make_config(num_layers=1), num_steps=4, checkpoint_interval=2)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("source") / "run"
    fit(prepare("default", configured(run_dir), data=make_dataset([7, 2, 11])))
    return run_dir


def configured(run_dir: Path, **changes: object) -> TrainConfig:
    return dataclasses.replace(CONFIG, run_dir=str(run_dir), **changes)  # type: ignore[arg-type]


def other_data() -> EpisodeDataset:
    """Of the same task, but with other numbers."""
    data = make_dataset([5, 3, 9], seed=1)
    return dataclasses.replace(
        data, observations=data.observations * 3 + 1, rewards=data.rewards * 5
    )


@pytest.mark.slow
def test_weights_and_units_are_the_source_s_and_the_optimizer_is_fresh(
    source: Path, tmp_path: Path
) -> None:
    config = configured(tmp_path / "tuned", init_from=f"{source}@2", num_steps=2)
    run = prepare("default", config, data=other_data())
    assert run.describe()[-1] == (
        f"note: starts from the weights of {source}@2, in the units of its data"
    )
    began = []
    state = fit(run, hooks=Hooks(on_start=lambda learner, state, feed: began.append(state)))
    policy = load_policy(source, 2)
    for old, new in zip(*map(jax.tree.leaves, (policy.params, began[0].params)), strict=True):
        np.testing.assert_array_equal(old, new)
    assert int(began[0].step) == 0 and int(state.step) == 2
    moved = zip(*map(jax.tree.leaves, (policy.params, state.params)), strict=True)
    assert any((np.asarray(old) != np.asarray(new)).any() for old, new in moved)
    assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(began[0].optimizer))
    for name in ("observation_normalizer", "return_normalizer", "action_normalizer"):
        old, new = getattr(policy.spec, name), getattr(run.spec, name)
        np.testing.assert_array_equal(old.mean, new.mean)
        np.testing.assert_array_equal(old.scale, new.scale)
    assert run.spec.max_timesteps == policy.spec.max_timesteps == 11
    # Which returns are asked for is the new data's.
    assert run.spec.return_range[1] > policy.spec.return_range[1]
    saved = load_spec(tmp_path / "tuned" / "checkpoints" / "2")
    assert saved.return_range == run.spec.return_range
    written = json.loads((tmp_path / "tuned" / "config.json").read_text())
    assert written["init_from"] == f"{source}@2"


@pytest.mark.thorough
def test_a_tuned_run_goes_on_without_its_source(source: Path, tmp_path: Path) -> None:
    moved = tmp_path / "source"
    moved.symlink_to(source)
    config = configured(tmp_path / "run", init_from=str(moved), num_steps=2)
    fit(prepare("default", config, data=other_data()))
    moved.unlink()
    # Neither the flag nor the source is needed; another source is refused.
    longer = dataclasses.replace(config, resume=True, num_steps=4, init_from="")
    state = fit(prepare("default", longer, data=other_data()))
    assert int(state.step) == 4
    assert json.loads((tmp_path / "run/config.json").read_text())["init_from"] == f"{moved}@4"
    again = dataclasses.replace(longer, init_from=str(source))
    with pytest.raises(ValueError, match=f"--resume with init_from {source}@4, but .* was trained"):
        prepare("default", again, data=other_data())


def wider() -> EpisodeDataset:
    data = make_dataset([5, 3])
    shape = (4,)
    return dataclasses.replace(
        data,
        observations=np.zeros((8, 4), np.float32),
        observation_space=spaces.Box(-np.inf, np.inf, shape, np.float32),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "data", "said"),
    [
        ({"width": 16}, make_dataset([5, 3]), "model.width is 8 there and 16 here; give --model.w"),
        (
            {"layout": "observation-action"},
            make_dataset([5, 3]),
            "model.layout is return-observation-action there and observation-action here; give",
        ),
        ({}, wider(), "observation_space does not fit: numbers of shape .3,. there and numbers"),
        (
            {},
            make_dataset([5, 3], spaces.Discrete(2)),
            "action_space does not fit: numbers of shape .2,. there and categories of shape",
        ),
        (
            {},
            make_dataset([5, 3], spaces.Box(-3.0, 3.0, (2,), np.float32)),
            r"action_space does not fit: number 0 lies in \[-2.0, 2.0\] there and in \[-3.0, 3.0\]",
        ),
        ({}, make_dataset([5, 12]), "max_timesteps is 11 there, but 12 are needed here, by the"),
    ],
)
def test_what_does_not_fit_is_named(
    source: Path, tmp_path: Path, model: dict[str, object], data: EpisodeDataset, said: str
) -> None:
    config = configured(tmp_path / "run", init_from=str(source))
    other = dataclasses.replace(config.model, **model)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=f"^--init-from {source}@4: {said}") as error:
        prepare("default", dataclasses.replace(config, model=other), data=data)
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_source_that_is_not_there_is_named(source: Path, tmp_path: Path) -> None:
    for text, said in (
        (f"{source}@3", "no checkpoint '3'; there are 2, 4, last and best"),
        (f"{source}@best", "no checkpoint has a score card"),
        (str(tmp_path / "nothing"), "holds no checkpoint"),
    ):
        config = configured(tmp_path / "run", init_from=text)
        with pytest.raises(ValueError, match=f"^--init-from {text}: .*{said}"):
            prepare("default", config, data=other_data())
