"""Many jobs at once, on each engine: whatever way they are written, the rows are those that one enqueue would leave."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from jobwarden import Backoff, JobDefinition, JobWarden
from jobwarden.clerk import _Order
from jobwarden.store import counters
from jobwarden.store.database import Database, Fault
from jobwarden.store.schema import events, jobs

MANY = 600
TEXTS = ["plain", "tab\tand\nline\r", 'back\\slash "quoted"', "\\N", "é😀", "nul \0", "\\.", "a\x0bb", "%s {} :rows"]
LATER = datetime(2999, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
TERMS: list[dict[str, Any]] = [
    {},
    {"label": "tab\tline\n\\N back\\slash é😀", "priority": -7, "created_by": "ann\\t"},
    {"delay": 3600.5, "lane": "slow", "timeout": 1.25, "max_runtime": 7, "memory": "1GiB"},
    {"available_at": LATER, "backoff": Backoff(base=7.0), "on_lost": "park", "isolation": "pool"},
    {"available_at": LATER - timedelta(days=365_000), "grace": 0, "max_attempts": 9},
]


@pytest.fixture
def jw(database_url: str) -> Iterator[JobWarden]:
    jw = JobWarden(database_url=database_url, nudge=False, notify=False)
    yield jw
    jw.database.dispose()


@pytest.fixture
def say(jw: JobWarden) -> JobDefinition[..., ..., Any]:
    @jw.job(idempotent=True, name="say")
    def say(text: str) -> None: ...

    return say


def _bound(say: Any) -> list[Any]:
    """Every text on every kind of terms, mixed."""
    ways = [say.using(**terms) if terms else say for terms in TERMS]
    return [ways[n % len(ways)].bind(TEXTS[n % len(TEXTS)]) for n in range(MANY)]


def _rows(database: Database, table: sa.Table, *left_out: str) -> list[dict[str, Any]]:
    kept = [column for column in table.c if column.name not in left_out]
    with database.read() as transaction:
        found = transaction.connection.execute(sa.select(*kept).order_by(table.c.created_at, table.c.id))
        return [dict(row) for row in found.mappings()]


def _comparable(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its instants as seconds from its birth, and without what is its own."""
    born = row["created_at"]
    own = {"id", "id_end", "job_id"}
    plain = {key: value for key, value in row.items() if key not in own and not isinstance(value, datetime)}
    ages = {
        key: "later" if value > born + timedelta(days=1) else round((value - born).total_seconds(), -1)
        for key, value in row.items()
        if isinstance(value, datetime)
    }
    return {**plain, **ages}


def test_many_leave_the_rows_that_single_ones_leave(jw: JobWarden, say: Any) -> None:
    calls, database = _bound(say), jw.database
    handles = say.enqueue_many(calls)
    for call in calls[: len(TERMS) * len(TEXTS)]:
        jw.submit([(call, call.terms)], None, 1)
    found = {row["id"]: row for row in _rows(database, jobs)}
    assert len(found) == MANY + len(TERMS) * len(TEXTS)
    poured = [_comparable(found.pop(job_id)) for job_id in handles.ids]
    single = [_comparable(row) for _, row in sorted(found.items())]
    assert poured[: len(single)] == single
    notes = {row["job_id"]: _comparable(row) for row in _rows(database, events)}
    assert [notes[job_id] for job_id in handles.ids[: len(single)]] == [notes[job_id] for job_id in sorted(found)]
    with database.read() as transaction:
        counted = counters.totals(transaction)
    waiting = MANY * 2 // 5 + len(TEXTS) * 2
    assert sum(states.get("pending", 0) for states in counted.values()) == waiting
    assert sum(sum(states.values()) for states in counted.values()) == MANY + len(single)


def test_whether_a_job_can_ask_is_in_its_row_whatever_way_that_is_written(jw: JobWarden, say: Any) -> None:
    class Pay:
        n: int

        def run(self) -> None: ...

        def reconcile(self) -> Any: ...

    pay: Any = jw.job(idempotent=False, name="pay")(Pay)
    asking = [*pay.enqueue_many(pay.bind(n) for n in range(MANY)).ids, *pay.enqueue_many([pay.bind(1)]).ids]
    asking += [pay.enqueue(1).id, pay.using(lane="hot").enqueue(1).id, jw.enqueue("pay", {"n": 1}).id]
    asking.append(jw.enqueue("pay", {"n": 1}, idempotency_key="k", tags={"a": "b"}).id)
    say.enqueue_many(say.bind("a") for _ in range(MANY))
    say.enqueue("a")
    found = {row["id"]: row["reconciles"] for row in _rows(jw.database, jobs)}
    assert {job_id for job_id, reconciles in found.items() if reconciles} == set(asking)
    assert set(found.values()) == {True, False}


def test_what_is_written_again_is_there_once(jw: JobWarden, say: Any) -> None:
    calls, database = _bound(say), jw.database
    order = _Order([(call, call.terms) for call in calls], 5000)
    for _ in range(2):  # the answer of the first commit was lost
        with database.write() as transaction:
            assert [one.created for one in order.write_own(transaction)] == [True] * MANY
    assert len(_rows(database, jobs)) == len(_rows(database, events)) == MANY


def test_all_or_none(jw: JobWarden, say: Any) -> None:
    calls, database = _bound(say), jw.database
    with database.write() as transaction:
        _Order([(call, call.terms) for call in calls], 5000).write_own(transaction)
        transaction.connection.rollback()
    assert _rows(database, jobs) == _rows(database, events) == []


def test_the_drivers_errors_are_known_as_any_others(jw: JobWarden, say: Any) -> None:
    database = jw.database
    if not database.facts.pours_rows:
        return
    order = _Order([(call, call.terms) for call in _bound(say)], 5000)
    with database.write() as transaction:
        order.write_own(transaction)
    order._tried = False
    with pytest.raises(DBAPIError) as refused, database.write() as transaction:
        order.write_own(transaction)
    assert database.fault(refused.value) is Fault.DATA


def test_a_key_whose_first_answer_was_lost_is_still_ours(jw: JobWarden, say: Any) -> None:
    calls, database = [say.using(idempotency_key="one").bind("a"), say.bind("b")], jw.database
    order = _Order([(call, call.terms) for call in calls], 5000)
    for _ in range(2):
        with database.write() as transaction:
            assert [one.created for one in order.write_own(transaction)] == [True, True]
    assert len(_rows(database, jobs)) == len(_rows(database, events)) == 2
