"""What ``/proc`` says of one process, asked again each time; every answer may be outdated when it arrives.

Only the start time makes a pid a name, so a verdict about a process always compares it. None means gone or hidden.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from jobwarden.domain.stamp import ProcessId

_PAGE, _TICK = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
NONCE_VARIABLE = "JOBWARDEN_NONCE"


class Stat(NamedTuple):
    """The fields of ``/proc/PID/stat`` that verdicts rest on; ``rss`` in bytes, ``cpu`` (user, system) in seconds."""

    pid: int
    command: str
    state: str
    parent: int
    session: int
    threads: int
    start_time: int
    rss: int
    cpu: float = 0.0

    @property
    def running(self) -> bool:
        """Whether it can still act: a zombie cannot, unless other threads outlived its first one."""
        return self.state not in "ZXx" or self.threads > 1


def parse_stat(text: str) -> Stat:
    """Parse a stat line; the command may hold blanks and parentheses, so fields count from the last ``)``."""
    head, _, tail = text.rpartition(")")
    pid, _, command = head.partition("(")
    fields = tail.split()
    return Stat(
        pid=int(pid),
        command=command,
        state=fields[0],
        parent=int(fields[1]),
        session=int(fields[3]),
        threads=int(fields[17]),
        start_time=int(fields[19]),
        rss=int(fields[21]) * _PAGE,
        cpu=(int(fields[11]) + int(fields[12])) / _TICK,
    )


def stat(pid: int, proc: str = "/proc") -> Stat | None:
    """What the kernel says of ``pid`` now."""
    try:
        with open(f"{proc}/{pid}/stat", "rb", buffering=0) as file:
            return parse_stat(file.read(2048).decode("utf-8", "replace"))
    except (OSError, ValueError, IndexError):
        return None


def start_time(pid: int) -> int | None:
    """When that process began, in clock ticks since boot; good for nothing but equality."""
    line = _bytes(f"/proc/{pid}/stat")
    try:
        return int(line[line.rindex(b")") + 2 :].split(None, 20)[19])
    except (ValueError, IndexError):
        return None


def alive(process: ProcessId, proc: str = "/proc") -> bool:
    """Whether exactly this process can still act; a pid that now names another process is not it."""
    found = stat(process.pid, proc)
    return found is not None and found.start_time == process.start_time and found.running


def rss(pid: int) -> int | None:
    """Resident memory in bytes."""
    found = stat(pid)
    return found.rss if found else None


def pss(pid: int) -> int | None:
    """Resident memory in bytes, of pages that several processes share only the part of this one."""
    for line in _text(f"/proc/{pid}/smaps_rollup").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return None


def oom_kills() -> int | None:
    """How many processes the kernel has ended for lack of memory since boot, on the whole machine."""
    for line in _text("/proc/vmstat").splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return None


def threads(pid: int | str = "self") -> dict[int, str]:
    """The threads of a process, C ones included: id to name."""
    names: dict[int, str] = {}
    for tid in _numbers(f"/proc/{pid}/task"):
        names[tid] = _text(f"/proc/{pid}/task/{tid}/comm").rstrip("\n")
    return names


def thread_count() -> int:
    """How many threads this process has, C ones included."""
    return os.stat("/proc/self/task").st_nlink - 2


def switches(pid: int) -> int:
    """How often any thread of a process left a processor so far: a number that stands still shows that none runs."""
    lines = [line for tid in threads(pid) for line in _text(f"/proc/{pid}/task/{tid}/status").splitlines()]
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches:" in line)


def children(pid: int | str = "self") -> list[int]:
    """The direct children of a process, zombies included; one that begins or ends meanwhile may be missed."""
    found: list[int] = []
    for tid in _numbers(f"/proc/{pid}/task"):
        found += map(int, _bytes(f"/proc/{pid}/task/{tid}/children").split())
    return found


def command_line(pid: int) -> str:
    """The command line as people know it, or the bare command's name in brackets."""
    line = " ".join(_text(f"/proc/{pid}/cmdline").replace("\0", " ").split())
    if line:
        return line[:200]
    found = stat(pid)
    return f"[{found.command}]" if found else ""


def nonce(pid: int) -> str | None:
    """The nonce in a process's environment, as it was born with or as a fork wrote it in place."""
    prefix = f"{NONCE_VARIABLE}="
    for variable in _text(f"/proc/{pid}/environ").split("\0"):
        if variable.startswith(prefix):
            return variable.removeprefix(prefix)
    return None


def completed(process: ProcessId, nonce_given: str) -> ProcessId:
    """A stamp without a start time, completed by the process that carries its nonce, if there is one.

    What a seat starts inherits its nonce, so without a pid it is the oldest session leader that carries it.
    """
    if process.start_time or not nonce_given:
        return process
    known = [found for found in [stat(process.pid)] if found] if process.pid else everyone()
    seats = [found for found in known if found.running and found.pid == found.session]
    carriers = [found for found in seats if nonce(found.pid) == nonce_given]
    oldest = min(carriers, key=lambda found: found.start_time, default=None)
    return process if oldest is None else ProcessId(oldest.pid, oldest.start_time)


def everyone() -> list[Stat]:
    """Every process that this one can see."""
    return [found for pid in _numbers("/proc") if (found := stat(pid))]


def _numbers(folder: str) -> list[int]:
    try:
        return [int(name) for name in os.listdir(folder) if name.isdecimal()]
    except OSError:
        return []


def _text(path: str) -> str:
    return _bytes(path).decode("utf-8", "replace")


def _bytes(path: str) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        found = data = os.read(fd, _PAGE)
        while data:
            data = os.read(fd, _PAGE)
            found += data
        return found
    except OSError:
        return b""
    finally:
        os.close(fd)
