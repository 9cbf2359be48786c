"""The fleet: workers, lanes, what goes on now, what went on, and whether the database agrees with itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobwarden.domain.access import Principal, Role
from jobwarden.domain.findings import Finding
from jobwarden.domain.orders import By
from jobwarden.domain.retention import Retention, retention
from jobwarden.domain.states import WorkerState
from jobwarden.lifecycle import lanes, operate
from jobwarden.lifecycle.lanes import LaneState
from jobwarden.service.gate import Part, by, needs
from jobwarden.store.database import Transaction
from jobwarden.store.revision import check as check_revision
from jobwarden.views import fleet, health, metrics, overview, series
from jobwarden.views.ids import find_worker
from jobwarden.views.lanes import LaneView
from jobwarden.views.lanes import listed as listed_lanes

VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN


@dataclass(frozen=True, slots=True)
class Stats:
    """How many there are: jobs by state and by lane, batches by state, schedules, and live daemons by role."""

    jobs: dict[str, int]
    jobs_by_lane: dict[str, dict[str, int]]
    batches: dict[str, int]
    schedules: dict[str, int]
    workers: dict[str, int]


class Fleet(Part):
    """What is seen of the whole, and done to workers and lanes."""

    @needs(VIEWER, "see statistics")
    def stats(self, principal: Principal) -> Stats:
        """The counts; states without any are left out."""
        return Stats(**self._read(overview.counts))

    @needs(VIEWER, "see the overview")
    def overview(self, principal: Principal) -> overview.Overview:
        """What goes on."""
        return self._read(overview.overview)

    @needs(VIEWER, "see the history")
    def history(
        self, principal: Principal, back: timedelta, by: str | None, lane: str | None, job: str | None
    ) -> series.Series:
        """Starts, ends, waits and runs over time. Raises `InvalidOption`."""
        return self._read(lambda transaction: series.series(transaction, back, by, lane=lane, job=job))

    @needs(VIEWER, "see the history")
    def levels(self, principal: Principal, back: timedelta, lane: str | None) -> series.Levels:
        """How many were queued, and how many seats were there and busy, over time. Raises `InvalidOption`."""
        return self._read(lambda transaction: series.levels(transaction, back, lane))

    @needs(VIEWER, "see the clock")
    def now(self, principal: Principal) -> datetime:
        """The database's clock."""
        return self._read(lambda transaction: transaction.now())

    @needs(VIEWER, "see the settings")
    def retention(self, principal: Principal) -> Retention:
        """How long what is over is kept."""
        return retention(self._app.settings.retain)

    @needs(VIEWER, "see the settings")
    def settings(self, principal: Principal) -> dict[str, Any]:
        """How everything is set; the database's address without its password."""
        told = self._app.settings.dump()
        return {**told, "database_url": str(self._database)}

    @needs(VIEWER, "see metrics")
    def metrics(self, principal: Principal) -> str:
        """Everything for Prometheus."""
        return self._read(metrics.exposition)

    @needs(VIEWER, "check the database")
    def health(self, principal: Principal, deep: bool) -> list[Finding]:
        """What contradicts the engine's own rules."""
        return self._read(lambda transaction: health.check(transaction, deep, self._silence))

    @needs(VIEWER, "see workers")
    def workers(self, principal: Principal, role: str | None, everyone: bool) -> list[fleet.WorkerLine]:
        """Daemons by role; with ``everyone`` also those stopped or dead."""
        return self._read(lambda transaction: fleet.listed_workers(transaction, role, everyone))

    @needs(VIEWER, "see what runs")
    def running(self, principal: Principal, limit: int) -> list[fleet.Flight]:
        """Attempts in flight, those of this host looked at as they are."""
        return fleet.verified(self._read(lambda transaction: fleet.in_flight(transaction, limit)), fleet.this_host())

    @needs(OPERATOR, "drain workers")
    def drain(self, principal: Principal, worker: str, reason: str | None) -> WorkerState:
        """Ask a worker to take no more. Raises `WorkerNotFound`, `AmbiguousId` or `WorkerNotLive`."""
        whole = self._read(lambda transaction: find_worker(transaction, worker))
        return self._write(
            lambda transaction: operate.drain(transaction, whole, reason, principal.actor, principal.address)
        )

    @needs(OPERATOR, "drain workers")
    def drain_host(self, principal: Principal, hostname: str, reason: str | None) -> list[str]:
        """Ask every supervisor of a host to take no more; their ids. Raises `WorkerNotFound` if none there lives."""
        return self._write(
            lambda transaction: operate.drain_host(transaction, hostname, reason, principal.actor, principal.address)
        )

    @needs(VIEWER, "see lanes")
    def lanes(self, principal: Principal) -> list[LaneView]:
        """Every lane."""
        return self._read(listed_lanes)

    @needs(OPERATOR, "steer lanes")
    def pause(self, principal: Principal, lane: str, reason: str | None) -> LaneState:
        """Have nothing more of it begin."""
        return self._steer(principal, reason, lambda transaction, who: lanes.pause(transaction, lane, who))

    @needs(OPERATOR, "steer lanes")
    def resume(self, principal: Principal, lane: str, reason: str | None) -> LaneState:
        """Let it go on."""
        return self._steer(principal, reason, lambda transaction, who: lanes.resume(transaction, lane, who))

    @needs(OPERATOR, "steer lanes")
    def cap(self, principal: Principal, lane: str, most: int | None, reason: str | None) -> LaneState:
        """Let at most so many of it run at once."""
        return self._steer(principal, reason, lambda transaction, who: lanes.cap(transaction, lane, most, who))

    def ready(self) -> None:
        """Raise what keeps the database from being used: it cannot be reached, or is not migrated."""
        self._database.server()
        check_revision(self._database)

    def _steer(
        self, principal: Principal, reason: str | None, work: Callable[[Transaction, By], LaneState]
    ) -> LaneState:
        who = by(principal, reason)
        done = self._write(lambda transaction: work(transaction, who))
        self._database.announce()
        return done
