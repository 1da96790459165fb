"""Is a checkpoint whole, and as it was written? Its manifest knows: a hash of every file.

manifest.json holds the step, its metric, the hashes, and a hash of all that. It is written last: a
folder without one is an unfinished save, and is never read.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from itertools import chain
from pathlib import Path
from typing import Any

from dt.files import PART, flush_to_disk, json_text, refuse_links_out, sha256_of, write_json

MANIFEST = "manifest.json"


def checkpoints_of(run_dir: Path) -> Path:
    """The folder of a run's checkpoints, which need not be there yet.

    Raises:
        ValueError: where it is a link out of the run: what lies there would be read as the run's,
            and removed as what a killed process left of it.
    """
    directory = run_dir.resolve() / "checkpoints"
    refuse_links_out(run_dir, [directory])
    return directory


def complete_steps(directory: Path) -> list[int]:
    """Steps with a finished checkpoint, in order."""
    folders = [p for p in directory.glob("*") if p.name.isdigit() and is_complete(p)]
    return sorted(int(p.name) for p in folders)


def best_step(directory: Path) -> int | None:
    """The step with the lowest metric, if any has one."""
    metrics = {}
    for step in complete_steps(directory):
        metric = _read_manifest(directory / str(step)).get("metric")
        if metric is not None:
            metrics[step] = metric
    return min(metrics, key=lambda step: metrics[step]) if metrics else None


def is_complete(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def verify(folder: Path) -> None:
    """Hash every file again.

    Args:
        folder: RUN/checkpoints/STEP.

    Raises:
        ValueError: naming a file that is missing, added, unreadable or changed since it was
            written, or a link that leads out of the run.
    """
    links = (path for path in folder.rglob("*") if path.is_symlink())
    refuse_links_out(folder.parents[1], chain([folder], links))
    written = _read_manifest(folder).get("files")
    if not written:
        raise ValueError(
            f"{folder}: {MANIFEST} is not as it was written; this checkpoint cannot be trusted"
        )
    present = {str(p.relative_to(folder)) for p in _files(folder)}
    for name in sorted(set(written) | present):
        if name not in present:
            raise ValueError(f"{folder}: {name} is missing; this checkpoint cannot be trusted")
        try:
            same = name in written and sha256_of(folder / name) == written[name]
        except OSError as error:
            raise ValueError(
                f"{folder}: {name} is unreadable ({error.strerror}); "
                f"this checkpoint cannot be trusted"
            ) from error
        if not same:
            raise ValueError(
                f"{folder}: {name} is not as it was written; this checkpoint cannot be trusted"
            )


def write_manifest(folder: Path, facts: dict[str, Any]) -> None:
    """Hash the folder's files and make it count; from here on it outlives a power failure."""
    files = {str(path.relative_to(folder)): _kept(path) for path in _files(folder)}
    write_json(folder / MANIFEST, _sealed({**facts, "files": files}))


def annotate(folder: Path, metric: float | None) -> None:
    """Add a metric that was measured after the save."""
    if metric is not None:
        write_json(folder / MANIFEST, _sealed({**_read_manifest(folder), "metric": metric}))


def remove(folder: Path) -> None:
    """Remove a checkpoint; half a folder never passes for a whole one."""
    (folder / MANIFEST).unlink()
    shutil.rmtree(folder)


def remove_unfinished(directory: Path) -> None:
    """Remove saves that a killed process, or a full disk, cut short: Orbax's folders and ours."""
    for folder in directory.iterdir():
        step, rest = folder.name.partition(".")[::2]
        if step.isdigit() and (".orbax-checkpoint-tmp" in folder.name or not rest):
            if not is_complete(folder):
                # A thread of a save that failed may write on for a moment: what it leaves goes
                # when the run is opened the next time.
                shutil.rmtree(folder, ignore_errors=True)


def set_aside(folder: Path) -> None:
    """Rename a damaged checkpoint, so that its step can be saved again."""
    aside = folder.with_name(folder.name + ".damaged")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)


def _sealed(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with the hash of all else that it says."""
    content = {name: value for name, value in manifest.items() if name != "sha256"}
    return {**content, "sha256": hashlib.sha256(json_text(content).encode()).hexdigest()}


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest's content; one that was changed counts as empty, and nothing verifies."""
    try:
        text = (folder / MANIFEST).read_text()
        manifest = json.loads(text)
    except (ValueError, OSError, RecursionError):
        return {}
    if not isinstance(manifest, dict) or json_text(manifest) != text:
        return {}
    # Manifests were not sealed at first; no flipped bit makes one that is look like those.
    sealed = set(manifest) != {"step", "metric", "files"}
    if sealed and _sealed(manifest) != manifest:
        return {}
    return manifest if _is_sound(manifest) else {}


def _is_sound(manifest: dict[str, Any]) -> bool:
    """Tell whether what it says is of the right kinds: whoever writes one can seal it, too."""
    files, metric = manifest.get("files"), manifest.get("metric")
    hashes = isinstance(files, dict) and all(isinstance(each, str) for each in files.values())
    return hashes and (metric is None or isinstance(metric, float | int))


def _kept(path: Path) -> str:
    """The hash of a file that outlives a power failure from here on."""
    flush_to_disk(path)
    return sha256_of(path)


def _files(folder: Path) -> list[Path]:
    """List a checkpoint's files: all but the manifest, and what a kill left of one."""
    files = (p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST)
    return sorted(p for p in files if not p.name.startswith(PART))
