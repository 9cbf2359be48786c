"""Log lines as server-sent events: a small query per look, bounded streams, and an end when nothing more can come."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from fastapi import HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from jobwarden.domain.access import Principal
from jobwarden.errors import JobWardenError
from jobwarden.service import Service
from jobwarden.views.logs import LogLine

_LOOK_AGAIN = 0.5
_AT_ONCE = 500
_STILL_HERE = 30  # looks without a line after which a comment keeps the line open


class Streams:
    """At most so many at once; each is told to one client."""

    def __init__(self, most: int) -> None:
        self._most, self._open = most, 0

    async def of(self, desk: Service, who: Principal, job_id: str, after: int) -> StreamingResponse:
        """The stream of a job's lines after the one with the id ``after``. 503 where too many are open."""
        job = await run_in_threadpool(desk.jobs.one, who, job_id)
        if self._open >= self._most:
            raise HTTPException(503, f"{self._most} streams are open: close one, or poll.", {"Retry-After": "5"})
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        return StreamingResponse(
            self._events(desk, who, job.id, after), headers=headers, media_type="text/event-stream"
        )

    async def _events(self, desk: Service, who: Principal, job_id: str, after: int) -> AsyncIterator[str]:
        self._open += 1
        quiet = 0
        try:
            while True:
                try:
                    lines, at_rest = await run_in_threadpool(desk.jobs.tail, who, job_id, after, _AT_ONCE)
                except JobWardenError as error:
                    yield f"event: problem\ndata: {json.dumps(str(error))}\n\n"
                    return
                for line in lines:
                    after = line.id
                    yield _event(line)
                if at_rest and not lines:
                    yield "event: end\ndata: {}\n\n"
                    return
                quiet = 0 if lines else quiet + 1
                if quiet % _STILL_HERE == _STILL_HERE - 1:
                    yield ": still here\n\n"
                if len(lines) < _AT_ONCE:
                    await asyncio.sleep(0 if at_rest else _LOOK_AGAIN)
        finally:
            self._open -= 1


def _event(line: LogLine) -> str:
    told: dict[str, Any] = {**asdict(line), "ts": line.ts.isoformat()}
    return f"id: {line.id}\ndata: {json.dumps(told)}\n\n"
