"""Control groups of version 2, one for each seat, where a subtree was delegated to us; never in the root group.

Each file is tried, no version is assumed: killing and emptiness work without any controller, memory limits need one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

_SUPERVISOR = "supervisor"
_SEATS = "seats"


def find_delegated(proc: str = "/proc") -> tuple[Path | None, str]:
    """The folder of our own delegated group, or None and why there is none."""
    mount = _mount_point(proc)
    if mount is None:
        return None, "no cgroup v2 hierarchy is mounted"
    own = _own_path(proc)
    if own in (None, "/", ""):
        return None, "this process is in the root control group, which is nobody's"
    folder = Path(mount + (own or ""))
    if folder.name == _SUPERVISOR:
        folder = folder.parent
    for needed in (folder, folder / "cgroup.procs", folder / "cgroup.subtree_control"):
        if not os.access(needed, os.W_OK):
            return None, f"{needed} is not writable: start with Delegate=yes (systemd) or systemd-run --user --scope"
    return folder, ""


def take_delegated() -> Path | None:
    """The folder of our own delegated group, laid out for seats, with this process in its leaf; or None."""
    folder, _ = find_delegated()
    return folder if folder is not None and Cgroups(folder).create() else None


class Cgroups:
    """The seats' groups below a delegated folder: ``<folder>/seats/<nonce>``; the supervisor sits in a leaf beside."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seats = folder / _SEATS

    def create(self) -> bool:
        """Lay out the subtree, move this process to its leaf and enable the memory controller if it is given to us."""
        try:
            self.seats.mkdir(exist_ok=True)
            leaf = self.folder / _SUPERVISOR
            leaf.mkdir(exist_ok=True)
            _write(leaf / "cgroup.procs", "0")
        except OSError:
            return False
        for level in (self.folder, self.seats):
            _try_write(level / "cgroup.subtree_control", "+memory")
        return True

    def join(self, nonce: str, memory: int | None = None) -> bool:
        """Move the calling process into its seat's group, made if need be."""
        group = self.seats / nonce
        try:
            group.mkdir(exist_ok=True)
            _write(group / "cgroup.procs", "0")
        except OSError:
            return False
        if memory is not None:
            self.limit(nonce, memory)
        return True

    def limit(self, nonce: str, memory: int) -> bool:
        """Limit a seat's memory in bytes, swap included; False where no memory controller is delegated."""
        group = self.seats / nonce
        if not _try_write(group / "memory.max", str(memory)):
            return False
        _try_write(group / "memory.swap.max", "0")
        _try_write(group / "memory.oom.group", "1")
        return True

    def kill(self, nonce: str) -> bool:
        """SIGKILL everything in a seat's group at once; False where the kernel cannot (before 5.14)."""
        return _try_write(self.seats / nonce / "cgroup.kill", "1")

    def populated(self, nonce: str) -> bool:
        """Whether anything, zombies included, is still in a seat's group."""
        return _flag(self.seats / nonce / "cgroup.events", "populated") == 1

    def members(self, nonce: str) -> list[int]:
        """The pids in a seat's group."""
        return [int(line) for line in _lines(self.seats / nonce / "cgroup.procs") if line.isdecimal()]

    def memory(self, nonce: str) -> int | None:
        """Bytes that a seat's group holds now, or None without a memory controller."""
        lines = _lines(self.seats / nonce / "memory.current")
        return int(lines[0]) if lines else None

    def out_of_memory(self, nonce: str) -> bool:
        """Whether the kernel ended something in the group because of its memory limit."""
        return _flag(self.seats / nonce / "memory.events", "oom_kill") > 0

    def remove(self, nonce: str) -> bool:
        """Remove a seat's empty group; False while something is in it."""
        try:
            (self.seats / nonce).rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def wait_empty(self, nonce: str, seconds: float) -> bool:
        """Wait until nothing is in a seat's group."""
        limit = time.monotonic() + seconds
        while self.populated(nonce):
            if time.monotonic() > limit:
                return False
            time.sleep(0.005)
        return True


def _mount_point(proc: str) -> str | None:
    for line in _lines(Path(proc) / "self/mountinfo"):
        left, _, right = line.partition(" - ")
        if right.startswith("cgroup2 "):
            root, where = left.split(" ")[3:5]
            return where if root == "/" else None
    return None


def _own_path(proc: str) -> str | None:
    for line in _lines(Path(proc) / "self/cgroup"):
        if line.startswith("0::"):
            return line.removeprefix("0::").removesuffix(" (deleted)")
    return None


def _flag(path: Path, name: str) -> int:
    for line in _lines(path):
        key, _, value = line.partition(" ")
        if key == name:
            return int(value)
    return 0


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8", "replace").splitlines()
    except OSError:
        return []


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _try_write(path: Path, text: str) -> bool:
    try:
        _write(path, text)
    except OSError:
        return False
    return True
