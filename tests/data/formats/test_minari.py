"""Does a local Minari data set come back as the episodes that were written into it?"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import h5py
import minari
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from minari.data_collector import EpisodeBuffer
from random_logs import assert_same_steps, episodes

from dt.data import Episode, EpisodeDataset
from dt.data.formats.minari import is_minari_id, read_minari
from dt.data.formats.sources import open_source, source_files
from dt.data.streams import EpisodeStream

FORMATS = ("hdf5", "arrow", "parquet")
FOUR = spaces.Box(-np.inf, np.inf, (4,), np.float32)
TWO = spaces.Discrete(2)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    return tmp_path


def read(*args: Any) -> EpisodeDataset:
    return read_minari(*args).load()


def make_buffer(
    num_steps: int, first: float, terminated: bool = True, **changes: Any
) -> EpisodeBuffer:
    """Observations count up from `first`, one more of them than actions, as Minari logs."""
    rows = np.arange(first, first + num_steps + 1, dtype=np.float32)
    last = [False] * (num_steps - 1)
    fields = {
        "observations": np.repeat(rows[:, None], 4, axis=1),
        "actions": np.arange(num_steps) % 2,
        "rewards": [float(i) for i in range(1, num_steps + 1)],
        "terminations": [*last, terminated],
        "truncations": [*last, not terminated],
    }
    return EpisodeBuffer(**{**fields, **changes})


def write(
    dataset_id: str,
    *buffers: EpisodeBuffer,
    observation_space: spaces.Space = FOUR,
    action_space: spaces.Space = TWO,
    env: gymnasium.Env | None = None,
    **options: Any,
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari's remarks on metadata that a test does not need
        minari.create_dataset_from_buffers(
            dataset_id,
            list(buffers),
            env=env,
            observation_space=observation_space,
            action_space=action_space,
            **options,
        )


@pytest.mark.parametrize("data_format", FORMATS)
def test_episodes_come_back(data_format: str) -> None:
    buffers = make_buffer(3, 0.0), make_buffer(2, 10.0, terminated=False)
    write("test/log-v0", *buffers, data_format=data_format)
    dataset = read("test/log-v0")
    assert dataset.name == "test/log-v0"
    assert dataset.lengths.tolist() == [3, 2]
    assert dataset.observations[:, 0].tolist() == [0.0, 1.0, 2.0, 10.0, 11.0]
    assert dataset.final_observations is not None
    assert dataset.final_observations[:, 0].tolist() == [3.0, 12.0]
    assert dataset.actions.tolist() == [0, 1, 0, 0, 1]
    assert dataset.rewards.tolist() == [1.0, 2.0, 3.0, 1.0, 2.0]
    assert dataset.terminations.tolist() == [False, False, True, False, False]
    assert dataset.truncations.tolist() == [False, False, False, False, True]


def test_discrete_actions_keep_their_space_and_stay_integers() -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    dataset = read("test/log-v0")
    assert dataset.action_space == TWO
    assert np.issubdtype(dataset.actions.dtype, np.integer)


def test_continuous_actions_keep_their_space() -> None:
    box = spaces.Box(-2.0, 2.0, (2,), np.float32)
    actions = np.array([[0.5, -1.5], [2.0, 0.0]], np.float32)
    write("test/log-v0", make_buffer(2, 0.0, actions=actions), action_space=box)
    dataset = read("test/log-v0")
    assert dataset.action_space == box
    np.testing.assert_array_equal(dataset.actions, actions)


def test_a_data_set_without_an_environment_names_none() -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    dataset = read("test/log-v0")
    assert (dataset.env_id, dataset.env_kwargs) == (None, {})


@pytest.fixture
def collected() -> str:
    """A data set that names CartPole with a time limit of its own, 77."""
    env = gymnasium.make("CartPole-v1", max_episode_steps=77)
    write(
        "test/collected-v3",
        make_buffer(3, 0.0),
        env=env,
        observation_space=env.observation_space,
        action_space=env.action_space,
    )
    env.close()
    return "test/collected-v3"


def test_the_environment_comes_with_its_own_time_limit(collected: str) -> None:
    dataset = read(collected)
    assert (dataset.env_id, dataset.env_kwargs) == ("CartPole-v1", {"max_episode_steps": 77})


def test_what_is_given_by_hand_overrides_the_data_s_environment(collected: str) -> None:
    assert read(collected, None, {"max_episode_steps": 5}).env_kwargs == {"max_episode_steps": 5}
    assert read(collected, "CartPole-v0").env_id == "CartPole-v0"


def test_an_environment_of_another_shape_is_refused(collected: str) -> None:
    with pytest.raises(ValueError, match=r"observations have shape \(4,\) a step"):
        read(collected, "Pendulum-v1")


def test_observations_that_are_words_are_refused_by_space() -> None:
    steps = make_buffer(2, 0.0, observations=["on", "off", "on"])
    write("test/log-v0", steps, observation_space=spaces.Text(3))
    with pytest.raises(ValueError, match="test/log-v0: observations: space Text.*is none of Box"):
        read("test/log-v0")


def test_actions_of_several_parts_become_records() -> None:
    hands = spaces.Dict(left=TWO, right=TWO)
    actions = {"left": np.array([0, 1]), "right": np.array([1, 1])}
    write("test/log-v0", make_buffer(2, 0.0, actions=actions), action_space=hands)
    read_back = read("test/log-v0").actions
    assert read_back.dtype.names == ("left", "right") and read_back["left"].tolist() == [0, 1]


def test_a_data_set_that_is_not_there_says_how_to_get_it() -> None:
    with pytest.raises(ValueError, match="minari download test/none-v0"):
        read("test/none-v0")


def test_a_damaged_file_is_refused_by_name(root: Path) -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    (file,) = root.rglob("*.hdf5")
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match="test/log-v0"):
        read("test/log-v0")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("mujoco/hopper/expert-v0", True),
        ("hopper-v12", True),
        ("D4RL/door/human-v2", True),
        ("hopper", False),
        ("hopper-v", False),
        ("hopper-v0.npz", False),
        ("demo:hopper-v0", False),
        ("hop per-v0", False),
    ],
)
def test_an_id_is_told_by_its_form(source: str, expected: bool) -> None:
    assert is_minari_id(source) is expected


@settings(deadline=None, max_examples=15)
@given(episodes(finals=True), st.sampled_from(FORMATS))
def test_random_logs_come_back(
    tmp_path_factory: pytest.TempPathFactory, logged: list[Episode], data_format: str
) -> None:
    action_space: spaces.Space = spaces.Discrete(5)
    if logged[0].actions.ndim == 2:
        action_space = spaces.Box(-np.inf, np.inf, (2,), logged[0].actions.dtype)
    first = logged[0].observations
    buffers = [
        EpisodeBuffer(
            observations=e.observations,
            actions=e.actions,
            rewards=e.rewards,
            terminations=e.terminations,
            truncations=e.truncations,
        )
        for e in logged
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINARI_DATASETS_PATH", str(tmp_path_factory.mktemp("minari")))
        write(
            "drawn/log-v0",
            *buffers,
            observation_space=spaces.Box(-np.inf, np.inf, first.shape[1:], first.dtype),
            action_space=action_space,
            data_format=data_format,
        )
        stream = read_minari("drawn/log-v0")
        assert_same_steps(stream, logged)
        assert_same_steps(stream, logged)  # each pass starts anew
    assert stream.num_episodes == len(logged)


def test_a_folder_is_read_like_an_id(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(root / "elsewhere"))
    folder = root / "test" / "log-v0"
    for source in (folder, folder / "data", folder / "data" / "main_data.hdf5"):
        stream = open_source(str(source))
        assert isinstance(stream, EpisodeStream)
        assert stream.load().lengths.tolist() == [3]


@pytest.mark.parametrize("data_format", FORMATS)
def test_the_files_of_an_id_are_those_of_its_folder(root: Path, data_format: str) -> None:
    write("test/log-v0", make_buffer(3, 0.0), make_buffer(2, 0.0), data_format=data_format)
    files = source_files("test/log-v0")
    assert files == source_files(str(root / "test" / "log-v0"))
    assert files == sorted(p for p in (root / "test" / "log-v0").rglob("*") if p.is_file())


def test_reference_scores_are_minari_s_and_say_so() -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    assert read("test/log-v0").reference is None
    minari.load_dataset("test/log-v0").storage.update_metadata(
        {"ref_min_score": -20.0, "ref_max_score": 180.0}
    )
    reference = read("test/log-v0").reference
    assert reference is not None
    assert (reference.source, reference.low, reference.high) == ("Minari", -20.0, 180.0)


def test_an_episode_that_was_never_ended_counts_as_truncated() -> None:
    write("test/log-v0", make_buffer(2, 0.0, terminations=[False, False]))
    dataset = read("test/log-v0")
    assert (dataset.terminations.any(), dataset.truncations.tolist()) == (False, [False, True])


def test_rewards_keep_their_type(root: Path) -> None:
    write("test/log-v0", make_buffer(2, 0.0, rewards=np.ones(2, np.float32)))
    assert read("test/log-v0").rewards.dtype == np.float32


def test_no_episode_is_refused(root: Path) -> None:
    write("test/log-v0", make_buffer(2, 0.0))
    (file,) = root.rglob("metadata.json")
    metadata = json.loads(file.read_text())
    file.write_text(json.dumps({**metadata, "total_episodes": 0, "total_steps": 0}))
    with pytest.raises(ValueError, match="test/log-v0: holds no episode"):
        read("test/log-v0")


def test_an_episode_without_a_step_is_refused(root: Path) -> None:
    write("test/log-v0", make_buffer(2, 0.0), make_buffer(1, 0.0))
    (file,) = root.rglob("*.hdf5")
    with h5py.File(file, "a") as opened:
        for key in ("actions", "rewards", "terminations", "truncations"):
            opened["episode_1"][key].resize(0, axis=0)
    with pytest.raises(ValueError, match="test/log-v0: episode 1 has 0 steps; remove it"):
        read("test/log-v0")


def test_fewer_steps_than_the_metadata_says_are_noticed(root: Path) -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    (file,) = root.rglob("metadata.json")
    file.write_text(file.read_text().replace('"total_steps": 3', '"total_steps": 4'))
    with pytest.raises(ValueError, match="holds 3 steps, its metadata says 4; fetch it anew"):
        read("test/log-v0")


@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "truncations"])
def test_a_missing_key_is_refused_by_name(root: Path, key: str) -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    (file,) = root.rglob("*.hdf5")
    with h5py.File(file, "a") as opened:
        del opened["episode_0"][key]
    with pytest.raises(ValueError, match=f"test/log-v0: unreadable .*{key}.*; fetch it anew"):
        read("test/log-v0")


def test_ragged_lengths_name_the_episode(root: Path) -> None:
    write("test/log-v0", make_buffer(3, 0.0), make_buffer(2, 0.0, actions=np.zeros(3, np.int64)))
    with pytest.raises(ValueError, match="test/log-v0: episode 1 has 3 actions for 2 rewards"):
        read("test/log-v0")


@pytest.mark.parametrize("text", ["", "{}", '{"data_format": "hdf5"}', "[]"])
def test_damaged_metadata_is_refused_by_name(root: Path, text: str) -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    (file,) = root.rglob("metadata.json")
    file.write_text(text)
    with pytest.raises(ValueError, match="test/log-v0: not a readable Minari data set") as error:
        read("test/log-v0")
    assert "\n" not in str(error.value)


def test_arrow_without_pyarrow_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    write("test/log-v0", make_buffer(3, 0.0), data_format="arrow")
    monkeypatch.setattr("dt.data.formats.minari.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"arrow format needs pyarrow; pip install 'dt-steer"):
        read("test/log-v0")


def test_the_hub_is_not_asked_for_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    monkeypatch.setattr(minari, "download_dataset", lambda *_: pytest.fail("asked the hub"))
    assert len(list(open_source("hub:test/log-v0"))) == 1


def test_the_hub_is_asked_for_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def download(dataset_id: str) -> None:
        write(dataset_id, make_buffer(3, 0.0))

    monkeypatch.setattr(minari, "download_dataset", download)
    monkeypatch.setattr("dt.data.formats.minari.find_spec", lambda name: object())
    assert len(list(open_source("hub:test/far-v0"))) == 1
    assert len(source_files("test/far-v0")) == 2


def test_a_failed_download_is_one_line_and_leaves_nothing(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(dataset_id: str) -> None:
        (root / dataset_id / "data").mkdir(parents=True)
        (root / dataset_id / "data" / "metadata.json").write_text("half")
        raise ConnectionError("no route\nto anywhere")

    monkeypatch.setattr(minari, "download_dataset", download)
    monkeypatch.setattr("dt.data.formats.minari.find_spec", lambda name: object())
    with pytest.raises(ValueError, match="hub:far-v0: cannot be fetched .*no route") as error:
        open_source("hub:far-v0")
    assert "\n" not in str(error.value)
    assert not (root / "far-v0").exists()


def test_a_failed_download_removes_nothing_that_was_there_before(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder may have the form of an id, and hold the data sets of a namespace."""
    write("space-v1/log-v0", make_buffer(3, 0.0))

    def download(dataset_id: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(minari, "download_dataset", download)
    monkeypatch.setattr("dt.data.formats.minari.find_spec", lambda name: object())
    with pytest.raises(KeyboardInterrupt):
        open_source("hub:space-v1")
    assert len(list(read_minari("space-v1/log-v0"))) == 1
    with pytest.raises(ValueError, match="hub:space: is not the form of a Minari id"):
        open_source("hub:space")


def test_without_the_hub_s_client_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dt.data.formats.minari.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"needs huggingface_hub; pip install 'dt-steer\[hub\]'"):
        open_source("hub:test/far-v0")


