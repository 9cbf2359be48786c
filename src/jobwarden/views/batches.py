"""Batches as an operator sees them: a page of a list, or one with its members and edges.

Counts are a batch's own row and the deltas that moves have left since: nobody counts jobs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, or_, select, true

from jobwarden.domain.layout import Edge
from jobwarden.domain.states import BatchState, JobState
from jobwarden.errors import BatchNotFound
from jobwarden.store.database import Id, Transaction
from jobwarden.store.ledger import words
from jobwarden.store.schema import batch_labels, batches, counters, dependencies, jobs
from jobwarden.views.rows import build, columns, in_states

_FAILURES = 100
_ENDED_BADLY = (JobState.FAILED, JobState.CANCELED, JobState.STOPPED)


@dataclass(frozen=True, slots=True)
class Counts:
    """Members by bucket: pending (waiting in any way), running (parked ones too), succeeded, failed, canceled."""

    total: int
    pending: int
    running: int
    succeeded: int
    failed: int
    canceled: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A member that ended without success; ``error`` is its last error's message, or why it was called off."""

    id: str
    key: str
    job: str
    state: str
    error: str | None


@dataclass(frozen=True, slots=True)
class BatchLine:
    """One batch in a list."""

    id: str
    name: str | None
    state: str
    failure_policy: str
    failure_threshold: float | None
    params: dict[str, Any] | None
    summary: dict[str, Any] | None
    labels: dict[str, str] | None
    held_at: datetime | None
    held_by: str | None
    held_reason: str | None
    cancel_reason: str | None
    created_by: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    counts: Counts


@dataclass(frozen=True, slots=True)
class Page:
    """A page of batches, the newest first, and the cursor of the next one."""

    batches: list[BatchLine]
    next: str | None
    now: datetime


