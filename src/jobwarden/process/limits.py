"""Memory limits for a process that has no control group of its own: a soft limit on what it may add to its data.

The limit leaves as much headroom as the process is below its limit now, so that it hits MemoryError and can report it.
"""

from __future__ import annotations

import resource

_PAGE = resource.getpagesize()


class MemoryLimit:
    """A limit in bytes that is set for the length of a ``with`` block and lifted after it."""

    def __init__(self, memory: int) -> None:
        self._memory = memory
        self._before: tuple[int, int] | None = None

    def __enter__(self) -> None:
        resident, data = _use()
        self._before = resource.getrlimit(resource.RLIMIT_DATA)
        self._set(data + max(0, self._memory - resident))

    def __exit__(self, *raised: object) -> None:
        if self._before is not None:
            self._set(self._before[0])

    def _set(self, soft: int) -> None:
        hard = self._before[1] if self._before else resource.RLIM_INFINITY
        if hard != resource.RLIM_INFINITY and (soft > hard or soft == resource.RLIM_INFINITY):
            soft = hard
        try:
            resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
        except (OSError, ValueError):
            return


def _use() -> tuple[int, int]:
    """Resident memory and private writable memory of this process, in bytes."""
    with open("/proc/self/statm", "rb") as file:
        fields = file.read().split()
    return int(fields[1]) * _PAGE, int(fields[5]) * _PAGE
