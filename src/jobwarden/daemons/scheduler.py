"""The scheduler: decides what is due, and makes the jobs; any number of hosts run one, and none leads.

Each looks when something is due next, and once a second at the latest, since schedules change meanwhile. Who comes
first wins an occurrence (`lifecycle.evaluate`), so that killing one, or stopping it for a while, costs nothing:
another decides in its place, or it does by itself later, as the missed policies say. What the application declares is
made so once, at the beginning (`daemons.declarations`).
"""

from __future__ import annotations

import random
from collections.abc import Callable

from jobwarden.config import Settings
from jobwarden.daemons.declarations import Declarations
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.writer import Result
from jobwarden.lifecycle.claim import Owner
from jobwarden.lifecycle.evaluate import Evaluated, evaluate
from jobwarden.lifecycle.schedules import Synced, sync
from jobwarden.process.kernel import boottime
from jobwarden.store import schedules as store
from jobwarden.store.database import Transaction

#: Seconds between two looks, at the longest.
_LOOK_EVERY = 1.0


class Scheduler:
    """A `daemon.Duty`. ``announce`` wakes workers, after a commit; ``declarations`` is None without an application."""

    role = "scheduler"
    finished = False

    def __init__(
        self,
        owner: Owner,
        settings: Settings,
        outbox: Outbox,
        narrator: Narrator,
        declarations: Declarations | None,
        announce: Callable[[], None],
    ) -> None:
        self._me, self._settings, self._outbox, self._narrator = owner.worker_id, settings, outbox, narrator
        self._declarations, self._announce = declarations, announce
        self._asked = False
        self._look_at = 0.0
        self._broken: dict[str, str] = {}

    @property
    def held(self) -> list[str]:
        """It never holds an attempt."""
        return []

    def look(self, transaction: Transaction) -> None:
        """A beat needs nothing more."""

    def heed(self, seen: None) -> None:
        """Nor brings anything."""

    def beaten(self, result: Result) -> None:
        """Nothing is ours, so nothing is proved again."""

    def watch(self) -> None:
        """Look at what is due, if it is time; one look at once."""
        if self._declarations is not None and (declared := self._declarations.fresh()) is not None:
            owner = declared.owner
            self._outbox.ask(lambda transaction: sync(transaction, declared.schedules, owner, self._me), self._synced)
        if not self._asked and boottime() >= self._look_at:
            self._asked = True
            self._outbox.ask(self._evaluate, self._evaluated)

    def interrupted(self) -> None:
        """What is due stays due."""

    def leave(self, transaction: Transaction) -> None:
        """There is nothing to give back."""
        if self._declarations is not None:
            self._declarations.close()

    def _evaluate(self, transaction: Transaction) -> tuple[Evaluated, float | None]:
        told = evaluate(transaction, self._me, self._settings.late_after)
        return told, store.seconds_to_next(transaction)

    def _evaluated(self, brought: tuple[Evaluated, float | None]) -> None:
        told, following = brought
        self._asked = False
        longest = _LOOK_EVERY * (0.9 + random.random() * 0.1)
        pause = 0.0 if told.more else longest if following is None else min(longest, max(0.0, following))
        self._look_at = boottime() + pause
        if told.jobs:
            self._announce()
        for name, why in told.broken:
            if self._broken.get(name) != why:
                self._narrator.schedule_broken(name, why)
            self._broken[name] = why

    def _synced(self, told: Synced) -> None:
        for verb, names in (("made", told.made), ("changed", told.changed), ("disabled", told.dropped)):
            if names:
                self._narrator.schedules_declared(verb, names)
