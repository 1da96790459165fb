"""Are pickled episodes read, and no pickle that would do more than hold them?"""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_logs import assert_same_steps, episodes

from dt.data import Episode
from dt.data.formats.kzl import is_pickle, read_kzl


def make_entry(length: int = 3, terminal: bool = True, **changes: Any) -> dict[str, Any]:
    """As kzl's script writes an episode; a change of None removes the key."""
    rows = np.arange(2.0 * (length + 1)).reshape(length + 1, 2)
    entry = {
        "observations": rows[:-1],
        "next_observations": rows[1:],
        "actions": np.full((length, 1), 0.5, np.float32),
        "rewards": np.ones(length),
        "terminals": (np.arange(length) == length - 1) & terminal,
        **changes,
    }
    return {key: value for key, value in entry.items() if value is not None}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.pkl"


@settings(deadline=None, max_examples=25)
@given(episodes(finals=True), st.integers(2, pickle.HIGHEST_PROTOCOL), st.booleans())
def test_random_logs_come_back(
    tmp_path_factory: pytest.TempPathFactory, logged: list[Episode], protocol: int, singular: bool
) -> None:
    path = tmp_path_factory.mktemp("kzl") / "log.pkl"
    entries = []
    for e in logged:
        entry = {
            "observations": e.observations[:-1],
            "next_observations": e.observations[1:],
            "actions": e.actions,
            "rewards": e.rewards,
            "terminals": e.terminations,
        }
        entries.append({k.removesuffix("s") if singular else k: v for k, v in entry.items()})
    path.write_bytes(pickle.dumps(entries, protocol))
    assert is_pickle(path.read_bytes()[:8])
    # The format does not know time limits: what did not terminate was truncated.
    expected = [
        Episode(e.observations, e.actions, e.rewards, e.terminations, cut)
        for e in logged
        for cut in [(np.arange(len(e)) == len(e) - 1) & ~e.terminations]
    ]
    assert_same_steps(read_kzl(path), expected)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol_is_known_and_read(path: Path, protocol: int) -> None:
    path.write_bytes(pickle.dumps([make_entry(), make_entry(2, terminal=False)], protocol))
    assert is_pickle(path.read_bytes()[:8])
    dataset = read_kzl(path)
    assert dataset.lengths.tolist() == [3, 2]
    assert np.flatnonzero(dataset.truncations).tolist() == [4]


def test_the_spelling_of_numpy_1_is_read(path: Path) -> None:
    """There the arrays' makers lay in numpy.core."""
    new = pickle.dumps([make_entry()], 2)
    old = new.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert old != new
    path.write_bytes(old)
    assert read_kzl(path).returns.tolist() == [3.0]


def test_without_next_observations_none_is_known_after_the_last_action(path: Path) -> None:
    path.write_bytes(pickle.dumps([make_entry(next_observations=None)]))
    assert read_kzl(path).final_observations is None


class Harm:
    """Pickled, it is a call of the function."""

    def __init__(self, function: Any, *args: Any):
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


HARMS = {
    "posix.system": lambda trace: Harm(os.system, f"touch {trace}"),
    "subprocess.check_output": lambda trace: Harm(subprocess.check_output, ["touch", str(trace)]),
    "builtins.exec": lambda trace: Harm(exec, f"open({str(trace)!r}, 'w')"),
    "builtins.getattr": lambda trace: Harm(getattr, trace, "touch"),
    "numpy.load": lambda trace: Harm(np.load, str(trace), None, True),
    "numpy.save": lambda trace: Harm(np.save, str(trace), np.zeros(1)),
}


@pytest.mark.parametrize("name", HARMS)
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    path: Path, tmp_path: Path, name: str, protocol: int
) -> None:
    trace = tmp_path / "ran.npy"
    harm = HARMS[name](trace)
    path.write_bytes(pickle.dumps([make_entry(), {"observations": harm}], protocol))
    with pytest.raises(ValueError, match=r"log\.pkl: its pickle asks for .* could run code") as e:
        read_kzl(path)
    asked = str(e.value).split()[5].rstrip(",")
    assert asked.rpartition(".")[2] == name.rpartition(".")[2]
    assert not trace.exists()


