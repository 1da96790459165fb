"""Minari data that were logged in wrapped environments: the wrappers come back, or none is played.

For each of Gymnasium's own wrappers that a data set can record, the logged actions are taken again
from the logged seeds.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np
import pytest
from gymnasium import wrappers
from minari import DataCollector

from dt.data import EpisodeDataset
from dt.data.card.card import data_card
from dt.data.formats.minari import read_minari
from dt.data.formats.minari_writing import place_minari, write_minari
from dt.play.make import make_envs
from dt.spaces.environments import logged_kwargs
from dt.spaces.records import to_tree
from dt.spaces.wrappers import _PICTURES, _REASONS, _REBUILT, _WITHOUT_EFFECT, wrappers_of

NAME = "wrapped/set-v0"
Wrap = Callable[[gymnasium.Env], gymnasium.Env]


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def log(wrap: Wrap, env_id: str = "Pendulum-v1", **kwargs: Any) -> None:
    """Two episodes of random actions, seeds 0 and 1, as Minari's own collector keeps them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # remarks on metadata, and on wrapping what is wrapped
        env = DataCollector(wrap(gymnasium.make(env_id, **kwargs)))
        env.action_space.seed(0)
        for seed in range(2):
            env.reset(seed=seed)
            over = False
            while not over:
                _, _, terminated, truncated, _ = env.step(env.action_space.sample())
                over = terminated or truncated
        env.create_dataset(NAME)
        env.close()
        env._tmp_dir._finalizer.detach()  # Minari has moved it


def assert_replays(dataset: EpisodeDataset, off: float = 0.0) -> None:
    """Take the logged actions from the logged seeds: rewards, ends and observations are equal.

    Args:
        off: how far a number of an observation may be on average; Minari keeps pictures as JPEG.
    """
    assert dataset.env_id is not None
    envs = make_envs(dataset.env_id, 1, dataset.env_kwargs)
    assert envs.single_observation_space == dataset.observation_space
    assert envs.single_action_space == dataset.action_space
    for seed, episode in enumerate(dataset):
        seen, _ = envs.reset(seed=[seed])
        records = episode.observations
        for step in range(len(episode)):
            expected = to_tree(dataset.observation_space, records[step : step + 1])
            for ours, logged in zip(jax.tree.leaves(seen), jax.tree.leaves(expected), strict=True):
                assert np.abs(ours.astype(float) - logged).mean() <= off
            actions = to_tree(dataset.action_space, episode.actions[step : step + 1])
            seen, rewards, terminated, truncated, _ = envs.step(actions)
            assert rewards[0] == episode.rewards[step]
            assert terminated[0] == episode.terminations[step]
            assert truncated[0] == episode.truncations[step]
    envs.close()


REPLAYED: dict[str, Wrap] = {
    "RescaleAction": lambda env: wrappers.RescaleAction(env, -1.0, 1.0),
    "ClipReward": lambda env: wrappers.ClipReward(env, -1.0, 0.0),
    "ClipAction": wrappers.ClipAction,
    "StickyAction": lambda env: wrappers.StickyAction(env, 0.25),
    "DiscretizeAction": lambda env: wrappers.DiscretizeAction(env, 5),
    "FrameStackObservation": lambda env: wrappers.FrameStackObservation(env, 3),
    "DelayObservation": lambda env: wrappers.DelayObservation(env, 2),
    "DtypeObservation": lambda env: wrappers.DtypeObservation(env, "float64"),
    "RescaleObservation": lambda env: wrappers.RescaleObservation(env, -1.0, 1.0),
    "ReshapeObservation": lambda env: wrappers.ReshapeObservation(env, (3, 1)),
    "DiscretizeObservation": lambda env: wrappers.DiscretizeObservation(env, (5, 5, 5)),
    "FlattenObservation": lambda env: wrappers.FlattenObservation(
        wrappers.FrameStackObservation(env, 2)
    ),
    "PassiveEnvChecker": wrappers.PassiveEnvChecker,
    "OrderEnforcing": wrappers.OrderEnforcing,
    "RecordEpisodeStatistics": wrappers.RecordEpisodeStatistics,
    "TimeLimit": lambda env: wrappers.TimeLimit(env, 5),
    "two": lambda env: wrappers.ClipReward(wrappers.RescaleAction(env, -1.0, 1.0), -3.0, -1.0),
}
# One step of these is several, or they ask for the limit: with that of the registered id.
WHOLE: dict[str, Wrap] = {
    "RepeatAction": lambda env: wrappers.RepeatAction(env, 4),
    "MaxAndSkipObservation": lambda env: wrappers.MaxAndSkipObservation(env, 3),
    "TimeAwareObservation": lambda env: wrappers.TimeAwareObservation(env, normalize_time=True),
    "FilterObservation": lambda env: wrappers.FilterObservation(
        wrappers.TimeAwareObservation(env, flatten=False), ["time"]
    ),
}


@pytest.mark.parametrize("name", REPLAYED)
def test_logged_actions_and_seeds_give_the_logged_steps(name: str) -> None:
    log(REPLAYED[name], max_episode_steps=8)
    assert_replays(read_minari(NAME).load())


