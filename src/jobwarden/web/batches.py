"""``/api/batches``: list, look, members, graph; cancel, hold, release, retry."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Body, Query, Request
from pydantic import BaseModel

from jobwarden.domain.states import BatchState
from jobwarden.service.batches import Graph
from jobwarden.views.batches import BatchLine, Failure, MemberLine
from jobwarden.web import models
from jobwarden.web.asks import AnyId, Cursor, Desk, Limit, Who, refusals
from jobwarden.web.guards import Polled
from jobwarden.web.jobs import answered
from jobwarden.web.models import PageOf

router = APIRouter(tags=["batches"], route_class=Polled)
_LABEL = re.compile(r"label\[(.{1,64})\]\Z", re.DOTALL)
Why = Annotated[models.Why | None, Body()]


class BatchView(BaseModel):
    """One batch, with the members that ended badly, the first hundred."""

    batch: BatchLine
    failures: list[Failure]


@router.get("/batches", responses=refusals())
def listed(
    request: Request,
    desk: Desk,
    who: Who,
    state: Annotated[list[BatchState] | None, Query(description="Repeatable.")] = None,
    before: Cursor = None,
    limit: Limit = 50,
) -> PageOf[BatchLine]:
    """Batches, the newest first. ``label[NAME]=VALUE`` narrows by labels."""
    labels = {match[1]: value for name, value in request.query_params.items() if (match := _LABEL.match(name))}
    page = desk.batches.page(who, state or (), labels, before, limit)
    return PageOf(data=page.batches, next=page.next)


@router.get("/batches/{batch_id}", responses=refusals(404, 409))
def shown(batch_id: AnyId, desk: Desk, who: Who) -> BatchView:
    """One batch."""
    return BatchView(batch=desk.batches.one(who, batch_id), failures=desk.batches.failures(who, batch_id))


@router.get("/batches/{batch_id}/members", responses=refusals(404, 409))
def members(batch_id: AnyId, desk: Desk, who: Who, after: Cursor = None, limit: Limit = 50) -> PageOf[MemberLine]:
    """Its members, in an order in which they can run."""
    data, following = desk.batches.members(who, batch_id, after, limit)
    return PageOf(data=data, next=following)


@router.get("/batches/{batch_id}/graph", responses=refusals(404, 409))
def graph(batch_id: AnyId, desk: Desk, who: Who) -> Graph:
    """All members, and what each waits for."""
    return desk.batches.graph(who, batch_id)


@router.post("/batches/{batch_id}/cancel", responses=refusals(404, 409))
def cancel(batch_id: AnyId, desk: Desk, who: Who, body: Why = None) -> BatchLine:
    """Call a batch off with all its members."""
    return desk.batches.cancel(who, batch_id, body.reason if body else None)


@router.post("/batches/{batch_id}/hold", responses=refusals(404, 409))
def hold(batch_id: AnyId, desk: Desk, who: Who, body: Why = None) -> BatchLine:
    """Have no more of a batch start."""
    return desk.batches.hold(who, batch_id, body.reason if body else None)


@router.post("/batches/{batch_id}/release", responses=refusals(404, 409))
def release(batch_id: AnyId, desk: Desk, who: Who, body: Why = None) -> BatchLine:
    """Let a held batch go on."""
    return desk.batches.release(who, batch_id, body.reason if body else None)


@router.post("/batches/{batch_id}/retry", responses=refusals(404, 409))
def retry(
    batch_id: AnyId, desk: Desk, who: Who, body: Annotated[models.RetryBatchBody | None, Body()] = None
) -> list[models.ActionAnswer]:
    """Run the failed members again, and what was unreachable because of them; one answer for each."""
    given = body or models.RetryBatchBody()
    told = desk.batches.retry(who, batch_id, given.reason, given.force, given.attempts, given.start)
    return [answered(answer) for answer in told]
