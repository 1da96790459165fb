"""Files of what the verbs of steering found: one JSON and one picture or page, each whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from dt.files import write_json, written_whole
from dt.steering.outcome import FOLDER, Found


def write_found(
    found: Found, run_dir: Path, draw: Callable[[Path], None], suffix: str = ".png"
) -> list[Path]:
    """Write RUN/steering/VERB-NAME.json and the picture beside it; the same name is replaced.

    Args:
        draw: writes the picture, or the self-contained page, to a path.
        suffix: of the picture.

    Returns:
        Both files.

    Raises:
        OSError: where nothing can be written, with what to do.
    """
    folder = run_dir / FOLDER
    files = [folder / f"{found.outcome.stem}{kind}" for kind in (".json", suffix)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(files[0], found.to_json())
        with written_whole(files[1]) as beside:
            draw(beside)
    except OSError as error:
        raise OSError(
            f"{folder}: what was found cannot be written there ({error.strerror or error}); copy "
            f"the run to where it can be"
        ) from error
    return files
