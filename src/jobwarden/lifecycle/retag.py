"""Retag: parameters become tags of jobs that were enqueued before anybody asked for that.

A tag that a job has stays as it is. Jobs are gone through in bites, in the order of their ids; nothing else is touched.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Text, bindparam, cast, insert, select, update

from jobwarden.store.database import Database, Id, Transaction, encode, rows, skipping_duplicates
from jobwarden.store.schema import jobs, tags

#: What becomes of a job's parameters: the tags they should be, by name.
Promote = Callable[[Mapping[str, Any]], Mapping[str, str]]


@dataclass(slots=True)
class Retagged:
    """How many jobs were looked at, how many got tags, and how many tags."""

    scanned: int = 0
    jobs: int = 0
    tags: int = 0


_next = (
    select(jobs.c.id, cast(jobs.c.params, Text).label("params"), jobs.c.tags)
    .where(jobs.c.job == bindparam("job"), jobs.c.id > bindparam("after", type_=Id))
    .order_by(jobs.c.id)
    .limit(bindparam("bite"))
)
_given = rows("given_tags", id="id", tags="json")
_write = update(jobs).where(jobs.c.id == _given.c.id).values(tags=_given.c.tags)
_tagged = rows("tagged", job_id="id", name="text", value="text")
_tag = insert(tags).from_select(
    ["job_id", "name", "value"], skipping_duplicates(select(*_tagged.c), tags.name, key="name")
)
_BEFORE_ALL = "00000000-0000-0000-0000-000000000000"


def retag(
    database: Database,
    job: str,
    promote: Promote,
    bite: int = 1000,
    dry_run: bool = False,
    told: Callable[[Retagged], None] = lambda so_far: None,
) -> Retagged:
    """Give the jobs of one name the tags that they lack; ``told`` hears after each bite how far it is."""
    done, after = Retagged(), _BEFORE_ALL
    while True:
        found = database.attempt(partial(_bite, job=job, promote=promote, bite=bite, after=after, dry_run=dry_run))
        done.scanned += found.scanned
        done.jobs += found.jobs
        done.tags += found.tags
        told(done)
        if found.last is None:
            return done
        after = found.last


@dataclass(frozen=True, slots=True)
class _Bite:
    scanned: int
    jobs: int
    tags: int
    last: str | None


def _bite(transaction: Transaction, job: str, promote: Promote, bite: int, after: str, dry_run: bool) -> _Bite:
    found = transaction.execute(_next, job=job, after=after, bite=bite).all()
    lacking = [(row, missing) for row in found if (missing := _missing(row, promote))]
    if lacking and not dry_run:
        _add(transaction, lacking)
    last = str(found[-1].id) if len(found) == bite else None
    return _Bite(len(found), len(lacking), sum(len(missing) for _, missing in lacking), last)


def _missing(row: Any, promote: Promote) -> dict[str, str]:
    has = row.tags or {}
    return {name: value for name, value in promote(json.loads(row.params)).items() if name not in has}


def _add(transaction: Transaction, lacking: Sequence[tuple[Any, Mapping[str, str]]]) -> None:
    whole = [{"id": row.id, "tags": json.dumps({**missing, **(row.tags or {})})} for row, missing in lacking]
    transaction.execute(_write, rows=encode(whole))
    each = [
        {"job_id": row.id, "name": name, "value": value} for row, missing in lacking for name, value in missing.items()
    ]
    transaction.execute(_tag, rows=encode(each))
