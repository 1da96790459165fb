"""Files on the disk: written whole, locked, hashed, and what went wrong with them in one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Reduce an error to its first line, or to its kind where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
