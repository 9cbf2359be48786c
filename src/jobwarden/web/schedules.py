"""``/api/schedules``: list, look, run now; make, change, enable, disable, backfill, remove."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from pydantic import BaseModel

from jobwarden.lifecycle.schedules import Backfilled
from jobwarden.views.jobs import JobView
from jobwarden.views.schedules import RunLine, ScheduleLine
from jobwarden.web import models
from jobwarden.web.asks import Desk, Named, Who, leads_to, refusals
from jobwarden.web.guards import Polled

router = APIRouter(tags=["schedules"], route_class=Polled)
Why = Annotated[models.Why | None, Body()]


class ScheduleView(BaseModel):
    """One schedule with its newest runs."""

    schedule: ScheduleLine
    runs: list[RunLine]


@router.get("/schedules", responses=refusals())
def listed(desk: Desk, who: Who, enabled: Annotated[bool | None, Query()] = None) -> list[ScheduleLine]:
    """Every schedule, by name."""
    return [line for line in desk.schedules.all(who) if enabled is None or line.enabled is enabled]


@router.get("/schedules/{name}", responses=refusals(404))
def shown(name: Named, desk: Desk, who: Who, runs: Annotated[int, Query(ge=0, le=1000)] = 25) -> ScheduleView:
    """One schedule with its newest runs."""
    return ScheduleView(schedule=desk.schedules.one(who, name), runs=desk.schedules.runs(who, name, runs))


_OF_ONE = ("shown", "run_now", "enable", "disable", "backfill", "remove")


@router.put(
    "/schedules/{name}",
    responses={**leads_to(200, "/name", "name", *(f"schedules_{name}" for name in _OF_ONE)), **refusals()},
)
def put(name: Named, body: models.ScheduleBody, desk: Desk, who: Who) -> models.Changed:
    """Make a schedule of a registered job or command, or change it to be like that. One that code declares is changed
    there."""
    policies = body.policies()
    if "every" in policies:
        policies["every"] = timedelta(seconds=policies["every"])
    when = body.at or body.cron
    changed = desk.schedules.put(who, name, body.job, body.params, when, body.options(), policies, body.reason)
    return models.Changed(name=name, changed=changed)


@router.delete("/schedules/{name}", status_code=204, responses=refusals(404))
def remove(name: Named, desk: Desk, who: Who, reason: Annotated[str | None, Query(max_length=4000)] = None) -> Response:
    """Remove a schedule with the history of its runs; its jobs stay."""
    desk.schedules.remove(who, name, reason)
    return Response(status_code=204)


@router.post("/schedules/{name}/run", status_code=201, responses=refusals(404))
def run_now(name: Named, desk: Desk, who: Who, body: Why = None) -> JobView:
    """Run it once now, whatever its time; gives the job."""
    return desk.jobs.one(who, desk.schedules.run_now(who, name, body.reason if body else None))


@router.post("/schedules/{name}/enable", responses=refusals(404))
def enable(
    name: Named, desk: Desk, who: Who, body: Annotated[models.EnableBody | None, Body()] = None
) -> models.Changed:
    """Let it be due again, from now."""
    given = body or models.EnableBody()
    return models.Changed(name=name, changed=desk.schedules.enable(who, name, given.backfill, given.reason))


@router.post("/schedules/{name}/disable", responses=refusals(404))
def disable(name: Named, desk: Desk, who: Who, body: Why = None) -> models.Changed:
    """Let it not be due."""
    changed = desk.schedules.disable(who, name, body.reason if body else None)
    return models.Changed(name=name, changed=changed)


@router.post("/schedules/{name}/backfill", responses=refusals(404))
def backfill(name: Named, body: models.BackfillBody, desk: Desk, who: Who) -> Backfilled:
    """Make the runs of a past window that there are none of."""
    return desk.schedules.backfill(who, name, body.begin, body.end, body.reason)
