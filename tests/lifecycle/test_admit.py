"""Admit: what is due becomes claimable, the most urgent first; what is not due, or blocked, stays where it is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobwarden.domain.states import JobState
from jobwarden.lifecycle.admit import admit
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.support.factories import Factories


def _states(factories: Factories, *ids: str) -> list[str]:
    return [factories.read(schema.jobs, key)["state"] for key in ids]


def _admit(database: Database, most: int = 500) -> int:
    with database.write() as transaction:
        return admit(transaction, "worker", most)


@pytest.mark.parametrize("state", [JobState.PENDING, JobState.RETRYING])
def test_only_what_is_due(database: Database, factories: Factories, state: JobState) -> None:
    with database.read() as transaction:
        now = transaction.now()
    due = factories.job(state, available_at=now - timedelta(seconds=1))["id"]
    early = factories.job(state, available_at=now + timedelta(hours=1))["id"]
    assert _admit(database) == 1
    assert _states(factories, due, early) == ["queued", state.value]
    row = factories.read(schema.jobs, due)
    assert row["queued_at"] is not None
    [event] = factories.events_of(due)
    assert (event["from_state"], event["to_state"], event["actor_type"], event["actor_id"]) == (
        state.value,
        "queued",
        "supervisor",
        "worker",
    )
    assert factories.counted() == {("default", "queued"): 1, ("default", state.value): 1}
    assert _admit(database) == 0


def test_never_what_is_blocked(database: Database, factories: Factories) -> None:
    blocked = factories.job(JobState.PENDING, blocked_by=1)["id"]
    assert _admit(database) == 0
    assert _states(factories, blocked) == ["pending"]


def test_the_most_urgent_first(database: Database, factories: Factories) -> None:
    made = {
        priority: factories.job(JobState.PENDING, priority=priority)["id"] for priority in (0, 7, -3, 32767, -32768)
    }
    assert _admit(database, most=2) == 2
    assert _states(factories, made[32767], made[7], made[0], made[-3]) == ["queued", "queued", "pending", "pending"]
    assert _admit(database, most=2) == 2
    assert _states(factories, made[0], made[-3], made[-32768]) == ["queued", "queued", "pending"]
    assert _admit(database, most=2) == 1


def test_the_longest_due_first_within_a_priority(database: Database, factories: Factories) -> None:
    with database.read() as transaction:
        now = transaction.now()
    ages = {
        age: factories.job(JobState.RETRYING, available_at=now - timedelta(seconds=age))["id"] for age in (5, 50, 20)
    }
    assert _admit(database, most=1) == 1
    assert _states(factories, ages[50], ages[20], ages[5]) == ["queued", "retrying", "retrying"]


def test_two_that_admit_at_once_do_not_wait_for_each_other(database: Database, factories: Factories) -> None:
    factories.jobs(100, JobState.SUCCEEDED)  # on a nearly empty table MariaDB locks all rows
    made = [factories.job(JobState.PENDING)["id"] for _ in range(6)]
    with database.write() as first:
        one = admit(first, "one", 3)
        if database.facts.skips_locked:
            with database.write() as second:
                two = admit(second, "two", 6)
    if not database.facts.skips_locked:
        two = _admit(database)
    assert (one, two) == (3, 3)
    assert set(_states(factories, *made)) == {"queued"}
    assert all(len(factories.events_of(key)) == 1 for key in made)
