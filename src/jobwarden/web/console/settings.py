"""What was done by whom, whether all is well, and how everything is set."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from jobwarden.domain.access import Role
from jobwarden.errors import InvalidOption
from jobwarden.service.access import Minted
from jobwarden.views.audit import AuditFilter
from jobwarden.web.console.shell import Acting, Looking, Paged, Visitor

router = APIRouter(include_in_schema=False, route_class=Paged)
_Text = Annotated[str, Query(max_length=200)]
_Number = Annotated[int | None, Query(ge=0, le=(1 << 63) - 1)]
_PAGE = 50


@router.get("/audit")
def audit(visitor: Looking, actor: _Text = "", action: _Text = "", before: _Number = None) -> Response:
    """Who did what, the newest first."""
    wanted = AuditFilter(actor=actor or None, action=action or None)
    page = visitor.service.access.audit(visitor.who, wanted, before, _PAGE)
    return visitor.page("audit.html", "Audit", page=page, actor=actor, action=action)


@router.get("/health")
def health(visitor: Looking) -> Response:
    """What contradicts the engine's own rules: there should be nothing."""
    return visitor.page("health.html", "Health", findings=visitor.service.fleet.health(visitor.who, False))


@router.get("/settings")
def settings(visitor: Looking) -> Response:
    """How everything is set, and who may come in."""
    return _shown(visitor, None)


def _shown(visitor: Visitor, secret: Minted | None) -> Response:
    service, who, admin = visitor.service, visitor.who, visitor.may("admin")
    facts: dict[str, Any] = {
        "configured": service.fleet.settings(who),
        "retention": service.fleet.retention(who),
        "secret": secret,
    }
    facts |= {
        "tokens": service.access.tokens(who) if admin else [],
        "users": service.access.users(who) if admin else [],
    }
    return visitor.page("settings.html", "Settings", admin=admin, roles=list(Role), **facts)


@router.post("/settings/tokens")
def create_token(visitor: Acting) -> Response:
    """Make a token, and show its secret this once."""
    form = visitor.form
    days = form.get("days", "")
    if days and not (days.isdecimal() and 0 < int(days) < 36525):
        raise InvalidOption(option="days", value=days[:20], job="token", rule="a whole number of days, or nothing")
    role = Role(form["role"]) if form.get("role") in set(Role) else Role.VIEWER
    lasts = timedelta(days=int(days)) if days else None
    made = visitor.service.access.create_token(
        visitor.who, form.get("name", ""), role, lasts, form.get("reason") or None
    )
    return _shown(visitor, made)


@router.post("/settings/tokens/revoke")
def revoke_token(visitor: Acting) -> Response:
    """Let a token be worth nothing any more."""
    form = visitor.form
    line = visitor.service.access.revoke_token(visitor.who, form.get("name", ""), form.get("reason") or None)
    return visitor.back(f"The token {line.name} is revoked.")
