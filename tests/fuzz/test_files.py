"""Is a damaged file of any kind read, or refused in one plain line that names it?

In a process of its own: no other exception, no crash, no ten seconds, no two gigabytes, no warning,
nothing that steers a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from damaged_logs import FORMATS
from damaged_rows import FORMATS as ROWS
from damaged_rows import sound_rows
from damaged_runs import KINDS, sound_files
from hunting import hunt, place
from reading_process import Reader

# Of a failure: the files' bytes are not shown, and left in the test's folder.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

LOGS = {name: ("data", files) for name, files in {**FORMATS, **ROWS}.items()}
EVERY = {**LOGS, **KINDS}
SLOW = ("spec", "config", "weights", "hugging face")  # to read: a tenth of a second and more


@pytest.fixture(scope="module")
def reader() -> Iterator[Reader]:
    sound_files()
    reader = Reader()
    yield reader
    reader.close()


@pytest.mark.slow
def test_whole_files_are_read(tmp_path: Path, reader: Reader) -> None:
    rows = [("data", files) for files in sound_rows().values()]
    for kind, files in [*sound_files().values(), *rows]:
        assert reader.fault(kind, place(tmp_path, files), sound=True) is None


@pytest.mark.slow
@pytest.mark.parametrize("name", EVERY)
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path, reader: Reader) -> None:
    kind, files = EVERY[name]
    hunt(kind, files, tmp_path, reader, examples=6 if name in SLOW else 20)


@pytest.mark.thorough
@pytest.mark.parametrize("name", EVERY)
def test_none_is_found_in_ten_minutes(name: str, tmp_path: Path, reader: Reader) -> None:
    kind, files = EVERY[name]
    hunt(kind, files, tmp_path, reader, examples=0, seconds=600.0)