@pytest.mark.parametrize("name", WHOLE)
def test_so_they_do_where_a_step_is_several(name: str) -> None:
    log(WHOLE[name])
    assert_replays(read_minari(NAME).load())


PICTURES: dict[str, Wrap] = {
    "AddRenderObservation": lambda env: wrappers.AddRenderObservation(env, render_only=False),
    "GrayscaleObservation": lambda env: wrappers.GrayscaleObservation(
        wrappers.AddRenderObservation(env)
    ),
    "RenderCollection": wrappers.RenderCollection,
    "AddWhiteNoise": lambda env: wrappers.AddWhiteNoise(env, 0.5),
    "ObstructView": lambda env: wrappers.ObstructView(env, 0.5, 10),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_so_they_do_with_wrappers_of_pictures(name: str) -> None:
    pytest.importorskip("pygame")
    log(PICTURES[name], "CartPole-v1", render_mode="rgb_array", max_episode_steps=4)
    assert_replays(read_minari(NAME).load(), off=2.0)


REFUSED: dict[str, tuple[Wrap, str]] = {
    "NormalizeObservation": (wrappers.NormalizeObservation, "running mean and deviation"),
    "NormalizeReward": (wrappers.NormalizeReward, "running deviation"),
    "Autoreset": (wrappers.Autoreset, "begin with a step that no action took part in"),
    "limit": (
        lambda env: wrappers.TimeLimit(wrappers.RepeatAction(env, 4), 3),
        "time limit of 3 steps beside the wrapper RepeatAction",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_rebuilt_is_not_played(name: str) -> None:
    wrap, reason = REFUSED[name]
    log(wrap, max_episode_steps=8)
    dataset = read_minari(NAME).load()
    assert dataset.env_id is None and reason in dataset.unplayable
    assert any(reason in note for note in data_card(dataset)[0]["notes"])
    named = read_minari(NAME, "Pendulum-v1").load()  # the user's own word
    assert named.env_id == "Pendulum-v1" and reason in named.notes[0]


def test_a_limit_that_was_taken_off_stays_off(root: Path) -> None:
    log(lambda env: env, max_episode_steps=8)
    path = root / NAME / "data" / "metadata.json"
    metadata = json.loads(path.read_text())
    spec = {**json.loads(metadata["env_spec"]), "max_episode_steps": None}
    path.write_text(json.dumps({**metadata, "env_spec": json.dumps(spec)}))
    assert read_minari(NAME).env_kwargs["max_episode_steps"] == -1


def test_every_wrapper_of_gymnasium_is_one_of_these() -> None:
    known = _REBUILT | _WITHOUT_EFFECT | _PICTURES | {*_REASONS}
    assert {name for name in wrappers.__all__ if name[0].isupper()} == known
    # Those that need opencv, a window or a film are rebuilt or left out by the same lines.
    unseen = {"AtariPreprocessing", "ResizeObservation", "HumanRendering", "RecordVideo"}
    assert known - {*_REASONS} - unseen <= {*REPLAYED, *WHOLE, *PICTURES}


def record(name: str, entry_point: str = "", **kwargs: Any) -> dict[str, Any]:
    made = {"name": name, "entry_point": entry_point or f"gymnasium.wrappers:{name}"}
    return {"id": "Pendulum-v1", "additional_wrappers": [{**made, "kwargs": kwargs}]}


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (record("TransformReward", func="code"), "its function is code"),
        (record("ClipReward", "subprocess:getoutput"), "not Gymnasium's own"),
        (record("ClipReward", "gymnasium.wrappersx:ClipReward"), "not Gymnasium's own"),
        (record("Made"), "not known here"),
        (record("JaxToNumpy"), "another library"),
        ({"id": "Pendulum-v1", "autoreset": True}, "no action took part"),
        ({**record("ClipReward"), "additional_wrappers": [{}] * 99}, "no list of wrappers"),
    ],
)
def test_other_records_are_refused(spec: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        wrappers_of(spec)


def test_names_of_earlier_releases_are_known() -> None:
    spec = record(
        "FrameStack", "gymnasium.wrappers.frame_stack:FrameStack", num_stack=4, lz4_compress=False
    )
    assert wrappers_of(spec) == [("FrameStackObservation", {"stack_size": 4})]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("RescaleAction", "needs a list"),
        ([["RescaleAction"]], "needs .name, arguments."),
        ([["TransformReward", {}]], "'TransformReward'; of gymnasium.wrappers these are made"),
    ],
)
def test_other_arguments_of_a_file_are_refused(value: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        logged_kwargs({"wrappers": value})


def test_a_data_set_written_here_keeps_them(tmp_path: Path) -> None:
    log(REPLAYED["two"], max_episode_steps=8)
    write_minari(tmp_path / "made", "wrapped/again-v0", read_minari(NAME))
    place_minari(tmp_path / "made", "wrapped/again-v0")
    again = read_minari("wrapped/again-v0").load()
    assert [name for name, _ in again.env_kwargs["wrappers"]] == ["RescaleAction", "ClipReward"]
    assert_replays(again)
    metadata = json.loads((tmp_path / "wrapped/again-v0/data/metadata.json").read_text())
    assert "ClipReward" in metadata["env_spec"]  # for Minari's own recover_environment
