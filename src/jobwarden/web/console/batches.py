"""Batches: the list, and one with its graph, its course in time, and its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response

from jobwarden.domain.layout import Edge, Layout, Node, lay_out
from jobwarden.domain.states import BatchState
from jobwarden.service.batches import Graph
from jobwarden.views.batches import BatchLine, MemberLine
from jobwarden.web.asks import Cursor
from jobwarden.web.console.shell import Acting, Looking, Paged

router = APIRouter(include_in_schema=False, route_class=Paged)
_PAGE, _MOST_BARS, _MOST_DRAWN = 50, 200, 4000
_TABS = ("graph", "time", "members")
COLUMN, ROW, WIDE, HIGH = 220, 40, 180, 30


@dataclass(frozen=True, slots=True)
class Bar:
    """A member in time: where it begins and how long it is, as shares of the whole."""

    member: MemberLine
    left: float
    wide: float


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
    else:
        graph = desk.graph(who, batch.id)
        facts |= {"picture": _drawn(graph, unfold), "bars": _bars(batch, graph.members)}
        facts |= {"column": COLUMN, "row": ROW, "wide": WIDE, "high": HIGH}
        facts["ids"] = {member.key: member.id for member in graph.members}
    failures = desk.failures(who, batch.id)[:10] if batch.counts.failed or batch.counts.canceled else []
    return visitor.page("batch.html", batch.name or "Batch", failures=failures, **facts)


def _drawn(graph: Graph, unfold: bool) -> Layout | None:
    """Where everything stands; None: there is too much of it to be drawn, even folded."""
    nodes = [Node(one.key, one.label or one.key, one.state, one.job) for one in graph.members]
    keys = {member.id: member.key for member in graph.members}
    edges = [
        Edge(keys[edge.upstream], keys[edge.job_id], "success" if edge.condition == "on_success" else "completion")
        for edge in graph.edges
        if edge.upstream in keys and edge.job_id in keys
    ]
    found = lay_out(nodes, edges, collapse=None if unfold and len(nodes) <= _MOST_DRAWN else 6)
    return found if len(found.nodes) <= _MOST_DRAWN else None


def _bars(batch: BatchLine, members: Sequence[MemberLine]) -> list[Bar]:
    """When members ran, those that began first first."""
    ran = sorted((member for member in members if member.started_at), key=lambda member: str(member.started_at))
    ends: list[datetime] = [end for member in ran if (end := member.finished_at or member.started_at)]
    if not ran or not ends or ran[0].started_at is None:
        return []
    begin = ran[0].started_at
    whole = max((max(ends) - begin).total_seconds(), 0.001)
    return [_bar(member, begin, whole) for member in ran[:_MOST_BARS]]


def _bar(member: MemberLine, begin: datetime, whole: float) -> Bar:
    began = member.started_at or begin
    left = (began - begin).total_seconds() / whole
    lasted = ((member.finished_at or began) - began).total_seconds() / whole
    return Bar(member, left, max(0.003, lasted))


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
