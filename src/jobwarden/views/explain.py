"""Why a job is not running: every reason that is known, each as one sentence with a code, the deciding one first.

Nothing is guessed: what follows from rows is said as fact, what only a worker could know is said with its source.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from jobwarden.domain.states import ENDED, WAITING, JobState
from jobwarden.store.database import Id, Transaction, age
from jobwarden.store.schema import batches, dependencies, jobs
from jobwarden.views import line
from jobwarden.views.fleet import WorkerLine, listed_workers
from jobwarden.views.jobs import JobView, shown
from jobwarden.views.reason import Reason

_SHOWN_UPSTREAM = 5


@dataclass(frozen=True, slots=True)
class Explanation:
    """A job's state and the reasons why it is not running, or what it is doing; ``next`` says what can be done."""

    id: str
    job: str
    state: str
    reasons: list[Reason]
    next: list[str]


@dataclass(frozen=True, slots=True)
class _Facts:
    job: JobView
    due_in: float
    barriers: list[Reason]
    turn: list[Reason]
    held: Any
    blockers: list[Any]
    workers: list[WorkerLine]


_due = select((-age(jobs.c.available_at)).label("due_in")).where(jobs.c.id == bindparam("job", type_=Id))
_held = select(batches.c.held_by, batches.c.held_reason).where(
    batches.c.id == bindparam("batch", type_=Id), batches.c.hold_id.is_not(None)
)
_blockers = (
    select(jobs.c.id, jobs.c.job, jobs.c.state)
    .select_from(dependencies.join(jobs, jobs.c.id == dependencies.c.depends_on_job_id))
    .where(dependencies.c.job_id == bindparam("job", type_=Id), dependencies.c.satisfied_at.is_(None))
    .order_by(jobs.c.id)
    .limit(_SHOWN_UPSTREAM)
)


def explain(transaction: Transaction, job_id: str, silent_after: float = 10.0) -> Explanation:
    """Why the job is not running; raises `JobNotFound`.

    A worker whose last heartbeat is older than ``silent_after`` seconds is not counted on.
    """
    facts = _gather(transaction, job_id, silent_after)
    state = JobState(facts.job.state)
    reasons, steps = _EXPLAINERS.get(state, _ended)(facts)
    return Explanation(facts.job.id, facts.job.job, state.value, reasons, steps)


_Told = tuple[list[Reason], list[str]]


def _gather(transaction: Transaction, job_id: str, silent_after: float) -> _Facts:
    job = shown(transaction, job_id)
    live = [
        worker
        for worker in listed_workers(transaction, role="supervisor")
        if worker.state == "active" and worker.heartbeat_age <= silent_after
    ]
    return _Facts(
        job=job,
        due_in=float(transaction.execute(_due, job=job_id).scalar_one()),
        barriers=line.barriers(transaction, job) if job.state in WAITING else [],
        turn=list(line.turn(transaction, job)) if job.state == JobState.QUEUED else [],
        held=transaction.execute(_held, batch=job.batch_id).one_or_none() if job.batch_id else None,
        blockers=list(transaction.execute(_blockers, job=job_id)) if job.blocked_by else [],
        workers=live,
    )


def _waiting(facts: _Facts) -> _Told:
    job = facts.job
    reasons = list(_not_yet(facts))
    if job.wait_reason:
        reasons.append(Reason("put_back", f"It was put back because: {job.wait_reason}."))
    reasons += _obstacles(facts)
    if not reasons:
        words = "It is due: the next look of a worker for waiting jobs makes it claimable."
        reasons.append(Reason("due", words))
    return reasons, _steps(facts)


def _queued(facts: _Facts) -> _Told:
    job = facts.job
    reasons = list(_obstacles(facts))
    if job.wait_reason:
        reasons.append(Reason("last_time", f"Last time: {job.wait_reason}."))
    if not reasons:
        busy = sum(worker.current_load for worker in facts.workers)
        room = sum(worker.capacity or 0 for worker in facts.workers)
        words = (
            f"It is next in lane {job.lane!r} when a seat is free: jobs of higher priority and older ones go first "
            f"({busy} of {room} seats were taken at the last heartbeat)."
        )
        reasons += [Reason("no_seat", words, {"busy": busy, "seats": room}), *facts.turn]
    return reasons, _steps(facts)


def _running(facts: _Facts) -> _Told:
    job = facts.job
    current = next((attempt for attempt in job.attempts if attempt.id == job.current_attempt_id), None)
    if current is None:
        return [Reason("running", "It is running.")], [f"jobwarden logs {job.id} -f"]
    where = f"process {current.child_pid} on {current.hostname}"
    facts_of_it = {"attempt": current.attempt_number, "host": current.hostname, "pid": current.child_pid}
    words = f"It is running: attempt {current.attempt_number} in {where}."
    if current.state == "dispatched":
        words = f"Attempt {current.attempt_number} has its process ({where}) and has not entered the handler yet."
    reasons = [Reason("running" if current.state == "running" else "starting", words, facts_of_it)]
    if job.cancel_requested:
        words = f"{job.cancel_actor or 'somebody'} asked to {job.cancel_mode} it: {job.cancel_reason or '-'}."
        reasons.append(Reason("asked_to_end", words, {"mode": job.cancel_mode, "by": job.cancel_actor}))
    return reasons, ["jobwarden ps", f"jobwarden logs {job.id} -f"]


