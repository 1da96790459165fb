"""Files on the disk: written whole, locked, hashed, and read as types, with errors of one line."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import os
import site
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import cattrs
import psutil
from filelock import FileLock, Timeout

# What a file system answers that has no locks: some NFS and cluster mounts.
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}


T = TypeVar("T")

MOST_JSON = 1 << 28  # bytes of a file; no file of ours has a hundredth of it
LARGEST = 1 << 63  # an integer of a file is below it
MOST_FAULTS = 5  # fields that an error names
MOST_SHOWN = 600  # characters of what is said about a file

PART = ".part-"  # how the names begin of what is not yet whole, or was left by a killed process


@contextmanager
def written_whole(path: Path, lasting: bool = False) -> Iterator[Path]:
    """Give a name beside `path` to write to, which takes its place when the block ends well.

    A reader finds the old file or the new one, whole; after an error the new one is gone.

    Args:
        lasting: whether what was written outlives a power failure from then on.
    """
    # Of this process alone: two that write the same file do not write into each other's. The
    # suffix stays, as some writers go by it.
    beside = path.with_name(f"{PART}{os.getpid()}-{path.name}")
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


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ValueError: in one line that names the file, for one that is no JSON or no file.
    """
    try:
        if path.stat().st_size > MOST_JSON:
            raise ValueError(f"it has more than {MOST_JSON >> 20} MiB")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:  # deep in itself
        raise ValueError(f"{path}: is no JSON ({shown(first_line(error))})") from None


def structured(kind: type[T], values: object, where: str = "") -> T:
    """Make a dataclass of a JSON file's values; fields that have a default may be missing.

    Args:
        where: the field of the file that holds the values, for errors.

    Raises:
        ValueError: in one line, naming the first fields that are unknown, missing, or not of
            their type, or with what the dataclass itself finds wrong.
    """
    try:
        return _CONVERTER.structure(values, kind)
    except cattrs.BaseValidationError as error:
        found = cattrs.transform_error(
            error, path=f".{where}" if where else "", format_exception=_fault
        )
        more = f"; and {len(found) - MOST_FAULTS} more" if len(found) > MOST_FAULTS else ""
        raise ValueError("; ".join(map(_place_first, found[:MOST_FAULTS])) + more) from None


