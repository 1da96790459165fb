"""Does an .npz file become the episodes it holds, and does a bad one say what is wrong with it?"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from random_logs import assert_same_steps, episodes

from dt.data import Episode
from dt.data.formats.npz import is_npz, read_npz


def make_arrays(**changes: Any) -> dict[str, Any]:
    """Episodes of 3 and 2 steps; a change of None removes the key."""
    arrays = {
        "observations": np.arange(10, dtype=np.float32).reshape(5, 2),
        "actions": np.linspace(-1, 1, 5, dtype=np.float32)[:, None],
        "rewards": np.array([1, 2, 4, 8, 16], np.float32),
        "episode_lengths": np.array([3, 2]),
        **changes,
    }
    return {key: value for key, value in arrays.items() if value is not None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.npz"


def marks(*true: int) -> np.ndarray:
    return np.isin(np.arange(5), true)


def test_arrays_come_back_as_episodes(path: Path) -> None:
    arrays = make_arrays()
    np.savez(path, **arrays)
    dataset = read_npz(path)
    assert dataset.lengths.tolist() == [3, 2]
    assert dataset.returns.tolist() == [7.0, 24.0]
    for name in ("observations", "actions", "rewards"):
        np.testing.assert_array_equal(getattr(dataset, name), arrays[name])


def test_a_compressed_file_reads_the_same(path: Path) -> None:
    np.savez_compressed(path, **make_arrays())
    assert read_npz(path).returns.tolist() == [7.0, 24.0]


@pytest.mark.parametrize("key", ["observations", "actions", "rewards"])
def test_a_missing_key_is_named_with_the_file(path: Path, key: str) -> None:
    np.savez(path, **make_arrays(**{key: None}))
    with pytest.raises(ValueError, match=rf"log\.npz: has no key '{key}'; it holds"):
        read_npz(path)


def test_a_file_that_does_not_say_where_episodes_end_is_refused(path: Path) -> None:
    np.savez(path, **make_arrays(episode_lengths=None))
    with pytest.raises(ValueError, match="does not say where episodes end"):
        read_npz(path)


def test_lengths_that_do_not_add_up_are_refused(path: Path) -> None:
    np.savez(path, **make_arrays(episode_lengths=np.array([3, 3])))
    with pytest.raises(ValueError, match="cover 6 steps, but rewards has 5"):
        read_npz(path)


def test_ends_are_where_a_step_terminated_or_was_truncated(path: Path) -> None:
    ends = {"terminations": marks(1), "truncations": marks(2, 4)}
    np.savez(path, **make_arrays(episode_lengths=None, **ends))
    assert read_npz(path).lengths.tolist() == [2, 1, 2]


@pytest.mark.parametrize("key", ["terminations", "truncations"])
def test_either_kind_of_end_is_enough(path: Path, key: str) -> None:
    np.savez(path, **make_arrays(episode_lengths=None, **{key: marks(1, 4)}))
    dataset = read_npz(path)
    assert dataset.lengths.tolist() == [2, 3]
    np.testing.assert_array_equal(getattr(dataset, key), marks(1, 4))


def test_steps_after_the_last_end_are_a_truncated_episode(path: Path) -> None:
    np.savez(path, **make_arrays(episode_lengths=None, terminations=marks(1)))
    dataset = read_npz(path)
    assert dataset.lengths.tolist() == [2, 3]
    np.testing.assert_array_equal(dataset.terminations, marks(1))
    np.testing.assert_array_equal(dataset.truncations, marks(4))


def test_episodes_known_by_length_alone_count_as_truncated(path: Path) -> None:
    np.savez(path, **make_arrays())
    dataset = read_npz(path)
    assert not dataset.terminations.any()
    np.testing.assert_array_equal(dataset.truncations, marks(2, 4))


@pytest.mark.parametrize("lengths", [np.array([3, 2]), None])
@pytest.mark.parametrize("key", ["terminations", "truncations"])
def test_marks_of_another_length_than_the_rewards_are_refused(
    path: Path, key: str, lengths: np.ndarray | None
) -> None:
    np.savez(path, **make_arrays(episode_lengths=lengths, **{key: np.ones(4, bool)}))
    with pytest.raises(ValueError, match=f"{key} has .*4.*, rewards .*5"):
        read_npz(path)


@pytest.mark.parametrize("lengths", [[5, 0], [7, -2], [2.5, 2.5], [[3], [2]]])
def test_lengths_that_are_no_positive_integers_are_refused(path: Path, lengths: list[Any]) -> None:
    np.savez(path, **make_arrays(episode_lengths=np.array(lengths)))
    with pytest.raises(ValueError, match=r"log\.npz: episode_lengths needs one positive integer"):
        read_npz(path)


@pytest.mark.parametrize("key", ["observations", "actions", "rewards"])
def test_words_in_place_of_numbers_are_refused_by_key(path: Path, key: str) -> None:
    np.savez(path, **make_arrays(**{key: np.array(["a", "b", "c", "d", "e"])}))
    with pytest.raises(ValueError, match=rf"log\.npz: {key} is <U1 .* needs numbers"):
        read_npz(path)


@pytest.mark.parametrize("shape", [(5,), (5, 1)])
def test_integer_actions_are_discrete(path: Path, shape: tuple[int, ...]) -> None:
    np.savez(path, **make_arrays(actions=np.array([0, 2, 1, 0, 1]).reshape(shape)))
    dataset = read_npz(path)
    assert dataset.action_space == spaces.Discrete(3)
    assert dataset.actions.tolist() == [0, 2, 1, 0, 1]


def test_true_and_false_are_the_discrete_actions_1_and_0(path: Path) -> None:
    np.savez(path, **make_arrays(actions=marks(1, 4)))
    dataset = read_npz(path)
    assert dataset.action_space == spaces.Discrete(2)
    assert dataset.actions.tolist() == [0, 1, 0, 0, 1]


@pytest.mark.parametrize(("largest", "bound"), [(1.0, 1.0), (1.5, np.inf)])
def test_float_actions_get_the_box_they_fit(path: Path, largest: float, bound: float) -> None:
    np.savez(path, **make_arrays(actions=np.full((5, 1), largest, np.float32)))
    assert read_npz(path).action_space == spaces.Box(-bound, bound, (1,), np.float32)


def test_the_spaces_of_a_known_environment_are_its_own(path: Path) -> None:
    arrays = make_arrays(
        observations=np.zeros((5, 3), np.float32),
        actions=np.full((5, 1), 0.5, np.float32),
        env_id="Pendulum-v1",
    )
    np.savez(path, **arrays)
    dataset = read_npz(path)
    assert dataset.env_id == "Pendulum-v1"
    assert dataset.action_space == spaces.Box(-2.0, 2.0, (1,), np.float32)


def test_an_environment_that_is_not_installed_is_kept_by_name(path: Path) -> None:
    np.savez(path, **make_arrays(env_id="Nowhere-v7"))
    dataset = read_npz(path)
    assert dataset.env_id == "Nowhere-v7"
    assert dataset.observation_space.shape == (2,)


def test_an_environment_of_another_shape_is_refused_whoever_names_it(path: Path) -> None:
    np.savez(path, **make_arrays(env_id="Pendulum-v1"))
    with pytest.raises(ValueError, match=r"observations have shape \(2,\) a step"):
        read_npz(path)
    np.savez(path, **make_arrays())
    with pytest.raises(ValueError, match=r"observations have shape \(2,\) a step"):
        read_npz(path, env_id="Pendulum-v1")


def test_a_reference_score_is_read_when_both_ends_are_there(path: Path) -> None:
    np.savez(path, **make_arrays(ref_min=-20.0, ref_max=180.0))
    reference = read_npz(path).reference
    assert reference is not None and reference.normalize(80.0) == 50.0
    np.savez(path, **make_arrays(ref_min=-20.0))
    assert read_npz(path).reference is None


def test_other_keys_are_left_alone(path: Path, tmp_path: Path) -> None:
    trace = tmp_path / "unpickled"
    np.savez(path, **make_arrays(agent=np.array([Witness(trace)], object), seed=7))
    assert read_npz(path).returns.tolist() == [7.0, 24.0]
    assert not trace.exists()


@settings(deadline=None, max_examples=25)
@given(episodes())
def test_random_logs_come_back(
    tmp_path_factory: pytest.TempPathFactory, logged: list[Episode]
) -> None:
    path = tmp_path_factory.mktemp("npz") / "log.npz"
    arrays = {
        "observations": np.concatenate([e.observations[: len(e)] for e in logged]),
        "episode_lengths": np.array([len(e) for e in logged]),
    }
    for key in ("actions", "rewards", "terminations", "truncations"):
        arrays[key] = np.concatenate([getattr(e, key) for e in logged])
    if len(logged[0].observations) > len(logged[0]):
        arrays["final_observations"] = np.stack([e.observations[-1] for e in logged])
    np.savez(path, **arrays)
    assert_same_steps(read_npz(path), logged)


class Witness:
    """Unpickling one creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_an_object_array_is_refused_without_unpickling_it(path: Path, tmp_path: Path) -> None:
    trace = tmp_path / "unpickled"
    np.savez(path, **make_arrays(rewards=np.array([Witness(trace)] * 5, object)))
    with pytest.raises(ValueError, match="not a readable npz of plain arrays"):
        read_npz(path)
    assert not trace.exists()
    np.load(path, allow_pickle=True)["rewards"]  # what the refusal prevents
    assert trace.exists()


