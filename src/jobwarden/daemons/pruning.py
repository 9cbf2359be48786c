"""Pruning, on and on: passes of the pruner in the leader, a bite and a rest, so that claims always get in between."""

from __future__ import annotations

from collections.abc import Callable

from jobwarden.config import Settings
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.domain.orders import By
from jobwarden.domain.retention import retention
from jobwarden.domain.states import Actor
from jobwarden.lifecycle.prune import Bite, Place, Pruned, Pruner
from jobwarden.store.database import Transaction

_FIRST_AFTER = 60.0  # seconds that one leads before the first pass


class Pruning:
    """One bite at a time through the outbox, while we lead; `watch` is called several times a second."""

    def __init__(
        self, settings: Settings, worker_id: str, outbox: Outbox, narrator: Narrator, clock: Callable[[], float]
    ) -> None:
        by = By(f"global reaper {worker_id[-8:]}", "retention", Actor.REAPER)
        self._pruner = Pruner(retention(settings.retain), by)
        self._every, self._outbox, self._narrator, self._clock = settings.prune_every, outbox, narrator, clock
        self._place, self._pruned = Place(), Pruned()
        self._due: float | None = None
        self._asked = False

    def lead(self, leads: bool) -> None:
        """Whether this is ours to do."""
        if not leads or not self._every:
            self._due = None
        elif self._due is None:
            self._due = self._clock() + min(self._every, _FIRST_AFTER)

    def watch(self) -> None:
        """Ask for the next bite, if there is one due and none under way."""
        if self._due is not None and not self._asked and self._clock() >= self._due:
            self._asked = True
            self._outbox.ask(self._bite, self._bitten)

    def _bite(self, transaction: Transaction) -> Bite:
        return self._pruner.bite(transaction, self._place)

    def _bitten(self, bite: Bite) -> None:
        self._asked = False
        self._pruned += bite.pruned
        self._place = bite.next or Place()
        if bite.next is None:
            self._due = self._due and self._clock() + self._every
            if self._pruned:
                self._narrator.pruned(self._pruned)
            self._pruned = Pruned()
