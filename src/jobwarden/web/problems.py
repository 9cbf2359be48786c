"""Errors as ``application/problem+json`` (RFC 9457), in one place: which error is which status, and what it tells.

A problem has ``type`` (the error's name), ``title``, ``status``, ``detail`` (its sentence) and ``instance`` (the path);
beside them the facts of the error, and ``errors`` for input that does not fit. Nothing of the inside is ever told.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from jobwarden import errors
from jobwarden.errors import JobWardenError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER = "5"
_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: The first that an error is an instance of counts.
STATUSES: Sequence[tuple[type[Exception], int]] = (
    (errors.RoleRequired, 403),
    (errors.AmbiguousId, 409),
    (errors.NameTaken, 409),
    (errors.TokenNotFound, 404),
    (errors.UserNotFound, 404),
    (errors.AccessRefused, 422),
    (errors.UnknownJob, 422),
    (errors.MemberNotFound, 404),
    (errors.JobNotFound, 404),
    (errors.BatchNotFound, 404),
    (errors.ScheduleNotFound, 404),
    (errors.WorkerNotFound, 404),
    (errors.ArtifactNotFound, 404),
    (errors.WrongState, 409),
    (errors.BatchGone, 409),
    (errors.ForceRequired, 409),
    (errors.WorkerNotLive, 409),
    (errors.IdempotencyConflict, 409),
    (errors.BindingError, 422),
    (errors.InvalidOption, 422),
    (errors.SearchRefused, 422),
    (errors.BatchRefused, 422),
    (errors.ScheduleRefused, 422),
    (errors.DatabaseProblem, 503),
)
_TOLD = ("position", "id", "state", "action", "needed", "job", "option", "param", "name", "index", "ids", "role")
log = logging.getLogger("jobwarden.web")


def install(app: FastAPI) -> None:
    """Have every error that reaches the application told as a problem."""
    app.add_exception_handler(JobWardenError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(DBAPIError, _database)
    app.add_exception_handler(Exception, _bug)


def problem(
    status: int,
    detail: str,
    instance: str,
    kind: str = "about:blank",
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """One problem as an answer."""
    told = {"type": kind, "title": HTTPStatus(status).phrase, "status": status, "detail": detail, "instance": instance}
    content = json.dumps({**told, **more}, default=str)
    return Response(content, status, dict(headers or {}), MEDIA_TYPE)


def status_of(error: Exception) -> int:
    """The status that an error of ours has."""
    return next((status for kind, status in STATUSES if isinstance(error, kind)), 400)


def _ours(request: Request, error: Exception) -> Response:
    status = status_of(error)
    facts = error.facts if isinstance(error, JobWardenError) else {}
    told = {name: facts[name] for name in _TOLD if facts.get(name) is not None}
    headers = {"Retry-After": RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    more = {name if name != "type" else "kind": _plain(value) for name, value in told.items()}
    return problem(status, str(error), request.url.path, type(error).__name__, headers, **more)


def _plain(value: object) -> Any:
    return value if isinstance(value, str | int | bool | list) else str(value)


def _http(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    detail = str(getattr(error, "detail", "") or HTTPStatus(status).phrase)
    headers = dict(getattr(error, "headers", None) or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(sorted(_allowed(request)))
        detail = f"{request.method} cannot be asked here: {headers['Allow']} can."
    return problem(status, detail, request.url.path, headers=headers)


def _allowed(request: Request) -> set[str]:
    """The methods that some route takes at this path."""
    asked = ((method, {**request.scope, "method": method}) for method in _METHODS)
    routes = request.app.routes
    allowed = {method for method, scope in asked if any(route.matches(scope)[0] is Match.FULL for route in routes)}
    return allowed | ({"HEAD"} if "GET" in allowed else set())


def _invalid(request: Request, error: Exception) -> Response:
    """Input that does not fit, field by field; what was given is not repeated."""
    found = error.errors() if isinstance(error, RequestValidationError) else []
    fields = [{"field": _place(each["loc"]), "rule": each["msg"].removeprefix("Value error, ")} for each in found]
    detail = f"The request does not fit: {fields[0]['field']}: {fields[0]['rule']}." if fields else "It does not fit."
    return problem(422, detail, request.url.path, "InvalidRequest", errors=fields)


def _place(at: Sequence[str | int]) -> str:
    """Where in the request: without the words by which kinds of bodies are told apart."""
    told = [*at[:1], *at[2:]] if at[0] == "body" and at[1:2] in (("one",), ("many",)) else at
    return ".".join(map(str, told))


def _database(request: Request, error: Exception) -> Response:
    """What the driver said and nobody put into words: a value that the database does not take, or a fault of ours."""
    orig = getattr(error, "orig", None)
    if "DataError" in {kind.__name__ for kind in type(orig).__mro__}:
        return problem(422, "The database does not take a value of the request: check it.", request.url.path)
    return _bug(request, error)


def _bug(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(500, "This is a fault of JobWarden's: its log has more.", request.url.path, "InternalError")
