"""A claim: a job, its attempt and its token in one hand, as the child receives it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Isolation(StrEnum):
    """How an attempt's process is had: forked for it alone, shared one after another, or a fresh interpreter."""

    FORK = "fork"
    POOL = "pool"
    EXEC = "exec"


class Purpose(StrEnum):
    """What an attempt is for: to run the job, or to ask its reconcile hook what a lost attempt did."""

    RUN = "run"
    RECONCILE = "reconcile"


@dataclass(frozen=True, slots=True)
class LostAttempt:
    """The attempt that a reconcile hook is asked about: it had this id, number and token, and was entered then."""

    id: str
    number: int
    fencing_token: int
    started_at: datetime | None


@dataclass(slots=True)  # not frozen: made once per attempt, where frozen costs four times as much
class Claim:
    """Everything an attempt needs to run and to be watched, never changed; ``params`` is JSON text, times in seconds.

    ``scheduled_for`` is an ISO 8601 instant in UTC; ``memory`` is in bytes.
    """

    job_id: str
    attempt_id: str
    attempt_number: int
    token: int
    job: str
    params: str
    lane: str
    label: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    batch_id: str | None = None
    scheduled_for: str | None = None
    idempotent: bool = False
    isolation: Isolation = Isolation.FORK
    purpose: Purpose = Purpose.RUN
    timeout: float | None = None
    max_runtime: float | None = None
    grace: float = 10.0
    memory: int | None = None
    unspent: int = 0
