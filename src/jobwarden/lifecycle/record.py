"""Record: what a running attempt says (log lines, progress, artifacts) and how its process ended, fenced by token.

Nothing here can change an outcome: it moves no state, and what a fenced-out attempt says is not written.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, func, insert, select, update

from jobwarden.store.database import Transaction, encode, now, rows
from jobwarden.store.schema import artifacts, attempts, logs


@dataclass(frozen=True, slots=True)
class Saying:
    """One log line: ``seq`` counts from 1 within its attempt, without gaps."""

    seq: int
    level: str
    body: str
    source: str = "log"
    step: str | None = None
    context: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What one attempt said since it was last recorded; ``cursor`` is where its spool has been read to."""

    job_id: str
    attempt_id: str
    token: int
    lines: Sequence[Saying] = ()
    progress: dict[str, Any] | None = None
    artifacts: Sequence[dict[str, Any]] = ()
    cursor: dict[str, int] = field(default_factory=dict)


_NAME = 200
_FITS = {"type": 32, "name": _NAME, "content_type": _NAME}  # a job's own words, cut to what the columns hold
_held = {"job_id": "id", "attempt_id": "id", "token": "int"}
_line = rows("line", **_held, seq="int", level="text", source="text", step="text", context="json", body="text")
_insert_lines = insert(logs).from_select(
    ["job_id", "attempt_id", "seq", "ts", "level", "source", "step", "context", "body_ref"],
    select(
        _line.c.job_id,
        _line.c.attempt_id,
        _line.c.seq,
        now(),
        _line.c.level,
        _line.c.source,
        _line.c.step,
        _line.c.context,
        _line.c.body,
    )
    .select_from(_line.join(attempts, attempts.c.id == _line.c.attempt_id))
    .where(attempts.c.fencing_token == _line.c.token, attempts.c.log_seq < _line.c.seq)
    .order_by(_line.c.attempt_id, _line.c.seq),
)
_mark = rows("mark", attempt_id="id", token="int", seq="int", read_to="json", progress="json")
_advance = (
    update(attempts)
    .where(attempts.c.id == _mark.c.attempt_id, attempts.c.fencing_token == _mark.c.token)
    .values(
        log_seq=func.coalesce(_mark.c.seq, attempts.c.log_seq),
        log_cursor=func.coalesce(_mark.c.read_to, attempts.c.log_cursor),
        progress=func.coalesce(_mark.c.progress, attempts.c.progress),
    )
)
_standing = select(attempts.c.id, attempts.c.fencing_token).where(attempts.c.id.in_(bindparam("ids", expanding=True)))
_known = select(artifacts.c.id).where(artifacts.c.id.in_(bindparam("ids", expanding=True)))
_insert_thing = insert(artifacts).values(created_at=now())


def record(transaction: Transaction, records: Sequence[Record]) -> None:
    """Write what attempts said; lines that were written before are left out."""
    lines = [_line_row(said, line) for said in records for line in said.lines]
    if lines:
        transaction.execute(_insert_lines, rows=encode(lines))
    if any(said.artifacts for said in records):
        _record_artifacts(transaction, records)
    if records:
        transaction.execute(_advance, rows=encode(_marks(records)))


def _line_row(said: Record, line: Saying) -> dict[str, Any]:
    return {
        "job_id": said.job_id,
        "attempt_id": said.attempt_id,
        "token": said.token,
        "seq": line.seq,
        "level": line.level,
        "source": line.source,
        "step": line.step[:_NAME] if line.step else None,
        "context": json.dumps(line.context) if line.context else None,
        "body": line.body,
    }


def _record_artifacts(transaction: Transaction, records: Sequence[Record]) -> None:
    """Artifacts are few and may carry bytes, so they go as plain rows; those written before are left out."""
    saying = [said for said in records if said.artifacts]
    tokens = {row.id: row.fencing_token for row in transaction.execute(_standing, ids=[s.attempt_id for s in saying])}
    things = [
        _thing_row(said, thing)
        for said in saying
        if tokens.get(said.attempt_id) == said.token
        for thing in said.artifacts
    ]
    known = set(transaction.execute(_known, ids=[thing["id"] for thing in things]).scalars())
    for thing in things:
        if thing["id"] not in known:
            transaction.execute(_insert_thing, **thing)


def _thing_row(said: Record, thing: dict[str, Any]) -> dict[str, Any]:
    row = {"job_id": said.job_id, "attempt_id": said.attempt_id, **thing}
    return row | {name: row[name][:most] for name, most in _FITS.items() if row.get(name)}


def _marks(records: Sequence[Record]) -> list[dict[str, Any]]:
    """One mark for each attempt, however many of its records came together: an update takes any one of several."""
    marks: dict[str, dict[str, Any]] = {}
    for said in records:
        fresh = {key: value for key, value in _mark_row(said).items() if value is not None}
        marks[said.attempt_id] = {**marks.get(said.attempt_id, {}), **fresh}
    return list(marks.values())


def _mark_row(said: Record) -> dict[str, Any]:
    return {
        "attempt_id": said.attempt_id,
        "token": said.token,
        "seq": said.lines[-1].seq if said.lines else None,
        "read_to": json.dumps(said.cursor) if said.cursor else None,
        "progress": json.dumps(said.progress) if said.progress else None,
    }


_end = rows(
    "seen",
    attempt_id="id",
    token="int",
    cause="text",
    exit_code="int",
    term_signal="int",
    duration_ms="int",
    user_ms="int",
    system_ms="int",
    peak_rss_bytes="int",
)
_FACTS = ("cause", "exit_code", "term_signal", "duration_ms", "user_ms", "system_ms", "peak_rss_bytes")
_forensics = (
    update(attempts)
    .where(attempts.c.id == _end.c.attempt_id, attempts.c.fencing_token == _end.c.token)
    .values({name: func.coalesce(_end.c[name], attempts.c[name]) for name in _FACTS})
)


def record_exits(transaction: Transaction, exits: Sequence[dict[str, Any]]) -> None:
    """Write how processes ended. Rows: attempt_id, token, cause, exit_code, term_signal and what they used."""
    if exits:
        transaction.execute(_forensics, rows=encode(exits))
