"""``/api/tokens``, ``/users``, ``/audit``, ``/me``."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from jobwarden.domain.access import Role
from jobwarden.lifecycle.access import TokenLine, UserLine
from jobwarden.service.access import Chain, Minted
from jobwarden.views.audit import AuditFilter, AuditLine
from jobwarden.web import models
from jobwarden.web.asks import Desk, Limit, Named, Who, refusals
from jobwarden.web.guards import Polled

router = APIRouter(tags=["access"], route_class=Polled)


class Me(BaseModel):
    """Who asks, as the audit calls them, and what they may do."""

    actor: str
    role: Role


class TokenBody(models.Why):
    """A token to make: what it may do, and for how many days (null: until it is revoked)."""

    name: models.Name
    role: Role
    days: Annotated[int, Field(ge=1, le=36500, strict=True)] | None = 90


class AuditPage(BaseModel):
    """Acts, the newest first, and the number to go on before."""

    data: list[AuditLine]
    next: int | None


@router.get("/me", responses=refusals())
def me(who: Who) -> Me:
    """Who asks."""
    return Me(actor=who.actor, role=who.role)


@router.get("/tokens", responses=refusals())
def tokens(desk: Desk, who: Who) -> list[TokenLine]:
    """Every token, without secrets."""
    return desk.access.tokens(who)


@router.post("/tokens", status_code=201, responses=refusals(409))
def create_token(body: TokenBody, desk: Desk, who: Who) -> Minted:
    """Make a token; its secret is in this answer, and never shown again."""
    days = timedelta(days=body.days) if body.days is not None else None
    return desk.access.create_token(who, body.name, body.role, days, body.reason)


@router.delete("/tokens/{name}", responses=refusals(404))
def revoke_token(
    name: Named, desk: Desk, who: Who, reason: Annotated[str | None, Query(max_length=4000)] = None
) -> TokenLine:
    """Let a token not be valid any more; it stays in the list."""
    return desk.access.revoke_token(who, name, reason)


@router.get("/users", responses=refusals())
def users(desk: Desk, who: Who) -> list[UserLine]:
    """Every user of the console, without passwords."""
    return desk.access.users(who)


@router.get("/audit", responses=refusals())
def audit(
    desk: Desk,
    who: Who,
    actor: Annotated[str | None, Query(max_length=200)] = None,
    action: Annotated[str | None, Query(max_length=32, description="Or a beginning of one: ``job.``")] = None,
    target: Annotated[str | None, Query(max_length=200)] = None,
    since: models.Instant | None = None,
    until: models.Instant | None = None,
    before: Annotated[int | None, Query(ge=1, le=(1 << 63) - 1)] = None,
    limit: Limit = 50,
) -> AuditPage:
    """What anybody changed: who, what, why, from where, and what was so before and after."""
    page = desk.access.audit(who, AuditFilter(actor, action, target, since, until), before, limit)
    return AuditPage(data=page.entries, next=page.next)


@router.get("/audit/verify", responses=refusals())
def verify(desk: Desk, who: Who) -> Chain:
    """Walk along the whole chain; ``broken_at`` is the first row that does not hold."""
    return desk.access.verify(who)
