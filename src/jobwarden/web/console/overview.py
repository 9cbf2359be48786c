"""The whole at a glance, and what needs a person."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Response

from jobwarden.domain.orders import Verb, Verdict
from jobwarden.domain.states import JobState
from jobwarden.service.jobs import Wish
from jobwarden.views.jobs import Filter
from jobwarden.web.asks import Cursor
from jobwarden.web.console.shell import Acting, Looking, Paged

router = APIRouter(include_in_schema=False, route_class=Paged)
_ATTENTION = (JobState.FAILED, JobState.ORPHANED)


class Back(StrEnum):
    """How far a page looks back."""

    THREE_HOURS = "3h"
    DAY = "24h"
    WEEK = "7d"
    QUARTER = "90d"

    @property
    def span(self) -> timedelta:
        """As time."""
        return timedelta(hours=int(self[:-1])) if self.endswith("h") else timedelta(days=int(self[:-1]))


BackTo = Annotated[Back, Query(alias="back")]


@router.get("/")
def overview(visitor: Looking, back: BackTo = Back.THREE_HOURS) -> Response:
    """Tiles, charts, what needs attention, what runs, lanes and daemons."""
    fleet, who = visitor.service.fleet, visitor.who
    series = fleet.history(who, back.span, None, None, None)
    attention = visitor.service.jobs.page(who, Filter(states=_ATTENTION, limit=8))
    return visitor.page(
        "overview.html",
        "Overview",
        stats=fleet.stats(who),
        series=series,
        levels=fleet.levels(who, back.span, None),
        back=back,
        backs=list(Back),
        attention=attention,
        running=fleet.running(who, 8),
        lanes=fleet.lanes(who),
        workers=fleet.workers(who, None, False),
    )


@router.get("/parked")
def parked(visitor: Looking, before: Cursor = None) -> Response:
    """The parking lot: jobs whose outcome nobody knows, to be decided one by one."""
    page = visitor.service.jobs.page(visitor.who, Filter(states=[JobState.ORPHANED], before=before, limit=20))
    whole = [visitor.service.jobs.one(visitor.who, line.id) for line in page.jobs]
    return visitor.page(
        "parked.html", "Parking lot", page=page, jobs=whole, runbooks=visitor.service.jobs.runbooks(visitor.who)
    )


@router.post("/parked/{job_id}")
def decide(job_id: str, visitor: Acting) -> Response:
    """Write down what a parked job did."""
    form = visitor.form
    wish = Wish(Verb.RESOLVE, form.get("reason") or None, verdict=_verdict(form.get("verdict", "")))
    answer = visitor.service.jobs.act(visitor.who, wish, job_id)
    return visitor.back(f"Decided: {answer.id[-8:]} is {answer.state}.")


def _verdict(text: str) -> Verdict | None:
    return Verdict(text) if text in set(Verdict) else None


@router.get("/errors")
def errors(visitor: Looking, after: Annotated[str | None, Query(max_length=64)] = None) -> Response:
    """Errors by their kind."""
    return visitor.page("errors.html", "Errors", page=visitor.service.jobs.errors(visitor.who, after, 30))
