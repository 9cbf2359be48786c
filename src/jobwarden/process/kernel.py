"""The few kernel calls that the standard library does not have: prctl, fallocate, timers, the environment in place.

A call that this kernel or libc does not know answers False; nothing here raises.
"""

from __future__ import annotations

import ctypes
import os
import struct
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2

_MADV_COLLAPSE = 25
_HUGE = 2 * 1024 * 1024
_MONOTONIC, BOOTTIME = int(time.CLOCK_MONOTONIC), int(time.CLOCK_BOOTTIME)
_SIGEV_SIGNAL = 0
_SIGEVENT = struct.Struct("=qii")
_ITIMERSPEC = struct.Struct("@llll")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.getenv.argtypes = [ctypes.c_char_p]
_libc.getenv.restype = ctypes.c_void_p
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def boottime() -> float:
    """Seconds since boot by the clock that runs on while the machine is suspended: what fences are measured by."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def become_subreaper() -> bool:
    """Make this process the parent of every descendant whose own parent dies; not inherited by fork, kept by exec."""
    return bool(_libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def die_with_parent(number: int) -> bool:
    """Have this process sent that signal when the thread that made it ends; not inherited by fork, kept by exec."""
    return bool(_libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) == 0)


def punch_hole(fd: int, start: int, end: int) -> bool:
    """Give back the storage of the bytes from ``start`` to ``end`` without changing the file's size."""
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    return end > start and bool(_libc.fallocate(fd, mode, start, end - start) == 0)


def collapse_memory() -> int:
    """Gather this process's own memory in huge pages, and give how many (Linux 6.1; else 0).

    A fork then copies one entry where it copied 512, and so does the child's end; a third of both was measured. What is
    written to afterwards is still copied by the small page.
    """
    spans = (span for start, end in _own_memory() for span in range(-(-start // _HUGE) * _HUGE, end - _HUGE + 1, _HUGE))
    return sum(_libc.madvise(span, _HUGE, _MADV_COLLAPSE) == 0 for span in spans)


class Timer:
    """A timer of this process that sends it ``signal`` once, ``seconds`` after `arm`; its own, unlike ``setitimer``'s.

    ``clock`` is monotonic or `BOOTTIME`. Not inherited by fork. Where the C library has no such timers, `available` is
    False.
    """

    def __init__(self, signal: int, seconds: float, clock: int = _MONOTONIC) -> None:
        self._id = ctypes.c_void_p()
        self._once = _spec(seconds)
        self._never = _spec(0.0)
        event = ctypes.create_string_buffer(_SIGEVENT.pack(0, signal, _SIGEV_SIGNAL), 64)
        create = getattr(_libc, "timer_create", None)
        self.available = create is not None and create(clock, event, ctypes.byref(self._id)) == 0
        self.armed = False

    def arm(self) -> None:
        """Start it, unless it runs already."""
        if not self.armed:
            self.armed = _libc.timer_settime(self._id, 0, self._once, None) == 0

    def arm_for(self, seconds: float) -> None:
        """Start it for this long, in place of whatever it was started for."""
        self.armed = self.available and _libc.timer_settime(self._id, 0, _spec(seconds), None) == 0

    def disarm(self) -> None:
        """Stop it, if it runs."""
        if self.armed:
            self.armed = False
            _libc.timer_settime(self._id, 0, self._never, None)


class EnvironmentCell:
    """One variable in the block that ``/proc/PID/environ`` shows, so that forked processes can show their own value.

    Make it before anything sets the variable again: libc moves a variable that is set, and the block keeps the old one.
    """

    def __init__(self, name: str) -> None:
        self._length = len(os.environ.get(name, ""))
        address = _libc.getenv(name.encode()) if self._length else None
        letters = (ctypes.c_char * self._length).from_address(address) if address else None
        self._block = memoryview(letters).cast("B") if letters is not None else None

    def write(self, value: bytes) -> bool:
        """Overwrite the value in place; refused unless it has exactly the length that the variable was born with."""
        if self._block is None or len(value) != self._length:
            return False
        self._block[:] = value
        return True


def _own_memory() -> list[tuple[int, int]]:
    """The address ranges of the heap and of anonymous private memory."""
    try:
        with open("/proc/self/maps", "rb") as file:
            fields = [line.split() for line in file]
    except OSError:
        return []
    own = [line[0].split(b"-") for line in fields if line[1] == b"rw-p" and (len(line) == 5 or line[5] == b"[heap]")]
    return [(int(start, 16), int(end, 16)) for start, end in own]


def _spec(seconds: float) -> ctypes.Array[ctypes.c_char]:
    whole = int(seconds)
    return ctypes.create_string_buffer(_ITIMERSPEC.pack(0, 0, whole, int((seconds - whole) * 1_000_000_000)))