def _parked(facts: _Facts) -> _Told:
    job = facts.job
    why = job.wait_reason or (job.events[-1].reason if job.events else None) or "its outcome is not known"
    reasons = [Reason("parked", f"It is parked and waits for a person: {why}.", {"why": why})]
    if not job.idempotent:
        words = "It is not idempotent, so it is not run again by itself: what it did must be checked first."
        reasons.append(Reason("not_idempotent", words))
    return reasons, [
        f"jobwarden show {job.id}",
        f"jobwarden logs {job.id}",
        f"jobwarden restart {job.id}{_force(job)} --reason '...'",
        f"jobwarden resolve {job.id} --ran|--did-not-run|--ran-partly|--failed --reason '...'",
        f"jobwarden cancel {job.id} --reason '...'",
    ]


def _ended(facts: _Facts) -> _Told:
    job = facts.job
    reasons = [Reason("over", f"It is over: {job.state}.", {"state": job.state})]
    if job.last_error and job.state == JobState.FAILED:
        words = f"Its last error: {job.last_error.get('class')}: {job.last_error.get('message')}."
        reasons.append(Reason("last_error", words))
    verb = _AGAIN[JobState(job.state)]
    return reasons, [f"jobwarden show {job.id}", f"jobwarden {verb} {job.id}{_force(job)} --reason '...'"]


def _force(job: JobView) -> str:
    """What makes a command repeat work that may not be repeated lightly."""
    return "" if job.idempotent else " --force"


#: How a job that is over is run again.
_AGAIN = {
    JobState.FAILED: "retry",
    JobState.STOPPED: "restart",
    JobState.CANCELED: "retry --as-new",
    JobState.SUCCEEDED: "retry --as-new",
}
_EXPLAINERS = {
    JobState.PENDING: _waiting,
    JobState.RETRYING: _waiting,
    JobState.QUEUED: _queued,
    JobState.RUNNING: _running,
    JobState.ORPHANED: _parked,
    **dict.fromkeys(ENDED, _ended),
}


def _not_yet(facts: _Facts) -> Iterator[Reason]:
    job = facts.job
    if facts.held is not None and job.blocked_by:
        by = f" by {facts.held.held_by}" if facts.held.held_by else ""
        why = f": {facts.held.held_reason}" if facts.held.held_reason else ""
        words = f"Its batch is held{by} until somebody releases it{why}."
        yield Reason("batch_held", words, {"by": facts.held.held_by, "reason": facts.held.held_reason})
    upstream = job.blocked_by - (1 if facts.held is not None and job.blocked_by else 0)
    if upstream:
        named = ", ".join(f"{row.id} ({row.job}, {row.state})" for row in facts.blockers)
        words = f"It waits for {upstream} other job(s) to finish" + (f": {named}." if named else ".")
        yield Reason("upstream", words, {"open": upstream, "first": [row.id for row in facts.blockers]})
    if facts.due_in > 0:
        what = f"attempt {job.attempt_count + 1}" if job.state == JobState.RETRYING else "it"
        when = f"{job.available_at:%Y-%m-%d %H:%M:%S} UTC"
        words = f"It is not due yet: {what} is due in {facts.due_in:.1f} s, at {when}."
        yield Reason("not_due", words, {"seconds": round(facts.due_in, 3)})


def _obstacles(facts: _Facts) -> Iterator[Reason]:
    """What stands between a due job and a seat."""
    yield from facts.barriers
    job = facts.job
    if not facts.workers:
        yield Reason("no_worker", "No live worker: none has sent a heartbeat lately.")
        return
    serving = [worker for worker in facts.workers if job.lane in _told(worker, "lanes", [job.lane])]
    if not serving:
        lanes_served = sorted({lane for worker in facts.workers for lane in _told(worker, "lanes", [])})
        words = f"No live worker serves lane {job.lane!r}: they serve {', '.join(lanes_served)}."
        yield Reason("lane_unserved", words, {"lane": job.lane, "served": lanes_served})
    elif all(job.job not in _told(worker, "jobs", [job.job]) for worker in serving):
        words = f"No live worker of lane {job.lane!r} knows a job named {job.job!r}: deploy the code that has it."
        yield Reason("job_unknown", words, {"job": job.job, "lane": job.lane})


def _told(worker: WorkerLine, key: str, otherwise: list[str]) -> list[str]:
    """A list that the worker told of itself, or what to assume of one that told nothing."""
    value = (worker.meta or {}).get(key)
    return list(value) if isinstance(value, list) else otherwise


def _steps(facts: _Facts) -> list[str]:
    if not facts.workers:
        return [f"jobwarden work --lane {facts.job.lane}"]
    return ["jobwarden workers", "jobwarden status"]
