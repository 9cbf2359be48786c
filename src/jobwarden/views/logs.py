"""What a job said: the last lines, what came after a cursor, and everything of one job as an export.

The cursor is a line's id. A job's lines come from one writer at a time, so that they appear in the order of their ids.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, bindparam, select

from jobwarden.store.database import Id, Transaction
from jobwarden.store.schema import attempts, logs
from jobwarden.views.jobs import shown
from jobwarden.views.rows import build, columns

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line; ``seq`` counts from 1 within its attempt, ``source`` is log, stdout, stderr, progress or artifact."""

    id: int
    attempt_id: str
    attempt_number: int | None
    seq: int
    ts: datetime
    level: str
    source: str
    step: str | None
    message: str
    context: dict[str, Any] | None


_lines = (
    select(*columns(logs, LogLine, body_ref="message"), attempts.c.attempt_number)
    .select_from(logs.outerjoin(attempts, attempts.c.id == logs.c.attempt_id))
    .where(logs.c.job_id == bindparam("job", type_=Id))
)
_after = (
    _lines.where(logs.c.id > bindparam("after", type_=BigInteger()))
    .order_by(logs.c.id)
    .limit(bindparam("most", type_=BigInteger()))
)
_last = _lines.order_by(logs.c.id.desc()).limit(bindparam("most", type_=BigInteger()))


def after(transaction: Transaction, job_id: str, cursor: int = 0, limit: int = _PAGE) -> list[LogLine]:
    """The next lines after the one with the id ``cursor`` (0: from the first), in order."""
    return [_line(row) for row in transaction.execute(_after, job=job_id, after=cursor, most=limit)]


def last(transaction: Transaction, job_id: str, lines: int) -> list[LogLine]:
    """The last lines, in order."""
    return [_line(row) for row in transaction.execute(_last, job=job_id, most=lines)][::-1]


def export(transaction: Transaction, job_id: str) -> Iterator[str]:
    """Everything of one job as lines of JSON, each a ``{"type": ..., "data": ...}`` of its own.

    First the job, then its attempts, its ledger, its log lines and its artifacts. Raises `JobNotFound`.
    """
    whole = asdict(shown(transaction, job_id))
    whole.pop("now")
    parts = {kind: whole.pop(f"{kind}s") for kind in ("attempt", "event", "artifact")}
    yield _bundled("job", whole)
    for kind in ("attempt", "event"):
        yield from (_bundled(kind, part) for part in parts[kind])
    yield from (_bundled("log", asdict(line)) for line in _all(transaction, job_id))
    yield from (_bundled("artifact", part) for part in parts["artifact"])


def _all(transaction: Transaction, job_id: str) -> Iterator[LogLine]:
    cursor = 0
    while page := after(transaction, job_id, cursor):
        yield from page
        cursor = page[-1].id


def _line(row: Any) -> LogLine:
    return build(LogLine, row, message=row.message or "")


def _bundled(kind: str, part: dict[str, Any]) -> str:
    return json.dumps({"type": kind, "data": part}, default=_plain, ensure_ascii=False)


def _plain(value: object) -> str:
    return value.astimezone(UTC).isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