@dataclass(frozen=True, slots=True)
class MemberLine:
    """One member; ``blocked_by`` is how many edges it still waits for."""

    id: str
    key: str
    job: str
    label: str | None
    state: str
    blocked_by: int
    finalizer: bool
    attempt_count: int
    cancel_reason: str | None
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class EdgeLine:
    """``job_id`` waits for ``upstream``: to succeed, or to end (``on_completion``)."""

    job_id: str
    upstream: str
    condition: str
    satisfied: bool


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A job that another one waits for, or that waits for it."""

    id: str
    key: str | None
    job: str
    label: str | None
    state: str
    condition: str
    satisfied: bool


@dataclass(frozen=True, slots=True)
class Neighbours:
    """What a job waits for and what waits for it, at most a hundred of each."""

    upstream: list[Neighbour]
    downstream: list[Neighbour]


@dataclass(frozen=True, slots=True)
class Course:
    """When members ran: the first of those that began, as many as were asked for, between ``begin`` and ``end``; and
    ``critical``, from the first to the last, each waiting for the one before it: what took the time."""

    members: list[MemberLine]
    critical: list[MemberLine]
    begin: datetime | None
    end: datetime


@dataclass(frozen=True, slots=True)
class BatchNow:
    """A batch as a running member sees it, who counts itself as running, or as a job that follows it does."""

    id: str
    name: str | None
    state: str
    failure_policy: str
    params: dict[str, Any] | None
    labels: dict[str, str]
    counts: Counts
    failures: list[Failure]


_line = columns(batches, BatchLine)
_buckets = ("pending", "running", "succeeded", "failed", "canceled")
_rows = (batches.c.total_jobs, *(batches.c[f"{bucket}_count"] for bucket in _buckets))
_deltas = (
    select(counters.c.name, counters.c.state, func.sum(counters.c.delta).label("delta"))
    .where(counters.c.scope == words("batch"), counters.c.name.in_(bindparam("ids", expanding=True)))
    .group_by(counters.c.name, counters.c.state)
)
_of_batch = jobs.c.batch_id == bindparam("batch", type_=Id)
_members = select(*columns(jobs, MemberLine, batch_key="key", name="label")).where(_of_batch).order_by(jobs.c.id)
_edges = (
    select(
        dependencies.c.job_id,
        dependencies.c.depends_on_job_id.label("upstream"),
        dependencies.c.edge_condition.label("condition"),
        dependencies.c.satisfied_at,
    )
    .select_from(jobs.join(dependencies, dependencies.c.job_id == jobs.c.id))
    .where(_of_batch)
    .order_by(dependencies.c.job_id, dependencies.c.depends_on_job_id)
)
_states = select(jobs.c.id, jobs.c.state).where(_of_batch)
_tally = (
    select(jobs.c.state, func.count().label("number"))
    .where(_of_batch, jobs.c.id.between(bindparam("first", type_=Id), bindparam("last", type_=Id)))
    .group_by(jobs.c.state)
)
_NOT_BEGUN = (JobState.PENDING, JobState.QUEUED)
_ended = (jobs.c.finished_at.is_not(None), jobs.c.started_at.is_not(None))
_by_end = (jobs.c.finished_at.desc(), jobs.c.id.desc())
_latest = select(jobs.c.id).where(_of_batch, *_ended).order_by(*_by_end).limit(1)
_waited_for = (
    select(jobs.c.id)
    .select_from(dependencies.join(jobs, jobs.c.id == dependencies.c.depends_on_job_id))
    .where(dependencies.c.job_id == bindparam("job", type_=Id), *_ended)
    .order_by(*_by_end)
    .limit(1)
)
_failures = (
    select(
        jobs.c.id,
        jobs.c.batch_key.label("key"),
        jobs.c.job,
        jobs.c.state,
        jobs.c.last_error,
        jobs.c.cancel_reason,
    )
    .where(_of_batch, in_states(jobs.c.state, _ENDED_BADLY))
    .order_by(jobs.c.finished_at, jobs.c.id)
    .limit(_FAILURES)
)


def listed(
    transaction: Transaction,
    states: Sequence[BatchState] = (),
    before: str | None = None,
    limit: int = 20,
    labels: Mapping[str, str] | None = None,
) -> Page:
    """The newest batches that have all of ``labels``, at most ``limit``; ``before``: what the last page ended with."""
    query = select(*_line, *_rows).order_by(batches.c.id.desc()).limit(limit + 1)
    if states:
        query = query.where(or_(*(batches.c.state == state.value for state in states)))
    for name, value in (labels or {}).items():
        labelled = select(batch_labels.c.batch_id).where(batch_labels.c.name == name, batch_labels.c.value == value)
        query = query.where(batches.c.id.in_(labelled))
    if before is not None:
        query = query.where(batches.c.id < before)
    found = transaction.execute(query).all()
    lines = _counted(transaction, found[:limit])
    return Page(lines, lines[-1].id if len(found) > limit else None, transaction.now())


def shown(transaction: Transaction, batch_id: str) -> BatchLine:
    """One batch; raises `BatchNotFound`."""
    found = transaction.execute(select(*_line, *_rows).where(batches.c.id == batch_id)).all()
    if not found:
        raise BatchNotFound(id=batch_id)
    return _counted(transaction, found)[0]


def members_of(transaction: Transaction, batch_id: str, limit: int | None = None) -> list[MemberLine]:
    """A batch's members in the order of their birth, which is one in which they can run."""
    query = _members if limit is None else _members.limit(limit)
    return [build(MemberLine, row) for row in transaction.execute(query, batch=batch_id)]


def members_after(transaction: Transaction, batch_id: str, after: str | None, limit: int) -> list[MemberLine]:
    """The next members after the one with the id ``after``."""
    return _first(transaction, batch_id, JobState, after, limit)


def _first(
    transaction: Transaction, batch_id: str, states: Iterable[JobState], after: str | None, limit: int
) -> list[MemberLine]:
    """The first members in these states. An index has them by state: the first of each are read, and of all those the
    first are taken."""
    beyond = jobs.c.id > bindparam("after", after, type_=Id) if after is not None else true()
    ids: list[str] = []
    for state in states:
        some = select(jobs.c.id).where(_of_batch, jobs.c.state == words(state), beyond).order_by(jobs.c.id).limit(limit)
        ids += transaction.execute(some, batch=batch_id).scalars()
    found = transaction.execute(_members.where(jobs.c.id.in_(sorted(ids)[:limit])), batch=batch_id)
    return [build(MemberLine, row) for row in found]


def states_of(transaction: Transaction, batch_id: str) -> dict[str, str]:
    """The state of every member, by its id."""
    return {row.id: row.state for row in transaction.execute(_states, batch=batch_id)}


def tally_of(
    transaction: Transaction, batch_id: str, ranges: Mapping[str, tuple[str, str]]
) -> dict[str, dict[str, int]]:
    """How many members are in which state, by the name of a range of their ids, both of its ends included."""
    found: dict[str, dict[str, int]] = {}
    for name, (first, last) in ranges.items():
        rows = transaction.execute(_tally, batch=batch_id, first=first, last=last)
        found[name] = {row.state: int(row.number) for row in rows}
    return found


