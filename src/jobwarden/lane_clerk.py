"""The clerk's desk for lanes: each verb in a transaction of its own, repeated after what passes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from jobwarden.domain.orders import By
from jobwarden.lifecycle import lanes
from jobwarden.lifecycle.lanes import LaneState
from jobwarden.store.database import Database, Transaction
from jobwarden.views.lanes import LaneView, listed

Repeated = Callable[[Callable[[], AbstractContextManager[Any]], Callable[[Any], Any]], Any]
Told = Callable[[], AbstractContextManager[None]]


class LaneClerk:
    """``repeated`` does work in a transaction, as often as it takes; ``told`` says its faults in words."""

    def __init__(
        self, database: Database, repeated: Repeated, told: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._database, self._repeated, self._told = database, repeated, told

    def pause(self, lane: str, reason: str | None, actor: str | None) -> LaneState:
        """Have nothing more of it begin."""
        return self._do(lambda transaction, by: lanes.pause(transaction, lane, by), reason, actor)

    def resume(self, lane: str, reason: str | None, actor: str | None) -> LaneState:
        """Let it go on."""
        return self._do(lambda transaction, by: lanes.resume(transaction, lane, by), reason, actor)

    def cap(self, lane: str, most: int | None, reason: str | None, actor: str | None) -> LaneState:
        """Let at most so many run at once."""
        return self._do(lambda transaction, by: lanes.cap(transaction, lane, most, by), reason, actor)

    def all(self) -> list[LaneView]:
        """Every lane."""
        found: list[LaneView] = self._repeated(self._database.read, listed)
        return found

    def _do(self, work: Callable[[Transaction, By], LaneState], reason: str | None, actor: str | None) -> LaneState:
        by = By(actor, reason)
        with self._told():
            done = self._database.attempt(lambda transaction: work(transaction, by))
        self._database.announce()
        return done
