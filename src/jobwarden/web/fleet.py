"""``/api/stats``, ``/history``, ``/workers``, ``/running``, ``/lanes``, ``/health``."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Body, Query
from pydantic import BaseModel, Field

from jobwarden.domain.findings import Finding
from jobwarden.lifecycle.lanes import LaneState
from jobwarden.service.fleet import Stats
from jobwarden.views.fleet import Flight, WorkerLine
from jobwarden.views.lanes import LaneView
from jobwarden.views.series import Series
from jobwarden.web import models
from jobwarden.web.asks import AnyId, Desk, LaneName, Limit, Who, refusals
from jobwarden.web.guards import Polled

router = APIRouter(tags=["fleet"], route_class=Polled)
Why = Annotated[models.Why | None, Body()]
_BACK = {
    models.Back.THREE_HOURS: timedelta(hours=3),
    models.Back.DAY: timedelta(hours=24),
    models.Back.WEEK: timedelta(days=7),
    models.Back.QUARTER: timedelta(days=90),
}


class By(StrEnum):
    """What the history is told apart by."""

    LANE = "lane"
    JOB = "job"


class Drained(BaseModel):
    """A worker that was asked to drain, and its state now."""

    id: str
    state: str


class HostBody(models.Why):
    """Which host, and why."""

    host: Annotated[str, Field(min_length=1, max_length=200)]


class DrainedHost(BaseModel):
    """The supervisors of a host that were asked to drain."""

    ids: list[str]


@router.get("/stats", responses=refusals())
def stats(desk: Desk, who: Who) -> Stats:
    """How many there are of everything; what is not named is none."""
    return desk.fleet.stats(who)


@router.get("/history", responses=refusals())
def history(
    desk: Desk,
    who: Who,
    back: models.Back = models.Back.THREE_HOURS,
    by: By | None = None,
    lane: Annotated[str | None, Query(max_length=100)] = None,
    job: Annotated[str | None, Query(max_length=200)] = None,
) -> Series:
    """Starts, ends, waits and runs over time: by minutes, hours or days."""
    return desk.fleet.history(who, _BACK[back], by.value if by else None, lane, job)


@router.get("/workers", responses=refusals())
def workers(
    desk: Desk,
    who: Who,
    role: Annotated[str | None, Query(max_length=32)] = None,
    all: Annotated[bool, Query(description="Also those that stopped or are dead.")] = False,
) -> list[WorkerLine]:
    """Daemons, by role."""
    return desk.fleet.workers(who, role, all)


@router.post("/workers/{worker_id}/drain", responses=refusals(404, 409))
def drain(worker_id: AnyId, desk: Desk, who: Who, body: Why = None) -> Drained:
    """Ask a worker to take no more jobs."""
    return Drained(id=worker_id, state=desk.fleet.drain(who, worker_id, body.reason if body else None).value)


@router.post("/hosts/drain", responses=refusals(404))
def drain_host(desk: Desk, who: Who, body: HostBody) -> DrainedHost:
    """Ask every supervisor of a host to take no more jobs."""
    return DrainedHost(ids=desk.fleet.drain_host(who, body.host, body.reason))


@router.get("/running", responses=refusals())
def running(desk: Desk, who: Who, limit: Limit = 50) -> list[Flight]:
    """Attempts in flight; those of this host looked at as they are."""
    return desk.fleet.running(who, limit)


@router.get("/lanes", responses=refusals())
def lanes(desk: Desk, who: Who) -> list[LaneView]:
    """Every lane."""
    return desk.fleet.lanes(who)


@router.post("/lanes/{name}/pause", responses=refusals(409))
def pause(name: LaneName, desk: Desk, who: Who, body: Why = None) -> LaneState:
    """Have nothing more of a lane begin; ``*`` means all."""
    return desk.fleet.pause(who, name, body.reason if body else None)


@router.post("/lanes/{name}/resume", responses=refusals(409))
def resume(name: LaneName, desk: Desk, who: Who, body: Why = None) -> LaneState:
    """Let a paused lane go on."""
    return desk.fleet.resume(who, name, body.reason if body else None)


@router.put("/lanes/{name}/cap", responses=refusals())
def cap(name: LaneName, body: models.CapBody, desk: Desk, who: Who) -> LaneState:
    """Let at most so many of a lane run at once; ``*`` means all together."""
    return desk.fleet.cap(who, name, body.most, body.reason)


@router.get("/health", responses=refusals())
def health(desk: Desk, who: Who, deep: bool = False) -> list[Finding]:
    """What in the database contradicts the engine's own rules; nothing: all is well."""
    return desk.fleet.health(who, deep)
