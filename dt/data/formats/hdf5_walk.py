"""Walk through the structure of HDF5 files in a process of its own, which a damaged one may end.

Run as a script, by `hdf5_guard`: it imports nothing of the package. Each line read is a file's
path; each line written is what is wrong with it, or empty.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys

MEMORY = 1 << 30  # bytes that a walk may take; it holds nothing but names
SECONDS = 8.0  # of the processor, and one for each MiB: an object of a file takes longer to write
IDLE = 20.0  # seconds without a file, after which the process ends


def walk(path: str) -> str:
    """Look at every link, every object's head and every index of chunks; say what is wrong."""
    import h5py
    from h5py import h5d, h5o

    datasets: list[bytes] = []

    def see(name: bytes, info: h5o.ObjInfo) -> None:
        if info.type == h5o.TYPE_DATASET:
            datasets.append(name)

    try:
        with h5py.File(path, "r") as file:
            file.id.links.visit(lambda name, info: None, info=True)
            h5o.visit(file.id, see, info=True)
            for name in datasets:
                dataset = h5d.open(file.id, name)
                if dataset.get_create_plist().get_layout() == h5d.CHUNKED:
                    dataset.get_num_chunks()
    except Exception as error:  # HDF5's are of many classes; the words are what is told
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ""


def main() -> None:
    """Walk through one file after another, within limits that the system keeps."""
    import h5py  # noqa: F401, what it takes is not a file's
    import psutil

    process = psutil.Process()
    while os.name != "posix" or select.select([0], [], [], IDLE)[0]:
        line = sys.stdin.buffer.readline()
        if not line:
            return
        path = json.loads(line)
        if hasattr(psutil, "RLIMIT_AS"):  # of Linux and FreeBSD
            hard = process.rlimit(psutil.RLIMIT_AS)[1]
            most = process.memory_info().vms + MEMORY
            most = most if hard == psutil.RLIM_INFINITY else min(most, hard)
            process.rlimit(psutil.RLIMIT_AS, (most, hard))
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, SECONDS + os.path.getsize(path) / 2**20)
        wrong = walk(path)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_PROF, 0)
        sys.stdout.write(json.dumps(wrong) + "\n")
        sys.stdout.flush()
        if wrong:
            return  # HDF5 may hold what it read of a damaged file


if __name__ == "__main__":
    main()
