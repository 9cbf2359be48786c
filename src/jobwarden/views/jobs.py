"""Jobs as an operator sees them: a page of a list, or one job with everything that is known of it.

Lists are walked by key, newest first, so that a page costs the same wherever it is and nothing moves between pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Select, bindparam, select

from jobwarden.domain.search import Field, Search, Word
from jobwarden.domain.states import ENDED, JobState
from jobwarden.errors import JobNotFound
from jobwarden.store import counters
from jobwarden.store.database import Id, Transaction
from jobwarden.store.schema import artifacts, attempts, batches, events, jobs
from jobwarden.views.rows import build, columns
from jobwarden.views.search import Plan

#: The states of a job that goes on only if somebody says so.
AT_REST = ENDED | {JobState.ORPHANED}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs; everything that is given must fit.

    A tag's value may end in ``*`` (begins with) or be empty (has the tag). ``search`` is what else must fit. ``before``
    is the cursor that the last page ended with.
    """

    states: Sequence[JobState] = ()
    lane: str | None = None
    job: str | None = None
    label: str | None = None
    batch: str | None = None
    created_by: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    before: str | None = None
    limit: int = 50
    search: Search = Search()

    @property
    def words(self) -> Search:
        """All of it as one search."""
        lists = {Field.STATE: tuple(state.value for state in self.states)}
        named = {
            Field.LANE: self.lane,
            Field.JOB: self.job,
            Field.LABEL: self.label,
            Field.BATCH: self.batch,
            Field.BY: self.created_by,
        }
        lists |= {field: (value,) for field, value in named.items() if value is not None}
        words = [Word(field, values) for field, values in lists.items() if values]
        tagged = [
            Word(Field.TAG, (value.removesuffix("*"),), begins=value.endswith("*") and value != "*", name=name)
            for name, value in self.tags.items()
        ]
        return Search((*words, *tagged, *self.search.words))


@dataclass(frozen=True, slots=True)
class JobLine:
    """One job in a list; ``label`` is the shown name of this run."""

    id: str
    job: str
    label: str | None
    lane: str
    state: str
    priority: int
    idempotent: bool
    attempt_count: int
    max_attempts: int
    wait_reason: str | None
    cancel_requested: bool
    batch_id: str | None
    tags: dict[str, str]
    created_by: str | None
    created_at: datetime
    available_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of jobs, the cursor of the next one (None: this is the last), and the database's clock."""

    jobs: list[JobLine]
    next: str | None
    now: datetime


@dataclass(frozen=True, slots=True)
class AttemptView:
    """One attempt with its complete stamp, what it cost and how it ended; times in milliseconds, memory in bytes."""

    id: str
    attempt_number: int
    state: str
    fencing_token: int
    worker_id: str | None
    host_id: str | None
    pid_scope: str | None
    hostname: str | None
    supervisor_pid: int | None
    supervisor_start_time: int | None
    child_pid: int | None
    child_start_time: int | None
    child_inode: int | None
    proc_nonce: str | None
    purpose: str
    isolation: str | None
    isolation_reason: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    cause: str | None
    exit_code: int | None
    term_signal: int | None
    duration_ms: int | None
    user_ms: int | None
    system_ms: int | None
    peak_rss_bytes: int | None
    progress: dict[str, Any] | None
    error: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class EventView:
    """One ledger row: what moved, by whom, why, on what evidence."""

    id: int
    attempt_id: str | None
    level: str
    from_state: str | None
    to_state: str
    attempt_from: str | None
    attempt_to: str | None
    actor_type: str
    actor_id: str | None
    reason: str | None
    context: dict[str, Any] | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """What a job left behind; ``path`` where it is a file."""

    id: str
    attempt_id: str | None
    type: str
    name: str
    path: str | None
    size_bytes: int | None
    checksum: str | None
    content_type: str | None
    meta: dict[str, Any] | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ArtifactContent:
    """An artifact to be handed out: its bytes, or the path of the file that has them."""

    name: str
    content_type: str | None
    content: bytes | None
    path: str | None


@dataclass(frozen=True, slots=True)
class BatchLine:
    """The batch that a job belongs to."""

    id: str
    name: str | None
    state: str


@dataclass(frozen=True, slots=True)
class JobView:
    """One job, whole."""

    id: str
    job: str
    label: str | None
    lane: str
    state: str
    priority: int
    idempotent: bool
    idempotency_key: str | None
    params: Any
    result: Any
    last_error: dict[str, Any] | None
    wait_reason: str | None
    blocked_by: int
    attempt_count: int
    max_attempts: int
    unspent_count: int
    current_attempt_id: str | None
    backoff: dict[str, Any] | None
    isolation: str | None
    on_lost: str | None
    reconciles: bool
    purpose: str
    timeout_sec: float | None
    max_runtime_sec: float | None
    grace_sec: float | None
    memory_bytes: int | None
    cancel_requested: bool
    cancel_mode: str | None
    cancel_reason: str | None
    cancel_actor: str | None
    cancel_requested_at: datetime | None
    batch_id: str | None
    batch_key: str | None
    schedule_id: str | None
    scheduled_for: datetime | None
    rerun_of: str | None
    created_by: str | None
    created_at: datetime
    available_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    tags: dict[str, str]
    attempts: list[AttemptView]
    events: list[EventView]
    artifacts: list[ArtifactView]
    batch: BatchLine | None
    now: datetime


