"""Looks at processes: somebody asks in the attempt's row, and the daemon that watches the attempt answers there.

So a look works across hosts and needs no door beside the database. Asking moves no state and needs no token; an answer
is only taken from the attempt's owner.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Row, bindparam, case, null, select, update

from jobwarden.domain.states import IN_FLIGHT
from jobwarden.store.database import Transaction, now
from jobwarden.store.schema import attempts


class Looked(NamedTuple):
    """When a look was asked for that is still to come, when the last one was taken, and what was seen."""

    asked_at: datetime | None
    at: datetime | None
    found: dict[str, Any] | None


_of = select(attempts.c.look_asked_at, attempts.c.looked_at, attempts.c.look).where(attempts.c.id == bindparam("id"))
_in_flight = attempts.c.state.in_([state.value for state in sorted(IN_FLIGHT)])


def ask(transaction: Transaction, attempt_id: str) -> bool:
    """Ask for a look; False: the attempt is over."""
    asking = update(attempts).where(attempts.c.id == attempt_id, _in_flight).values(look_asked_at=now())
    return transaction.execute(asking).rowcount == 1


def answer(transaction: Transaction, attempt_id: str, token: int, asked_at: datetime, found: Mapping[str, Any]) -> None:
    """Write down what was seen; whoever asked again meanwhile gets another answer."""
    asked_again = case((attempts.c.look_asked_at > asked_at, attempts.c.look_asked_at), else_=null())
    transaction.execute(
        update(attempts)
        .where(attempts.c.id == attempt_id, attempts.c.fencing_token == token)
        .values(look_asked_at=asked_again, looked_at=now(), look=dict(found))
    )


def of(transaction: Transaction, attempt_id: str) -> Looked:
    """What is known of looks at an attempt."""
    found: Row[Any] | None = transaction.execute(_of, id=attempt_id).one_or_none()
    return Looked(found.look_asked_at, found.looked_at, found.look) if found is not None else Looked(None, None, None)
