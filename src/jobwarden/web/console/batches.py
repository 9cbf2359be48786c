"""Batches: the list, and one with its graph, its course in time, and its members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response
from markupsafe import Markup

from jobwarden.domain.states import BatchState
from jobwarden.views.batches import BatchLine, Course, MemberLine
from jobwarden.web.asks import Cursor
from jobwarden.web.console import graphs
from jobwarden.web.console.shell import Acting, Looking, Paged, Visitor

router = APIRouter(include_in_schema=False, route_class=Paged)
_PAGE, _MOST_BARS = 50, 200
_TABS = ("graph", "time", "members")
_drawings = graphs.Drawings()


@dataclass(frozen=True, slots=True)
class Bar:
    """A member in time: where it begins and how long it is, as shares of the whole; whether others waited for it."""

    member: MemberLine
    left: float
    wide: float
    critical: bool


@router.get("/batches")
def listed(visitor: Looking, state: BatchState | None = None, before: Cursor = None) -> Response:
    """The newest first."""
    page = visitor.service.batches.page(visitor.who, [state] if state else [], {}, before, _PAGE)
    return visitor.page("batches.html", "Batches", page=page, states=list(BatchState), state_wanted=state)


@router.get("/batches/{batch_id}")
def shown(batch_id: str, visitor: Looking, tab: str = "graph", after: Cursor = None, unfold: bool = False) -> Response:
    """One, with its graph, its course in time or its members."""
    desk, who = visitor.service.batches, visitor.who
    batch = desk.one(who, batch_id)
    tab = tab if tab in _TABS else "graph"
    facts: dict[str, Any] = {"batch": batch, "tab": tab, "tabs": _TABS, "after": after, "unfold": unfold}
    if tab == "members":
        facts["members"], facts["next"] = desk.members(who, batch.id, after, _PAGE)
    elif tab == "time":
        facts["course"] = course = desk.course(who, batch.id, _MOST_BARS)
        facts["bars"] = _bars(course)
    else:
        facts["picture"], facts["drawable"] = _picture(visitor, batch, unfold)
    failures = desk.failures(who, batch.id)[:10] if batch.counts.failed or batch.counts.canceled else []
    return visitor.page("batch.html", batch.name or "Batch", failures=failures, **facts)


def _picture(visitor: Visitor, batch: BatchLine, unfold: bool) -> tuple[Markup | None, bool]:
    """The graph (None: there is none yet), and whether there can be one."""
    desk, who = visitor.service.batches, visitor.who
    drawing = _drawings.of(batch.id, batch.counts.total, unfold, lambda: desk.graph(who, batch.id))
    if drawing is None or not drawing.drawable:
        return None, drawing is None
    if drawing.ranges is not None:
        tally = desk.tally(who, batch.id, drawing.ranges)
    else:
        tally = drawing.counted(desk.states(who, batch.id))
    return graphs.svg(drawing, tally, visitor.root, batch.id), True


def _bars(course: Course) -> list[Bar]:
    """When members ran, in the order in which they began; and all that the others waited for."""
    if course.begin is None:
        return []
    critical = {member.id for member in course.critical}
    shown = {member.id: member for member in (*course.members, *course.critical)}
    whole = max((course.end - course.begin).total_seconds(), 0.001)
    ran = sorted(shown.values(), key=lambda member: str(member.started_at))
    return [_bar(member, course.begin, course.end, whole, member.id in critical) for member in ran]


def _bar(member: MemberLine, begin: datetime, end: datetime, whole: float, critical: bool) -> Bar:
    began = member.started_at or begin
    left = (began - begin).total_seconds() / whole
    lasted = ((member.finished_at or end) - began).total_seconds() / whole
    return Bar(member, min(left, 1.0), min(max(0.003, lasted), 1.0), critical)


@router.post("/batches/{batch_id}/{verb}")
def act(batch_id: str, verb: str, visitor: Acting) -> Response:
    """Call it off, hold it, let it go on, or run what failed again."""
    desk, who, form = visitor.service.batches, visitor.who, visitor.form
    reason = form.get("reason") or None
    acts: Mapping[str, Any] = {"cancel": desk.cancel, "hold": desk.hold, "release": desk.release}
    if verb == "retry":
        answers = desk.retry(who, batch_id, reason, form.get("force") == "1", None, form.get("start") or None)
        refused = [str(answer.refused) for answer in answers if answer.refused is not None]
        told = (
            f"retry: {len(answers) - len(refused)} members run again, {len(refused)} refused. {' '.join(refused[:1])}"
        )
        return visitor.back(told, bad=bool(refused))
    if verb not in acts:
        return visitor.back(f"A batch cannot be asked to {verb[:20]}.", bad=True)
    batch = acts[verb](who, batch_id, reason)
    return visitor.back(f"{verb}: the batch is {'held' if batch.held_at else batch.state}.")
