"""Unkillable: what to write when SIGKILL does not end a process, and when it is gone after all.

A mark on the attempt and one ledger row, fenced by the token; no state changes, since nothing is over.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, null, update

from jobwarden.domain.states import IN_FLIGHT, Actor, JobState
from jobwarden.store.database import Transaction, now
from jobwarden.store.ledger import note
from jobwarden.store.schema import attempts

_ours = (
    attempts.c.id == bindparam("attempt"),
    attempts.c.fencing_token == bindparam("token"),
    attempts.c.state.in_([state.value for state in sorted(IN_FLIGHT)]),
)
_mark = update(attempts).where(*_ours, attempts.c.unkillable_since.is_(None)).values(unkillable_since=now())
_clear = update(attempts).where(*_ours).values(unkillable_since=null())


def mark_unkillable(
    transaction: Transaction,
    job_id: str,
    attempt_id: str,
    token: int,
    left: Sequence[dict[str, Any]],
    actor: Actor,
    actor_id: str | None,
) -> None:
    """Note since when an attempt cannot be ended; ``left``: pid, command and state of each process that is alive.

    Nothing is written if the attempt is not ours any more, or is marked already.
    """
    if not transaction.execute(_mark, attempt=attempt_id, token=token).rowcount:
        return
    said = {
        "job_id": job_id,
        "attempt_id": attempt_id,
        "level": "attempt",
        "state": JobState.RUNNING.value,
        "reason": "unkillable",
        "context": json.dumps({"token": token, "processes": list(left)}),
    }
    note(transaction, [said], actor, actor_id)


def clear_unkillable(transaction: Transaction, attempt_id: str, token: int) -> None:
    """It is gone after all; to be done before it is settled."""
    transaction.execute(_clear, attempt=attempt_id, token=token)
