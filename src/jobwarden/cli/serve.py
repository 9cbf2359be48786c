"""`serve`: the API over HTTP, on this machine unless it is told otherwise."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from jobwarden.app import JobWarden
from jobwarden.cli.opening import Opening
from jobwarden.cli.output import say
from jobwarden.daemons.log import configure
from jobwarden.errors import ApplicationImportError, ConfigurationError, DatabaseProblem
from jobwarden.lifecycle.access import is_configured
from jobwarden.store.ids import new_id

PORT = 8484
_PATIENCE = 0.5


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any free one.")
@click.option("--beside", is_flag=True, hidden=True, help="Wait for the database, and end with standard input.")
@click.pass_obj
def serve(opening: Opening, host: str, port: int, beside: bool) -> None:
    """Serve the console and the API over HTTP.

    Only clients on this machine are served until there is a token or a user, or the application's JobWarden is given
    auth=. Without -A everything can be looked at and acted on, and no job be enqueued.
    """
    uvicorn, web = _needed("uvicorn"), _needed("jobwarden.web")
    if beside:
        threading.Thread(target=_end_with_input, daemon=True).start()
        _await_database(opening)
    app = opening.application() if opening.app else JobWarden()
    _refuse_strangers(host, app, opening.read(is_configured))
    configure(app.settings.log_format, "serve", new_id())
    with _listening(host, port) as listener:
        server = uvicorn.Server(_config(uvicorn, web.create_app(app)))
        address = f"http://{_named(host)}:{listener.getsockname()[1]}"
        say(f"serving {address}/api, and the console at {address}/ (Ctrl-C ends it)")
        server.run(sockets=[listener])


@contextmanager
def serving_beside(app: str, port: int) -> Iterator[None]:
    """Serve meanwhile, as a process of its own that ends when this one does, however that is."""
    command = [sys.executable, "-m", "jobwarden.cli", "-A", app, "serve", "--port", str(port), "--beside"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
    try:
        yield
    finally:
        if process.stdin is not None:
            process.stdin.close()
        process.wait()


def _end_with_input() -> None:
    """End as by a signal once nobody can write to our input any more."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _await_database(opening: Opening) -> None:
    """Whoever we are beside prepares it."""
    while True:
        try:
            opening.database().dispose()
        except (DatabaseProblem, ApplicationImportError):
            time.sleep(_PATIENCE)
        else:
            return


def _config(uvicorn: Any, app: Any) -> Any:
    """One process; who asks is the peer itself, never a header; an end waits a little for answers that are due."""
    return uvicorn.Config(app, log_config=None, access_log=False, proxy_headers=False, timeout_graceful_shutdown=5)


def _listening(host: str, port: int) -> socket.socket:
    """A socket that listens there. Raises `ConfigurationError` where that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        way_out = "end what listens there, or choose another --host or --port"
        rule = (error.strerror or str(error)).lower()
        raise ConfigurationError(name="port", value=f"{host}:{port}", rule=rule, way_out=way_out) from error


def _named(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _refuse_strangers(host: str, app: JobWarden, is_configured: bool) -> None:
    """An address that others can reach needs tokens or users, or an application that knows who asks."""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and app.auth is None and not is_configured:
        way_out = "listen on 127.0.0.1, make a token with `jobwarden token create`, or give JobWarden(auth=...)"
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
