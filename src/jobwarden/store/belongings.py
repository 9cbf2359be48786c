"""Everything that belongs to jobs, table by table: read as records to be kept elsewhere, and removed with them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, bindparam, delete, func, select

from jobwarden.store.database import Id, Transaction
from jobwarden.store.schema import artifacts, attempts, dependencies, events, jobs, logs, tags

#: What a record is called, and the column by which its table names the job.
PARTS: Mapping[str, Column[Any]] = {
    "job": jobs.c.id,
    "attempt": attempts.c.job_id,
    "event": events.c.job_id,
    "log": logs.c.job_id,
    "artifact": artifacts.c.job_id,
    "tag": tags.c.job_id,
    "dependency": dependencies.c.job_id,
}
_FEW = 500
_ids = bindparam("ids", expanding=True, type_=Id)
_reads = {
    kind: select(column.table).where(column.in_(_ids)).order_by(column, *column.table.primary_key.columns)
    for kind, column in PARTS.items()
}
_removals = [delete(column.table).where(column.in_(_ids)) for column in PARTS.values()]
_said = (
    select(attempts.c.job_id, func.sum(attempts.c.log_seq).label("lines"))
    .where(attempts.c.job_id.in_(_ids))
    .group_by(attempts.c.job_id)
)
_files = select(artifacts.c.path, artifacts.c.size_bytes).where(
    artifacts.c.job_id.in_(_ids), artifacts.c.path.is_not(None), artifacts.c.size_bytes.is_not(None)
)
_its_log = logs.c.job_id == bindparam("job", type_=Id)
_first_lines = select(logs).where(_its_log).order_by(logs.c.id).limit(bindparam("most"))
_remove_lines = delete(logs).where(_its_log, logs.c.id <= bindparam("last"))


def records(transaction: Transaction, job_ids: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """All rows of these jobs, each with what it is; values are JSON's: instants in ISO 8601, bytes in base 64."""
    for begin in range(0, len(job_ids), _FEW):
        some = list(job_ids[begin : begin + _FEW])
        for kind, query in _reads.items():
            for row in transaction.execute(query, ids=some):
                yield kind, record(row)


def record(row: Any) -> dict[str, Any]:
    """One row as JSON data."""
    return {name: _plain(value) for name, value in row._mapping.items()}


def lines_of(transaction: Transaction, job_ids: Sequence[str]) -> dict[str, int]:
    """How many log lines each of these jobs has written; those without any attempt are left out."""
    if not job_ids:
        return {}
    return {str(row.job_id): int(row.lines) for row in transaction.execute(_said, ids=list(job_ids))}


def first_lines(transaction: Transaction, job_id: str, most: int) -> list[Any]:
    """The first rows of a job's log."""
    return list(transaction.execute(_first_lines, job=job_id, most=most))


def remove_lines(transaction: Transaction, job_id: str, last: int) -> None:
    """Remove a job's log up to the line with the id ``last``."""
    transaction.execute(_remove_lines, job=job_id, last=last)


def files_of(transaction: Transaction, job_ids: Sequence[str]) -> list[tuple[str, int]]:
    """The files that were noted as these jobs' artifacts, wherever they are: paths with the sizes that they had."""
    return [(row.path, int(row.size_bytes)) for row in transaction.execute(_files, ids=list(job_ids))]


def remove(transaction: Transaction, job_ids: Sequence[str]) -> None:
    """Remove these jobs, which must be locked and over, with all that belongs to them."""
    for removal in _removals:
        transaction.execute(removal, ids=list(job_ids))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes | memoryview):
        return b64encode(value).decode()
    return value
