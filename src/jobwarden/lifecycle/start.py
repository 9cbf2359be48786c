"""Start: a dispatched attempt is about to enter its handler. For work that is not idempotent this is the barrier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from jobwarden.domain.states import Actor, AttemptState
from jobwarden.store.database import Transaction
from jobwarden.store.schema import attempts
from jobwarden.store.transition import start_attempts

_standing = select(attempts.c.id, attempts.c.fencing_token).where(
    attempts.c.id.in_(bindparam("ids", expanding=True)), attempts.c.state != AttemptState.DISPATCHED.value
)


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt whose child said that it starts, and how many seconds ago."""

    job_id: str
    attempt_id: str
    token: int
    ago: float = 0.0


def start(transaction: Transaction, starts: Sequence[Start], worker_id: str) -> set[str]:
    """Commit the starts and give the attempts that may go on; the others were fenced out.

    An attempt that has left `dispatched` under this very token was started by us, in a commit whose answer was lost, or
    has completed in its handler's own transaction.
    """
    moves = [{"job_id": s.job_id, "attempt_id": s.attempt_id, "token": s.token, "ago": s.ago or None} for s in starts]
    won = {str(move["attempt_id"]) for move in start_attempts(transaction, moves, Actor.WORKER, worker_id)}
    lost = {given.attempt_id: given.token for given in starts if given.attempt_id not in won}
    if lost:
        found = transaction.execute(_standing, ids=list(lost)).all()
        won |= {row.id for row in found if row.fencing_token == lost[row.id]}
    return won
