"""The Python stack of a running seat, seen from outside and without a debugger: it writes it down when it is signalled.

The stack of the thread that runs the handler is written by C code (`faulthandler`) in the signal's own handler, so also
while that thread is stuck outside of Python, and whatever the kernel does for it meanwhile goes on. It reads no other
thread's frames, which could change beneath it. Where there are other threads, their stacks follow from a handler in
Python, as soon as the interpreter comes to run one.

What is written goes into memory that only the process holds, so nothing is left of it. Nobody is signalled that is not
known to listen: the kernel says which signals a process catches, and its memory must be there. The signal is SIGWINCH,
because whoever does not catch it ignores it: it cannot end anybody.
"""

from __future__ import annotations

import faulthandler
import fcntl
import os
import signal
import sys
import threading
from types import FrameType
from typing import BinaryIO

from jobwarden.domain.stamp import ProcessId
from jobwarden.process import pidfd, probe
from jobwarden.process.zygote import LOOK_UP

SIGNAL = int(signal.SIGWINCH)
_NAME = "jobwarden-stack"
_LINK = f"/memfd:{_NAME}"
_MOST = 128 * 1024
_MORE = b"\nThread "
_GONE = "its process is gone"
_FRAMES = 200


_own: list[int] = []


def listen() -> None:
    """From now on this process answers; where the kernel has no memory files it does not."""
    deafen()
    try:
        _own.append(os.memfd_create(_NAME))
        fcntl.fcntl(_own[0], fcntl.F_SETFL, os.O_APPEND)
        faulthandler.register(SIGNAL, file=_own[0], all_threads=False)
    except (OSError, AttributeError, ValueError):
        return


def deafen() -> None:
    """From now on it does not, nor does whoever it forks."""
    if _own:
        faulthandler.unregister(SIGNAL)
        os.close(_own.pop())


def add_others() -> None:
    """Add the stacks of all threads but this one, if somebody waits for them; never raises into the job."""
    try:
        if not _own or not _is_ours(_own[0]) or _MORE in (said := os.pread(_own[0], _MOST, 0)) or not said:
            return
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        frames = sys._current_frames()  # noqa: SLF001 - documented, and the only way
        others = {ident: frame for ident, frame in frames.items() if ident != threading.get_ident()}
        for ident, frame in others.items():
            lines = [f'{_MORE.decode()}"{names.get(ident, ident)}" (most recent call first):', *_frames(frame)]
            os.write(_own[0], ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace"))
    except Exception:
        return


def _is_ours(fd: int) -> bool:
    return os.readlink(f"/proc/self/fd/{fd}").startswith(_LINK)


def _frames(frame: FrameType | None) -> list[str]:
    lines: list[str] = []
    while frame is not None and len(lines) < _FRAMES:
        lines.append(f'  File "{frame.f_code.co_filename}", line {frame.f_lineno} in {frame.f_code.co_name}')
        frame = frame.f_back
    return lines


class Call:
    """A process that was asked for its stack. ``unable`` says why it was not, in words."""

    def __init__(self, process: ProcessId) -> None:
        self._memory: BinaryIO | None = None
        self._handle: int | None = None
        self._threads = 0
        self.unable: str | None = None
        try:
            self._handle = pidfd.open_checked(process)
            self.unable = self._ask(process.pid, self._handle) if self._handle is not None else _GONE
        except OSError as error:
            self.unable = f"its process may not be asked ({error.strerror})"

    def _ask(self, pid: int, handle: int) -> str | None:
        place = _memory_of(pid)
        if place is None or not _catches(pid):
            return "its process does not listen for that: it has not begun, or closed what it would answer with"
        self._memory = open(place, "r+b", buffering=0)  # noqa: SIM115 - it is held until the answer was read
        self._memory.truncate(0)
        self._threads = len(probe.threads(pid))
        return None if pidfd.send(handle, SIGNAL) else _GONE

    @property
    def complete(self) -> bool:
        """Whether nothing more is to come; asks for the other threads once the first has answered."""
        said = self.heard()
        if said and self._threads > 1 and self._handle is not None:
            pidfd.send(self._handle, LOOK_UP)
            self._threads = -1
            return False
        return bool(said) and (self._threads >= 0 or _MORE.decode() in said)

    def heard(self) -> str:
        """What it has written so far."""
        if self._memory is None:
            return ""
        self._memory.seek(0)
        return self._memory.read(_MOST).decode("utf-8", "replace")

    def close(self) -> None:
        """Nothing more is read."""
        if self._memory is not None:
            self._memory.close()
        if self._handle is not None:
            os.close(self._handle)
        self._memory = self._handle = None


def _memory_of(pid: int) -> str | None:
    """Where the process's memory for answers can be opened."""
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        try:
            if os.readlink(f"{folder}/{name}").startswith(_LINK):
                return f"{folder}/{name}"
        except OSError:
            continue
    return None


def _catches(pid: int) -> bool:
    """Whether the process has a handler for the signal (``SigCgt`` in ``/proc/PID/status``, see proc(5))."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as status:
        caught = next((line for line in status if line.startswith("SigCgt:")), "SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (SIGNAL - 1) & 1)
