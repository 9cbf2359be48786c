"""The application: routes of the API under ``/api``, health and metrics beside it."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse
from fastapi.routing import APIRoute

from jobwarden.app import JobWarden
from jobwarden.errors import JobWardenError
from jobwarden.service import Service
from jobwarden.views.metrics import CONTENT_TYPE
from jobwarden.web import batches, console, finding, fleet, jobs, problems, schedules, tokens
from jobwarden.web.access import Doorkeeper
from jobwarden.web.guards import Guards

_ABOUT = "Jobs, batches, schedules, lanes and workers, as an operator or another program sees them and acts on them."


def create_app(jw: JobWarden) -> FastAPI:
    """The API of an application's JobWarden; ``jw.auth`` decides who may use it, else only this machine may.

    Mount it under any prefix: ``app.mount("/jobs", create_app(jw))``.
    """
    app = FastAPI(
        title="JobWarden",
        version=version("jobwarden"),
        summary=_ABOUT,
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation,
    )
    service = Service(jw)
    app.state.service, app.state.doorkeeper = service, Doorkeeper(service.access, jw.auth)
    app.add_middleware(Guards)
    problems.install(app)
    for part in (jobs, finding, batches, schedules, fleet, tokens):
        app.include_router(part.router, prefix="/api")
    _probes(app)
    console.install(app)
    return app


def _operation(route: APIRoute) -> str:
    """What a route is called by clients that are made from the description: its part and its function."""
    return f"{route.tags[0] if route.tags else 'web'}_{route.name}"


def _probes(app: FastAPI) -> None:
    @app.get("/healthz", include_in_schema=False)
    def alive() -> PlainTextResponse:
        return PlainTextResponse("alive\n")

    @app.get("/readyz", include_in_schema=False)
    def ready(request: Request) -> Response:
        try:
            service: Service = request.app.state.service
            service.fleet.ready()
        except JobWardenError as error:
            return PlainTextResponse(f"{error}\n", 503)
        return PlainTextResponse("ready\n")

    @app.get("/metrics", include_in_schema=False)
    async def metrics(request: Request) -> Any:
        principal = await request.app.state.doorkeeper(request)
        service: Service = request.app.state.service
        text = await run_in_threadpool(service.fleet.metrics, principal)
        return Response(text, media_type=CONTENT_TYPE)