def test_content_and_not_the_name_makes_an_npz(tmp_path: Path) -> None:
    archive, text = tmp_path / "archive.data", tmp_path / "text.npz"
    np.savez(tmp_path / "whole.npz", **make_arrays())
    (tmp_path / "whole.npz").rename(archive)
    text.write_text("observations, actions, rewards\n")
    assert is_npz(archive)
    assert not is_npz(text)


@pytest.mark.parametrize("declared", [(2**40, 2), (6, 2)])
def test_what_an_array_declares_is_held_against_its_bytes(
    path: Path, declared: tuple[int, int]
) -> None:
    """A header may say anything; NumPy takes the memory before it reads on."""
    np.savez(path, **make_arrays(observations=None))
    content = io.BytesIO()
    header = {"descr": "<f4", "fortran_order": False, "shape": declared}
    np.lib.format.write_array_header_1_0(content, header)
    content.write(bytes(5 * 2 * 4))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("observations.npy", content.getvalue())
    with pytest.raises(
        ValueError, match=r"log\.npz: observations declares .* the file holds \d+ b"
    ):
        read_npz(path)


def test_what_does_not_fit_in_memory_is_not_begun(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(path, **make_arrays(observations=np.zeros((5, 1 << 22), np.float32)))
    monkeypatch.setattr("dt.files.free_memory", lambda: 1 << 26)
    with pytest.raises(ValueError, match=r"log\.npz: observations takes 0\.1 GiB of memory, and 0"):
        read_npz(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", ["rewards.npy", "rewards"])
def test_a_name_that_is_there_twice_is_refused(path: Path, name: str) -> None:
    """Another program would read the other one."""
    np.savez(path, **make_arrays())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"")
    with pytest.raises(ValueError, match=r"log\.npz: holds 'rewards' twice; save it anew"):
        read_npz(path)


@pytest.mark.parametrize("name", ["../../escape.npy", "/etc/passwd.npy", "infos/x.npy", "a\\b.npy"])
def test_a_name_is_no_path_and_nothing_is_unpacked(path: Path, name: str) -> None:
    np.savez(path, **make_arrays())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"words")
    assert len(read_npz(path)) == 2
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    "kwargs", ["[1]", '"xml_file"', '{"max_episode_steps": "many"}', "[" * 9999]
)
def test_arguments_that_are_none_are_refused(path: Path, kwargs: str) -> None:
    np.savez(path, **make_arrays(env_id="CartPole-v1", env_kwargs=kwargs))
    with pytest.raises(ValueError, match=r"log\.npz: env_kwargs ") as error:
        read_npz(path)
    assert "\n" not in str(error.value)
