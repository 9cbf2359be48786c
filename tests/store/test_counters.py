"""Counters: a total is the sum of deltas, and folding them changes no total, whoever folds."""

from __future__ import annotations

import contextlib
import random

import sqlalchemy as sa

from jobwarden.store import counters, schema
from jobwarden.store.database import Database


def _write(database: Database, deltas: list[tuple[str, str, int]]) -> None:
    with database.write() as transaction:
        rows = [{"scope": "lane", "name": name, "state": state, "delta": delta} for name, state, delta in deltas]
        transaction.connection.execute(sa.insert(schema.counters), rows)


def _totals(database: Database) -> dict[str, dict[str, int]]:
    with database.read() as transaction:
        return counters.totals(transaction)


def _size(database: Database) -> int:
    with database.read() as transaction:
        return int(transaction.execute(sa.select(sa.func.count()).select_from(schema.counters)).scalar_one())


def test_totals_leave_out_what_is_none(database: Database) -> None:
    _write(database, [("a", "queued", 3), ("a", "queued", -3), ("a", "running", 2), ("b", "queued", 1)])
    assert _totals(database) == {"a": {"running": 2}, "b": {"queued": 1}}


def test_folding_keeps_every_total(database: Database) -> None:
    chance = random.Random(7)
    deltas = [
        (f"lane{chance.randrange(3)}", chance.choice(("queued", "running")), chance.choice((-1, 1))) for _ in range(900)
    ]
    _write(database, deltas)
    before = _totals(database)
    with database.write() as transaction:
        assert counters.fold(transaction) >= 890
    assert _totals(database) == before
    assert _size(database) <= 6
    _write(database, [("lane0", "queued", 5)])
    assert _totals(database)["lane0"]["queued"] == before["lane0"].get("queued", 0) + 5


def test_a_few_deltas_are_not_worth_folding(database: Database) -> None:
    _write(database, [("a", "queued", 1)] * 20)
    with database.write() as transaction:
        assert counters.fold(transaction) == 0
    assert _size(database) == 20


def test_two_that_fold_at_once_lose_nothing(database: Database) -> None:
    _write(database, [("a", "queued", 1)] * 700)
    with database.write() as first:
        counters.fold(first)
        if database.facts.skips_locked:
            with database.write() as second:
                counters.fold(second)
    assert _totals(database) == {"a": {"queued": 700}}


def test_a_fold_that_is_rolled_back_changes_nothing(database: Database) -> None:
    _write(database, [("a", "queued", 1)] * 700)
    with contextlib.suppress(ZeroDivisionError), database.write() as transaction:
        assert counters.fold(transaction)
        raise ZeroDivisionError
    assert _totals(database) == {"a": {"queued": 700}}
    assert _size(database) == 700
