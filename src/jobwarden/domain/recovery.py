"""What happens to a job when an attempt of it is over: the rules, as one pure function of facts.

An operator's wish wins over everything but success; a handler that provably never began costs nothing; idempotent
work is retried within its budget; all other work that was lost asks its reconcile hook, if it has one, or waits for a
person.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from jobwarden.domain.claims import Purpose
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import AttemptState, JobState


class OnLost(StrEnum):
    """What to do with a job whose process was lost: decide by ``idempotent``, or always the same."""

    AUTO = "auto"
    RETRY = "retry"
    PARK = "park"
    FAIL = "fail"


class Wish(StrEnum):
    """What an operator asked of a running job."""

    CANCEL = "cancel"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before attempt n+1: ``min(cap, base * factor**(n-1))`` seconds.

    With ``jitter`` the wait is drawn evenly from the upper half of that span, so that jobs which failed together do
    not return together.
    """

    base: float = 5.0
    factor: float = 2.0
    cap: float = 300.0
    jitter: bool = True

    def delay(self, failures: int, chance: float) -> float:
        """Seconds to wait after the n-th failure (from 1); ``chance`` in [0, 1) decides the jitter."""
        exponent = min(max(failures, 1) - 1, 64)
        span: float = min(self.cap, self.base * self.factor**exponent)
        return span * (0.5 + chance / 2) if self.jitter else span


@dataclass(frozen=True, slots=True)
class JobFacts:
    """What the rules need to know of a job: its budget counts the attempts that were spent, not those given back.

    ``reconciles``: it can ask the outside world what a lost attempt did; ``purpose`` is what this attempt was for.
    """

    idempotent: bool
    max_attempts: int
    spent: int
    unspent: int = 0
    backoff: Backoff = Backoff()
    on_lost: OnLost = OnLost.AUTO
    wish: Wish | None = None
    reconciles: bool = False
    purpose: Purpose = Purpose.RUN

    @property
    def has_budget(self) -> bool:
        """Whether another attempt may follow this one."""
        return self.spent < self.max_attempts


@dataclass(frozen=True, slots=True)
class Decision:
    """Where the job and its attempt go: ``delay`` in seconds until it may run again, ``unspent`` if no budget went.

    ``next`` is what the job's next attempt is for.
    """

    job: JobState
    attempt: AttemptState
    delay: float | None = None
    unspent: bool = False
    reason: str | None = None
    next: Purpose = Purpose.RUN


_PLAINLY = {
    Outcome.STOPPED: (JobState.STOPPED, AttemptState.STOPPED),
    Outcome.CANCELED: (JobState.CANCELED, AttemptState.CANCELED),
    Outcome.PARKED: (JobState.ORPHANED, AttemptState.FAILED),
}


def decide(job: JobFacts, report: Report, chance: float) -> Decision:
    """The one decision after every report; ``chance`` in [0, 1) is the jitter's share of luck."""
    if report.outcome is Outcome.SUCCEEDED:
        return Decision(JobState.SUCCEEDED, AttemptState.SUCCEEDED, reason=report.reason)
    if job.wish is not None:
        return _granted(job.wish, report)
    match report.outcome:
        case Outcome.STOPPED | Outcome.CANCELED:
            return Decision(*_PLAINLY[report.outcome], reason=report.reason)
        case Outcome.SNOOZED:
            return Decision(
                JobState.PENDING, AttemptState.STOPPED, report.delay or 0.0, True, report.reason, job.purpose
            )
        case Outcome.UNSTARTED:
            return _released(job, report)
        case _ if job.purpose is Purpose.RECONCILE:
            return _after_asking(job, report)
        case Outcome.PARKED:
            return Decision(*_PLAINLY[report.outcome], reason=report.reason)
        case _:
            return _after_run(job, report, chance)


def _after_run(job: JobFacts, report: Report, chance: float) -> Decision:
    match report.outcome:
        case Outcome.DRAINED:
            return _after_drain(job, report)
        case Outcome.LOST:
            return _after_loss(job, report, chance)
        case _:
            return _after_failure(job, report, chance)


def _granted(wish: Wish, report: Report) -> Decision:
    if wish is Wish.CANCEL:
        return Decision(JobState.CANCELED, AttemptState.CANCELED, reason=report.reason or "cancel requested")
    return Decision(JobState.STOPPED, AttemptState.STOPPED, reason=report.reason or "stop requested")


def _released(job: JobFacts, report: Report) -> Decision:
    state = JobState.PENDING if report.delay else JobState.QUEUED
    return Decision(state, AttemptState.CANCELED, report.delay, True, report.reason, job.purpose)


def _after_asking(job: JobFacts, report: Report) -> Decision:
    """The hook only asks, and may ask again after a drain; but when it cannot tell, nobody but a person can."""
    match report.outcome:
        case Outcome.DID_NOT_RUN if job.spent - 1 < job.max_attempts:  # all but this very attempt were runs
            return Decision(JobState.QUEUED, AttemptState.SUCCEEDED, None, True, report.reason)
        case Outcome.DID_NOT_RUN:
            reason = f"the budget of {job.max_attempts} attempts is spent, and the last was lost: {report.reason}"
            return Decision(JobState.FAILED, AttemptState.SUCCEEDED, None, True, reason)
        case Outcome.DID_FAIL:
            return Decision(JobState.FAILED, AttemptState.SUCCEEDED, None, True, report.reason)
        case Outcome.DRAINED:
            return Decision(JobState.QUEUED, AttemptState.STOPPED, None, True, report.reason, Purpose.RECONCILE)
        case _:
            reason = f"its reconcile hook did not tell what the lost attempt did: {report.reason or report.outcome}"
            return Decision(JobState.ORPHANED, AttemptState.FAILED, None, True, reason)


def _after_drain(job: JobFacts, report: Report) -> Decision:
    """Work that stopped at its own checkpoint for a drain begins again elsewhere, if beginning again does no harm."""
    if job.idempotent:
        return Decision(JobState.QUEUED, AttemptState.STOPPED, unspent=True, reason=report.reason)
    return _undecided(job, AttemptState.STOPPED, report.reason)


def _after_loss(job: JobFacts, report: Report, chance: float) -> Decision:
    retry = job.on_lost is OnLost.RETRY or (job.on_lost is OnLost.AUTO and job.idempotent)
    if retry and job.has_budget:
        return _retry(job, report, chance)
    if job.on_lost is OnLost.FAIL or retry:
        return Decision(JobState.FAILED, AttemptState.FAILED, reason=report.reason)
    return _undecided(job, AttemptState.FAILED, report.reason)


def _undecided(job: JobFacts, attempt: AttemptState, reason: str | None) -> Decision:
    """Nobody here knows what was done: ask the job's reconcile hook, else a person; told to park, always a person."""
    if job.reconciles and job.on_lost is OnLost.AUTO:
        return Decision(JobState.RETRYING, attempt, 0.0, reason=reason, next=Purpose.RECONCILE)
    return Decision(JobState.ORPHANED, attempt, reason=reason)


def _after_failure(job: JobFacts, report: Report, chance: float) -> Decision:
    if job.idempotent and job.has_budget and report.retryable is not False:
        return _retry(job, report, chance)
    return Decision(JobState.FAILED, AttemptState.FAILED, reason=report.reason)


def _retry(job: JobFacts, report: Report, chance: float) -> Decision:
    delay = report.delay if report.delay is not None else job.backoff.delay(job.spent, chance)
    return Decision(JobState.RETRYING, AttemptState.FAILED, delay, reason=report.reason)
