"""A format that is no part of dt is read, converted to and named like those that are."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

import dt.data.formats
from dt.cli.data import main
from dt.data import Episode, EpisodeDataset, load_dataset, open_source
from dt.data.formats import FORMATS, add_format, all_formats
from dt.data.formats.convert import convert
from dt.data.formats.format import Format
from dt.data.formats.sources import source_files
from dt.data.streams import EpisodeSource
from dt.spaces.environments import EnvKwargs

PACKAGE = """
from dt.data.formats.format import Format

TABLE = Format(name="table", file="a table", read=print)
WORDS = "no format"
"""


@pytest.fixture(autouse=True)
def _formats_of_one_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("dt.data.formats._added", [])
    dt.data.formats._installed.cache_clear()
    yield
    monkeypatch.undo()
    dt.data.formats._installed.cache_clear()
    sys.modules.pop("table_reader", None)


def read_table(
    path: Path, env_id: str | None = None, env_kwargs: EnvKwargs | None = None, reward: str = ""
) -> EpisodeDataset:
    """One episode: a step a line, its observation, action and reward."""
    table = np.loadtxt(path, np.float32, skiprows=1, ndmin=2)
    ends = np.arange(len(table)) == len(table) - 1
    rewards = table[:, 2] if not reward else np.full(len(table), float(reward), np.float32)
    episode = Episode(table[:, :1], table[:, 1:2], rewards, ends, np.zeros_like(ends))
    return EpisodeDataset.from_episodes(
        str(path),
        [episode],
        observation_space=spaces.Box(-np.inf, np.inf, (1,), np.float32),
        action_space=spaces.Box(-np.inf, np.inf, (1,), np.float32),
        env_id=env_id,
        env_kwargs=env_kwargs or {},
    )


def write_table(path: Path, source: EpisodeSource) -> None:
    (episode,) = source
    columns = [episode.observations[: len(episode)], episode.actions, episode.rewards[:, None]]
    np.savetxt(path, np.concatenate(columns, axis=1), header="a table", comments="")


TABLE = Format(
    name="table",
    file="a table",
    is_file=lambda path, head: head.startswith(b"a table"),
    read=read_table,
    takes_reward=True,
    suffixes=(".table",),
    write=write_table,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "log.txt"
    path.write_text("a table\n0 0.5 1\n1 -0.5 2\n2 0.25 3\n")
    return path


def test_an_added_format_is_recognised_and_read(path: Path) -> None:
    with pytest.raises(ValueError, match=r"log\.txt: unknown content; give an \.npz file, .*hub"):
        load_dataset(str(path))
    add_format(TABLE)
    for source in (str(path), f"table:{path}", str(path.with_name("*.txt"))):
        dataset = load_dataset(source)
        assert (dataset.rewards.tolist(), dataset.lengths.tolist()) == ([1, 2, 3], [3])
        assert source_files(source) == [path]
    assert load_dataset(str(path), reward="7").rewards.tolist() == [7, 7, 7]


def test_an_added_format_has_a_card(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add_format(TABLE)
    assert main([str(path), "--no-draw"]) == 0
    assert "1 episodes, 3 steps" in capsys.readouterr().out


def test_an_added_format_is_named_where_a_content_is_unknown(tmp_path: Path) -> None:
    add_format(TABLE)
    (tmp_path / "words").write_text("neither")
    with pytest.raises(ValueError, match="unknown content; give an .npz file, .* a table, a Min"):
        open_source(str(tmp_path / "words"))
    with pytest.raises(ValueError, match=f"--data table:{tmp_path}: is a folder; give a file"):
        open_source(f"table:{tmp_path}")


def test_a_data_set_is_converted_to_an_added_format_and_back(path: Path) -> None:
    with pytest.raises(ValueError, match="says no format; end it in .npz .npz., .hdf5 .d4rl. or,"):
        convert(str(path), path.with_name("again.table"))
    add_format(TABLE)
    again = convert(str(path), path.with_name("again.table"))
    converted = load_dataset(str(convert(str(again), path.with_name("again.npz"))))
    np.testing.assert_array_equal(converted.observations, [[0], [1], [2]])
    np.testing.assert_array_equal(converted.actions, [[0.5], [-0.5], [0.25]])


@pytest.mark.parametrize("name", [each.name for each in FORMATS])
def test_a_name_that_is_taken_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"format '{name}' is there already; give another name"):
        add_format(Format(name=name, file="another", read=read_table))
    assert all_formats() == FORMATS


def test_a_format_is_added_once(path: Path) -> None:
    add_format(TABLE)
    with pytest.raises(ValueError, match="format 'table' is there already"):
        add_format(TABLE)
    assert len(load_dataset(str(path))) == 1


@pytest.mark.parametrize("name", ["", "a:b", "a b", "a/b"])
def test_a_name_must_be_able_to_stand_before_a_colon(name: str) -> None:
    with pytest.raises(ValueError, match="the name must be letters, digits, '-' and '_'"):
        Format(name=name, read=read_table)


def install(folder: Path, attribute: str) -> None:
    (folder / "table_reader.py").write_text(PACKAGE)
    about = folder / "table_reader-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: table-reader\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[dt.formats]\ntable = table_reader:{attribute}\n")


def test_an_installed_package_brings_its_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "TABLE")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("site.getsitepackages", lambda: [str(tmp_path), str(tmp_path)])
    assert [each.name for each in all_formats()][len(FORMATS) :] == ["table"]
    with pytest.raises(ValueError, match="format 'table' is there already"):
        add_format(TABLE)
        all_formats()


@pytest.mark.parametrize("attribute", ["WORDS", "MISSING"])
def test_a_package_whose_format_cannot_be_had_is_named(
    attribute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, attribute)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("site.getsitepackages", lambda: [str(tmp_path)])
    with pytest.raises(ValueError, match="entry point 'table' of the installed package table-read"):
        all_formats()


def test_a_folder_on_the_path_that_is_not_installed_brings_no_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, "TABLE")
    monkeypatch.syspath_prepend(tmp_path)
    names = [each.name for each in importlib.metadata.entry_points(group="dt.formats")]
    assert names == ["table"]  # Python's own search would take it
    assert all_formats() == FORMATS
    assert "table_reader" not in sys.modules


def test_importing_the_formats_imports_no_package_that_one_of_them_alone_needs() -> None:
    code = "import sys, dt.data; print(*sys.modules)"
    words = [sys.executable, "-c", code]
    ended = subprocess.run(words, capture_output=True, text=True, check=True)
    assert not {"jax", "h5py", "minari", "pyarrow"} & set(ended.stdout.split())
