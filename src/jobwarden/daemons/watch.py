"""One attempt under watch: what is kept of it between the claim and the commit of its end.

A seat is watched by the supervisor that started it or by a reaper that took it over; `AnySeat` and `AnyHold` are what
both of them know of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from jobwarden.domain.claims import Claim
from jobwarden.domain.report import Report
from jobwarden.lifecycle.record import Record
from jobwarden.lifecycle.start import Start
from jobwarden.process.body import Body
from jobwarden.process.spool import Spool
from jobwarden.runner.sayings import Sayings


class Why(Enum):
    """Why an attempt is being ended."""

    TIMEOUT = "its timeout"
    MEMORY = "its memory limit"
    CANCEL = "a cancel request"
    STOP = "a stop request"
    FENCED = "it is no longer ours"
    ISOLATED = "its host could not reach the database"
    SHUTDOWN = "the supervisor is told to end"


class AnySeat(Protocol):
    """A seat as far as limits, wishes and ends go, whoever started it."""

    @property
    def body(self) -> Body:
        """Its process and everything that belongs to it."""
        ...

    @property
    def spool(self) -> Spool:
        """What it has written."""
        ...

    def stop(self, attempt_id: str) -> bool:
        """Ask this attempt to stop; whether the seat still lives."""
        ...


class AnyHold(Protocol):
    """A seat and the attempts that it has, by id."""

    @property
    def seat(self) -> AnySeat:
        """The seat."""
        ...

    @property
    def attempts(self) -> dict[str, Watched]:
        """Its attempts that are not settled."""
        ...


@dataclass(slots=True)
class Ending:
    """An end under way: why, in what words, since when (monotonic), whether without a grace, and whether SIGKILL was
    sent."""

    why: Why
    words: str
    since: float
    at_once: bool = False
    killed: bool = False


@dataclass(slots=True)
class Watched:
    """An attempt on a seat. Times are monotonic seconds; offsets count within the seat's spool.

    ``told`` is the outcome that the child reported ``told_at``, as long as it must not count: until everything that
    belongs to the attempt is proved to be gone. ``report`` is what it came to.
    """

    claim: Claim
    nonce: str
    claimed: float
    started: float | None = None
    report: Report | None = None
    ending: Ending | None = None
    told: Report | None = None
    told_at: float = 0.0
    killed_at: float | None = None
    unkillable: bool = False
    confirmed: bool = False
    out: int = 0
    err: int = 0
    out_end: int | None = None
    err_end: int | None = None
    stuck_said: bool = False
    said: Sayings = field(default_factory=Sayings)

    @property
    def id(self) -> str:
        """The attempt's id."""
        return self.claim.attempt_id

    def begin(self, now: float, out: int, err: int) -> None:
        """The child said that it starts, with its output from these offsets on."""
        self.started, self.out, self.err = now, out, err

    def start(self, now: float) -> Start:
        """The start as it is committed."""
        return Start(self.claim.job_id, self.id, self.claim.token, now - (self.started or now))

    def say(self, level: str, text: str, step: str) -> None:
        """Add a line of our own to the attempt's log."""
        self.said.say(level, text, step)

    def listen(self, spool: Spool, held: tuple[int | None, int | None] = (None, None), *, final: bool = False) -> None:
        """Take up what the seat's spool has of this attempt, as far as it is known to be of this attempt: to its end,
        or while it runs to what the spool ``held``."""
        out_to, err_to = held if self.out_end is None else (self.out_end, self.err_end)
        while True:
            before = self.out, self.err
            lines, self.out, self.err = spool.read(self.out, self.err, out_to, err_to, final=final)
            self.said.take(lines)
            if not lines and before == (self.out, self.err):
                return

    def record(self) -> Record | None:
        """What was said since the last record, if anything."""
        return self.said.record(self.claim.job_id, self.id, self.claim.token, {"out": self.out, "err": self.err})
