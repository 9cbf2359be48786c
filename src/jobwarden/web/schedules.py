"""``/api/schedules``: list, look, run now; make, change, enable, disable, backfill, remove."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query, Response
from pydantic import BaseModel

from jobwarden.lifecycle.schedules import Backfilled
from jobwarden.service.schedules import Change
from jobwarden.views.jobs import JobView
from jobwarden.views.schedules import RunLine, ScheduleLine
from jobwarden.web import models
from jobwarden.web.asks import Desk, Limit, Named, Who, leads_to, refusals
from jobwarden.web.guards import Polled
from jobwarden.web.models import PageOf

router = APIRouter(tags=["schedules"], route_class=Polled)
Why = Annotated[models.Why | None, Body()]


_OF_ONE = ("shown", "change", "run_now", "enable", "disable", "backfill", "remove")
_OPERATIONS = tuple(f"schedules_{name}" for name in _OF_ONE)


class ScheduleView(BaseModel):
    """One schedule with its newest runs."""

    schedule: ScheduleLine
    runs: list[RunLine]


@router.get("/schedules", responses=refusals())
def listed(
    desk: Desk,
    who: Who,
    enabled: Annotated[bool | None, Query()] = None,
    after: Annotated[str | None, Query(max_length=200, description="The ``next`` of the page before.")] = None,
    limit: Limit = 50,
) -> PageOf[ScheduleLine]:
    """Schedules, by name."""
    page = desk.schedules.page(who, enabled, after, limit)
    return PageOf(data=page.schedules, next=page.next)


@router.post(
    "/schedules",
    status_code=201,
    responses={**leads_to(201, "/schedule/name", "name", *_OPERATIONS), **refusals(409)},
)
def create(body: models.NewScheduleBody, desk: Desk, who: Who) -> ScheduleView:
    """Make a schedule of a registered job or command. 409 where there is one of that name."""
    _put(desk, who, body.name, body, only_new=True)
    return shown(body.name, desk, who)


@router.get("/schedules/{name}", responses=refusals(404))
def shown(name: Named, desk: Desk, who: Who, runs: Annotated[int, Query(ge=0, le=1000)] = 25) -> ScheduleView:
    """One schedule with its newest runs."""
    return ScheduleView(schedule=desk.schedules.one(who, name), runs=desk.schedules.runs(who, name, runs))


@router.put("/schedules/{name}", responses={**leads_to(200, "/name", "name", *_OPERATIONS), **refusals()})
def put(name: Named, body: models.ScheduleBody, desk: Desk, who: Who) -> models.Changed:
    """Make a schedule of a registered job or command, or change it to be like that. One that code declares is changed
    there."""
    return models.Changed(name=name, changed=_put(desk, who, name, body))


@router.patch("/schedules/{name}", responses=refusals(404))
def change(name: Named, body: models.ScheduleChange, desk: Desk, who: Who) -> models.Changed:
    """Say some of a schedule anew, and leave the rest as it is; null takes a bound away."""
    wanted = Change(body.job, body.params, body.options(), body.when, body.policies())
    return models.Changed(name=name, changed=desk.schedules.change(who, name, wanted, body.reason))


def _put(desk: Desk, who: Who, name: str, body: models.ScheduleBody, only_new: bool = False) -> bool:
    said = (body.job, body.params, body.when, body.options(), body.policies(), body.reason)
    return desk.schedules.put(who, name, *said, only_new)


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
