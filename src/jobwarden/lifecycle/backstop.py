"""The backstop of batches: sets going again what nothing goes on with. It should find nothing, so it is loud."""

from __future__ import annotations

from jobwarden.domain.states import Actor, BatchState
from jobwarden.store import batches
from jobwarden.store.database import Transaction
from jobwarden.store.stalled import set_going, stalled

_MOST = 20
WHY = "stalled: nothing was left that would go on with it, which cannot happen; it is looked at again"


def restart_stalled(transaction: Transaction, worker_id: str) -> list[str]:
    """Leave turns for batches that are stalled, with a ledger row each; gives their ids. Whoever advances goes on.

    A batch that another transaction is just moving is left alone: its turn is there, or what follows from it is.
    """
    found = stalled(transaction, _MOST)
    for row in found:
        set_going(transaction, row.id)
        batches.leave_turn(transaction, row.id)
        batches.note(transaction, row.id, BatchState(row.state), Actor.SYSTEM, worker_id, WHY)
    return [str(row.id) for row in found]
