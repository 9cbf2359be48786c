"""The ledger: one row for whatever happens to a job or an attempt, with who did it, why and on what evidence.

Rows are only ever added. Those of a move are written by the door in the move's own statement; here are the ones that
move nothing: what was refused, and what is only worth knowing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, FromClause, bindparam, insert, literal_column, select
from sqlalchemy.sql.dml import UpdateBase

from jobwarden.domain.states import Actor
from jobwarden.store.database import Transaction, encode, now, rows
from jobwarden.store.schema import events

Row = dict[str, Any]


def words(value: str) -> ColumnElement[str]:
    """A constant of ours inside a statement's text, so that its rows stay its only parameter."""
    return literal_column(f"'{value}'")


def event(won: FromClause, **values: Any) -> UpdateBase:
    """The insert of one ledger row for each row of ``won``, whose columns or parameters say who acts."""
    columns = {
        "job_id": won.c.job_id,
        "actor_type": won.c.actor_type if "actor_type" in won.c else bindparam("actor_type"),
        "actor_id": won.c.actor_id if "actor_id" in won.c else bindparam("actor_id"),
        "created_at": now(),
        **values,
    }
    return insert(events).from_select(list(columns), select(*columns.values()))


# -- reject: what came too late is written down, and changes nothing --------------------------------------------------

_REJECT = rows("late", job_id="id", attempt_id="id", state="text", context="json")
_rejected = event(
    _REJECT,
    attempt_id=_REJECT.c.attempt_id,
    level=words("attempt"),
    from_state=_REJECT.c.state,
    to_state=_REJECT.c.state,
    reason=words("stale_write_rejected"),
    context=_REJECT.c.context,
)


_rejected_before = select(events.c.attempt_id, events.c.context).where(
    events.c.job_id.in_(bindparam("jobs", expanding=True)), events.c.reason == words("stale_write_rejected")
)


def reject(transaction: Transaction, late: Sequence[Row], actor_id: str | None) -> int:
    """One ledger row for each outcome that was refused, however often it is brought. The attempts must be locked.
    Gives how many were new.

    Rows: job_id, attempt_id, state (as it is), context (attempted_to, token).
    """
    if not late:
        return 0
    found = transaction.execute(_rejected_before, jobs=sorted({row["job_id"] for row in late}))
    noted = {_refusal(row.attempt_id, row.context) for row in found}
    fresh = {_refusal(row["attempt_id"], json.loads(row["context"])): row for row in late}
    given = [row for key, row in fresh.items() if key not in noted]
    if given:
        transaction.execute(_rejected, rows=encode(given), actor_type=Actor.SYSTEM.value, actor_id=actor_id)
    return len(given)


def _refusal(attempt_id: str, context: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes two refusals the same: the attempt, what it wanted to become, and in whose name."""
    return attempt_id, context["attempted_to"], context["token"]


# -- note: what happened without moving anything ----------------------------------------------------------------------

_NOTE = rows("noted", job_id="id", attempt_id="id", level="text", state="text", reason="text", context="json")
_noted = event(
    _NOTE,
    attempt_id=_NOTE.c.attempt_id,
    level=_NOTE.c.level,
    from_state=_NOTE.c.state,
    to_state=_NOTE.c.state,
    reason=_NOTE.c.reason,
    context=_NOTE.c.context,
)


def note(transaction: Transaction, notes: Sequence[Row], actor: Actor, actor_id: str | None) -> None:
    """Write ledger rows that move nothing. Rows: job_id, attempt_id, level (job or attempt), state (the job's as it
    is, or the attempt's), reason, context."""
    if notes:
        transaction.execute(_noted, rows=encode(notes), actor_type=actor.value, actor_id=actor_id)
