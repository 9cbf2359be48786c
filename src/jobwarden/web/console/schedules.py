"""Schedules: the list, one with its runs, and what can be done: make, change, run now, enable, backfill, remove."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Response

from jobwarden.domain.occurrences import Missed, Overlap
from jobwarden.errors import InvalidOption
from jobwarden.service.schedules import Change
from jobwarden.web.console.shell import Acting, Looking, Paged

router = APIRouter(include_in_schema=False, route_class=Paged)
_Name = Annotated[str | None, Query(max_length=200)]
_PAGE, _RUNS = 100, 40
_LONGEST = 315_360_000.0


@router.get("/schedules")
def listed(visitor: Looking, after: _Name = None) -> Response:
    """By name."""
    page = visitor.service.schedules.page(visitor.who, None, after, _PAGE)
    return visitor.page("schedules.html", "Schedules", page=page, now=visitor.service.fleet.now(visitor.who))


@router.get("/schedules/new")
def new(visitor: Looking, like: _Name = None) -> Response:
    """A form for a new one, or with what one says now."""
    known = visitor.service.schedules.one(visitor.who, like) if like else None
    names = visitor.service.jobs.registered(visitor.who)
    policies = {"missed": [each.value for each in Missed], "overlap": [each.value for each in Overlap]}
    return visitor.page(
        "schedule_form.html", f"Change {like}" if like else "New schedule", known=known, names=names, **policies
    )


@router.post("/schedules/new")
def put(visitor: Acting) -> Response:
    """Make it, or have it be like that."""
    form = visitor.form
    name = form.get("name", "")
    policies: dict[str, Any] = {key: form[key] for key in ("timezone", "missed", "overlap", "lane") if form.get(key)}
    when: str | datetime | None = form.get("cron") or None
    if form.get("every"):
        policies["every"] = timedelta(seconds=_seconds(name, form["every"]))
    if form.get("at"):
        when = _moment(name, form["at"])
    params, why = _params(name, form.get("params", "")), form.get("reason") or None
    desk, who, job = visitor.service.schedules, visitor.who, form.get("job", "")
    if form.get("known") == "1":
        changed = desk.change(who, name, Change(job, params, {}, when, policies), why)
        told = "Changed." if changed else "It was like that already."
    else:
        desk.put(who, name, job, params, when, {}, policies, why, only_new=True)
        told = "It is there."
    return visitor.back(told, to=f"/schedules/by-name?name={quote(name, safe='')}")


def _seconds(name: str, text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = math.nan
    if not 0 < found <= _LONGEST:
        raise InvalidOption(option="every", value=text[:20], job=name, rule="a number of seconds, of ten years at most")
    return found


def _moment(name: str, text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidOption(option="at", value=text, job=name, rule="a moment like 2026-03-29T01:30") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _params(name: str, text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise InvalidOption(option="params", value=text[:60], job=name, rule=f"JSON ({error})") from error
    if not isinstance(found, dict):
        raise InvalidOption(option="params", value=text[:60], job=name, rule="an object, with parameters by name")
    return found


@router.get("/schedules/by-name")
def shown(visitor: Looking, name: Annotated[str, Query(max_length=200)]) -> Response:
    """One, with its newest runs. Names may hold anything, so they stand in the query."""
    desk, who = visitor.service.schedules, visitor.who
    line, runs = desk.one(who, name), desk.runs(who, name, _RUNS)
    return visitor.page("schedule.html", name, line=line, runs=runs, now=visitor.service.fleet.now(who))


@router.post("/schedules/{verb}")
def act(verb: str, visitor: Acting) -> Response:
    """Run it now, enable or disable it, make up for a past window, or remove it."""
    desk, who, form = visitor.service.schedules, visitor.who, visitor.form
    name, reason = form.get("name", ""), form.get("reason") or None
    if verb == "run":
        return visitor.back("It runs, as this job.", to=f"/jobs/{desk.run_now(who, name, reason)}")
    if verb in ("enable", "disable"):
        changed = desk.enable(who, name, False, reason) if verb == "enable" else desk.disable(who, name, reason)
        return visitor.back(f"{name} is {verb}d." if changed else f"{name} was {verb}d already.")
    if verb == "backfill":
        made = desk.backfill(
            who, name, _moment(name, form.get("begin", "")), _moment(name, form.get("end", "")), reason
        )
        return visitor.back(f"{made.made} runs made, {made.there} were there.")
    if verb == "remove":
        desk.remove(who, name, reason)
        return visitor.back(f"{name} is removed.", to="/schedules")
    return visitor.back(f"A schedule cannot be asked to {verb[:20]}.", bad=True)
