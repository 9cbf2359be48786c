"""What every page has: who looks, a form's proof that it is ours, the frame around it, and what was said last.

A form is ours if it repeats a random cookie that another site can neither read nor set, and if the browser does not
say that it came from elsewhere. Pages load nothing from anywhere but here, and run no script that is written in them.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs, quote, unquote

from fastapi import Depends, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from starlette.responses import HTMLResponse, RedirectResponse

from jobwarden.domain.access import Principal, Role
from jobwarden.domain.states import JobState
from jobwarden.errors import JobWardenError
from jobwarden.service import Service
from jobwarden.web.access import SESSION_COOKIE
from jobwarden.web.console import charts, words
from jobwarden.web.problems import log, status_of

_HERE = Path(__file__).parent
_CSRF, _TOLD, _THEME, _DENSITY = "jobwarden_form", "jobwarden_told", "jobwarden_theme", "jobwarden_density"
_THEMES = frozenset({"light", "dark"})
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-store",
}
#: An open page looks again after so many times as long as its last look took: it costs a hundredth of a core at most.
_SHARE, _LEAST_AGAIN, _MOST_AGAIN = 100.0, 5.0, 60.0
Form = Mapping[str, str]


@cache
def _templates() -> Environment:
    env = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("said", "mark", "span", "milliseconds", "exact", "iso", "size", "pretty", "short", "who"):
        env.filters[name] = getattr(words, name)
    env.globals.update(words=words, charts=charts, JobState=JobState, asset=_asset)
    return env


@cache
def _asset(name: str) -> str:
    """A file's name with what tells its contents."""
    return f"{name}?v={hashlib.sha256((_HERE / 'static' / name).read_bytes()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who looks at a page."""

    request: Request
    who: Principal
    service: Service
    form: Form

    @property
    def root(self) -> str:
        """The prefix under which everything is mounted."""
        return str(self.request.scope.get("root_path", ""))

    def may(self, role: str) -> bool:
        """Whether the visitor's role covers another."""
        return self.who.role.covers(Role(role))

    def page(self, template: str, title: str, **context: Any) -> Response:
        """A page in its frame, or only its middle for who has the frame already."""
        live = self.request.headers.get("X-Live") == "1"
        proof = self.request.cookies.get(_CSRF) or secrets.token_urlsafe(24)
        told = None if live else _read_told(self.request)
        counts = self.service.fleet.stats(self.who).jobs
        context |= {"visitor": self, "root": self.root, "title": title, "proof": proof, "told": told, "counts": counts}
        context |= {"frame": "live.html" if live else "frame.html", "theme": _theme(self.request)}
        context["roomy"] = self.request.cookies.get(_DENSITY) == "comfortable"
        response = HTMLResponse(_templates().get_template(template).render(context))
        if self.request.cookies.get(_CSRF) != proof:
            self._set(response, _CSRF, proof)
        if told is not None:
            response.delete_cookie(_TOLD, path=self.root or "/")
        return response

    def back(self, told: str, bad: bool = False, to: str | None = None) -> Response:
        """Back to where the form was, or to another page, which then says what came of it."""
        return redirect(self.request, to or leads(self.request, self.form.get("back", "")), told, bad)

    def _set(self, response: Response, name: str, value: str) -> None:
        set_cookie(self.request, response, name, value)


def set_cookie(request: Request, response: Response, name: str, value: str, seconds: int | None = None) -> None:
    """A cookie that scripts cannot read and other sites cannot have sent."""
    root = str(request.scope.get("root_path", "")) or "/"
    secure = request.url.scheme == "https"
    response.set_cookie(name, value, seconds, path=root, secure=secure, httponly=True, samesite="strict")


def redirect(request: Request, to: str, told: str = "", bad: bool = False) -> Response:
    """To another page of ours, which says ``told``."""
    root = str(request.scope.get("root_path", ""))
    response = RedirectResponse(root + to, 303)
    if told:
        set_cookie(request, response, _TOLD, quote(json.dumps([told[:2000], bad])), 60)
    return response


def _read_told(request: Request) -> tuple[str, bool] | None:
    try:
        told, bad = json.loads(unquote(request.cookies[_TOLD]))
    except (KeyError, ValueError, TypeError):
        return None
    return str(told), bool(bad)


def _theme(request: Request) -> str:
    given = request.cookies.get(_THEME, "")
    return given if given in _THEMES else "system"


async def _visitor(request: Request) -> Visitor:
    return Visitor(request, await _recognised(request, proven=False), request.app.state.service, {})