def test_the_harm_is_real(path: Path, tmp_path: Path) -> None:
    """So the test above would see it."""
    trace = tmp_path / "ran.npy"
    pickle.loads(pickle.dumps(HARMS["posix.system"](trace)))
    assert trace.exists()


def test_a_codec_that_is_no_spelling_of_bytes_is_refused(path: Path) -> None:
    path.write_bytes(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")
    with pytest.raises(ValueError, match="its pickle asks for the codec 'rot13'"):
        read_kzl(path)


def test_a_function_that_is_allowed_cannot_be_changed_for_the_next_reading(path: Path) -> None:
    """A pickle may set attributes of what it is given: BUILD with a state of attributes."""
    code = b"\x80\x02cnumpy._core.numeric\n_frombuffer\nN}X\x0d\x00\x00\x00__kwdefaults__}s\x86b."
    path.write_bytes(code)
    before = np._core.numeric._frombuffer.__kwdefaults__  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=r"log\.pkl"):
        read_kzl(path)
    assert np._core.numeric._frombuffer.__kwdefaults__ == before  # type: ignore[attr-defined]


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_cut_short_is_refused(path: Path, share: float) -> None:
    whole = pickle.dumps([make_entry(50)])
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ValueError, match=r"log\.pkl: not a readable pickle \(.*; fetch it") as e:
        read_kzl(path)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("content", [{"observations": 1}, [1, 2], "words", None])
def test_what_is_no_list_of_dicts_is_refused(path: Path, content: Any) -> None:
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"log\.pkl: holds a \w+; it needs a list of dicts"):
        read_kzl(path)


@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "terminals"])
def test_a_missing_key_names_the_episode(path: Path, key: str) -> None:
    path.write_bytes(pickle.dumps([make_entry(), make_entry(**{key: None})]))
    with pytest.raises(ValueError, match=rf"log\.pkl: episode 1 has no key '{key}'; it holds"):
        read_kzl(path)


@pytest.mark.parametrize("value", [np.array([1, None, 2]), [[1], [1, 2]], np.array("abc"), 1.0])
def test_what_is_no_array_of_numbers_is_refused(path: Path, value: Any) -> None:
    path.write_bytes(pickle.dumps([make_entry(rewards=value)]))
    said = r"log\.pkl: episode 0 has rewards of .*(needs an array|unequal)"
    with pytest.raises(ValueError, match=said):
        read_kzl(path)


def test_ragged_lengths_name_the_episode(path: Path) -> None:
    ragged = make_entry(actions=np.zeros((2, 1), np.float32))
    path.write_bytes(pickle.dumps([make_entry(), ragged]))
    with pytest.raises(ValueError, match=r"log\.pkl: episode 1 has 2 actions for 3 rewards"):
        read_kzl(path)


def test_a_number_that_is_not_finite_names_episode_and_step(path: Path) -> None:
    entry = make_entry(rewards=np.array([1.0, np.nan, 1.0]))
    path.write_bytes(pickle.dumps([make_entry(), entry]))
    with pytest.raises(ValueError, match=r"log\.pkl: rewards at episode 1, step 1 is not finite"):
        read_kzl(path)


def test_an_empty_list_and_an_empty_episode_are_refused(path: Path) -> None:
    path.write_bytes(pickle.dumps([]))
    with pytest.raises(ValueError, match=r"log\.pkl: holds no episode"):
        read_kzl(path)
    path.write_bytes(pickle.dumps([make_entry(), make_entry(0)]))
    with pytest.raises(ValueError, match=r"log\.pkl: episode 1 has 0 steps; remove it"):
        read_kzl(path)
