"""The audit as an operator reads it: the newest first, by actor, action, target and time, in pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select

from jobwarden.domain.findings import Finding
from jobwarden.store.audit import loose_end
from jobwarden.store.database import Transaction
from jobwarden.store.schema import audit
from jobwarden.views.rows import build, columns


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One act: who did what to what and why, and what was so before and after."""

    seq: int
    at: datetime
    actor: str | None
    address: str | None
    action: str
    kind: str
    target: str | None
    reason: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    hash: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which acts: by whom, of an action or a beginning of one (``job.``), to what, and when (from, and before)."""

    actor: str | None = None
    action: str | None = None
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Acts, and the number to go on before; None: there are no more."""

    entries: list[AuditLine]
    next: int | None


def listed(transaction: Transaction, wanted: AuditFilter, before: int | None = None, limit: int = 50) -> AuditPage:
    """A page of the acts that were before the one with the number ``before``, the newest first."""
    query = select(*columns(audit, AuditLine)).where(*_conditions(wanted)).order_by(audit.c.seq.desc())
    if before is not None:
        query = query.where(audit.c.seq < before)
    rows = transaction.execute(query.limit(limit + 1)).all()
    entries = [build(AuditLine, row, before=_data(row.before), after=_data(row.after)) for row in rows[:limit]]
    return AuditPage(entries, entries[-1].seq if len(rows) > limit else None)


def of_audit(transaction: Transaction) -> Iterator[Finding]:
    """The rule that the head of the chain is its last row."""
    if loose := loose_end(transaction):
        yield Finding("audit_loose_end", str(loose.seq), f"{loose.why}: see `jobwarden audit --verify`")


def _conditions(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.actor is not None:
        conditions.append(audit.c.actor == wanted.actor)
    if wanted.action is not None:
        conditions.append(audit.c.action.startswith(wanted.action, autoescape=True))
    if wanted.target is not None:
        conditions.append(audit.c.target == wanted.target)
    if wanted.since is not None:
        conditions.append(audit.c.at >= wanted.since)
    if wanted.until is not None:
        conditions.append(audit.c.at < wanted.until)
    return conditions


def _data(text: str | None) -> Any:
    """What a row says; one that was tampered with may be no JSON, and is shown as it is."""
    try:
        return json.loads(text) if text is not None else None
    except ValueError:
        return {"unreadable": text}
