"""Who holds a lock on a byte of a file, as the kernel lists it; nothing is opened, so no lock of ours is lost.

POSIX drops a process's locks on a file when it closes any descriptor of it, so the file itself must not be looked at
that way. Source of the format: proc_locks(5).
"""

from __future__ import annotations

import os

_LIST = "/proc/locks"


def writers(path: str, byte: int, listing: str = _LIST) -> list[int]:
    """The pids that hold an exclusive lock on this byte; who cannot be named from here, or no file: nobody."""
    try:
        file = os.stat(path)
        with open(listing, encoding="ascii") as lines:
            found = [_writer(line.split(), file, byte) for line in lines]
    except OSError:
        return []
    return [pid for pid in found if pid > 0]


def _writer(fields: list[str], file: os.stat_result, byte: int) -> int:
    """The holder that a line names if the line is about that byte of that file, else 0; ``->`` marks one who waits."""
    if len(fields) != 8 or fields[1:4] != ["POSIX", "ADVISORY", "WRITE"]:
        return 0
    major, minor, inode = fields[5].split(":")
    if (int(major, 16), int(minor, 16)) != (os.major(file.st_dev), os.minor(file.st_dev)) or int(inode) != file.st_ino:
        return 0
    last = float("inf") if fields[7] == "EOF" else int(fields[7])
    return int(fields[4]) if int(fields[6]) <= byte <= last else 0
