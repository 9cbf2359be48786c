"""``/api/tags``, ``/api/errors``: what jobs can be searched by."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from jobwarden.views.errors import ErrorLine
from jobwarden.views.tags import TagName, TagValue
from jobwarden.web.asks import Desk, Limit, Who, refusals
from jobwarden.web.guards import Polled
from jobwarden.web.models import PageOf

router = APIRouter(tags=["finding"], route_class=Polled)


@router.get("/tags", responses=refusals())
def tags(desk: Desk, who: Who, limit: Limit = 200) -> list[TagName]:
    """The names of tags, and how many jobs have each: exactly, or at least, if ``more``."""
    return desk.jobs.tags(who, limit)


@router.get("/tags/values", responses=refusals())
def values(
    desk: Desk,
    who: Who,
    name: Annotated[str, Query(min_length=1, max_length=64)],
    prefix: Annotated[str, Query(max_length=200)] = "",
    after: Annotated[str | None, Query(max_length=200, description="The ``next`` of the page before.")] = None,
    limit: Limit = 50,
) -> PageOf[TagValue]:
    """The values of a tag, in their order."""
    page = desk.jobs.tag_values(who, name, prefix, after, limit)
    return PageOf(data=page.values, next=page.next)


@router.get("/errors", responses=refusals())
def errors(
    desk: Desk,
    who: Who,
    after: Annotated[str | None, Query(pattern="^[0-9a-f]{32}$", description="The last page's ``next``.")] = None,
    limit: Limit = 20,
) -> PageOf[ErrorLine]:
    """Errors by their kind, the one that was seen last first; in their words ``#`` stands for what varies."""
    page = desk.jobs.errors(who, after, limit)
    return PageOf(data=page.errors, next=page.next)
