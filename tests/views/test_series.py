"""The history as charts need it: what began and ended, by lane and job and time, with the quantiles of their times."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.history import Kind, Span, bucket_of
from jobwarden.errors import InvalidOption
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.views.series import Series, series, totals


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