def course_of(transaction: Transaction, batch_id: str, most: int) -> Course:
    """How a batch went in time. The path is walked from its end, along whatever ended last of what a member waited for,
    ``most`` steps at most."""
    first = _first(transaction, batch_id, (state for state in JobState if state not in _NOT_BEGUN), None, most)
    began = [member for member in first if member.started_at is not None]
    last = transaction.execute(_latest, batch=batch_id).scalar_one_or_none()
    path: list[MemberLine] = []
    while last is not None and len(path) < most:
        [row] = transaction.execute(_members.where(jobs.c.id == last), batch=batch_id)
        path.append(build(MemberLine, row))
        last = transaction.execute(_waited_for, job=last).scalar_one_or_none()
    begin = min((member.started_at for member in (*began, *path) if member.started_at), default=None)
    running = any(not member.finished_at for member in began)
    end = path[0].finished_at if path and not running else None
    return Course(began, path[::-1], begin, end or transaction.now())


def edges_of(transaction: Transaction, batch_id: str) -> list[EdgeLine]:
    """What its members wait for."""
    return [
        EdgeLine(row.job_id, row.upstream, row.condition, row.satisfied_at is not None)
        for row in transaction.execute(_edges, batch=batch_id)
    ]


def wires(members: Iterable[MemberLine], edges: Iterable[EdgeLine]) -> list[Edge]:
    """The edges by the keys of members, as they are laid out."""
    keys = {member.id: member.key for member in members}
    kinds = {"on_success": "success", "on_completion": "completion"}
    return [
        Edge(keys[e.upstream], keys[e.job_id], kinds[e.condition])
        for e in edges
        if {e.upstream, e.job_id} <= keys.keys()
    ]


def _next_to(here: Any, there: Any) -> Any:
    edge = (dependencies.c.edge_condition.label("condition"), dependencies.c.satisfied_at)
    return (
        select(jobs.c.id, jobs.c.batch_key.label("key"), jobs.c.job, jobs.c.name.label("label"), jobs.c.state, *edge)
        .select_from(dependencies.join(jobs, jobs.c.id == there))
        .where(here == bindparam("job", type_=Id))
        .order_by(there)
        .limit(_FAILURES)
    )


_upstream = _next_to(dependencies.c.job_id, dependencies.c.depends_on_job_id)
_downstream = _next_to(dependencies.c.depends_on_job_id, dependencies.c.job_id)


def neighbours_of(transaction: Transaction, job_id: str) -> Neighbours:
    """What is next to a job in its graph."""
    sides = [
        [
            build(Neighbour, row, satisfied=row.satisfied_at is not None)
            for row in transaction.execute(query, job=job_id)
        ]
        for query in (_upstream, _downstream)
    ]
    return Neighbours(*sides)


def failures_of(transaction: Transaction, batch_id: str) -> list[Failure]:
    """Members that ended without success, at most 100, in the order of their ends."""
    return [
        Failure(row.id, row.key, row.job, row.state, (row.last_error or {}).get("message") or row.cancel_reason)
        for row in transaction.execute(_failures, batch=batch_id)
    ]


def now_of(transaction: Transaction, batch_id: str) -> BatchNow:
    """A batch for one of its members; raises `BatchNotFound`."""
    line = shown(transaction, batch_id)
    return BatchNow(
        id=line.id,
        name=line.name,
        state=line.state,
        failure_policy=line.failure_policy,
        params=line.params,
        labels=line.labels or {},
        counts=line.counts,
        failures=failures_of(transaction, batch_id),
    )


def _counted(transaction: Transaction, found: Sequence[Any]) -> list[BatchLine]:
    deltas: dict[str, dict[str, int]] = {}
    if found:
        for row in transaction.execute(_deltas, ids=[row.id for row in found]):
            deltas.setdefault(row.name, {})[row.state] = int(row.delta)
    return [build(BatchLine, row, counts=_counts(row, deltas.get(row.id, {}))) for row in found]


def _counts(row: Any, deltas: Mapping[str, int]) -> Counts:
    own = {bucket: row._mapping[f"{bucket}_count"] + deltas.get(bucket, 0) for bucket in _buckets}
    return Counts(total=row.total_jobs, **own)
