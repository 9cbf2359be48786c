"""The history as charts need it: what began and ended, by lane and job and time, with the quantiles of their times."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.history import Kind, Span, bucket_of
from jobwarden.errors import InvalidOption
from jobwarden.store import history, schema
from jobwarden.store.database import Database, Transaction
from jobwarden.views.series import Levels, Series, levels, series, totals
from tests.support.factories import Factories
from tests.support.waiting import eventually


def leave(database: Database, ago: timedelta, seconds: float = 1.0, number: int = 1, **more: Any) -> None:
    given = {"span": Span.MINUTE, "kind": Kind.RUN, "lane": "default", "job": "sync", "outcome": "succeeded", **more}
    with database.write() as transaction:
        row = {
            "cause": "",
            "actor": "worker",
            **{name: str(value) for name, value in given.items()},
            "at": transaction.now() - ago,
            "bucket": bucket_of(seconds),
            "number": number,
            "seconds": seconds * number,
        }
        transaction.execute(sa.insert(schema.history).values(**row))


def look(database: Database, back: timedelta, *by: str, **narrowed: str) -> Series:
    with database.read() as transaction:
        return series(transaction, back, *by, **narrowed)


def test_points_are_sums_of_their_time_and_name(database: Database) -> None:
    leave(database, timedelta(minutes=10), 2.0, 4)
    leave(database, timedelta(minutes=10), 100.0, 1, outcome="failed")
    leave(database, timedelta(minutes=10), 0.5, 6, kind=Kind.WAIT, outcome="")
    leave(database, timedelta(minutes=10), 1.0, 7, lane="slow")
    leave(database, timedelta(hours=4), 1.0, 100, span=Span.HOUR)
    found = look(database, timedelta(hours=1), "lane")
    assert [(point.name, point.started, point.ended) for point in found.points] == [
        ("default", 6, {"failed": 1, "succeeded": 4}),
        ("slow", 0, {"succeeded": 7}),
    ]
    first = found.points[0]
    assert first.wait_p50 == pytest.approx(0.5, rel=0.5)
    assert first.run_p50 == pytest.approx(2, rel=0.5)
    assert first.run_p95 == pytest.approx(100, rel=0.5)
    assert found.points[1].wait_p95 is None
    assert found.step == 60


def test_it_can_be_by_job_or_together_and_of_one_lane_or_job(database: Database) -> None:
    leave(database, timedelta(minutes=2), number=2)
    leave(database, timedelta(minutes=2), number=3, job="report")
    leave(database, timedelta(minutes=2), number=5, lane="slow")
    hour = timedelta(hours=1)
    assert {point.name: sum(point.ended.values()) for point in look(database, hour, "job").points} == {
        "report": 3,
        "sync": 7,
    }
    assert [sum(point.ended.values()) for point in look(database, hour).points] == [10]
    assert [sum(point.ended.values()) for point in look(database, hour, lane="slow").points] == [5]
    assert [sum(point.ended.values()) for point in look(database, hour, "lane", job="report").points] == [3]


def test_the_step_grows_with_the_time(database: Database) -> None:
    leave(database, timedelta(days=2), span=Span.HOUR)
    leave(database, timedelta(days=30), span=Span.DAY)
    week, season = look(database, timedelta(days=7)), look(database, timedelta(days=90))
    assert (week.step, len(week.points)) == (3600.0, 1)
    assert (season.step, len(season.points)) == (86400.0, 2)


def test_totals_are_over_all_spans(database: Database) -> None:
    for span, ago in ((Span.MOMENT, 0), (Span.MINUTE, 1), (Span.HOUR, 100), (Span.DAY, 5000), (Span.EVER, 500_000)):
        leave(database, timedelta(hours=ago), 3.0, 2, span=span)
    leave(database, timedelta(), 1.0, 1, kind=Kind.FENCED, outcome="", lane="", job="")
    with database.read() as transaction:
        found = {total.kind: (total.number, total.seconds) for total in totals(transaction)}
    assert found == {Kind.RUN: (10, 30.0), Kind.FENCED: (1, 1.0)}


@pytest.mark.any_engine
@pytest.mark.parametrize(
    ("back", "by", "option"),
    [(timedelta(), "lane", "back"), (timedelta(days=91), "job", "back"), (timedelta(1), "x", "by")],
)
def test_what_cannot_be_asked(database: Database, back: timedelta, by: str, option: str) -> None:
    with pytest.raises(InvalidOption) as error:
        look(database, back, by)
    assert error.value.facts["option"] == option


# -- levels: what was queued and busy when somebody looked ------------------------------------------------------------


def level(database: Database, back: timedelta, lane: str | None = None) -> Levels:
    with database.read() as transaction:
        return levels(transaction, back, lane)


def test_a_minute_is_looked_at_once_and_by_whoever_comes_first(database: Database, factories: Factories) -> None:
    factories.worker(capacity=8, current_load=3)
    factories.worker(capacity=4, current_load=4)
    factories.worker(role="local_reaper", capacity=99, current_load=99)
    with database.write() as transaction:
        for lane, state, delta in (("mail", "queued", 7), ("mail", "failed", 3), ("slow", "running", 2)):
            row = {"scope": "lane", "name": lane, "state": state, "delta": delta}
            transaction.execute(sa.insert(schema.counters).values(**row))
        _at_the_middle_of_a_minute(transaction)
        for _ in range(3):
            history.sample(transaction)
    found = level(database, timedelta(hours=1))
    assert [(point.queued, point.seats, point.busy) for point in found.points] == [(7.0, 12.0, 7.0)]
    assert [point.queued for point in level(database, timedelta(hours=1), "slow").points] == [0.0]
    assert look(database, timedelta(hours=1)).points == [], "no attempt began or ended"


def _at_the_middle_of_a_minute(transaction: Transaction) -> None:
    """So that no minute ends between two looks."""
    eventually(lambda: transaction.now().second < 58, 10)


def test_levels_are_means_of_their_time_and_stay_so_when_folded(database: Database) -> None:
    with database.read() as transaction:
        now = transaction.now()
    since = now - (now - timedelta(hours=4)).replace(minute=20, second=0, microsecond=0)
    for later, depth, busy in ((0, 10.0, 1.0), (1, 20.0, 3.0)):
        ago = since - timedelta(minutes=later)
        leave(database, ago, depth, kind=Kind.DEPTH, lane="mail", job="", outcome="", actor="")
        leave(database, ago, 5.0, kind=Kind.DEPTH, lane="slow", job="", outcome="", actor="")
        for name, value in (("there", 4.0), ("busy", busy)):
            leave(database, ago, value, kind=Kind.SEATS, lane="", job="", outcome=name, actor="")
    for folded in (False, True):
        if folded:
            with database.write() as transaction:
                assert history.fold(transaction) > 0
        [point] = level(database, timedelta(days=1)).points
        assert (point.queued, point.seats, point.busy) == (20.0, 4.0, 2.0)
        assert [each.queued for each in level(database, timedelta(days=1), "mail").points] == [15.0]
