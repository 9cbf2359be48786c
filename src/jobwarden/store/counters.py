"""Counters: how many jobs are in each state, kept by deltas that every move leaves, folded in the background.

Nobody counts the jobs table: a count is the sum of a few rows.
"""

from __future__ import annotations

from sqlalchemy import bindparam, delete, func, insert, select

from jobwarden.store.database import Transaction, encode, rows
from jobwarden.store.schema import counters

_BITE = 2000
_WORTHWHILE = 200

_oldest = (
    select(counters.c.id, counters.c.scope, counters.c.name, counters.c.state, counters.c.delta)
    .order_by(counters.c.id)
    .limit(_BITE)
    .with_for_update(of=[counters], skip_locked=True)
)
_sums = rows("sums", scope="text", name="text", state="text", delta="int")
_refill = insert(counters).from_select(["scope", "name", "state", "delta"], select(*_sums.c))
_drop = delete(counters).where(counters.c.id.in_(bindparam("ids", expanding=True)))
_total = (
    select(counters.c.name, counters.c.state, func.sum(counters.c.delta).label("total"))
    .where(counters.c.scope == bindparam("scope"))
    .group_by(counters.c.name, counters.c.state)
)


def fold(transaction: Transaction) -> int:
    """Replace old deltas by their sums, if there are enough to be worth it; gives how many rows went."""
    found = transaction.execute(_oldest).all()
    sums: dict[tuple[str, str, str], int] = {}
    for row in found:
        key = (row.scope, row.name, row.state)
        sums[key] = sums.get(key, 0) + row.delta
    if len(found) - len(sums) < _WORTHWHILE:
        return 0
    kept = [
        {"scope": scope, "name": name, "state": state, "delta": delta}
        for (scope, name, state), delta in sums.items()
        if delta
    ]
    transaction.execute(_drop, ids=[row.id for row in found])
    if kept:
        transaction.execute(_refill, rows=encode(kept))
    return len(found) - len(kept)


def totals(transaction: Transaction, scope: str = "lane") -> dict[str, dict[str, int]]:
    """Jobs by name of the scope and state; states without jobs are left out."""
    found: dict[str, dict[str, int]] = {}
    for row in transaction.execute(_total, scope=scope):
        if row.total:
            found.setdefault(row.name, {})[row.state] = int(row.total)
    return found
