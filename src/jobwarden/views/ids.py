"""From what a person types to one row: a whole id, or any beginning or end of one that fits a single row.

Ids begin with their time, so that jobs enqueued together share a beginning: people are shown the end. What fits
several rows is refused with the candidates; nothing is ever chosen for the person.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Table, Text, and_, bindparam, cast, or_, select

from jobwarden.errors import AmbiguousId, BatchNotFound, JobNotFound, JobWardenError, WorkerNotFound
from jobwarden.store.database import Id, Transaction
from jobwarden.store.schema import batches, jobs, workers

SHOWN = 8
_DIGITS = frozenset("0123456789abcdef")
_WHOLE = 32
_MOST = 5


def short(whole: str) -> str:
    """An id as people are shown it: its last 8 characters."""
    return whole[-SHOWN:]


def find_job(transaction: Transaction, text: str) -> str:
    """The id of the one job that ``text`` names, in whole or shortened.

    Raises `JobNotFound`, or `AmbiguousId` with the candidates.
    """
    return _find(transaction, jobs, text, "jobs", JobNotFound)


def find_worker(transaction: Transaction, text: str) -> str:
    """The id of the one worker that ``text`` names, in whole or shortened, be it live or not.

    Raises `WorkerNotFound`, or `AmbiguousId` with the candidates.
    """
    return _find(transaction, workers, text, "workers", WorkerNotFound)


def find_batch(transaction: Transaction, text: str) -> str:
    """The id of the one batch that ``text`` names, in whole or shortened.

    Raises `BatchNotFound`, or `AmbiguousId` with the candidates.
    """
    return _find(transaction, batches, text, "batches", BatchNotFound)


def _find(transaction: Transaction, table: Table, text: str, kind: str, unknown: type[JobWardenError]) -> str:
    fits = fitting(table.c.id, text, table.c.get("id_end"))
    if fits is None:
        raise unknown(id=text)
    query = select(table.c.id).where(fits).order_by(table.c.id.desc()).limit(_MOST + 1)
    found = [str(found) for found in transaction.execute(query).scalars()]
    if not found:
        raise unknown(id=text)
    if len(found) > 1:
        raise AmbiguousId(id=text, kind=kind, candidates=_listed(found), ids=found)
    return found[0]


def fitting(
    column: ColumnElement[str], text: str, ending: ColumnElement[str] | None = None
) -> ColumnElement[bool] | None:
    """The ids that begin or end so; None if none can. A beginning is a range of the primary key; so is an end of at
    least what people are shown, in the index of ``ending``, if there is one; a shorter end is looked for in all ids."""
    digits = text.strip().lower().replace("-", "")
    if not digits or len(digits) > _WHOLE or not _DIGITS.issuperset(digits):
        return None
    first, last = _dashed(digits.ljust(_WHOLE, "0")), _dashed(digits.ljust(_WHOLE, "f"))
    if len(digits) == _WHOLE:
        return column == bindparam("whole", first, type_=Id)
    low, high = bindparam("low", first, type_=Id), bindparam("high", last, type_=Id)
    end = _dashed(digits.rjust(_WHOLE, "?")).rpartition("?")[2].lstrip("-")
    ends: ColumnElement[bool] = cast(column, Text).like(f"%{end}")
    if ending is not None and len(end) >= SHOWN:
        ends = and_(ending == end[-SHOWN:], ends)
    return or_(and_(column >= low, column <= high), ends)


def _dashed(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _listed(found: list[str]) -> str:
    more = " and more" if len(found) > _MOST else ""
    return ", ".join(found[:_MOST]) + more
