"""Schedules: look at them, run one now, make, change and remove them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from jobwarden.app import JobWarden
from jobwarden.domain.access import Principal, Role
from jobwarden.domain.orders import By
from jobwarden.domain.schedule import Definition
from jobwarden.lifecycle import schedules as verbs
from jobwarden.options import Bound
from jobwarden.schedule import define, redefined
from jobwarden.service.gate import Part, by, needs
from jobwarden.store.database import Transaction
from jobwarden.views import schedules as views

VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Change:
    """What of a schedule is said anew: what runs (``job``, ``params``, ``options``), when, and by which policies."""

    job: str | None
    params: Mapping[str, Any] | None
    options: Mapping[str, Any]
    when: str | datetime | None
    policies: Mapping[str, Any]

    @property
    def touches_call(self) -> bool:
        """Whether it is about what runs."""
        return self.job is not None or self.params is not None or bool(self.options)

    def call(self, app: JobWarden, now: Definition) -> Bound:
        """The call as it is to be. Raises what binding raises."""
        params = self.params if self.params is not None else json.loads(now.params)
        kept = {"priority": now.priority, "tags": dict(now.tags)} if self.job in (None, now.job) else {}
        return app.bind(self.job or now.job, params, **{**kept, **self.options})


class Schedules(Part):
    """What is seen of schedules and done to them."""

    @needs(VIEWER, "see schedules")
    def page(self, principal: Principal, enabled: bool | None, after: str | None, limit: int) -> views.Page:
        """Those that follow the name ``after``, by name."""
        return self._read(lambda transaction: views.page(transaction, enabled, after, limit))

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
        only_new: bool = False,
    ) -> bool:
        """Make it, of a registered job, or change it to be like that; whether anything was changed.

        With ``only_new`` raises `NameTaken` for a name that one has.
        """
        definition = define(name, when, self._app.bind(job, params, **options), policies)
        return self._do(
            principal, reason, lambda transaction, who: verbs.put(transaction, definition, who, only_new=only_new)
        )

    @needs(ADMIN, "define schedules")
    def change(self, principal: Principal, name: str, wanted: Change, reason: str | None) -> bool:
        """Say some of it anew, and leave the rest as it is; whether anything was changed."""

        def changed(now: Definition) -> Definition:
            call = wanted.call(self._app, now) if wanted.touches_call else None
            return redefined(now, wanted.when, call, wanted.policies)

        return self._do(principal, reason, lambda transaction, who: verbs.change(transaction, name, changed, who))

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
