"""Two people, or a person and a worker, at the same job at once, each over a connection of its own: one decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from jobwarden.config import Settings
from jobwarden.domain.orders import Answer, Order, Verb
from jobwarden.domain.states import JobState
from jobwarden.errors import WrongState
from jobwarden.lifecycle.operate import carry_out
from jobwarden.store import schema
from jobwarden.store.database import Database, Fault
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories

ROUNDS = 20


@pytest.fixture
def two(settings: Settings) -> Iterator[tuple[Database, Database]]:
    """Two ways to the same database."""
    pair = Database(settings), Database(settings)
    for database in pair:
        with database.read() as transaction:
            transaction.now()
    yield pair
    for database in pair:
        database.dispose()


def race(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[Any, Any]:
    gun = threading.Barrier(2)

    def run(work: Callable[[], Any]) -> Any:
        gun.wait(60)
        return work()

    with ThreadPoolExecutor(2) as threads:
        one, other = threads.submit(run, first), threads.submit(run, second)
        return one.result(100), other.result(100)


def ledger(factories: Factories, job_id: str) -> list[tuple[str | None, str]]:
    return [(event["from_state"], event["to_state"]) for event in factories.events_of(job_id)]


def ask(database: Database, verb: Verb, *job_ids: str) -> Callable[[], list[Answer]]:
    return lambda: carry_out(database, Order(verb, "at once", verb.value), job_ids)


def test_retry_against_cancel(two: tuple[Database, Database], factories: Factories) -> None:
    """Either the cancel comes first and is refused, or it calls off what the retry has queued."""
    for _ in range(ROUNDS):
        job = factories.job(JobState.FAILED)
        [retried], [canceled] = race(ask(two[0], Verb.RETRY, job["id"]), ask(two[1], Verb.CANCEL, job["id"]))
        assert (retried.refused, retried.state) == (None, "queued")
        state = factories.read(schema.jobs, job["id"])["state"]
        if canceled.refused is None:
            assert state == canceled.state == "canceled"
            assert ledger(factories, job["id"]) == [("failed", "queued"), ("queued", "canceled")]
        else:
            assert isinstance(canceled.refused, WrongState)
            assert (canceled.state, state) == ("failed", "queued")
            assert ledger(factories, job["id"]) == [("failed", "queued")]


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.RESTART])
def test_the_same_wish_twice_at_once_is_granted_once(
    two: tuple[Database, Database], factories: Factories, verb: Verb
) -> None:
    for _ in range(ROUNDS):
        job = factories.job(JobState.FAILED, max_attempts=1)
        answers = [answer for [answer] in race(*(ask(database, verb, job["id"]) for database in two))]
        assert sorted(answer.refused is None for answer in answers) == [False, True]
        assert {answer.state for answer in answers} == {JobState.QUEUED}
        assert ledger(factories, job["id"]) == [("failed", "queued")]
        assert factories.read(schema.jobs, job["id"])["max_attempts"] == 2


def test_many_jobs_in_opposite_orders(two: tuple[Database, Database], factories: Factories) -> None:
    made = [job["id"] for job in factories.jobs(60, JobState.FAILED)]
    mine, yours = race(ask(two[0], Verb.RETRY, *made), ask(two[1], Verb.RESTART, *reversed(made)))
    won = [{answer.id for answer in answers if answer.refused is None} for answers in (mine, yours)]
    assert won[0] | won[1] == set(made)
    assert not won[0] & won[1]
    assert factories.counted() == {("default", "queued"): 60}


def test_cancel_against_claim(two: tuple[Database, Database], factories: Factories) -> None:
    """A job is canceled before it is claimed, or it runs with the wish in its row; the wish is never lost."""
    for _ in range(ROUNDS):
        job = factories.job()
        claims, [canceled] = race(partial(_claim, Claimant(), two[0]), ask(two[1], Verb.CANCEL, job["id"]))
        row = factories.read(schema.jobs, job["id"])
        assert canceled.refused is None
        assert canceled.state == row["state"] == ("running" if claims else "canceled")
        assert row["cancel_requested"] == bool(claims)


def _claim(claimant: Claimant, database: Database) -> list[Any]:
    """As the writer does: again after a conflict."""
    while True:
        try:
            return claimant.claim(database)
        except DBAPIError as error:
            if database.fault(error) is not Fault.CONFLICT:
                raise
