"""The factories make what they are asked for, on every engine."""

from __future__ import annotations

import pytest

from jobwarden.domain.states import AttemptState, JobState, WorkerState
from jobwarden.store import schema
from tests.support.factories import LATEST, Factories


def test_a_job_in_every_state(factories: Factories) -> None:
    made = [factories.job(state, lane="hot") for state in JobState]
    assert [job["state"] for job in made] == list(JobState)
    for job in made:
        latest = LATEST.get(JobState(job["state"]))
        states = [AttemptState(attempt["state"]) for attempt in factories.attempts_of(job["id"])]
        assert states == ([latest] if latest else [])
    assert factories.counted() == {("hot", state.value): 1 for state in JobState}


def test_a_further_attempt_is_the_current_one(factories: Factories) -> None:
    job = factories.job(JobState.RETRYING)
    attempt = factories.attempt(job, AttemptState.DISPATCHED)
    assert (attempt["attempt_number"], attempt["started_at"]) == (2, None)
    assert factories.read(schema.jobs, job["id"])["current_attempt_id"] == attempt["id"]


@pytest.mark.parametrize("state", list(WorkerState))
def test_a_worker_with_an_old_heartbeat(factories: Factories, state: WorkerState) -> None:
    worker = factories.worker(state, beat_ago=3600)
    assert worker["state"] == state
    with factories.database.read() as transaction:
        assert 3500 < (transaction.now() - worker["heartbeat_at"]).total_seconds() < 3700
