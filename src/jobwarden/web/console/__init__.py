"""The console: pages, rendered here, on the same service as the API; a browser without scripts can do everything."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles
from starlette.responses import Response
from starlette.types import Scope

from jobwarden.web.console import batches, fleet, jobs, login, overview, schedules, settings

STATIC = Path(__file__).with_name("static")


class _Kept(StaticFiles):
    """Files whose addresses change with their contents, so that browsers never ask twice."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """The file, to be kept."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def install(app: FastAPI) -> None:
    """Add the pages and what they need."""
    app.mount("/static", _Kept(directory=STATIC), name="static")
    for part in (login, overview, jobs, batches, schedules, fleet, settings):
        app.include_router(part.router)