def change_metadata(folder: Path, **changes: Any) -> None:
    """A change of None removes the key."""
    path = folder / "data" / "metadata.json"
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in values.items() if value is not None}))


def hostile_spec(marker: Path, **changes: Any) -> str:
    """An environment whose entry point is a shell's, and whose argument is a command."""
    spec = {
        "id": "Nice-v0",
        "entry_point": "subprocess:getoutput",
        "reward_threshold": None,
        "nondeterministic": False,
        "max_episode_steps": 50,
        "disable_env_checker": True,
        "kwargs": {"cmd": f"touch {marker}"},
        "additional_wrappers": [],
        "vector_entry_point": None,
        **changes,
    }
    return json.dumps(spec)


def test_a_file_s_entry_point_is_never_called(root: Path) -> None:
    """Minari calls it where the metadata lacks a space."""
    marker = root / "RAN"
    write("test/log-v0", make_buffer(3, 0.0))
    change_metadata(root / "test/log-v0", env_spec=hostile_spec(marker))
    assert read("test/log-v0").env_id == "Nice-v0"  # a name, of which nothing is made
    for lacking in ("observation_space", "action_space"):
        change_metadata(root / "test/log-v0", **{lacking: None})
        with pytest.raises(ValueError, match="test/log-v0: metadata.json has no .* not made from"):
            read("test/log-v0")
    with pytest.raises(
        ValueError, match="test/log-v0: .* would be given cmd=.*; register an id of"
    ):
        read("test/log-v0", "Nice-v0")
    for env_id in ("posixpath_evil:Nice-v0", "CartPole-v1"):
        spec = hostile_spec(marker, id=env_id)
        change_metadata(root / "test/log-v0", env_spec=spec)
        with pytest.raises(ValueError, match="test/log-v0: "):
            read("test/log-v0")
    assert not marker.exists()


