"""In and out: a name and a password give a session, which is a cookie that scripts cannot read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from jobwarden.lifecycle.access import SESSION_LASTS
from jobwarden.web.console.shell import SESSION_COOKIE, Acting, Paged, leads, posted, redirect, render, set_cookie

router = APIRouter(include_in_schema=False, route_class=Paged)
_NEXT = Annotated[str, Query(max_length=2000)]


@router.get("/login")
def ask(request: Request, next: _NEXT = "/") -> Response:
    """The form."""
    return render(request, "login.html", next=next, wrong=False, name="")


@router.post("/login")
async def log_in(request: Request) -> Response:
    """A session, and on to where one wanted to go."""
    form = await posted(request)
    name, there = form.get("name", ""), form.get("next", "/")
    secret = await request.app.state.doorkeeper.log_in(request, name, form.get("password", ""))
    if secret is None:
        return render(request, "login.html", 401, next=there, wrong=True, name=name)
    response = redirect(request, leads(request, there))
    set_cookie(request, response, SESSION_COOKIE, secret, round(SESSION_LASTS.total_seconds()))
    return response


@router.post("/logout")
async def log_out(visitor: Acting) -> Response:
    """The session ends."""
    request = visitor.request
    await request.app.state.doorkeeper.log_out(request)
    response = redirect(request, "/login")
    response.delete_cookie(SESSION_COOKIE, path=visitor.root or "/")
    return response
