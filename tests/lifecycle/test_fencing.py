"""Fenced out: what an attempt says that is no longer its job's changes nothing; and one end is one transaction."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.claims import Claim
from jobwarden.domain.report import Cause, Outcome, Report, Usage
from jobwarden.domain.states import Actor, JobState
from jobwarden.errors import FencedOut
from jobwarden.lifecycle.admit import admit
from jobwarden.lifecycle.record import Record, Saying, record, record_exits
from jobwarden.lifecycle.recover import charges_of, orphan
from jobwarden.lifecycle.settle import Settlement, complete, settle
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories

_REFUSED = "stale_write_rejected"
_AT_ONCE = {"base": 0.0, "jitter": False}


def _all(factories: Factories, *tables: sa.Table) -> dict[str, list[dict[str, Any]]]:
    with factories.database.read() as transaction:
        return {
            table.name: [
                dict(row) for row in transaction.connection.execute(sa.select(table).order_by(table.c.id)).mappings()
            ]
            for table in tables
        }


def _lose(database: Database, claimant: Claimant) -> None:
    """A reaper gives up what this worker holds."""
    with database.write() as transaction:
        lost = charges_of(transaction, claimant.worker_id)
        assert orphan(transaction, lost, "reaper", "its host is dark", {}) == len(lost) > 0


def _speaks(database: Database, claimant: Claimant, gone: Claim) -> None:
    """Everything that an attempt can say, with its own token."""
    lines = [Saying(1, "info", "still here")]
    thing = {"id": gone.job_id, "type": "file", "name": "a", "path": "/a"}
    claimant.start(database, gone)
    with database.write() as transaction:
        record(transaction, [Record(gone.job_id, gone.attempt_id, gone.token, lines, {"fraction": 1}, [thing])])
    with database.write() as transaction:
        facts = {"cause": "exited", "exit_code": 3, "user_ms": 9, "peak_rss_bytes": 9}
        record_exits(transaction, [{"attempt_id": gone.attempt_id, "token": gone.token, **facts}])
    error = {"class": "ValueError", "message": "late"}
    claimant.settle(database, gone, Outcome.FAILED, error=error, cause=Cause.EXITED, exit_code=3)
    claimant.settle(database, gone, Outcome.STOPPED)
    claimant.settle(database, gone, result='"late"')


@pytest.mark.parametrize("now", ["running again", "waiting", "parked"])
def test_w16_whatever_a_fenced_out_attempt_says_changes_nothing(
    database: Database, factories: Factories, claimant: Claimant, now: str
) -> None:
    job = factories.job(idempotent=now != "parked", backoff=_AT_ONCE)
    [gone] = claimant.claim(database)
    claimant.start(database, gone)
    _lose(database, claimant)
    if now == "running again":
        with database.write() as transaction:
            assert admit(transaction, "other") == 1
        other = Claimant()
        [again] = other.claim(database)
        other.start(database, again)
    tables = (schema.jobs, schema.attempts, schema.logs, schema.artifacts)
    before, ledger = _all(factories, *tables), factories.events_of(job["id"])
    counted = factories.counted()
    _speaks(database, claimant, gone)
    assert _all(factories, *tables) == before
    assert factories.counted() == counted
    *kept, one, two, three = factories.events_of(job["id"])
    assert kept == ledger
    assert [(row["reason"], row["context"]["attempted_to"]) for row in (one, two, three)] == [
        (_REFUSED, "failed"),
        (_REFUSED, "stopped"),
        (_REFUSED, "succeeded"),
    ]


def test_w16_a_handlers_own_transaction_is_undone_when_it_is_fenced_out(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    job = factories.job()
    [gone] = claimant.claim(database)
    claimant.start(database, gone)
    _lose(database, claimant)
    settlement = Settlement(gone.job_id, gone.token, Report(gone.attempt_id, Outcome.SUCCEEDED))
    with pytest.raises(FencedOut):
        _settle_with_own_work(database, settlement, claimant)
    assert factories.events_of(job["id"]), "what it did in that transaction did not happen"
    assert factories.read(schema.jobs, job["id"])["state"] == "retrying"


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.LOST])
def test_w17_a_settling_that_is_broken_off_leaves_attempt_and_job_as_they_were(
    database: Database, factories: Factories, claimant: Claimant, outcome: Outcome
) -> None:
    job = factories.job()
    [claim] = claimant.claim(database)
    claimant.start(database, claim)
    before = _all(factories, schema.jobs, schema.attempts, schema.events, schema.counters)
    report = Report(claim.attempt_id, outcome, usage=Usage(wall_ms=5), error={"class": "A", "message": "b"})
    with pytest.raises(ZeroDivisionError):
        _settle_and_break_off(database, Settlement(claim.job_id, claim.token, report))
    assert _all(factories, schema.jobs, schema.attempts, schema.events, schema.counters) == before
    claimant.settle(database, claim, outcome, error={"class": "A", "message": "b"})
    [row] = [row for row in factories.events_of(job["id"]) if row["attempt_from"] == "running"]
    assert row["from_state"] == "running", "one row of the ledger has the end of both"
    assert row["to_state"] == factories.read(schema.jobs, job["id"])["state"] != "running"


def test_w17_nobody_ever_sees_an_attempt_that_has_ended_and_a_job_that_has_not(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.jobs(60)
    claims = claimant.claim(database, 60)
    claimant.start(database, *claims)
    with _looking_on(database) as seen:
        for claim, outcome in zip(claims, [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.CANCELED] * 20, strict=True):
            claimant.settle(database, claim, outcome)
    over = {("succeeded", "succeeded"), ("retrying", "failed"), ("canceled", "canceled")}
    assert over <= seen <= over | {("running", "running")}, "both, or neither"
    assert {row["state"] for row in _all(factories, schema.jobs)[schema.jobs.name]} == {
        JobState.SUCCEEDED,
        JobState.RETRYING,
        JobState.CANCELED,
    }


def _settle_with_own_work(database: Database, settlement: Settlement, claimant: Claimant) -> None:
    with database.write() as transaction:
        transaction.connection.execute(sa.delete(schema.events))
        complete(transaction, settlement, claimant.worker_id)


def _settle_and_break_off(database: Database, settlement: Settlement) -> None:
    with database.write() as transaction:
        assert settle(transaction, [settlement], Actor.WORKER, "me")[0].decision is not None
        raise ZeroDivisionError


@contextmanager
def _looking_on(database: Database) -> Iterator[set[tuple[str, str]]]:
    """Somebody else reads jobs with their attempts all the while; every pair of states that was seen."""
    jobs, attempts = schema.jobs.c, schema.attempts.c
    pairs = sa.select(jobs.state, attempts.state).join_from(
        schema.jobs, schema.attempts, attempts.id == jobs.current_attempt_id
    )
    seen: set[tuple[str, str]] = set()
    over = threading.Event()

    def look() -> None:
        last = False
        while not last:
            last = over.is_set()
            with database.read() as transaction:
                seen.update((str(job), str(attempt)) for job, attempt in transaction.connection.execute(pairs))

    reader = threading.Thread(target=look)
    reader.start()
    try:
        yield seen
    finally:
        over.set()
        reader.join()
