"""A row in any state in one call, with all that a row in that state would have: attempt, stamp, instants, counters.

These rows are written past the door on purpose: they are where a test begins, not what it tests.
"""

from __future__ import annotations

import itertools
import uuid
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from jobwarden.domain.states import ENDED, IN_FLIGHT, AttemptState, BatchState, JobState, WorkerState
from jobwarden.store import schema
from jobwarden.store.database import Database, Transaction

Values = dict[str, Any]

#: What the latest attempt of a job in this state came to; a state that is not here needs no attempt.
LATEST = {
    JobState.RUNNING: AttemptState.RUNNING,
    JobState.RETRYING: AttemptState.FAILED,
    JobState.ORPHANED: AttemptState.FAILED,
    JobState.SUCCEEDED: AttemptState.SUCCEEDED,
    JobState.FAILED: AttemptState.FAILED,
    JobState.STOPPED: AttemptState.STOPPED,
}


class Factories:
    """Makes rows in one database; every argument is a column's value and overrides what would be written."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._pids = itertools.count(100_000)

    def job(self, state: JobState = JobState.QUEUED, *, attempt: AttemptState | None = None, **columns: Any) -> Values:
        """A job, with its latest attempt where the state needs one; ``attempt`` chooses that one's state."""
        with self.database.write() as transaction:
            now = transaction.now()
            row = _job(state, now) | columns
            latest = attempt or LATEST.get(state)
            if latest is not None:
                made = self._attempt(row, latest, now, 1)
                row = {"attempt_count": 1, "started_at": made["started_at"], "current_attempt_id": made["id"]} | row
                _insert(transaction, schema.attempts, made)
            _insert(transaction, schema.jobs, row)
            counted = {"scope": "lane", "name": row["lane"], "state": row["state"], "delta": 1}
            _insert(transaction, schema.counters, counted)
        return self.read(schema.jobs, row["id"])

    def jobs(self, count: int, state: JobState = JobState.QUEUED, **columns: Any) -> list[Values]:
        """Many jobs alike, each with its own id."""
        return [self.job(state, **columns) for _ in range(count)]

    def attempt(self, job: Values, state: AttemptState = AttemptState.RUNNING, **columns: Any) -> Values:
        """A further attempt of a job, which becomes its current one."""
        with self.database.write() as transaction:
            number = self.read(schema.jobs, job["id"])["attempt_count"] + 1
            row = self._attempt(job, state, transaction.now(), number) | columns
            _insert(transaction, schema.attempts, row)
            moved = sa.update(schema.jobs).where(schema.jobs.c.id == job["id"])
            transaction.connection.execute(moved.values(attempt_count=number, current_attempt_id=row["id"]))
        return self.read(schema.attempts, row["id"])

    def worker(self, state: WorkerState = WorkerState.ACTIVE, *, beat_ago: float = 0.0, **columns: Any) -> Values:
        """A daemon's row, whose last heartbeat is ``beat_ago`` seconds old."""
        with self.database.write() as transaction:
            now = transaction.now()
            row = {
                "id": new_id(),
                "role": "supervisor",
                "state": state.value,
                "host_id": "host",
                "pid_scope": "host:4026531836",
                "hostname": "host.example",
                "pid": next(self._pids),
                "start_time": 1,
                "nonce": uuid.uuid4().hex[:16],
                "capacity": 4,
                "started_at": now - timedelta(seconds=beat_ago),
                "heartbeat_at": now - timedelta(seconds=beat_ago),
            } | columns
            _insert(transaction, schema.workers, row)
        return self.read(schema.workers, row["id"])

    def batch(self, state: BatchState = BatchState.RUNNING, **columns: Any) -> Values:
        """A batch without members."""
        with self.database.write() as transaction:
            now = transaction.now()
            row = {
                "id": new_id(),
                "name": "batch",
                "state": state.value,
                "created_at": now,
                "updated_at": now,
                "finished_at": None if state is BatchState.RUNNING else now,
            } | columns
            _insert(transaction, schema.batches, row)
        return self.read(schema.batches, row["id"])

    def read(self, table: sa.Table, key: str) -> Values:
        """The row with this id, as it is now."""
        with self.database.read() as transaction:
            found = transaction.connection.execute(sa.select(table).where(table.c.id == key)).mappings().one()
        return dict(found)

    def count(self, table: sa.Table) -> int:
        """How many rows there are."""
        with self.database.read() as transaction:
            return int(transaction.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())

    def attempts_of(self, job_id: str) -> list[Values]:
        """A job's attempts, first to last."""
        return self._all(schema.attempts, schema.attempts.c.job_id == job_id, schema.attempts.c.attempt_number)

    def events_of(self, job_id: str) -> list[Values]:
        """A job's ledger, first to last."""
        return self._all(schema.events, schema.events.c.job_id == job_id, schema.events.c.id)

    def following(self, batch_id: str) -> list[Values]:
        """The jobs that were enqueued because a batch was over."""
        return self._all(schema.jobs, schema.jobs.c.follows_batch_id == batch_id, schema.jobs.c.id)

    def logs_of(self, job_id: str) -> list[Values]:
        """A job's log lines, in order."""
        return self._all(schema.logs, schema.logs.c.job_id == job_id, schema.logs.c.id)

    def counted(self) -> dict[tuple[str, str], int]:
        """The lane counters folded: (lane, state) to number, without zeros."""
        counters = schema.counters.c
        with self.database.read() as transaction:
            query = sa.select(counters.name, counters.state, sa.func.sum(counters.delta)).group_by(
                counters.name, counters.state
            )
            rows = transaction.connection.execute(query.where(counters.scope == "lane")).all()
        return {(name, state): int(total) for name, state, total in rows if total}

    def _all(self, table: sa.Table, condition: sa.ColumnElement[bool], order: sa.ColumnElement[Any]) -> list[Values]:
        with self.database.read() as transaction:
            found = transaction.connection.execute(sa.select(table).where(condition).order_by(order))
            return [dict(row) for row in found.mappings()]

    def _attempt(self, job: Values, state: AttemptState, now: datetime, number: int) -> Values:
        over = state not in IN_FLIGHT
        return {
            "id": new_id(),
            "job_id": job["id"],
            "attempt_number": number,
            "fencing_token": number,
            "state": state.value,
            "worker_id": new_id(),
            "host_id": "host",
            "pid_scope": "host:4026531836",
            "hostname": "host.example",
            "supervisor_pid": next(self._pids),
            "supervisor_start_time": 1,
            "child_pid": next(self._pids),
            "child_start_time": 2,
            "child_inode": 3,
            "proc_nonce": uuid.uuid4().hex[:16],
            "isolation": "fork",
            "created_at": now,
            "started_at": None if state is AttemptState.DISPATCHED else now,
            "finished_at": now if over else None,
            "updated_at": now,
        }


def new_id() -> str:
    """An id for a row; not ordered by time, which no test may rely on."""
    return str(uuid.uuid4())


def _job(state: JobState, now: datetime) -> Values:
    return {
        "id": new_id(),
        "job": "tests:succeed",
        "lane": "default",
        "params": {},
        "priority": 0,
        "state": state.value,
        "available_at": now,
        "idempotent": True,
        "max_attempts": 4,
        "isolation": "fork",
        "on_lost": "auto",
        "grace_sec": 10.0,
        "created_at": now,
        "queued_at": None if state is JobState.PENDING else now,
        "finished_at": now if state in ENDED else None,
        "updated_at": now,
    }


def _insert(transaction: Transaction, table: sa.Table, row: Values) -> None:
    transaction.connection.execute(sa.insert(table).values(**row))
