"""Files that are whole or as they were, and locks that go with their process."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest
from filelock import FileLock

from dt.files import (
    free_memory,
    locked,
    read_json,
    reading,
    refuse_links_out,
    require_memory,
    sha256_of,
    write_json,
    written_whole,
)


def test_a_file_is_replaced_when_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_text("old")
    with written_whole(path) as beside:
        assert beside.suffix == ".png"  # writers go by it
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(KeyboardInterrupt):
        with written_whole(path) as beside:
            beside.write_text("half")
            raise KeyboardInterrupt
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_shall_last_is_flushed_before_it_takes_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "values.json"
    write_json(path, {"b": [1, 2.5], "a": None})
    assert path.read_bytes() == b'{\n "b": [\n  1,\n  2.5\n ],\n "a": null\n}\n'

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {})
    with written_whole(path) as beside:  # does not ask for it
        beside.write_text("{}")
    assert path.read_text() == "{}" and list(tmp_path.iterdir()) == [path]


def test_a_lock_is_one_holder_s(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    for _ in range(2):
        with locked(path):
            with pytest.raises(BlockingIOError):
                with locked(path):
                    raise AssertionError("two hold the lock")


def test_who_waits_is_told_once_and_gets_the_next_file(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    waits: list[str] = []
    done: list[bool] = []
    waiting = threading.Event()

    def note() -> None:
        waits.append("waits")
        waiting.set()

    def wait() -> None:
        with locked(path, on_wait=note):
            done.append(path.exists())

    with locked(path):
        thread = threading.Thread(target=wait)
        thread.start()
        assert waiting.wait(30) and not done
        time.sleep(0.2)
        path.unlink()  # as one does who leaves nothing behind
    thread.join(30)
    assert waits == ["waits"] and done == [True]


def _hold(path: Path, held: Event) -> None:
    with locked(path):
        held.set()
        time.sleep(600)


def test_a_killed_holder_is_no_obstacle(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "lock", held))
    process.start()
    assert held.wait(60) and process.pid is not None
    with pytest.raises(BlockingIOError):
        with locked(tmp_path / "lock"):
            raise AssertionError("two hold the lock")
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    with locked(tmp_path / "lock"):
        pass


def test_where_there_are_no_locks_a_note_is_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: FileLock) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "_acquire", refuse)
    said: list[str] = []
    with locked(tmp_path / "lock", say=said.append):
        pass
    assert len(said) == 1 and "no locks (No locks available)" in said[0]
    assert str(tmp_path) in said[0]


def test_a_hash_is_of_all_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256_of(tmp_path / "empty").startswith("e3b0c44298fc1c14")


def test_a_link_out_of_a_folder_is_refused_and_the_hub_s_own_is_not(tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "data"
    secret.write_text("secret")
    (folder / "inner").mkdir(parents=True)
    (folder / "plain").write_text("x")
    (folder / "within").symlink_to("plain")
    (folder / "inner" / "above").symlink_to("../plain")
    files = [folder / "plain", folder / "within", folder / "inner" / "above"]
    refuse_links_out(folder, files)
    (tmp_path / "alias").symlink_to(folder)
    refuse_links_out(tmp_path / "alias", [tmp_path / "alias" / "within"])
    (folder / "out").symlink_to(secret)
    (folder / "far").symlink_to(tmp_path)
    for each in (folder / "out", folder / "far" / "secret"):
        with pytest.raises(ValueError, match=r"data/\w+.* is a link to .*secret, outside of"):
            refuse_links_out(folder, [*files, each])

    snapshot = tmp_path / "hub" / "snapshots" / "abc"
    (tmp_path / "hub" / "blobs").mkdir(parents=True)
    (tmp_path / "hub" / "blobs" / "1").write_text("x")
    snapshot.mkdir(parents=True)
    (snapshot / "file").symlink_to("../../blobs/1")
    (snapshot / "out").symlink_to(secret)
    refuse_links_out(snapshot, [snapshot / "file"])
    with pytest.raises(ValueError, match="is a link to"):
        refuse_links_out(snapshot, [snapshot / "out"])


def test_what_does_not_fit_in_memory_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert free_memory() > 1 << 20
    require_memory("log.npz", 1 << 20)
    with pytest.raises(ValueError, match=r"log\.npz takes 1,073,741,824\.0 GiB of memory, and"):
        require_memory("log.npz", 1 << 60)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("log.npz: rewards are missing"), "log.npz: rewards are missing"),
        (ValueError("rewards are missing"), "log.npz: rewards are missing"),
        (
            KeyError("rewards"),
            "log.npz: cannot be read (KeyError: 'rewards'); fetch it",
        ),
        (
            RecursionError("too deep"),
            "log.npz: cannot be read (RecursionError: too deep)",
        ),
        (MemoryError(), "log.npz: takes more memory than there is"),
        (RuntimeError("can't start new thread"), "log.npz: the process may take no more memory"),
        (OSError(13, "Permission denied", "x"), "x: cannot be read (Permission denied); change"),
        (ValueError("log.npz: a\nb \x1b[31m\x07\u202e"), r"log.npz: a b \x1b[31m\x07\u202e"),
    ],
)
def test_whatever_breaks_off_reading_is_one_plain_line(error: Exception, expected: str) -> None:
    with pytest.raises(ValueError) as caught:
        with reading("log.npz"):
            raise error
    assert str(caught.value).startswith(expected) and str(caught.value).isprintable()
    assert (caught.value is error) == (str(error) == expected)


@pytest.mark.parametrize("content", [b"[" * 200_000, b"{", b"\xff", b"1" * 5000, b""])
def test_a_file_that_is_no_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json: is no JSON \(") as caught:
        read_json(tmp_path / "a.json")
    assert len(str(caught.value).splitlines()) == 1
