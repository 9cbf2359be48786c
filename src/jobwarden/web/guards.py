"""What every request passes before it is routed: its size, its characters, and HEAD as GET without a body.

Plain ASGI: bodies are read here, up to a bound, so that nothing behind has to think of their size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobwarden.web.problems import problem

MOST_BYTES = 4 << 20


class Guards:
    """The bounds of a request."""

    def __init__(self, app: ASGIApp, most_bytes: int = MOST_BYTES) -> None:
        self._app, self._most = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = str(scope.get("path", ""))
        if "\0" in path or b"%00" in scope.get("query_string", b""):
            refusal = problem(400, "The address has a NUL character: leave it out.", path.replace("\0", ""))
            await refusal(scope, receive, send)
            return
        body = await self._body(receive)
        if body is None:
            words = f"The body is larger than {self._most:,} bytes: send less at once."
            await problem(413, words, path)(scope, receive, send)
            return
        if scope["method"] == "HEAD":
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        await self._app(scope, _replayed(body, receive), send)

    async def _body(self, receive: Receive) -> bytes | None:
        """The whole body; None if it is too large."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(parts)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._most:
                return None
            if not message.get("more_body"):
                return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A receiver that gives the body at once, and after it what comes from the client."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _without_body(send: Send) -> Send:
    async def quiet(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return quiet


class Polled(APIRoute):
    """A route whose answers carry a weak ETag, and are not sent again to whoever has them: 304.

    The database's clock, which an answer may have as ``now``, plays no part in it.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with that done to its answers."""
        original = super().get_route_handler()

        async def tagged(request: Request) -> Response:
            response = await original(request)
            body = getattr(response, "body", None)
            if request.method != "GET" or response.status_code != 200 or body is None:
                return response
            tag = f'W/"{hashlib.sha256(_without_clock(body)).hexdigest()[:32]}"'
            response.headers["ETag"] = tag
            response.headers["Cache-Control"] = "private, no-cache"
            if tag in {part.strip() for part in request.headers.get("If-None-Match", "").split(",")}:
                return Response(status_code=304, headers={"ETag": tag, "Cache-Control": "private, no-cache"})
            return response

        return tagged


def _without_clock(body: bytes) -> bytes:
    if b'"now"' not in body:
        return body
    told = json.loads(body)
    return json.dumps({**told, "now": None}).encode() if isinstance(told, dict) and "now" in told else body
