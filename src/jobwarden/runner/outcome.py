"""An attempt's outcome on its way out: kept in a file first, then told; and settled alone when nobody listens any more.

The file is written before the outcome is told and removed after it is acknowledged, so whoever finds a dead child finds
its outcome, and an outcome that was told twice is settled once.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.wire import to_json
from jobwarden.runner.capture import say

Claim: TypeAlias = Mapping[str, Any]


class Alone(Protocol):
    """Settles one attempt over a connection of its own, with what its spool holds from the given offsets."""

    def __call__(self, claim: Claim, report: dict[str, Any], spoken: tuple[int, int]) -> None:
        """Return once the report is accepted or fenced out; raise what no retry can mend."""
        ...


class Outcomes:
    """The outcomes of one seat that nobody has acknowledged yet."""

    def __init__(self, runtime: RuntimeDir, alone: Callable[[], Alone]) -> None:
        self._runtime = runtime
        self._alone = alone
        self._waiting: dict[str, tuple[Claim, dict[str, Any], tuple[int, int]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, claim: Claim, report: dict[str, Any], begin: tuple[int, int]) -> bytes:
        """Note a report in its file, and give it as JSON; a full disk costs the file, not the outcome."""
        attempt_id = claim["attempt_id"]
        body = to_json(report)
        self._waiting[attempt_id] = (claim, report, begin)
        try:
            self._runtime.write_outcome_json(attempt_id, body)
        except OSError as problem:
            say(f"the outcome file of {attempt_id} could not be written ({problem.strerror}); it is told all the same")
        return body

    def acknowledged(self, attempt_id: str) -> None:
        """The outcome is committed, or fenced out: forget it."""
        if self._waiting.pop(attempt_id, None) is not None:
            self._runtime.remove_outcome(attempt_id)

    def settle_alone(self) -> None:
        """Settle whatever waits, without a supervisor; what cannot be settled stays in its file for a reaper."""
        if not self._waiting:
            return
        try:
            alone = self._alone()
            for attempt_id, (claim, report, begin) in list(self._waiting.items()):
                alone(claim, report, begin)
                self.acknowledged(attempt_id)
        except Exception as error:
            say(f"the supervisor is gone and the outcome could not be settled from here: {error}")


class Meter:
    """Measures what an attempt costs: wall time on the monotonic clock, CPU time of the process and its children."""

    __slots__ = ("_began", "_system", "_user")

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """The attempt begins."""
        self._user, self._system, _ = _cpu()
        self._began = time.monotonic()

    def usage(self) -> dict[str, int]:
        """What was used since `start`: milliseconds, and the process's peak resident memory in bytes."""
        wall = time.monotonic() - self._began
        user, system, peak = _cpu()
        return {
            "wall_ms": round(wall * 1000),
            "user_ms": round((user - self._user) * 1000),
            "system_ms": round((system - self._system) * 1000),
            "peak_rss": peak,
        }


def _cpu() -> tuple[float, float, int]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + children.ru_utime, own.ru_stime + children.ru_stime, own.ru_maxrss * 1024
