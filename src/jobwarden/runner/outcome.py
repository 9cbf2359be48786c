"""An attempt's outcome on its way out: kept in a file first, then told; and settled alone when nobody listens any more.

The file is written before the outcome is told and removed after it is acknowledged, so whoever finds a dead child finds
its outcome, and an outcome that was told twice is settled once.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from jobwarden.process.journal import Journal
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.wire import from_json, to_json
from jobwarden.runner.capture import say

Claim: TypeAlias = Mapping[str, Any]
Offsets: TypeAlias = tuple[int, int]


class Alone(Protocol):
    """Settles one attempt over a connection of its own, with what its spool holds between the offsets."""

    def __call__(self, claim: Claim, report: dict[str, Any], begin: Offsets, end: Offsets) -> None:
        """Return once the report is accepted or fenced out; raise what no retry can mend."""
        ...


class Outcomes:
    """The outcomes of one seat that nobody has acknowledged yet; ``safe`` as long as each was written to its file."""

    def __init__(self, runtime: RuntimeDir, alone: Callable[[str], Alone]) -> None:
        self._runtime = runtime
        self._nonce = ""
        self._journal: Journal | None = None
        self._alone = alone
        self._waiting: dict[str, tuple[Claim, bytes, Offsets, Offsets]] = {}
        self.safe = True

    def begin(self, nonce: str) -> None:
        """These are the outcomes of that seat."""
        self._nonce = nonce

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, claim: Claim, report: dict[str, Any], begin: Offsets, end: Offsets) -> bytes:
        """Note a report in its file, and give it as JSON; a full disk costs the file, not the outcome."""
        attempt_id = claim["attempt_id"]
        body = to_json(report)
        self._waiting[attempt_id] = (claim, body, begin, end)
        try:
            if claim["isolation"] == "pool":
                if self._journal is None:
                    self._journal = Journal(self._runtime.journal_path(self._nonce))
                self._journal.append(body)
            else:
                self._runtime.write_outcome_json(attempt_id, body)
        except OSError as problem:
            self.safe = False
            say(f"the outcome file of {attempt_id} could not be written ({problem.strerror}); it is told all the same")
        return body

    def acknowledged(self, attempt_ids: Iterable[str]) -> None:
        """Their outcomes are committed, or fenced out: forget them."""
        for attempt_id in attempt_ids:
            known = self._waiting.pop(attempt_id, None)
            if known is not None and known[0]["isolation"] != "pool":
                self._runtime.remove_outcome(attempt_id)
        if self._journal is not None and (not self._waiting or self._journal.grown):
            self._journal.keep_only(body for _, body, *_ in self._waiting.values())

    def settle_alone(self, spare: Collection[str] = ()) -> None:
        """Settle whatever waits, without a supervisor; what cannot be settled stays in its file for a reaper.

        So does what is to be spared, unless it could not be written to its file.
        """
        if self.safe:
            self._waiting = {key: kept for key, kept in self._waiting.items() if key not in spare}
        if not self._waiting:
            return
        try:
            alone = self._alone(self._nonce)
            for attempt_id, (claim, body, begin, end) in list(self._waiting.items()):
                alone(claim, from_json(body), begin, end)
                self.acknowledged([attempt_id])
        except Exception as error:
            say(f"the supervisor is gone and the outcome could not be settled from here: {error}")


class Meter:
    """Measures what an attempt costs: wall time on the monotonic clock, CPU time of the process and its children."""

    __slots__ = ("_began", "_system", "_user")

    def __init__(self) -> None:
        self._user, self._system, _ = _cpu()
        self._began = time.monotonic()

    def start(self) -> None:
        """The attempt begins. The CPU time since the last one ended counts to it: that is its own preparation."""
        self._began = time.monotonic()

    def usage(self) -> dict[str, int]:
        """What was used since `start`: milliseconds, and the process's peak resident memory in bytes."""
        wall = time.monotonic() - self._began
        user, system = self._user, self._system
        self._user, self._system, peak = _cpu()
        return {
            "wall_ms": round(wall * 1000),
            "user_ms": round((self._user - user) * 1000),
            "system_ms": round((self._system - system) * 1000),
            "peak_rss": peak,
        }


def _cpu() -> tuple[float, float, int]:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + children.ru_utime, own.ru_stime + children.ru_stime, own.ru_maxrss * 1024