def test_without_spaces_an_installed_environment_of_the_id_gives_them(root: Path) -> None:
    """As Minari's first data sets had it; nothing else of the description is used."""
    write("test/log-v0", make_buffer(3, 0.0))
    spec = hostile_spec(root / "RAN", id="CartPole-v1", kwargs={})
    change_metadata(root / "test/log-v0", env_spec=spec, observation_space=None, action_space=None)
    dataset = read("test/log-v0")
    assert dataset.action_space == TWO and dataset.env_kwargs == {"max_episode_steps": 50}
    change_metadata(root / "test/log-v0", env_spec=None)
    with pytest.raises(ValueError, match="write both there, or name an installed environment"):
        read("test/log-v0")
    assert read("test/log-v0", "CartPole-v1").action_space == TWO


@pytest.mark.parametrize("data_format", FORMATS)
@pytest.mark.parametrize("count", [10**15, 2, -1, "many"])
def test_more_episodes_than_are_there_are_noticed_at_once(
    root: Path, data_format: str, count: object
) -> None:
    write("test/log-v0", make_buffer(3, 0.0), data_format=data_format)
    change_metadata(root / "test/log-v0", total_episodes=count)
    with pytest.raises(ValueError, match="test/log-v0: (holds 1 episodes, its|.*must be a count)"):
        read("test/log-v0")


