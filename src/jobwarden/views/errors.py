"""Errors by their kind: how many jobs failed with each, the kind that was seen last first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, bindparam, func, literal_column, or_, select

from jobwarden.domain.states import JobState
from jobwarden.store.database import Transaction
from jobwarden.store.ledger import words
from jobwarden.store.schema import errors, jobs
from jobwarden.views.rows import build, columns

#: Up to so many jobs of a kind are counted; of more it is said that there are more.
MOST_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class ErrorLine:
    """A kind of error: its words have ``#`` for what varies. ``failed`` jobs are failed because of it now, at least
    that many if ``more``; ``last_job`` is the newest of all that met it."""

    print: str
    class_name: str
    message: str
    first_seen: datetime
    last_seen: datetime
    failed: int = 0
    more: bool = False
    last_job: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of kinds, and the print to go on after (None: this is the last)."""

    errors: list[ErrorLine]
    next: str | None


_failed = (
    select(literal_column("1"))
    .where(jobs.c.error_print == bindparam("print"), jobs.c.state == words(JobState.FAILED))
    .limit(MOST_COUNTED + 1)
    .subquery()
)
_counted = select(func.count()).select_from(_failed)
_newest_of = select(jobs.c.id).where(jobs.c.error_print == bindparam("print")).order_by(jobs.c.id.desc()).limit(1)


def listed(transaction: Transaction, after: str | None = None, limit: int = 50) -> Page:
    """The kinds of errors, the one that was seen last first, those after the one with the print ``after``."""
    query = select(*columns(errors, ErrorLine)).order_by(errors.c.last_seen.desc(), errors.c.print).limit(limit + 1)
    if after is not None:
        place = select(errors.c.last_seen).where(errors.c.print == after).scalar_subquery()
        later = and_(errors.c.last_seen == place, errors.c.print > after)
        query = query.where(or_(errors.c.last_seen < place, later))
    found = transaction.execute(query).all()
    lines = [_line(transaction, row) for row in found[:limit]]
    return Page(lines, lines[-1].print if len(found) > limit else None)


def _line(transaction: Transaction, row: Any) -> ErrorLine:
    failed = int(transaction.execute(_counted, print=row.print).scalar_one())
    newest = transaction.execute(_newest_of, print=row.print).scalar_one_or_none()
    return build(ErrorLine, row, failed=min(failed, MOST_COUNTED), more=failed > MOST_COUNTED, last_job=newest)
