"""What contradicts the rules of batches: one that nothing will ever end, and counts that are not what is there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import func, select

from jobwarden.domain.findings import Finding
from jobwarden.domain.states import JobState
from jobwarden.domain.verdict import BUCKETS
from jobwarden.store.database import Transaction
from jobwarden.store.schema import batches, counters, jobs
from jobwarden.store.stalled import stalled

_MOST = 1000
_exact = (
    select(jobs.c.batch_id, jobs.c.state, func.count().label("number"))
    .where(jobs.c.batch_id.is_not(None))
    .group_by(jobs.c.batch_id, jobs.c.state)
)
_deltas = (
    select(counters.c.name, counters.c.state, func.sum(counters.c.delta).label("delta"))
    .where(counters.c.scope == "batch")
    .group_by(counters.c.name, counters.c.state)
)
_NAMES = sorted(set(BUCKETS.values()))
_counted = select(batches.c.id, batches.c.total_jobs, *(batches.c[f"{name}_count"] for name in _NAMES))

Counts = dict[str, dict[str, int]]


def of_batches(transaction: Transaction, deep: bool) -> Iterator[Finding]:
    """Batches that nothing goes on with; with ``deep`` also counts that differ from the members that are there.

    What is counted is read by three statements: moves between them may look like a difference on a busy fleet.
    """
    for row in stalled(transaction, _MOST):
        detail = f"it is {row.state}, no member can move, and nothing is left that would go on with it"
        yield Finding("batch_stalled", str(row.id), detail)
    if deep:
        yield from _miscounted(transaction)


def _miscounted(transaction: Transaction) -> Iterator[Finding]:
    deltas, exact = _read(transaction)
    for row in transaction.execute(_counted):
        told = {name: row._mapping[f"{name}_count"] + deltas.get(row.id, {}).get(name, 0) for name in _NAMES}
        there = {name: exact.get(row.id, {}).get(name, 0) for name in _NAMES}
        if told != there or sum(there.values()) != row.total_jobs:
            wrong = ", ".join(f"{told[name]} {name} for {there[name]}" for name in _NAMES if told[name] != there[name])
            yield Finding("batch_miscounted", str(row.id), f"of {row.total_jobs} members it counts {wrong or there}")


def _read(transaction: Transaction) -> tuple[Counts, Counts]:
    deltas: Counts = {}
    exact: Counts = {}
    for row in transaction.execute(_deltas):
        deltas.setdefault(row.name, {})[row.state] = int(row.delta)
    for row in transaction.execute(_exact):
        _add(exact, row)
    return deltas, exact


def _add(exact: Counts, row: Any) -> None:
    bucket, of_batch = BUCKETS[JobState(row.state)], exact.setdefault(row.batch_id, {})
    of_batch[bucket] = of_batch.get(bucket, 0) + int(row.number)