@pytest.mark.parametrize("member", ["infos/secret", "observations"])
def test_no_member_leads_to_another_file(root: Path, member: str) -> None:
    """Minari reads everything, and would give zeros for a file that is gone."""
    write("test/log-v0", make_buffer(3, 0.0))
    with h5py.File(root / "test/log-v0/data/main_data.hdf5", "r+") as file:
        group = file["episode_0"]
        if member in group:
            del group[member]
        outside = [(str(root / "outside"), 0, 64)]
        group.create_dataset(member, (4, 4), "f4", external=outside)
    with pytest.raises(ValueError, match=rf"main_data\.hdf5: .*{member} is stored in another file"):
        read("test/log-v0")


def test_a_link_out_of_the_data_set_is_refused(root: Path) -> None:
    write("test/log-v0", make_buffer(3, 0.0))
    write("test/other-v0", make_buffer(3, 0.0))
    file = root / "test/log-v0/data/main_data.hdf5"
    file.unlink()
    file.symlink_to(root / "test/other-v0/data/main_data.hdf5")
    for source in ("test/log-v0", str(root / "test/log-v0")):
        with pytest.raises(ValueError, match=r"log-v0/.*\.hdf5: is a link to .*other-v0"):
            read(source)
    (root / "test/alias-v0").symlink_to("other-v0")  # the folder itself is named by the user
    assert len(read("test/alias-v0")) == 1


def test_what_comes_from_the_hub_is_trusted_no_more(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(dataset_id: str) -> None:
        write(dataset_id, make_buffer(3, 0.0))
        spec = hostile_spec(root / "RAN")
        change_metadata(root / dataset_id, env_spec=spec, action_space=None)

    monkeypatch.setattr(minari, "download_dataset", download)
    monkeypatch.setattr("dt.data.formats.minari.find_spec", lambda name: object())
    with pytest.raises(ValueError, match="test/far-v0: metadata.json has no .* not made from"):
        open_source("hub:test/far-v0")
    assert not (root / "RAN").exists()
