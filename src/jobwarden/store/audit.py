"""The audit table: rows are only added, each linked to the one before, in the transaction of what they tell of.

Whoever adds a row holds the head until the commit, so that the chain has no gap and no fork. That is why a verb records
last: nobody waits behind the head for longer than a commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update

from jobwarden.domain.audit import Action, Break, Entry, Head, Walk, canonical, hash_of
from jobwarden.domain.orders import By
from jobwarden.store.database import Transaction
from jobwarden.store.schema import audit, audit_head

_BITE = 500
_head = select(audit_head.c.seq, audit_head.c.hash).where(audit_head.c.id == 1)
_move = update(audit_head).where(audit_head.c.id == 1).values(seq=bindparam("to_seq"), hash=bindparam("to_hash"))
_entries = select(audit).order_by(audit.c.seq)
_newest = select(audit.c.seq, audit.c.hash).order_by(audit.c.seq.desc()).limit(1)


def record(
    transaction: Transaction,
    action: str,
    kind: str,
    target: str | None,
    by: By,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> int:
    """Add a row to the chain, as the last thing that the transaction does; gives its number.

    Its hash is SHA-256 over the canonical JSON (sorted keys, no spaces, ASCII) of seq, at, actor, address, action,
    kind, target, reason, before, after and previous, where ``previous`` is the hash of the row before it, or 64 zeros,
    ``at`` is UTC with microseconds, and before and after are canonical JSON texts or null. Raises `ValueError` for an
    action that `Action` does not list.
    """
    last = transaction.execute(_head.with_for_update()).one()
    columns: dict[str, Any] = {
        "seq": last.seq + 1,
        "at": transaction.now(),
        "actor": by.actor,
        "address": by.address,
        "action": Action(action).value,
        "kind": kind,
        "target": target,
        "reason": by.reason,
        "before": canonical(before),
        "after": canonical(after),
        "previous": last.hash,
    }
    columns["hash"] = hash_of(columns)
    transaction.execute(insert(audit).values(columns))
    transaction.execute(_move, to_seq=columns["seq"], to_hash=columns["hash"])
    return int(columns["seq"])


def record_act(
    transaction: Transaction,
    action: Action,
    target: str | None,
    by: By,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> int:
    """`record` of an action, to the kind of thing that it is done to."""
    return record(transaction, action, action.kind, target, by, before, after)


def record_enqueued(transaction: Transaction, ids: Sequence[str], by: By) -> None:
    """One row for jobs that somebody enqueued from outside of the application; none without jobs."""
    if ids:
        target = ids[0] if len(ids) == 1 else None
        record_act(transaction, Action.JOB_ENQUEUE, target, by, None, {"ids": list(ids)})


# -- verifying --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verified:
    """What a walk along the chain found: its end, the first row at which it breaks (None: it holds), and the row with
    the hash that was expected (None: there is none, or none was asked for)."""

    head: Head
    broken: Break | None
    expected: int | None


def verify(
    transaction: Transaction, progress: Callable[[int], None] = lambda seq: None, expect: str | None = None
) -> Verified:
    """Walk the whole chain up to where it ends now, in bites; ``progress`` hears how far.

    ``expect`` is a hash of this chain that was kept elsewhere: who rewrote everything does not have it.
    """
    head, walk = head_of(transaction), Walk()
    expected, bite = None, _bite(transaction, 0, head.seq)
    while bite and walk.broken is None:
        walk.along(bite)
        expected = next((entry.seq for entry in bite if entry.hash == expect), expected)
        progress(bite[-1].seq)
        bite = _bite(transaction, bite[-1].seq, head.seq)
    return Verified(head, walk.arrive(head) or loose_end(transaction), expected)


def head_of(transaction: Transaction) -> Head:
    """Where the chain ends, as the head says; a head that is gone counts as one of no rows."""
    row = transaction.execute(_head).one_or_none()
    return Head(row.seq, row.hash) if row is not None else Head()


_ends = select(
    _head.with_only_columns(audit_head.c.seq).scalar_subquery().label("seq"),
    _head.with_only_columns(audit_head.c.hash).scalar_subquery().label("hash"),
    select(func.max(audit.c.seq)).scalar_subquery().label("last_seq"),
    _newest.with_only_columns(audit.c.hash).scalar_subquery().label("last_hash"),
)


def loose_end(transaction: Transaction) -> Break | None:
    """Whether head and last row disagree, seen in one moment; cheap, whatever the length of the chain."""
    row = transaction.execute(_ends).one()
    head = Head(row.seq or 0, row.hash or "")
    last = Head(row.last_seq, row.last_hash) if row.last_seq is not None else Head()
    if head == last:
        return None
    return Break(min(last.seq, head.seq) + 1, f"the last row is {last.seq}, and the head is at row {head.seq}")


def _bite(transaction: Transaction, after: int, most: int) -> list[Entry]:
    query = _entries.where(audit.c.seq > bindparam("after"), audit.c.seq <= bindparam("most")).limit(_BITE)
    return [Entry(**row._mapping) for row in transaction.execute(query, after=after, most=most)]
