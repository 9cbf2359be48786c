"""Leases: the right to act alone, by name, until the database's clock says that it has run out.

A lease keeps two from doing the same work at once; it is never what makes that work safe. Whatever is done under one
is guarded by itself, so that a holder who was stopped for an hour and goes on does no harm.
"""

from __future__ import annotations

from sqlalchemy import bindparam, case, delete, insert, literal_column, null, or_, select, update

from jobwarden.store.database import Transaction, after, age, encode, now, rows, skipping_duplicates
from jobwarden.store.schema import leases

_asked = rows("asked", name="text")
_make = insert(leases).from_select(
    ["name", "epoch"],
    skipping_duplicates(select(_asked.c.name, literal_column("0")), leases.name, key="name"),
)
_free = or_(leases.c.lease_expires_at.is_(None), leases.c.lease_expires_at < now())
_mine = leases.c.owner == bindparam("owner")
_take = (
    update(leases)
    .where(leases.c.name == bindparam("lease"), or_(_free, leases.c.owner.is_(None), _mine))
    .ordered_values(  # MariaDB and MySQL assign from left to right: the owner as it was must be asked first
        (leases.c.epoch, leases.c.epoch + case((_mine, literal_column("0")), else_=literal_column("1"))),
        (leases.c.acquired_at, case((_mine, leases.c.acquired_at), else_=now())),
        (leases.c.owner, bindparam("owner")),
        (leases.c.lease_expires_at, after(bindparam("seconds"))),
        (leases.c.updated_at, now()),
    )
)
_drop = (
    update(leases)
    .where(leases.c.name == bindparam("lease"), _mine)
    .values(owner=null(), lease_expires_at=null(), updated_at=now())
)
_holder = select(leases.c.owner).where(leases.c.name == bindparam("lease"))
_forget = delete(leases).where(
    leases.c.name.like(bindparam("pattern")), age(leases.c.updated_at) > bindparam("seconds")
)


def acquire(transaction: Transaction, name: str, owner: str, seconds: float) -> bool:
    """Take or renew the lease for so many seconds; False while somebody else holds it."""
    taken = transaction.execute(_take, lease=name, owner=owner, seconds=seconds).rowcount
    if taken:
        return True
    transaction.execute(_make, rows=encode([{"name": name}]))
    return bool(transaction.execute(_take, lease=name, owner=owner, seconds=seconds).rowcount)


def holder(transaction: Transaction, name: str) -> str | None:
    """Who holds the lease, or held it last."""
    found: str | None = transaction.execute(_holder, lease=name).scalar()
    return found


def release(transaction: Transaction, name: str, owner: str) -> None:
    """Give the lease back, if it is ours, so that the next one need not wait for it to run out."""
    transaction.execute(_drop, lease=name, owner=owner)


def forget(transaction: Transaction, prefix: str, seconds: float) -> int:
    """Remove the leases whose names begin so and that nobody renewed for so long; how many."""
    return transaction.execute(_forget, pattern=f"{prefix}%", seconds=seconds).rowcount
