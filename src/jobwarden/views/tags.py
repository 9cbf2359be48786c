"""Which tags there are: names and their values with how many jobs have each, from the index of tags alone."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, func, literal_column, select

from jobwarden.store.database import Transaction
from jobwarden.store.schema import tags
from jobwarden.views.rows import distinct

#: Up to so many jobs of a name are counted; of more it is said that there are more.
MOST_COUNTED = 100_000


@dataclass(frozen=True, slots=True)
class TagName:
    """A name of tags; ``jobs`` have one, at least that many if ``more``."""

    name: str
    jobs: int
    more: bool


@dataclass(frozen=True, slots=True)
class TagValue:
    """A value of a tag, and how many jobs have it."""

    value: str
    jobs: int


@dataclass(frozen=True, slots=True)
class Values:
    """A page of values in their order, and the value to go on after (None: this is the last)."""

    values: list[TagValue]
    next: str | None


_some = select(literal_column("1")).where(tags.c.name == bindparam("name")).limit(MOST_COUNTED + 1).subquery()
_counted = select(func.count()).select_from(_some)


def names(transaction: Transaction, most: int = 200) -> list[TagName]:
    """The names of tags, in order."""
    found = []
    for name in distinct(transaction, tags.c.name, most):
        jobs = int(transaction.execute(_counted, name=name).scalar_one())
        found.append(TagName(name, min(jobs, MOST_COUNTED), jobs > MOST_COUNTED))
    return found


def values(transaction: Transaction, name: str, prefix: str = "", after: str | None = None, limit: int = 50) -> Values:
    """The values of a tag that begin with ``prefix``, after the value ``after``."""
    query = select(tags.c.value, func.count().label("jobs")).where(tags.c.name == name)
    if prefix:
        query = query.where(func.substr(tags.c.value, 1, len(prefix)) == prefix)
    if prefix and transaction.facts.orders_bytes:
        query = query.where(tags.c.value >= prefix, tags.c.value < f"{prefix}\U0010ffff")
    if after is not None:
        query = query.where(tags.c.value > after)
    found = transaction.execute(query.group_by(tags.c.value).order_by(tags.c.value).limit(limit + 1)).all()
    page = [TagValue(row.value, int(row.jobs)) for row in found[:limit]]
    return Values(page, page[-1].value if len(found) > limit else None)
