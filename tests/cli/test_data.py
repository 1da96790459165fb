"""Does `dt data SOURCE` show, draw and keep a card, and refuse in one line?"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import h5py
import matplotlib.image
import numpy as np
import pytest
from rich.console import Console

from dt.cli.data import main
from dt.data.card.card import data_card
from dt.data.formats.npz import read_npz
from dt.report.data_card import bars, print_data_card
from dt.report.plots import plot_data_card

# An object's array of eight bytes, whose type's pickled state denies that it holds objects.
POINTER = (
    b"\x80\x02]cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00O8\x89\x88\x87R(K\x03"
    b"X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbc_codecs\nencode\n"
    b"X\x08\x00\x00\x00AAAAAAAAX\x06\x00\x00\x00latin1\x86R\x86Ra."
)


def write_npz(path: Path, **changes: Any) -> Path:
    """25 episodes of 4 steps that return 0, 4, ..., 96."""
    rng = np.random.default_rng(0)
    arrays = {
        "observations": rng.normal(size=(100, 3)).astype(np.float32),
        "actions": rng.uniform(-0.9, 0.9, (100, 2)).astype(np.float32),
        "rewards": np.repeat(np.arange(25.0), 4),
        "episode_lengths": np.full(25, 4),
        **changes,
    }
    np.savez(path, **arrays)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, in a terminal of 100 columns."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("COLUMNS", "100")
    return work


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_card_is_shown_and_its_picture_lies_in_the_working_folder(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_npz(tmp_path / "log.npz")
    assert main([str(source)]) == 0
    out = capsys.readouterr().out
    assert "25 episodes, 100 steps" in out
    assert "Box(-1.0, 1.0, (2,), float32), 0 % at a bound" in out
    assert "wrote log-data.png" in out
    assert max(map(len, out.splitlines())) <= 100
    assert names(folder) == ["log-data.png"]
    assert names(tmp_path) == ["log.npz", "work"]


def test_json_and_picture_go_where_they_are_asked_to(folder: Path, tmp_path: Path) -> None:
    source = str(write_npz(tmp_path / "log.npz"))
    (folder / "a").mkdir()
    assert main([source, "--json", "a/card.json"]) == 0
    assert names(folder / "a") == ["card.json", "log-data.png"]
    card = json.loads((folder / "a" / "card.json").read_text())
    assert card == data_card(read_npz(Path(source)))[0]
    assert main([source, "--picture", "other.png"]) == 0
    assert main([source, "--no-draw"]) == 0
    assert names(folder) == ["a", "other.png"]


def test_a_data_set_with_nan_is_shown_with_its_problem_and_exit_0(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    observations = np.zeros((100, 3), np.float32)
    observations[9, 1] = np.nan
    source = write_npz(folder / "log.npz", observations=observations)
    assert main([str(source), "--json", "card.json"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "problem: observations[1] is NaN or infinite in 1 of 100 steps" in out
    assert "first at episode 2, step 1" in out
    assert len(json.loads((folder / "card.json").read_text())["problems"]) == 1


def write_d4rl(path: Path, observations: np.ndarray) -> Path:
    with h5py.File(path, "w") as file:
        file["observations"] = observations
        file["actions"] = np.zeros((100, 2), np.float32)
        file["rewards"] = np.repeat(np.arange(25.0, dtype=np.float32), 4)
        file["terminals"] = np.arange(100) % 4 == 3
        file["timeouts"] = np.zeros(100, bool)
    return path


def test_other_formats_and_globs_are_read_whatever_they_hold(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    observations = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    write_d4rl(folder / "a.hdf5", observations)
    observations[50, 2] = np.inf
    write_d4rl(folder / "b.hdf5", observations)
    assert main(["*.hdf5", "--json", "card.json"]) == 0
    assert "wrote card.json, all-data.png" in capsys.readouterr().out
    card = json.loads((folder / "card.json").read_text())
    assert (card["episodes"], card["steps"]) == (50, 200)
    # Episode 25 is the first of the second file.
    assert card["observations"]["not_finite"] == [
        {"column": "2", "rows": 1, "first_episode": 25 + 12, "first_step": 2}
    ]


def test_convert_writes_another_format_and_says_where(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(write_npz(folder / "log.npz"))
    assert main(["convert", source, "log.hdf5"]) == 0
    assert capsys.readouterr().out == "wrote log.hdf5\n"
    assert main(["log.hdf5", "--json", "b.json"]) == 0
    assert main(["log.npz", "--json", "a.json"]) == 0
    before, after = (json.loads((folder / name).read_text()) for name in ("a.json", "b.json"))
    assert {**before, "name": ""} == {**after, "name": ""}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["missing.npz", "out.hdf5"], "missing.npz: no such file"),
        (["log.npz", "log.npz"], "log.npz: is there already"),
        (["log.npz", "out.txt"], "out.txt: says no format"),
        (["log.npz"], "OUT"),
    ],
)
def test_a_conversion_that_cannot_be_is_one_line_and_exit_2(
    folder: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    write_npz(folder / "log.npz")
    assert main(["convert", *args]) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    assert names(folder) == ["log.npz"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["missing.npz"], "missing.npz: no such file"),
        (["text.npz"], "text.npz: unknown content"),
        (["cut.npz"], "cut.npz: "),
        (["ragged.npz"], "observations has 99 rows, rewards has 100"),
        ([], "SOURCE"),
        (["log.npz", "--colour"], "--colour"),
        (["log.npz", "--env", "Nowhere-v7"], "cannot make environment 'Nowhere-v7'"),
        (["log.npz", "--json", "card.txt"], "--json card.txt: the name must end in .json"),
        (["log.npz", "--json", "log.npz"], "the name must end in .json"),
        (["log.npz", "--json", "no/card.json"], "there is no folder no"),
        (["log.npz", "--picture", "a.pdf"], "--picture a.pdf: the name must end in .png"),
        (["log.png", "--picture", "log.png"], "--picture log.png: is the data itself"),
        (["log.json", "--json", "link.json"], "--json link.json: is the data itself"),
        (["log.npz", "--json", "folder.json"], "folder.json"),
    ],
)
def test_bad_input_is_one_line_and_exit_2_and_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], args: list[str], message: str
) -> None:
    whole = write_npz(folder / "log.npz").read_bytes()
    (folder / "log.png").write_bytes(whole)
    (folder / "log.json").write_bytes(whole)
    (folder / "link.json").symlink_to(folder / "log.json")
    (folder / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.npz").write_text("no arrays here")
    (folder / "folder.json").mkdir()
    write_npz(folder / "ragged.npz", observations=np.zeros((99, 3), np.float32))
    before = names(folder)
    assert main([*args, *(["--no-draw"] if "--picture" not in args else [])]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert names(folder) == before
    assert (folder / "log.png").read_bytes() == (folder / "log.json").read_bytes() == whole


def shown(card: dict[str, Any], width: int = 100) -> str:
    text = io.StringIO()
    print_data_card(card, Console(file=text, width=width))
    return text.getvalue()


@pytest.fixture
def card(tmp_path: Path) -> dict[str, Any]:
    return data_card(read_npz(write_npz(tmp_path / "log.npz")))[0]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_the_card_fits_its_terminal(card: dict[str, Any], width: int) -> None:
    assert max(map(len, shown(card, width).splitlines())) <= width


def test_the_table_shows_the_card_s_percentiles(card: dict[str, Any]) -> None:
    row = next(line for line in shown(card).splitlines() if line.startswith("returns "))
    assert row.split()[1:] == [
        "0.0",
        "4.8",
        "24.0",
        "48.0",
        "72.0",
        "91.2",
        "96.0",
        "48.0",
        "28.8",
        "92.0",
    ]


def test_square_brackets_are_no_markup(card: dict[str, Any]) -> None:
    card["problems"] = ["observations[/red] is NaN"]
    assert "observations[/red] is NaN" in shown({**card, "name": "[bold]log"})
    assert "[bold]log" in shown({**card, "name": "[bold]log"})


def test_bars_are_as_high_as_their_counts_and_marked_at_the_targets() -> None:
    histogram = {"edges": [0.0, 1.0, 2.0, 3.0, 4.0], "counts": [0, 1, 20, 40]}
    lines = bars(histogram, [0.0, 2.5, 4.0], wide=2, encoding="utf-8")
    heights = [
        sum(line[2 * i : 2 * i + 1] not in ("", " ") for line in lines[:5]) for i in range(4)
    ]
    assert heights == [0, 1, 3, 5]  # one episode of 40 is still seen
    assert [i for i, mark in enumerate(lines[5]) if mark == "^"] == [0, 5, 7]
    assert lines[-1].startswith("0.00") and lines[-1].endswith("4.00")


def test_a_terminal_without_unicode_gets_ascii() -> None:
    histogram = {"edges": [0.0, 1.0, 2.0], "counts": [3, 7]}
    assert "".join(bars(histogram, [1.0], wide=2, encoding="ascii")).isascii()


def draw(card: dict[str, Any], path: Path, lengths: np.ndarray | None = None) -> np.ndarray:
    lengths = np.full(25, 4) if lengths is None else lengths
    plot_data_card(card, np.arange(25) * 4.0, lengths, path)
    return matplotlib.image.imread(path)


def test_the_picture_shows_targets_gaps_and_lengths(card: dict[str, Any], tmp_path: Path) -> None:
    before = draw(card, tmp_path / "a.png")
    assert before.shape == (768, 1080, 4)
    assert 0.01 < (before[..., :3] < 0.9).any(axis=-1).mean() < 0.5  # shapes on mostly white
    card["steerability"]["targets"][3]["episodes_near"] = 77
    assert (draw(card, tmp_path / "b.png") != before).any()
    card["steerability"]["verdict"] = "gaps"
    shaded = draw(card, tmp_path / "c.png")
    assert (shaded != draw(card, tmp_path / "b.png", np.arange(1, 26))).any()


def test_the_picture_of_a_card_without_returns_is_drawn(tmp_path: Path) -> None:
    source = write_npz(tmp_path / "log.npz")
    card, _ = data_card(read_npz(source))
    plot_data_card(
        {**card, "returns": None}, np.full(25, np.nan), np.full(25, 4), tmp_path / "a.png"
    )
    assert (tmp_path / "a.png").stat().st_size > 1000


def write_hostile(folder: Path) -> dict[str, str]:
    """Files that would run code, crash or read others, and what their one line says."""
    marker, rows = folder / "RAN", np.zeros((100, 3), np.float32)
    data = folder / "minari" / "data"
    data.mkdir(parents=True)
    spec = {
        "id": "Nice-v0",
        "entry_point": "subprocess:getoutput",
        "kwargs": {"cmd": f"touch {marker}"},
    }
    metadata = {
        "data_format": "hdf5",
        "dataset_id": "nice/nice-v0",
        "total_episodes": 1,
        "total_steps": 10,
        "minari_version": "0.5.3",
        "env_spec": json.dumps(spec),
    }
    (data / "metadata.json").write_text(json.dumps(metadata))
    h5py.File(data / "main_data.hdf5", "w").close()

    (folder / "secret").write_bytes(bytes(4096))
    write_d4rl(folder / "external.hdf5", rows)
    write_d4rl(folder / "huge.hdf5", rows)
    for name, how in (
        ("external.hdf5", {"shape": (100, 3), "external": [(str(folder / "secret"), 0, 1200)]}),
        ("huge.hdf5", {"shape": (2**40, 3), "chunks": (1024, 3)}),
    ):
        with h5py.File(folder / name, "r+") as file:
            del file["observations"]
            file.create_dataset("observations", dtype="f4", **how)
    # A call of a shell, which is refused by name.
    (folder / "call.pkl").write_bytes(b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.")
    # Bytes that an array's type would take for an address.
    (folder / "pointer.pkl").write_bytes(POINTER)
    return {
        "minari": "minari: metadata.json has no observation_space and action_space",
        "external.hdf5": "external.hdf5: observations is stored in another file",
        "huge.hdf5": "huge.hdf5: observations declares (1099511627776, 3) values",
        "pointer.pkl": "pointer.pkl: holds a list; it needs a list of dicts",
        "call.pkl": "call.pkl: its pickle asks for os.system, which could run code",
    }


def test_what_is_not_safe_to_open_is_one_line_and_leaves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = write_hostile(folder)
    before = names(folder)
    for name, message in hostile.items():
        assert main([name]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith(f"dt data: {message}"), captured.err
        assert len(captured.err.strip().splitlines()) == 1
        for out in ("copy.npz", "./copy-v0"):
            assert main(["convert", name, out]) == 2
            assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert names(folder) == before  # RAN is not among them


def test_the_card_says_what_was_opened_and_what_was_not_run(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    (folder / "planted_card.py").write_text("open('RAN', 'w').close()")
    monkeypatch.syspath_prepend(str(folder))
    write_npz(folder / "log.npz", env_id="planted_card:Nice-v0")
    assert main(["log.npz", "--no-draw"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("file")]
    assert (
        "npz, 1 file, " in line and "KiB; safe to open: no links to other files, no pickle" in line
    )
    assert "would run the module 'planted_card', which was not done" in line
    assert not (folder / "RAN").exists()
    write_d4rl(folder / "b.hdf5", np.zeros((100, 3), np.float32))
    assert main(["*.hdf5", "--no-draw"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("file")]
    assert "d4rl, 1 file, " in line and line.rstrip().endswith("no pickle")