def _fault(error: BaseException, kind: Any) -> str:
    if isinstance(error, (KeyError, cattrs.ForbiddenExtraKeysError)):
        return _cut_short(cattrs.v.format_exception(error, kind), MOST_SHOWN // 2)
    return _cut_short(str(error).replace("typing.Literal", ""), MOST_SHOWN // 2)


def _place_first(fault: str) -> str:
    """Turn "what is wrong @ .place" around; a dataclass's own error says where by itself."""
    what, _, place = fault.rpartition(" @ ")
    return what if not place or "; it must be " in what else f"{place.removeprefix('.')}: {what}"


def _as_it_is(value: object, kind: type[T]) -> T:
    """Take a value of this type alone: cattrs would make the number 3 of the text "3"."""
    if type(value) is int and kind in (int, float) and abs(value) >= LARGEST:
        raise ValueError(f"{str(value)[:20]}... is too large")
    if type(value) is kind or (kind is float and type(value) is int):
        return value  # type: ignore[return-value]
    raise ValueError(f"{shown(repr(value)[:80])} is no {kind.__name__}")


_CONVERTER = cattrs.Converter(forbid_extra_keys=True)
for _kind in (bool, int, float, str):
    _CONVERTER.register_structure_hook(_kind, _as_it_is)


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


def installed_packages() -> Iterator[importlib.metadata.Distribution]:
    """List the packages that may bring code.

    A package counts where packages are installed and nowhere else on Python's path: the folder
    that a program is started in may hold data of anybody, and must not bring code with it.
    """
    folders = [*site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        folders.append(site.getusersitepackages())
    yield from importlib.metadata.distributions(path=folders)


def sha256_of(path: Path) -> str:
    """Hash a file's bytes, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_links_out(folder: Path, files: Iterable[Path]) -> None:
    """Refuse files of a folder that are links to what lies outside it: they would be read as its.

    The Hugging Face hub keeps the files of a snapshot in a folder blobs beside all snapshots; links
    from there to it are its own.

    Args:
        folder: the one that was named, which may itself be a link.
        files: of the folder, or of folders in it.

    Raises:
        ValueError: naming the link and where it leads.
    """
    root = folder.resolve()
    allowed = [root]
    for above in root.parents:
        if above.name == "snapshots" and (above.parent / "blobs").is_dir():
            allowed.append(above.parent / "blobs")
    for file in files:
        target = file.resolve()
        if not any(target.is_relative_to(each) for each in allowed):
            raise ValueError(
                f"{file}: is a link to {target}, outside of {folder}, which is not read; copy the "
                f"file there, or name it by itself"
            )


def require_memory(name: str, size: int) -> None:
    """Refuse what does not fit in the memory that is free, before any of it is taken.

    Args:
        name: says what it is, in front of an error.
        size: in bytes.

    Raises:
        ValueError: with both sizes.
    """
    if size < 1 << 26:  # as much is always free, and asking takes as long as reading a little
        return
    free = free_memory()
    if size > free:
        raise ValueError(
            f"{name} takes {size / 2**30:,.1f} GiB of memory, and {free / 2**30:,.1f} GiB are "
            f"free; check what it declares, or take a machine with more"
        )


def free_memory() -> int:
    """Find how many bytes this process can still take, of the machine, its container, its limit."""
    free = psutil.virtual_memory().available  # pages that are only cached are available too
    for most, used in control_groups():
        if most.exists() and used.exists() and most.read_text().strip() != "max":
            free = min(free, int(most.read_text()) - int(used.read_text()))
    if hasattr(psutil, "RLIMIT_AS"):  # of Linux and FreeBSD
        process = psutil.Process()
        limit = process.rlimit(psutil.RLIMIT_AS)[0]
        if limit != psutil.RLIM_INFINITY:
            free = min(free, limit - process.memory_info().vms)
    return max(0, free)


@contextmanager
def reading(name: object, remedy: str = "fetch it anew, or repair it") -> Iterator[None]:
    """Turn whatever breaks off reading into a ValueError of one line that says what was read.

    A ValueError that does so already is left as it is, and so is a full disk.

    Args:
        name: of what is read, as its errors name it.
        remedy: what to do about what is damaged.
    """
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # damage breaks readers in many ways, and some are added ones
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise  # what is read is not at fault: whoever writes says where there is no room
        line = _refusal(error, str(name), remedy)
        if isinstance(error, ValueError) and line == str(error):
            raise
        raise ValueError(line) from error


def _refusal(error: BaseException, name: str, remedy: str) -> str:
    words = str(error)
    if isinstance(error, OSError):
        line = (
            f"{error.filename or name}: cannot be read ({error.strerror or first_line(error)}); "
            f"change its permissions, or copy it where it can be read"
        )
    elif isinstance(error, MemoryError):
        line = f"{name}: takes more memory than there is; check what it declares"
    elif isinstance(error, RuntimeError) and "can't start new thread" in words:
        line = f"{name}: the process may take no more memory or threads; raise ulimit -v or -u"
    elif isinstance(error, UnicodeError) or not isinstance(error, ValueError):
        what = f"{type(error).__name__}: {first_line(error)}"
        line = f"{name}: cannot be read ({what}); {remedy}"
    else:
        line = words if name in words else f"{name}: {words or 'cannot be read'}"
    return _cut_short(shown(" ".join(line.splitlines())))


def _cut_short(line: str, most: int = MOST_SHOWN) -> str:
    """Leave out the middle of what is too long to read, such as a value that fills a file."""
    if len(line) <= most:
        return line
    return f"{line[: most // 2]} ... {line[-most // 2 :]}"


def shown(text: str) -> str:
    """Write out what would break a line or steer a terminal, such as its escape sequences."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def control_groups() -> Iterator[tuple[Path, Path]]:
    """Find the files with memory limit and use of this process's group, in Linux's two versions."""
    groups = Path("/proc/self/cgroup")
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, group = line.split(":", 2)
        # Within a container the group's own folder may be mounted as the root.
        for name in {group.strip("/"), ""}:
            if controllers == "memory":
                folder = Path("/sys/fs/cgroup/memory", name)
                yield folder / "memory.limit_in_bytes", folder / "memory.usage_in_bytes"
            elif not controllers:
                folder = Path("/sys/fs/cgroup", name)
                yield folder / "memory.max", folder / "memory.current"


def first_line(error: BaseException) -> str:
    """Reduce an error to its first line, or to its kind where it says nothing."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
