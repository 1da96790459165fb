"""Do the pages under docs/ name files that are there?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A path in code quotes, with a room or folder before it: `dt/play/turns.py`, `dt/model/heads/`.
PATH = re.compile(r"`((?:dt|envs|examples|tests|benchmarks|docs)/[\w/]*(?:\.\w+)?)`")


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_a_page_names_files_that_are_there(page: Path) -> None:
    named = PATH.findall(page.read_text())
    assert not [path for path in named if not (ROOT / path).exists()]
    assert named or page.name not in ("glossary.md", "design.md")
