"""Environments come from where packages are installed, and from no folder of data."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

import pytest

from dt.play.installed import GROUP, environments


def install(folder: Path) -> None:
    """A package that brings environments, as a folder may hold it."""
    (folder / "planted_envs.py").write_text("")
    info = folder / "planted-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nplanted = planted_envs\n")


def test_a_folder_on_the_path_that_is_not_installed_brings_no_environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = [point.name for point in importlib.metadata.entry_points(group=GROUP)]
    assert "planted" in found  # Python's own search would take it
    monkeypatch.setattr("site.getsitepackages", lambda: [])
    monkeypatch.setattr("site.ENABLE_USER_SITE", False)
    with pytest.raises(ValueError, match="are not installed; in a clone"):
        environments()
    assert "planted_envs" not in sys.modules
    monkeypatch.setattr("site.getsitepackages", lambda: [str(tmp_path)])
    assert environments().__name__ == "planted_envs"
    sys.modules.pop("planted_envs")
