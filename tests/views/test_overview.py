"""Everything at a glance, counted from the counters."""

from __future__ import annotations

import sqlalchemy as sa

from jobwarden.domain.states import JobState
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.views.overview import overview
from tests.support.factories import Factories


def test_jobs_by_lane_and_state_with_what_runs_and_what_needs_attention(
    database: Database, factories: Factories
) -> None:
    factories.jobs(2, lane="hot")
    running = factories.job(JobState.RUNNING, lane="hot")
    failed, parked = factories.job(JobState.FAILED), factories.job(JobState.ORPHANED)
    factories.worker()
    with database.write() as transaction:
        paused = {"name": "cold", "paused": True, "paused_reason": "migration", "updated_at": transaction.now()}
        transaction.execute(sa.insert(schema.lanes).values(**paused))
    with database.read() as transaction:
        seen = overview(transaction)
    assert {lane.name: (lane.states, lane.paused) for lane in seen.lanes} == {
        "cold": ({}, True),
        "default": ({"failed": 1, "orphaned": 1}, False),
        "hot": ({"queued": 2, "running": 1}, False),
    }
    assert seen.states == {"queued": 2, "running": 1, "failed": 1, "orphaned": 1}
    assert [flight.job_id for flight in seen.running] == [running["id"]]
    assert {job.id for job in seen.attention} == {failed["id"], parked["id"]}
    assert len(seen.workers) == 1


def test_an_empty_database_is_an_empty_overview(database: Database) -> None:
    with database.read() as transaction:
        seen = overview(transaction)
    assert (seen.lanes, seen.states, seen.workers, seen.running, seen.attention) == ([], {}, [], [], [])