_line: Select[Any] = select(*columns(jobs, JobLine, name="label"))
_whole = select(*columns(jobs, JobView, name="label")).where(jobs.c.id == bindparam("job", type_=Id))
_state = select(jobs.c.state).where(jobs.c.id == bindparam("job", type_=Id))
_attempts = (
    select(*columns(attempts, AttemptView))
    .where(attempts.c.job_id == bindparam("job", type_=Id), attempts.c.attempt_number > bindparam("after"))
    .order_by(attempts.c.attempt_number)
)
_events = (
    select(*columns(events, EventView))
    .where(events.c.job_id == bindparam("job", type_=Id), events.c.id > bindparam("after", type_=BigInteger()))
    .order_by(events.c.id)
)
_artifacts = (
    select(*columns(artifacts, ArtifactView))
    .where(artifacts.c.job_id == bindparam("job", type_=Id))
    .order_by(artifacts.c.id)
)
_batch = select(*columns(batches, BatchLine)).where(batches.c.id == bindparam("batch", type_=Id))


def listed(transaction: Transaction, wanted: Filter | None = None) -> Page:
    """The newest jobs that fit, at most ``wanted.limit`` of them.

    Fewer than that, with a cursor: many were looked at, and there may be more to find.
    """
    wanted = wanted or Filter()
    found, cursor = Plan(transaction, wanted.words).page(_line, wanted.before, wanted.limit)
    return Page([_job_line(row) for row in found], cursor, transaction.now())


def counted(transaction: Transaction, wanted: Filter) -> int:
    """How many jobs fit, exactly; by states and lanes alone from the counters, otherwise one by one."""
    words = wanted.words.words
    if any(word.negated or word.field not in (Field.STATE, Field.LANE) for word in words):
        return Plan(transaction, wanted.words).count()
    return sum(
        number
        for lane, states in counters.totals(transaction).items()
        for state, number in states.items()
        if all((state if word.field is Field.STATE else lane) in word.values for word in words)
    )


def ids_of(transaction: Transaction, wanted: Filter, after: str | None, limit: int) -> tuple[list[str], str | None]:
    """The next of those that fit after a cursor, oldest first, and the cursor to go on from (None: it was the last)."""
    found, cursor = Plan(transaction, wanted.words).page(select(jobs.c.id), after, limit, oldest_first=True)
    return [str(row.id) for row in found], cursor


def shown(transaction: Transaction, job_id: str) -> JobView:
    """One job with its attempts, ledger, artifacts, tags and batch; raises `JobNotFound`."""
    row = transaction.execute(_whole, job=job_id).one_or_none()
    if row is None:
        raise JobNotFound(id=job_id)
    return build(
        JobView,
        row,
        tags=row.tags or {},
        attempts=attempts_of(transaction, job_id),
        events=events_of(transaction, job_id),
        artifacts=artifacts_of(transaction, job_id),
        batch=_batch_of(transaction, row.batch_id),
        now=transaction.now(),
    )


def state_of(transaction: Transaction, job_id: str) -> JobState:
    """Where a job is in its life; raises `JobNotFound`."""
    state = transaction.execute(_state, job=job_id).scalar_one_or_none()
    if state is None:
        raise JobNotFound(id=job_id)
    return JobState(state)


def attempts_of(transaction: Transaction, job_id: str, after: int = 0, limit: int | None = None) -> list[AttemptView]:
    """A job's attempts, first to last, after the one with the number ``after``."""
    found = transaction.execute(_attempts.limit(limit), job=job_id, after=after)
    return [build(AttemptView, row) for row in found]


def events_of(transaction: Transaction, job_id: str, after: int = 0, limit: int | None = None) -> list[EventView]:
    """A job's ledger, in order, after the row with the id ``after``."""
    return [build(EventView, row) for row in transaction.execute(_events.limit(limit), job=job_id, after=after)]


def artifacts_of(transaction: Transaction, job_id: str) -> list[ArtifactView]:
    """What a job left behind, in order."""
    return [build(ArtifactView, row) for row in transaction.execute(_artifacts, job=job_id)]


_artifact = select(*columns(artifacts, ArtifactContent)).where(artifacts.c.job_id == bindparam("job", type_=Id))


def artifact_of(transaction: Transaction, job_id: str, artifact_id: str) -> ArtifactContent | None:
    """One artifact of a job with its content; None if it has none of that id."""
    query = _artifact.where(artifacts.c.id == bindparam("artifact", type_=Id))
    row = transaction.execute(query, job=job_id, artifact=artifact_id).one_or_none()
    return build(ArtifactContent, row) if row is not None else None


def _batch_of(transaction: Transaction, batch_id: str | None) -> BatchLine | None:
    row = transaction.execute(_batch, batch=batch_id).one_or_none() if batch_id else None
    return build(BatchLine, row) if row is not None else None


def _job_line(row: Any) -> JobLine:
    return build(JobLine, row, tags=row.tags or {})