async def _poster(request: Request) -> Visitor:
    """Who sent a form of ours. Raises 403 for one that is not."""
    form = await posted(request)
    return Visitor(request, await _recognised(request, proven=True), request.app.state.service, form)


async def posted(request: Request) -> Form:
    """The fields of a form of ours; of several with one name the last. Raises 403 for a form that is not ours."""
    form = _fields(await request.body())
    proof = request.cookies.get(_CSRF, "")
    elsewhere = request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")
    if elsewhere or not proof or not secrets.compare_digest(proof.encode(), form.get("proof", "").encode()):
        raise HTTPException(403, "The form is not from a page of ours, or is too old: load the page again.")
    return form


async def _recognised(request: Request, proven: bool) -> Principal:
    try:
        found: Principal = await request.app.state.doorkeeper(request, proven=proven)
    except HTTPException as error:
        if error.status_code != 401 or not await request.app.state.doorkeeper.asks_users():
            raise
        root = str(request.scope.get("root_path", ""))
        here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        there = f"{root}/login?next={quote(here)}" if request.method == "GET" else f"{root}/login"
        raise HTTPException(303, "Log in first.", {"Location": there}) from error
    return found


Looking = Annotated[Visitor, Depends(_visitor)]
Acting = Annotated[Visitor, Depends(_poster)]


class Paged(APIRoute):
    """A route for people: what goes wrong is a page, or is said on the page that they came from."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with that, and with the headers of every page."""
        original = super().get_route_handler()

        async def told(request: Request) -> Response:
            begun = time.monotonic()
            try:
                response = await original(request)
            except JobWardenError as error:
                response = await _answered(request, status_of(error), str(error))
            except HTTPException as error:
                if "Location" in (error.headers or {}):
                    response = Response(status_code=303, headers=error.headers)
                else:
                    response = _refused(request, error.status_code, str(error.detail))
            except RequestValidationError:
                response = _refused(request, 422, "The address has a value that does not fit.")
            except Exception as error:
                log.error("%s %s failed", request.method, request.url.path, exc_info=error)
                response = _refused(request, 500, "A fault of this server: its log says more.")
            again = min(max(_LEAST_AGAIN, _SHARE * (time.monotonic() - begun)), _MOST_AGAIN)
            for name, value in {**_HEADERS, "X-Look-Again": f"{again:.1f}"}.items():
                response.headers.setdefault(name, value)
            return response

        return told


async def _answered(request: Request, status: int, detail: str) -> Response:
    """What the engine refused: said on the page that the form was on, as far as one was allowed to send it."""
    if request.method != "POST" or status == HTTPStatus.FORBIDDEN:
        return _refused(request, status, detail)
    form = _fields(await request.body())
    return redirect(request, leads(request, form.get("back", "")), detail, bad=True)


def _refused(request: Request, status: int, detail: str) -> Response:
    context = {"root": request.scope.get("root_path", ""), "status": status, "detail": detail}
    context["theme"] = _theme(request)
    return HTMLResponse(_templates().get_template("refused.html").render(context), status)


def _fields(body: bytes) -> Form:
    """The fields of a form; of several with one name the last, but all the ids."""
    given = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True)
    given = {name: [value.replace("\0", "\ufffd") for value in values] for name, values in given.items()}
    return {name: ",".join(values) if name == "ids" else values[-1] for name, values in given.items()}


def leads(request: Request, place: str) -> str:
    """A path of ours without the prefix, or the first page for what leads anywhere else."""
    root = str(request.scope.get("root_path", ""))
    leads_away = not place.startswith("/") or place.startswith(("//", "/\\")) or not place.startswith(root)
    return "/" if leads_away else place.removeprefix(root) or "/"


def render(request: Request, template: str, status: int = 200, **context: Any) -> Response:
    """A page that needs nobody to be known."""
    proof = request.cookies.get(_CSRF) or secrets.token_urlsafe(24)
    context |= {"root": request.scope.get("root_path", ""), "proof": proof, "theme": _theme(request)}
    response = HTMLResponse(_templates().get_template(template).render(context), status)
    if request.cookies.get(_CSRF) != proof:
        set_cookie(request, response, _CSRF, proof)
    return response


__all__ = [
    "SESSION_COOKIE",
    "Acting",
    "Form",
    "Looking",
    "Paged",
    "Visitor",
    "leads",
    "posted",
    "redirect",
    "render",
    "set_cookie",
]
