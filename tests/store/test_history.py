"""The history: what the steps leave is what the tables say, and folding it changes no sum, whoever folds."""

from __future__ import annotations

import contextlib
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.history import Kind, Span, bucket_of
from jobwarden.domain.report import Cause, Outcome, Report, Usage
from jobwarden.domain.states import Actor
from jobwarden.lifecycle.settle import Settlement, complete
from jobwarden.store import history, schema
from jobwarden.store.database import Database
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories

TABLE = schema.history


@pytest.fixture
def claimant() -> Claimant:
    return Claimant(lanes=("default", "slow"))


def _rows(database: Database) -> list[Any]:
    with database.read() as transaction:
        return list(transaction.execute(sa.select(TABLE).order_by(TABLE.c.id)))


def _sums(database: Database) -> dict[tuple[str, ...], tuple[int, float]]:
    sums: Counter[tuple[str, ...]] = Counter()
    seconds: Counter[tuple[str, ...]] = Counter()
    for row in _rows(database):
        key = (row.kind, row.lane, row.job, row.outcome, row.cause, row.actor, str(row.bucket))
        sums[key] += row.number
        seconds[key] += row.seconds
    return {key: (sums[key], round(seconds[key], 6)) for key in sums}


def _fold(database: Database) -> int:
    with database.write() as transaction:
        return history.fold(transaction)


def _leave(database: Database, *rows: tuple[Span, timedelta], number: int = 1) -> None:
    """Rows of so long ago."""
    with database.write() as transaction:
        moment = transaction.now()
        fixed = {"kind": "run", "lane": "a", "job": "j", "outcome": "succeeded", "cause": "", "actor": "worker"}
        for span, ago in rows:
            given = {**fixed, "span": span.value, "at": moment - ago, "bucket": 3, "number": number, "seconds": 0.5}
            transaction.execute(sa.insert(TABLE).values(**given))


def test_each_step_leaves_what_it_moved(database: Database, factories: Factories, claimant: Claimant) -> None:
    for lane in ("default", "default", "slow"):
        factories.job(lane=lane, job="sync")
    claims = claimant.claim(database, 3)
    begun = [row for row in _rows(database) if row.kind == Kind.WAIT]
    assert Counter((row.lane, row.job, row.actor) for row in begun for _ in range(row.number)) == {
        ("default", "sync", "supervisor"): 2,
        ("slow", "sync", "supervisor"): 1,
    }
    claimant.settle(database, claims[0], usage=Usage(wall_ms=2000))
    claimant.settle(database, claims[1], Outcome.LOST, cause=Cause.KILLED, usage=Usage(wall_ms=40))
    claimant.settle(database, claims[2], Outcome.FAILED, error={"class": "E", "message": "no"}, usage=Usage(wall_ms=0))
    ended = [row for row in _rows(database) if row.kind == Kind.RUN]
    assert [(row.outcome, row.cause, row.bucket, row.number, row.seconds) for row in ended] == [
        ("succeeded", "", bucket_of(2), 1, 2.0),
        ("failed", Cause.KILLED.value, bucket_of(0.04), 1, 0.04),
        ("failed", "", 0, 1, 0.0),
    ]


def test_how_long_a_job_waited_is_told(database: Database, factories: Factories, claimant: Claimant) -> None:
    with database.read() as transaction:
        moment = transaction.now()
    factories.job(queued_at=moment - timedelta(seconds=100))
    claimant.claim(database)
    [row] = _rows(database)
    assert row.bucket == bucket_of(101)
    assert row.seconds == pytest.approx(100, abs=20)


def test_an_outcome_that_came_too_late_is_counted_once(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.job()
    [claim] = claimant.claim(database)
    for _ in range(2):
        claimant.settle(database, claim, token=claim.token + 1)
    kinds = Counter(row.kind for row in _rows(database))
    assert kinds == {Kind.WAIT: 1, Kind.FENCED: 1}


def test_a_step_that_is_undone_leaves_nothing(database: Database, factories: Factories, claimant: Claimant) -> None:
    factories.job()
    with contextlib.suppress(ZeroDivisionError), database.write() as transaction:
        assert claimant.look(transaction, claimant.seats(1)).seated
        raise ZeroDivisionError
    assert _rows(database) == []


def test_folding_keeps_every_sum(database: Database, factories: Factories, claimant: Claimant) -> None:
    for _ in range(4):
        factories.job()
    for claim in claimant.claim(database, 4):
        claimant.settle(database, claim)
    before = _sums(database)
    assert _fold(database) == 0
    with database.write() as transaction:
        past = transaction.now() - timedelta(hours=2)
        transaction.execute(sa.update(TABLE).values(at=past))
    assert _fold(database) > 0
    assert _sums(database) == before
    assert {row.span for row in _rows(database)} == {Span.MINUTE}


def test_what_grows_old_grows_coarse(database: Database) -> None:
    _leave(
        database,
        (Span.MINUTE, timedelta(hours=2)),
        (Span.MINUTE, timedelta(hours=6)),
        (Span.MINUTE, timedelta(hours=6)),
        (Span.HOUR, timedelta(days=6)),
        (Span.HOUR, timedelta(days=9)),
        (Span.DAY, timedelta(days=80)),
        (Span.DAY, timedelta(days=99)),
        (Span.DAY, timedelta(days=120)),
    )
    _fold(database)
    left = Counter((row.span, row.number) for row in _rows(database))
    whole = {(Span.MINUTE, 1): 1, (Span.HOUR, 1): 1, (Span.DAY, 1): 2, (Span.EVER, 2): 1}
    together, apart = Counter(whole | {(Span.HOUR, 2): 1}), Counter(whole | {(Span.HOUR, 1): 3})
    assert left in (together, apart)  # the two may lie in different hours
    assert sum(row.number for row in _rows(database)) == 8


def test_two_that_fold_at_once_count_nothing_twice(database: Database) -> None:
    _leave(database, *[(Span.MOMENT, timedelta(minutes=10))] * 30)
    with database.write() as first:
        history.fold(first)
        if database.facts.skips_locked:
            with database.write() as second:
                history.fold(second)
    assert sum(row.number for row in _rows(database)) == 30


def test_a_success_in_the_callers_own_transaction_is_counted(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.job()
    [claim] = claimant.claim(database)
    with database.write() as transaction:
        report = Report(claim.attempt_id, Outcome.SUCCEEDED, usage=Usage(wall_ms=7))
        complete(transaction, Settlement(claim.job_id, claim.token, report), claimant.worker_id)
    assert [(row.kind, row.actor) for row in _rows(database)][-1] == (Kind.RUN, Actor.WORKER)
