"""Health: what in the database contradicts the engine's own rules. An empty list means that all is well.

Every rule is judged by one statement, so that it sees one moment and a busy fleet raises no false alarm. A plain check
looks at what is alive, through indexes and within bounds; a deep one walks through every job, attempt and log line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any

from sqlalchemy import Row, and_, func, literal_column, not_, or_, select, union_all

from jobwarden.domain.claims import Purpose
from jobwarden.domain.findings import Finding
from jobwarden.domain.recovery import OnLost, Wish
from jobwarden.domain.report import Outcome
from jobwarden.domain.states import ENDED, IN_FLIGHT, LIVE_WORKER, WAITING, Actor, AttemptState, JobState
from jobwarden.store.database import Transaction, age, encode, rows
from jobwarden.store.schema import attempts, counters, events, jobs, logs, workers
from jobwarden.views.audit import of_audit
from jobwarden.views.health_batches import of_batches
from jobwarden.views.health_schedules import of_schedules
from jobwarden.views.rows import in_states

_BITE = 500
_MOST = 1000  # findings of one rule, and rows of one kind that a plain check looks at
_RECENT = 10_000  # jobs among which a plain check looks for those that the counters say are running

Check = Callable[[Transaction, str], Iterator[Finding]]


def check(transaction: Transaction, deep: bool = False, silence: float = 10.0) -> list[Finding]:
    """Every violation found, at most 1000 of each rule.

    A worker is silent whose last heartbeat is older than ``silence`` seconds.
    """
    found: dict[str, list[Finding]] = {}
    for bite in _every_job(transaction) if deep else _live_jobs(transaction):
        given = encode({"job_id": job_id} for job_id in bite)
        for rule in (*_OF_JOBS, *(_OF_JOBS_DEEP if deep else ())):
            _take(found, rule(transaction, given))
    _take(found, _silent_workers(transaction, silence))
    _take(found, _unkillable(transaction))
    _take(found, of_batches(transaction, deep))
    _take(found, of_schedules(transaction))
    _take(found, of_audit(transaction))
    _take(found, _miscounted(transaction) if deep else _running_miscounted(transaction, found))
    return [finding for findings in found.values() for finding in findings]


def _take(found: dict[str, list[Finding]], findings: Iterator[Finding]) -> None:
    for finding in findings:
        kept = found.setdefault(finding.invariant, [])
        if len(kept) < _MOST:
            kept.append(finding)


# -- which jobs -------------------------------------------------------------------------------------------------------

_flying = select(attempts.c.job_id).where(in_states(attempts.c.state, IN_FLIGHT)).limit(_MOST)
_resting = [
    select(jobs.c.id).where(in_states(jobs.c.state, states)).limit(_MOST)
    for states in ([JobState.QUEUED], [JobState.PENDING, JobState.RETRYING], [JobState.ORPHANED])
]
_page = select(jobs.c.id).order_by(jobs.c.id).limit(_BITE)
_lost = (
    select(attempts.c.job_id)
    .select_from(attempts.outerjoin(jobs, jobs.c.id == attempts.c.job_id))
    .where(in_states(attempts.c.state, IN_FLIGHT), jobs.c.id.is_(None))
    .limit(_BITE)
)


def _live_jobs(transaction: Transaction) -> Iterator[list[str]]:
    ids: dict[str, None] = {}
    for query in (_flying, *_resting):
        ids.update(dict.fromkeys(transaction.execute(query).scalars()))
    listed = list(ids)
    for begin in range(0, len(listed), _BITE):
        yield listed[begin : begin + _BITE]


def _every_job(transaction: Transaction) -> Iterator[list[str]]:
    """Every job by its key, and then those that are not there, though attempts in flight name them."""
    bite = list(transaction.execute(_page).scalars())
    while bite:
        yield bite
        bite = list(transaction.execute(_page.where(jobs.c.id > bite[-1])).scalars())
    yield list(dict.fromkeys(transaction.execute(_lost).scalars()))


_given = rows("given", job_id="id")
_given_jobs = _given.join(jobs, jobs.c.id == _given.c.job_id)
_given_attempts = _given.join(attempts, attempts.c.job_id == _given.c.job_id)


# -- a job and its attempts -------------------------------------------------------------------------------------------

_current = attempts.alias("current")
_unattended = (
    select(jobs.c.id, jobs.c.current_attempt_id, _current.c.state)
    .select_from(_given_jobs.outerjoin(_current, _current.c.id == jobs.c.current_attempt_id))
    .where(
        jobs.c.state == JobState.RUNNING.value,
        or_(
            jobs.c.current_attempt_id.is_(None),
            and_(_current.c.state.is_not(None), not_(in_states(_current.c.state, IN_FLIGHT))),
        ),
    )
)


def _running_without_attempt(transaction: Transaction, given: str) -> Iterator[Finding]:
    for row in transaction.execute(_unattended, rows=given):
        what = f"attempt {row.current_attempt_id}, which is {row.state}" if row.state else "no attempt at all"
        yield Finding("running_without_attempt", row.id, f"The job is running under {what}.")


_dangling = (
    select(jobs.c.id, jobs.c.state, jobs.c.current_attempt_id)
    .select_from(_given_jobs.outerjoin(_current, _current.c.id == jobs.c.current_attempt_id))
    .where(jobs.c.current_attempt_id.is_not(None), _current.c.id.is_(None))
)


def _dangling_attempt(transaction: Transaction, given: str) -> Iterator[Finding]:
    for row in transaction.execute(_dangling, rows=given):
        detail = f"The job is {row.state}, and its current attempt {row.current_attempt_id} does not exist."
        yield Finding("dangling_attempt", row.id, detail)


_stray = (
    select(attempts.c.id, attempts.c.state, attempts.c.job_id, jobs.c.state.label("job_state"))
    .select_from(_given_attempts.outerjoin(jobs, jobs.c.id == attempts.c.job_id))
    .where(
        in_states(attempts.c.state, IN_FLIGHT),
        or_(
            jobs.c.id.is_(None),
            jobs.c.state != JobState.RUNNING.value,
            jobs.c.current_attempt_id.is_(None),
            jobs.c.current_attempt_id != attempts.c.id,
        ),
    )
)


def _attempt_without_job(transaction: Transaction, given: str) -> Iterator[Finding]:
    for row in transaction.execute(_stray, rows=given):
        job = f"job {row.job_id}"
        if row.job_state is None:
            yield Finding("attempt_without_job", row.id, f"The attempt is {row.state}, and its {job} does not exist.")
        elif row.job_state in ENDED:
            yield Finding("attempt_after_end", row.id, f"The attempt is {row.state}, and its {job} is {row.job_state}.")
        elif row.job_state == JobState.RUNNING:
            detail = f"The attempt is {row.state}, and its {job} runs under another one."
            yield Finding("attempt_without_job", row.id, detail)
        else:
            detail = f"The attempt is {row.state}, and its {job} does not run: it is {row.job_state}."
            yield Finding("attempt_without_job", row.id, detail)


_doubled = (
    select(attempts.c.job_id, func.count().label("number"))
    .select_from(_given_attempts)
    .where(in_states(attempts.c.state, IN_FLIGHT))
    .group_by(attempts.c.job_id)
    .having(func.count() > 1)
)


def _two_in_flight(transaction: Transaction, given: str) -> Iterator[Finding]:
    for row in transaction.execute(_doubled, rows=given):
        yield Finding("two_in_flight", row.job_id, f"The job has {row.number} attempts in flight at once.")


_numbers = (
    select(
        jobs.c.id,
        jobs.c.attempt_count,
        func.count(attempts.c.id).label("number"),
        func.count(attempts.c.attempt_number.distinct()).label("kinds"),
        func.coalesce(func.max(attempts.c.attempt_number), 0).label("highest"),
    )
    .select_from(_given_jobs.outerjoin(attempts, attempts.c.job_id == jobs.c.id))
    .group_by(jobs.c.id, jobs.c.attempt_count)
    .having(
        or_(
            func.count(attempts.c.id) != jobs.c.attempt_count,
            func.count(attempts.c.attempt_number.distinct()) != jobs.c.attempt_count,
            func.coalesce(func.max(attempts.c.attempt_number), 0) != jobs.c.attempt_count,
        )
    )
)


def _attempt_numbers(transaction: Transaction, given: str) -> Iterator[Finding]:
    for row in transaction.execute(_numbers, rows=given):
        if row.number != row.attempt_count:
            detail = f"The job counts {row.attempt_count} attempts, and {row.number} are there."
            yield Finding("attempt_count", row.id, detail)
        else:
            detail = (
                f"The {row.number} attempts have {row.kinds} numbers, up to {row.highest}: one is doubled or missing."
            )
            yield Finding("attempt_numbers", row.id, detail)


_wishes = (
    select(jobs.c.id, jobs.c.state, jobs.c.cancel_mode)
    .select_from(_given_jobs)
    .where(
        jobs.c.cancel_requested,
        or_(
            in_states(jobs.c.state, WAITING | {JobState.ORPHANED}),
            and_(jobs.c.state == JobState.RUNNING.value, func.coalesce(jobs.c.cancel_mode, "").not_in(list(Wish))),
        ),
    )
)


def _stray_wish(transaction: Transaction, given: str) -> Iterator[Finding]:
    for row in transaction.execute(_wishes, rows=given):
        detail = f"The job is {row.state}, and a wish to {row.cancel_mode or 'do nothing in particular'} it stands."
        yield Finding("stray_wish", row.id, detail)


# -- never twice, unless a person or the job itself said so -----------------------------------------------------------

_entered = and_(
    attempts.c.purpose == Purpose.RUN.value,
    attempts.c.state != AttemptState.DISPATCHED.value,
    attempts.c.started_at.is_not(None),
)
_suspects = (
    select(jobs.c.id)
    .select_from(_given_jobs.join(attempts, attempts.c.job_id == jobs.c.id))
    .where(not_(jobs.c.idempotent), func.coalesce(jobs.c.on_lost, "") != OnLost.RETRY.value, _entered)
    .group_by(jobs.c.id)
    .having(func.count() > 1)
)
_runs = (
    select(attempts.c.job_id, attempts.c.id, attempts.c.attempt_number)
    .select_from(_given_attempts)
    .where(_entered)
    .order_by(attempts.c.job_id, attempts.c.attempt_number)
)
_ledger = select(events).select_from(_given.join(events, events.c.job_id == _given.c.job_id)).order_by(events.c.id)
_AT_REST = frozenset({JobState.ORPHANED, JobState.FAILED, JobState.STOPPED})
_SAID_SO = frozenset({Outcome.SNOOZED.value, Outcome.DID_NOT_RUN.value, Outcome.UNSTARTED.value})


def _ran_twice(transaction: Transaction, given: str) -> Iterator[Finding]:
    suspects = encode({"job_id": job_id} for job_id in transaction.execute(_suspects, rows=given).scalars())
    if suspects == encode([]):
        return
    told = _by_job(transaction.execute(_ledger, rows=suspects))
    for job_id, runs in _by_job(transaction.execute(_runs, rows=suspects)).items():
        allowed = _allowed(told.get(job_id, []))
        for earlier, later in pairwise(runs):
            if not allowed.get(later.id, False):
                detail = (
                    f"The job is not idempotent, and attempt {later.attempt_number} entered its handler after attempt "
                    f"{earlier.attempt_number} had, though nobody allowed it."
                )
                yield Finding("ran_twice", job_id, detail)


def _allowed(told: Sequence[Row[Any]]) -> dict[str, bool]:
    """For each attempt of a job: whether somebody said, since the run before, that the job may run again."""
    allowed: dict[str, bool] = {}
    said = False
    for event in told:
        if event.attempt_to == AttemptState.DISPATCHED and event.attempt_id is not None:
            allowed[event.attempt_id] = said
        elif event.level == "attempt" and event.attempt_to == AttemptState.RUNNING:
            said = False
        else:
            said = said or _lets_it_run_again(event)
    return allowed


def _lets_it_run_again(event: Row[Any]) -> bool:
    """A person had it run again, the handler snoozed or provably was never entered, or the reconcile hook found that
    nothing had been done."""
    if event.actor_type == Actor.OPERATOR and event.to_state in (JobState.QUEUED, JobState.PENDING):
        return event.from_state in _AT_REST
    return (event.context or {}).get("outcome") in _SAID_SO


def _by_job(found: Any) -> dict[str, list[Row[Any]]]:
    by_job: dict[str, list[Row[Any]]] = {}
    for row in found:
        by_job.setdefault(row.job_id, []).append(row)
    return by_job


# -- the ledger and the lines -----------------------------------------------------------------------------------------

#: Rows that tell of a state of the job: all but what was refused to an attempt, which speaks of the attempt's alone.
_of_job = or_(events.c.level == literal_column("'job'"), events.c.attempt_to.is_not(None))
_told = (
    select(jobs.c.id, jobs.c.state, events.c.id.label("row"), events.c.from_state, events.c.to_state)
    .select_from(_given_jobs.outerjoin(events, and_(events.c.job_id == jobs.c.id, _of_job)))
    .order_by(jobs.c.id, events.c.id)
)


def _ledger_gap(transaction: Transaction, given: str) -> Iterator[Finding]:
    for job_id, told in groupby(transaction.execute(_told, rows=given), attrgetter("id")):
        state, reached = "", None
        for row in told:
            if row.row is not None and row.from_state != reached:
                before = f"led to {reached}" if reached else "is missing"
                detail = f"Ledger row {row.row} leaves {row.from_state or 'nothing'}, and the row before it {before}."
                yield Finding("ledger_gap", job_id, detail)
            state, reached = row.state, row.to_state
        if reached != state:
            said = f"ends at {reached}" if reached else "is empty"
            yield Finding("ledger_gap", job_id, f"The job is {state}, and its ledger {said}.")


_most = select(func.max(logs.c.seq)).where(logs.c.attempt_id == attempts.c.id).correlate(attempts).scalar_subquery()
_marks = (
    select(attempts.c.id, attempts.c.log_seq, func.coalesce(_most, 0).label("highest"))
    .select_from(_given_attempts)
    .where(func.coalesce(_most, attempts.c.log_seq) != attempts.c.log_seq)
)


def _log_mark(transaction: Transaction, given: str) -> Iterator[Finding]:
    """Lines may have been pruned, so that none is no gap."""
    for row in transaction.execute(_marks, rows=given):
        detail = f"The attempt wrote lines up to {row.log_seq}, and the last one there is {row.highest}."
        yield Finding("log_gap", row.id, detail)


_lines = (
    select(
        logs.c.attempt_id,
        func.count().label("number"),
        func.min(logs.c.seq).label("first"),
        func.max(logs.c.seq).label("last"),
    )
    .select_from(_given_attempts.join(logs, logs.c.attempt_id == attempts.c.id))
    .group_by(logs.c.attempt_id)
    .having(func.count() != func.max(logs.c.seq) - func.min(logs.c.seq) + 1)
)


def _log_gap(transaction: Transaction, given: str) -> Iterator[Finding]:
    for row in transaction.execute(_lines, rows=given):
        detail = f"Of the attempt's log lines {row.first} to {row.last} only {row.number} are there."
        yield Finding("log_gap", row.attempt_id, detail)


# -- workers, processes, counters -------------------------------------------------------------------------------------

_beat = age(workers.c.heartbeat_at)
_holders = (
    select(
        attempts.c.worker_id,
        workers.c.id,
        workers.c.role,
        workers.c.state,
        workers.c.hostname,
        func.min(_beat).label("silent"),
        func.count().label("held"),
    )
    .select_from(attempts.outerjoin(workers, workers.c.id == attempts.c.worker_id))
    .where(in_states(attempts.c.state, IN_FLIGHT))
    .group_by(attempts.c.worker_id, workers.c.id, workers.c.role, workers.c.state, workers.c.hostname)
    .limit(_MOST)
)


def _silent_workers(transaction: Transaction, silence: float) -> Iterator[Finding]:
    for row in transaction.execute(_holders):
        held = f"{row.held} attempt(s) in flight"
        if row.id is None:
            yield Finding("silent_worker", str(row.worker_id), f"Nobody knows the worker that holds {held}.")
        elif row.silent > silence:
            state = row.state if row.state in LIVE_WORKER else f"{row.state} and gone"
            detail = f"The {row.role} on {row.hostname} is {state}, is silent for {row.silent:.0f} s, and holds {held}."
            yield Finding("silent_worker", row.id, detail)


_immortal = (
    select(
        attempts.c.id, attempts.c.child_pid, attempts.c.hostname, age(attempts.c.unkillable_since).label("unkillable")
    )
    .where(in_states(attempts.c.state, IN_FLIGHT), attempts.c.unkillable_since.is_not(None))
    .limit(_MOST)
)


def _unkillable(transaction: Transaction) -> Iterator[Finding]:
    for row in transaction.execute(_immortal):
        where = f"Process {row.child_pid} on {row.hostname}"
        yield Finding(
            "unkillable", row.id, f"{where} could not be ended for {row.unkillable:.0f} s, and keeps its seat."
        )


_kept = select(counters.c.name, counters.c.state, counters.c.delta).where(counters.c.scope == "lane")
_real = select(jobs.c.lane, jobs.c.state, literal_column("0") - func.count()).group_by(jobs.c.lane, jobs.c.state)
_both = union_all(_kept, _real).subquery("both")
_differing = (
    select(_both.c.name, _both.c.state, func.sum(_both.c.delta).label("excess"))
    .group_by(_both.c.name, _both.c.state)
    .having(func.sum(_both.c.delta) != 0)
)


def _miscounted(transaction: Transaction) -> Iterator[Finding]:
    for row in transaction.execute(_differing):
        excess = int(row.excess)
        words = f"{abs(excess)} too {'many' if excess > 0 else 'few'}"
        yield Finding("lane_counters", row.name, f"The counters of the lane have {words} jobs that are {row.state}.")


_counted = select(func.coalesce(func.sum(counters.c.delta), 0)).where(
    counters.c.scope == "lane", counters.c.state == JobState.RUNNING.value
)
_flights = select(func.count()).select_from(attempts).where(in_states(attempts.c.state, IN_FLIGHT))
_running = select(_counted.scalar_subquery().label("counted"), _flights.scalar_subquery().label("flying"))
_newest = select(jobs.c.id, jobs.c.state).order_by(jobs.c.id.desc()).limit(_RECENT).subquery("newest")
_newest_running = select(_newest.c.id).where(_newest.c.state == JobState.RUNNING.value).limit(_MOST)


def _running_miscounted(transaction: Transaction, found: dict[str, list[Finding]]) -> Iterator[Finding]:
    """No index has the jobs that run, for each of them has an attempt in flight: if the numbers say so.

    If they differ, the running ones among the newest jobs are looked at, and a deep check finds the others.
    """
    row = transaction.execute(_running).one()
    if int(row.counted) == int(row.flying):
        return
    given = encode({"job_id": job_id} for job_id in transaction.execute(_newest_running).scalars())
    named = [*_running_without_attempt(transaction, given), *_dangling_attempt(transaction, given)]
    known = {finding.id for findings in found.values() for finding in findings}
    yield from (finding for finding in named if finding.id not in known)
    detail = f"The counters have {row.counted} running jobs, and {row.flying} attempts are in flight: check --deep."
    yield Finding("running_jobs", "all lanes", detail)


_OF_JOBS: tuple[Check, ...] = (
    _running_without_attempt,
    _dangling_attempt,
    _attempt_without_job,
    _two_in_flight,
    _attempt_numbers,
    _stray_wish,
    _ran_twice,
    _ledger_gap,
    _log_mark,
)
_OF_JOBS_DEEP: tuple[Check, ...] = (_log_gap,)
