"""Schedules: look at them, run one now, make, change and remove them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from jobwarden.domain.access import Principal, Role
from jobwarden.domain.orders import By
from jobwarden.lifecycle import schedules as verbs
from jobwarden.schedule import define
from jobwarden.service.gate import Part, by, needs
from jobwarden.store.database import Transaction
from jobwarden.views import schedules as views

VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN
T = TypeVar("T")


class Schedules(Part):
    """What is seen of schedules and done to them."""

    @needs(VIEWER, "see schedules")
    def all(self, principal: Principal) -> list[views.ScheduleLine]:
        """Every one, by name."""
        return self._read(views.listed)

    @needs(VIEWER, "see schedules")
    def one(self, principal: Principal, name: str) -> views.ScheduleLine:
        """One. Raises `ScheduleNotFound`, as all that follow."""
        return self._read(lambda transaction: views.shown(transaction, name))

    @needs(VIEWER, "see schedules")
    def runs(self, principal: Principal, name: str, limit: int) -> list[views.RunLine]:
        """Its newest runs."""
        return self._read(lambda transaction: views.runs_of(transaction, views.shown(transaction, name).id, limit))

    @needs(OPERATOR, "run schedules")
    def run_now(self, principal: Principal, name: str, reason: str | None) -> str:
        """Run it once now; the id of the job."""
        ask = verbs.Ask()
        return self._do(principal, reason, lambda transaction, who: verbs.run_now(transaction, name, who, ask))

    @needs(ADMIN, "define schedules")
    def put(
        self,
        principal: Principal,
        name: str,
        job: str,
        params: Mapping[str, Any],
        when: str | datetime | None,
        options: Mapping[str, Any],
        policies: Mapping[str, Any],
        reason: str | None,
    ) -> bool:
        """Make it, of a registered job, or change it to be like that; whether anything was changed."""
        call = self._app.bind(job, params, **options)
        definition = define(name, when, call, policies)
        return self._do(principal, reason, lambda transaction, who: verbs.put(transaction, definition, who))

    @needs(ADMIN, "define schedules")
    def enable(self, principal: Principal, name: str, backfill: bool, reason: str | None) -> bool:
        """Let it be due again; whether it was disabled."""
        return self._do(principal, reason, lambda transaction, who: verbs.enable(transaction, name, who, backfill))

    @needs(ADMIN, "define schedules")
    def disable(self, principal: Principal, name: str, reason: str | None) -> bool:
        """Let it not be due; whether it was enabled."""
        return self._do(principal, reason, lambda transaction, who: verbs.disable(transaction, name, who))

    @needs(ADMIN, "define schedules")
    def remove(self, principal: Principal, name: str, reason: str | None) -> None:
        """Remove it with its history."""
        return self._do(principal, reason, lambda transaction, who: verbs.remove(transaction, name, who))

    @needs(ADMIN, "define schedules")
    def backfill(
        self, principal: Principal, name: str, begin: datetime, end: datetime, reason: str | None
    ) -> verbs.Backfilled:
        """Make the runs of a past window."""
        return self._do(principal, reason, lambda transaction, who: verbs.backfill(transaction, name, begin, end, who))

    def _do(self, principal: Principal, reason: str | None, work: Callable[[Transaction, By], T]) -> T:
        who = by(principal, reason)
        done = self._write(lambda transaction: work(transaction, who))
        self._database.announce()
        return done
