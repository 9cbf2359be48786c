"""The clerk's desk for schedules: each verb in a transaction of its own, repeated after what passes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, TypeVar

from jobwarden.domain.orders import By
from jobwarden.domain.schedule import Definition
from jobwarden.lifecycle import schedules
from jobwarden.lifecycle.schedules import Ask, Backfilled
from jobwarden.store.database import Database, Transaction
from jobwarden.views import schedules as views

T = TypeVar("T")
Repeated = Callable[[Callable[[], AbstractContextManager[Transaction]], Callable[[Transaction], Any]], Any]


class ScheduleClerk:
    """``repeated`` does work in a transaction, as often as it takes."""

    def __init__(self, database: Database, repeated: Repeated) -> None:
        self._database, self._repeated = database, repeated

    def put(self, definition: Definition, reason: str | None, actor: str | None) -> bool:
        """Make a schedule, or change it; whether anything was changed."""
        return self._do(lambda transaction, by: schedules.put(transaction, definition, by), reason, actor)

    def enable(self, name: str, backfill: bool, reason: str | None, actor: str | None) -> bool:
        """Let it be due again; whether it was disabled."""
        return self._do(lambda transaction, by: schedules.enable(transaction, name, by, backfill), reason, actor)

    def disable(self, name: str, reason: str | None, actor: str | None) -> bool:
        """Let it not be due; whether it was enabled."""
        return self._do(lambda transaction, by: schedules.disable(transaction, name, by), reason, actor)

    def remove(self, name: str, reason: str | None, actor: str | None) -> None:
        """Remove it with its history."""
        return self._do(lambda transaction, by: schedules.remove(transaction, name, by), reason, actor)

    def run_now(self, name: str, reason: str | None, actor: str | None) -> str:
        """Run it once now; the job's id."""
        ask = Ask()
        job_id = self._do(lambda transaction, by: schedules.run_now(transaction, name, by, ask), reason, actor)
        self._database.announce()
        return job_id

    def backfill(self, name: str, begin: datetime, end: datetime, reason: str | None, actor: str | None) -> Backfilled:
        """Make the runs of a past window."""
        work: Callable[[Transaction, By], Backfilled] = lambda transaction, by: schedules.backfill(  # noqa: E731
            transaction, name, begin, end, by
        )
        told = self._do(work, reason, actor)
        self._database.announce()
        return told

    def listed(self) -> list[views.ScheduleLine]:
        """Every schedule."""
        found: list[views.ScheduleLine] = self._repeated(self._database.read, views.listed)
        return found

    def shown(self, name: str) -> views.ScheduleLine:
        """One schedule."""
        found: views.ScheduleLine = self._repeated(
            self._database.read, lambda transaction: views.shown(transaction, name)
        )
        return found

    def runs(self, name: str, limit: int) -> list[views.RunLine]:
        """Its newest runs."""
        found: list[views.RunLine] = self._repeated(
            self._database.read,
            lambda transaction: views.runs_of(transaction, views.shown(transaction, name).id, limit),
        )
        return found

    def _do(self, work: Callable[[Transaction, By], T], reason: str | None, actor: str | None) -> T:
        by = By(actor, reason)
        done: T = self._repeated(self._database.write, lambda transaction: work(transaction, by))
        return done
