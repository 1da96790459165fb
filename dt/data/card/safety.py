"""Say in a line what was opened, and what of it was not followed or run.

What the words claim, the formats enforce: a file that does otherwise is refused (docs/security.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dt.data.formats import FORMATS
from dt.data.formats.sources import Piece
from dt.data.streams import EpisodeSource
from dt.spaces.environments import why_not_trusted

PICKLES = ("kzl",)  # formats that are pickles


def safety_line(
    pieces: Sequence[Piece], files: Sequence[Path], source: EpisodeSource, named: str = ""
) -> str:
    """Name the format and the size, and what its files hold of links, pickles and code.

    Args:
        pieces, files: what the source consists of, by `find_pieces` and `source_files`.
        named: the environment that the user names.
    """
    formats = list(dict.fromkeys(piece.format.name for piece in pieces))
    size = sum(path.stat().st_size for path in files)
    count = "1 file" if len(files) == 1 else f"{len(files):,} files"
    line = f"{', '.join(formats)}, {count}, {_in_bytes(size)}"
    foreign = [piece.format.name for piece in pieces if piece.format not in FORMATS]
    if foreign:
        return f"{line}; as safe to open as the package that reads {foreign[0]}"
    pickle = "a pickle, of which nothing was run" if set(formats) & {*PICKLES} else "no pickle"
    line += f"; safe to open: no links to other files, {pickle}"
    reason = None
    if source.env_id is not None:
        reason = why_not_trusted(source.env_id, source.env_kwargs, named)
    return f"{line}; {reason}, which was not done" if reason else line


def _in_bytes(size: float) -> str:
    units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.0f} bytes" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
