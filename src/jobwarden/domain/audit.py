"""The audit chain: what is written of a person's act, how rows are linked, and how a broken link is found.

Each row's hash covers all of its columns and the hash of the row before it, so that no row can be changed, taken out,
added or moved without breaking the chain, and none cut off at the end without disagreeing with the head.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

BEGINNING = "0" * 64


class Action(StrEnum):
    """Everything that the audit knows somebody to do, as ``kind.verb``."""

    JOB_ENQUEUE = "job.enqueue"
    JOB_CANCEL = "job.cancel"
    JOB_STOP = "job.stop"
    JOB_RETRY = "job.retry"
    JOB_RESTART = "job.restart"
    JOB_RERUN = "job.rerun"
    JOB_RESOLVE = "job.resolve"
    BATCH_CANCEL = "batch.cancel"
    BATCH_RETRY = "batch.retry"
    BATCH_HOLD = "batch.hold"
    BATCH_RELEASE = "batch.release"
    WORKER_DRAIN = "worker.drain"
    SCHEDULE_PUT = "schedule.put"
    SCHEDULE_ENABLE = "schedule.enable"
    SCHEDULE_DISABLE = "schedule.disable"
    SCHEDULE_DROP = "schedule.drop"  # the application no longer declares it
    SCHEDULE_REMOVE = "schedule.remove"
    SCHEDULE_RUN = "schedule.run"
    SCHEDULE_BACKFILL = "schedule.backfill"
    LANE_PAUSE = "lane.pause"
    LANE_RESUME = "lane.resume"
    LANE_CAP = "lane.cap"
    TOKEN_CREATE = "token.create"
    TOKEN_REVOKE = "token.revoke"
    FLEET_PRUNE = "fleet.prune"
    USER_CREATE = "user.create"
    USER_LOGIN = "user.login"
    USER_LOGOUT = "user.logout"
    USER_PASSWORD = "user.password"
    USER_DISABLE = "user.disable"
    USER_ENABLE = "user.enable"
    USER_ROLE = "user.role"

    @property
    def kind(self) -> str:
        """What it is done to."""
        return self.value.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain: its last row's number and hash; 0 and zeros where there is none."""

    seq: int = 0
    hash: str = BEGINNING


@dataclass(frozen=True, slots=True)
class Entry:
    """One row as it is stored; ``before`` and ``after`` are canonical JSON texts."""

    seq: int
    at: datetime
    actor: str | None
    address: str | None
    action: str
    kind: str
    target: str | None
    reason: str | None
    before: str | None
    after: str | None
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class Break:
    """The first row at which the chain does not hold, and what is wrong there."""

    seq: int
    why: str


def canonical(value: Mapping[str, Any] | None) -> str | None:
    """JSON with sorted keys, no spaces and ASCII alone, what JSON does not know as text; None stays None."""
    if value is None:
        return None
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)


def hash_of(columns: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of the canonical JSON of all columns but ``hash``; ``at`` in UTC with microseconds.

    The columns are seq, at, actor, address, action, kind, target, reason, before, after and previous; the last is the
    hash of the row before, or 64 zeros in the first.
    """
    at: datetime = columns["at"]
    told = {name: value for name, value in columns.items() if name != "hash"}
    told["at"] = at.astimezone(UTC).isoformat(timespec="microseconds")
    return hashlib.sha256(str(canonical(told)).encode()).hexdigest()


class Walk:
    """Walks along a chain from its beginning and stops at the first row that does not follow from the one before."""

    def __init__(self) -> None:
        self.last = Head()
        self.broken: Break | None = None

    def along(self, entries: Iterable[Entry]) -> None:
        """Go on, unless the chain is known to be broken."""
        for entry in entries:
            if self.broken is not None:
                return
            why = self._wrong(entry)
            if why:
                self.broken = Break(entry.seq, why)
            self.last = Head(entry.seq, entry.hash)

    def arrive(self, head: Head) -> Break | None:
        """What is wrong, once all rows have been seen; the last of them must be the head's."""
        if self.broken is None and self.last.seq < head.seq:
            self.broken = Break(self.last.seq + 1, f"rows are missing up to the head's, {head.seq}")
        if self.broken is None and self.last != head:
            self.broken = Break(self.last.seq, f"it does not agree with the head, which is at row {head.seq}")
        return self.broken

    def _wrong(self, entry: Entry) -> str | None:
        if entry.seq != self.last.seq + 1:
            return f"the row before it is {self.last.seq}: rows are missing or moved"
        if entry.previous != self.last.hash:
            return "it does not follow from the row before it"
        if entry.hash != hash_of(asdict(entry)):
            return "it is not what was written"
        return None
