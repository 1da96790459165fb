"""Does `dt` find the modules that its user names, and no others?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dt.cli.main import find_modules_here, main


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("collect envs:Own-v0 --policy random", True),
        ("collect Own-v0 --policy mine:act", True),
        ("train --evaluation.env envs:Own-v0", True),
        ("train --evaluation.env=envs.deep:Own-v0", True),
        ("evaluate runs/x --env envs:Own-v0", True),
        ("evaluate runs/x --env elsewhere:Own-v0", False),
        ("evaluate runs/x --env Own-v0", False),
        ("train --data envs:Own-v0", False),  # a source of data names no code
        ("data mine:log", False),
    ],
)
def test_a_module_that_is_named_is_looked_for_in_the_working_directory(
    words: str, found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").touch()
    (tmp_path / "mine.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = list(sys.path)
    command, *args = words.split()
    find_modules_here(command, args)
    assert sys.path == (before + [str(tmp_path)] if found else before)


def test_an_unknown_command_is_told_the_nearest(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["dt", "evalute", "runs/x"])
    assert main() == 2
    assert "no command 'evalute'; did you mean 'evaluate'?" in capsys.readouterr().err
