"""What routes ask of a request: who it is from, and the service."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPBearer

from jobwarden.domain.access import Principal
from jobwarden.service import Service
from jobwarden.web.models import LANE, WHOLE_ID

_bearer = HTTPBearer(auto_error=False, description="A token; none is needed on this machine while there is none.")


async def _principal(request: Request, _: Annotated[object, Depends(_bearer)]) -> Principal:
    found: Principal = await request.app.state.doorkeeper(request)
    return found


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


Who = Annotated[Principal, Depends(_principal)]
Desk = Annotated[Service, Depends(_service)]
AnyId = Annotated[str, Path(max_length=64, description="An id, or any beginning or end of one that fits one.")]
Named = Annotated[str, Path(max_length=200)]
LaneName = Annotated[str, Path(max_length=100, pattern=LANE)]
Limit = Annotated[int, Query(ge=1, le=200, description="How many to a page.")]
Cursor = Annotated[str | None, Query(pattern=WHOLE_ID, description="The ``next`` of the page before.")]

_PROBLEM = {"content": {"application/problem+json": {"schema": {"type": "object"}}}}
_WORDS = {
    400: "The request cannot be understood",
    401: "Nobody that is known",
    403: "Not allowed",
    404: "There is no such thing",
    409: "Its state does not allow it, or the id fits several",
    413: "The body is too large",
    422: "A value does not fit",
    429: "Too many wrong credentials",
    500: "A fault of the server",
    503: "The database cannot be used now",
}


def leads_to(status: int, body: str, parameter: str, *operations: str) -> dict[int | str, dict[str, Any]]:
    """Where an answer leads: operations that take a part of its body (a JSON pointer) as a parameter."""
    parameters = {parameter: f"$response.body#{body}"}
    links = {name: {"operationId": name, "parameters": parameters} for name in operations}
    return {status: {"links": links}}


def refusals(*more: int) -> dict[int | str, dict[str, Any]]:
    """What a route answers beside success."""
    return {
        status: {"description": _WORDS[status], **_PROBLEM}
        for status in (400, 401, 403, 413, 422, 429, 500, 503, *more)
    }
