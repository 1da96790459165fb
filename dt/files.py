"""Files on the disk: written whole, locked, hashed, and what went wrong with them in one line."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

# What a file system answers that has no locks: some NFS and cluster mounts.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


@contextmanager
def written_whole(path: Path, lasting: bool = False) -> Iterator[Path]:
    """Give a name beside `path` to write to, which takes its place when the block ends well.

    A reader finds the old file or the new one, whole; after an error the new one is gone.

    Args:
        lasting: whether what was written outlives a power failure from then on.
    """
    # Of this process alone: two that write the same file do not write into each other's. The
    # suffix stays, as some writers go by it.
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield beside
        if lasting:
            flush_to_disk(beside)  # or the new name may outlive the failure without its content
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, values: object) -> None:
    """Write values as a JSON file, whole and lasting."""
    with written_whole(path, lasting=True) as beside:
        beside.write_bytes(json_text(values).encode())


def json_text(values: object) -> str:
    """Spell values as our JSON files do."""
    return json.dumps(values, indent=1) + "\n"


def flush_to_disk(path: Path) -> None:
    """Return when the file's bytes would outlive a power failure."""
    # Windows flushes only what is open for writing, which elsewhere a file need not allow.
    with path.open("r+b" if os.name == "nt" else "rb") as file:
        os.fsync(file.fileno())


@contextmanager
def locked(
    path: Path,
    *,
    on_wait: Callable[[], None] | None = None,
    say: Callable[[str], None] = print,
) -> Iterator[None]:
    """Hold the lock of a file, which is made for it, while the block runs.

    The operating system lets the lock go with the process, however that ends: what a killed
    process leaves behind is a file, and no obstacle. Who removes the file while holding the lock
    sends those who wait for it to the next one.

    Args:
        on_wait: called before waiting for another holder; None: do not wait.
        say: told where the file system has no locks. The block runs there all the same.

    Raises:
        BlockingIOError: when another holds it, and `on_wait` is None.
    """
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        try:
            lock.acquire(blocking=False)
        except Timeout:
            if on_wait is None:
                raise BlockingIOError(errno.EWOULDBLOCK, "is locked", str(path)) from None
            on_wait()
            lock.acquire()
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        say(
            f"note: {path}: this file system has no locks ({error.strerror}); see to it that no "
            f"other process works in {path.parent}"
        )
    try:
        yield
    finally:
        lock.release()


def sha256_of(path: Path) -> str:
    """Hash a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """Reduce an error to its first line, or to its kind where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
