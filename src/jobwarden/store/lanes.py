"""Rows of lanes: only what somebody said of one. A lane needs no row; the one called ``*`` stands for all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Row, bindparam, exists, func, insert, or_, select, update

from jobwarden.store.database import Transaction, encode, now, rows, skipping_duplicates
from jobwarden.store.ledger import words
from jobwarden.store.schema import counters, lanes

EVERY = "*"

_asked = rows("asked", name="text")
_make = insert(lanes).from_select(
    ["name", "updated_at"], skipping_duplicates(select(_asked.c.name, now()), lanes.name, key="name")
)
_lock = select(lanes).where(lanes.c.name == bindparam("lane")).with_for_update(of=[lanes])


def lock(transaction: Transaction, name: str) -> Row[Any]:
    """The lane's row, made if need be; held until the end of the transaction."""
    found = transaction.execute(_lock, lane=name).one_or_none()
    if found is None:
        transaction.execute(_make, rows=encode([{"name": name}]))
        found = transaction.execute(_lock, lane=name).one()
    return found


def store(transaction: Transaction, name: str, columns: Mapping[str, Any]) -> None:
    """Change a lane's row."""
    transaction.execute(update(lanes).where(lanes.c.name == name).values(updated_at=now(), **columns))


def _concerns(lane: Any) -> Any:
    return or_(lanes.c.name == lane, lanes.c.name == words(EVERY))


def is_paused(lane: Any) -> Any:
    """A condition: the lane is paused, or all are."""
    return exists().where(_concerns(lane), lanes.c.paused)


def is_capped(lane: Any) -> Any:
    """A condition: a cap concerns the lane."""
    return exists().where(_concerns(lane), lanes.c.max_running.is_not(None))


# -- caps -------------------------------------------------------------------------------------------------------------

_caps = (
    select(lanes.c.name, lanes.c.max_running)
    .where(lanes.c.name.in_(bindparam("names", expanding=True)), lanes.c.max_running.is_not(None))
    .order_by(lanes.c.name)
    .with_for_update(of=[lanes])
)
_running = (
    select(counters.c.name, func.sum(counters.c.delta).label("running"))
    .where(counters.c.scope == words("lane"), counters.c.state == words("running"))
    .group_by(counters.c.name)
)


def lock_caps(transaction: Transaction, names: Iterable[str]) -> dict[str, int]:
    """The caps of these lanes and of all together, held until the end of the transaction, in the order of names.

    Whoever starts jobs under a cap holds it, so what has begun under it is committed, and its count exact.
    """
    found = transaction.execute(_caps, names=sorted({*names, EVERY}))
    return {row.name: row.max_running for row in found}


def running(transaction: Transaction) -> dict[str, int]:
    """How many jobs run, by lane."""
    return {row.name: int(row.running) for row in transaction.execute(_running)}
