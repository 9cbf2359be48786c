"""Lanes and the fleet: what waits where, who works, and how both are steered."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from jobwarden.errors import InvalidOption
from jobwarden.web.console.overview import Back, BackTo
from jobwarden.web.console.shell import Acting, Looking, Paged

router = APIRouter(include_in_schema=False, route_class=Paged)
_RUNNING = 200
_Lane = Annotated[str | None, Query(max_length=100)]
_Job = Annotated[str | None, Query(max_length=200)]


@router.get("/lanes")
def lanes(visitor: Looking, lane: _Lane = None, job: _Job = None, back: BackTo = Back.DAY) -> Response:
    """Every lane; of one, of all, or of one job, what ended and how long it waited; what was queued and busy."""
    fleet, who = visitor.service.fleet, visitor.who
    names = visitor.service.jobs.registered(who)
    facts = {"series": fleet.history(who, back.span, None, lane, job or None), "back": back, "backs": list(Back)}
    facts |= {"levels": fleet.levels(who, back.span, lane), "lane": lane, "job": job or "", "names": names}
    return visitor.page("lanes.html", "Lanes", lanes=fleet.lanes(who), **facts)


@router.post("/lanes/{verb}")
def steer(verb: str, visitor: Acting) -> Response:
    """Pause a lane, let it go on, or say how many of it may run at once."""
    fleet, who, form = visitor.service.fleet, visitor.who, visitor.form
    lane, reason = form.get("lane", ""), form.get("reason") or None
    if verb == "pause":
        fleet.pause(who, lane, reason)
    elif verb == "resume":
        fleet.resume(who, lane, reason)
    elif verb == "cap":
        fleet.cap(who, lane, _most(lane, form.get("most", "")), reason)
    else:
        raise InvalidOption(option="verb", value=verb[:20], job=lane, rule="pause, resume or cap")
    return visitor.back({"pause": f"{lane} is paused.", "resume": f"{lane} goes on."}.get(verb, f"{lane} is capped."))


def _most(lane: str, text: str) -> int | None:
    if not text.strip():
        return None
    if not text.strip().isdecimal() or len(text) > 9:
        raise InvalidOption(option="most", value=text[:20], job=lane, rule="a whole number, or nothing for no limit")
    return int(text)


@router.get("/workers")
def workers(visitor: Looking, everyone: bool = False) -> Response:
    """Daemons by host, and what runs with its processes."""
    fleet, who = visitor.service.fleet, visitor.who
    found = fleet.workers(who, None, everyone)
    running = fleet.running(who, _RUNNING)
    return visitor.page("workers.html", "Fleet", workers=found, running=running, everyone=everyone)


@router.post("/hosts/drain")
def drain_host(visitor: Acting) -> Response:
    """Have every supervisor of a host take no more jobs."""
    host, reason = visitor.form.get("host", ""), visitor.form.get("reason") or None
    asked = visitor.service.fleet.drain_host(visitor.who, host, reason)
    return visitor.back(f"{host} is asked to drain: {len(asked)} supervisors.")


@router.post("/workers/{worker_id}/drain")
def drain(worker_id: str, visitor: Acting) -> Response:
    """Have a worker take no more jobs, and end when it has none."""
    state = visitor.service.fleet.drain(visitor.who, worker_id, visitor.form.get("reason") or None)
    return visitor.back(f"{worker_id[-8:]} is asked to drain; it is {state} now.")
