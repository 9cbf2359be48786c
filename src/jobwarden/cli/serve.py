"""`serve`: the API over HTTP, on this machine unless it is told otherwise."""

from __future__ import annotations

import ipaddress
from importlib import import_module
from typing import Any

import click

from jobwarden.app import JobWarden
from jobwarden.cli.opening import Opening
from jobwarden.cli.output import say
from jobwarden.daemons.log import configure
from jobwarden.errors import ConfigurationError
from jobwarden.store.ids import new_id


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8484, show_default=True, help="0: any free one.")
@click.pass_obj
def serve(opening: Opening, host: str, port: int) -> None:
    """Serve the API over HTTP.

    Only clients on this machine are served, unless the application's JobWarden was given auth=. Without -A everything
    can be looked at and acted on, and no job be enqueued.
    """
    uvicorn, web = _needed("uvicorn"), _needed("jobwarden.web")
    app = opening.application() if opening.app else JobWarden()
    _refuse_strangers(host, app)
    opening.database()
    configure(app.settings.log_format, "serve", new_id())
    server = uvicorn.Server(_config(uvicorn, web.create_app(app), host, port))
    say(f"serving http://{host}:{port}/api (Ctrl-C ends it)")
    server.run()


def _config(uvicorn: Any, app: Any, host: str, port: int) -> Any:
    """One process; who asks is the peer itself, never a header; an end waits a little for answers that are due."""
    return uvicorn.Config(
        app, host, port, log_config=None, access_log=False, proxy_headers=False, timeout_graceful_shutdown=5
    )


def _refuse_strangers(host: str, app: JobWarden) -> None:
    """An address that others can reach needs somebody who says who they are."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and app.auth is None:
        way_out = "listen on 127.0.0.1, or give JobWarden(auth=...)"
        raise ConfigurationError(
            name="host", value=host, rule="others can reach it, and nobody checks them", way_out=way_out
        )


def _needed(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        way_out = "pip install 'jobwarden[web]'"
        rule = f"it needs {error.name}, which is not installed"
        raise ConfigurationError(name="serve", value=module, rule=rule, way_out=way_out) from error


COMMANDS = (serve,)
