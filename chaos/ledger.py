"""The ledger: jobs, attempts and events read from the database into plain values."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from chaos.evidence import Attempt, Clocks, Edge, Event, Graph, Job
from jobwarden.store import schema
from jobwarden.store.database import Database

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def load(database: Database, clocks: Clocks) -> tuple[list[Job], list[Attempt], list[Event], dict[str, int]]:
    """Jobs, attempts, events in their order, and what the counters say of each state; in one transaction."""
    with database.read() as transaction:
        jobs = [_job(row) for row in transaction.execute(sa.select(schema.jobs))]
        attempts = [_attempt(row, clocks) for row in transaction.execute(sa.select(schema.attempts))]
        ordered = sa.select(schema.events).order_by(schema.events.c.id)
        events = list(_events(transaction.execute(ordered), clocks))
        counters = schema.counters.c
        of_lanes = sa.select(counters.state, sa.func.sum(counters.delta).label("total")).where(counters.scope == "lane")
        sums = of_lanes.group_by(counters.state)
        counted = {row.state: int(row.total) for row in transaction.execute(sums) if row.total}
    return jobs, attempts, events, counted


def load_graphs(database: Database) -> tuple[list[Graph], list[Edge]]:
    """Batches with the states they were in, and the edges between members."""
    columns = schema.events.c
    told = sa.select(columns.id, columns.batch_id, columns.to_state, columns.from_state)
    moved = told.where(columns.batch_id.is_not(None), columns.job_id.is_(None)).order_by(columns.id)
    with database.read() as transaction:
        moves: dict[str, list[tuple[int, str]]] = {}
        for row in transaction.execute(moved):
            if row.from_state != row.to_state:
                moves.setdefault(row.batch_id, []).append((row.id, row.to_state))
        graphs = [_graph(row, moves.get(row.id, [])) for row in transaction.execute(sa.select(schema.batches))]
        members = {row.id for row in transaction.execute(sa.select(schema.jobs.c.id))}
        edges = [
            Edge(row.job_id, row.depends_on_job_id, row.edge_condition == "on_completion")
            for row in transaction.execute(sa.select(schema.dependencies))
            if row.depends_on_job_id in members
        ]
    return graphs, edges


def _graph(row: Any, moves: list[tuple[int, str]]) -> Graph:
    finished = row.finished_at is not None
    return Graph(row.id, row.state, finished, row.failure_policy, row.failure_threshold, moves)


def _job(row: Any) -> Job:
    return Job(
        id=row.id,
        kind=row.job,
        state=row.state,
        idempotent=bool(row.idempotent),
        attempt_count=row.attempt_count,
        current_attempt=row.current_attempt_id,
        batch=row.batch_id,
        key=row.batch_key,
    )


def _attempt(row: Any, clocks: Clocks) -> Attempt:
    return Attempt(
        id=row.id,
        job=row.job_id,
        number=row.attempt_number,
        state=row.state,
        token=row.fencing_token,
        created=_boot(row.created_at, clocks),
        finished=_boot(row.finished_at, clocks) if row.finished_at else None,
        scope=int((row.pid_scope or "-0").rpartition("-")[2]),
        pid=row.child_pid or 0,
        start_time=row.child_start_time or 0,
        nonce=row.proc_nonce or "",
        isolation=row.isolation or "fork",
        purpose=row.purpose,
    )


def _events(rows: Any, clocks: Clocks) -> Iterator[Event]:
    for row in rows:
        if row.job_id is None:
            continue
        yield Event(
            id=row.id,
            job=row.job_id,
            at=_boot(row.created_at, clocks),
            to_state=row.to_state,
            from_state=row.from_state,
            attempt=row.attempt_id,
            level=row.level,
            attempt_from=row.attempt_from,
            attempt_to=row.attempt_to,
            actor=row.actor_type,
            reason=row.reason,
            context=row.context or {},
        )


def _boot(moment: datetime, clocks: Clocks) -> int:
    since = moment - _EPOCH
    wall = (since.days * 86400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
    return clocks.boot(wall)
