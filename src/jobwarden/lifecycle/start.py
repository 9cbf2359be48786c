"""Start: a dispatched attempt is about to enter its handler. For work that is not idempotent this is the barrier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jobwarden.domain.states import Actor
from jobwarden.store.database import Transaction
from jobwarden.store.transition import start_attempts


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt whose child said that it starts, and how many seconds ago."""

    job_id: str
    attempt_id: str
    token: int
    ago: float = 0.0


def start(transaction: Transaction, starts: Sequence[Start], worker_id: str) -> set[str]:
    """Commit the starts and give the attempts that may go on; the others were fenced out or had started before."""
    moves = [{"job_id": s.job_id, "attempt_id": s.attempt_id, "token": s.token, "ago": s.ago or None} for s in starts]
    return {str(move["attempt_id"]) for move in start_attempts(transaction, moves, Actor.WORKER, worker_id)}
