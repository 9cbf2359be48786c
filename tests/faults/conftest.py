"""A database behind a proxy that breaks, a client that goes past it, and workers that go through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobwarden import JobWarden
from tests.support.binaries import ENGINES
from tests.support.engines import Engines
from tests.support.factories import Factories
from tests.support.hosts import Worker
from tests.support.jobs import build
from tests.support.proxy import Proxy
from tests.support.servers import NetworkServer

Start = Callable[..., Worker]
#: Scaled down: silent after 1.5 s, given up after a minute at the earliest.
QUICK = {"JOBWARDEN_BEAT_INTERVAL": "0.3", "JOBWARDEN_CONNECT_TIMEOUT": "2"}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that asks for a network runs on each engine that has one."""
    if "network" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--engine") or ENGINES
        names = [name for name in ("postgresql", "mariadb") if name in chosen]
        params = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in names]
        metafunc.parametrize("network", params, indirect=True, scope="session")


@pytest.fixture(scope="session")
def network(request: pytest.FixtureRequest) -> str:
    """The engine of this run, one with a server."""
    return str(request.param)


@pytest.fixture
def origin(engines: Engines, network: str) -> Iterator[str]:
    """The address of a fresh database itself."""
    with engines.database(network) as url:
        yield url


@pytest.fixture
def proxy(engines: Engines, network: str) -> Iterator[Proxy]:
    """What stands between workers and their server."""
    server = engines.server(network)
    assert isinstance(server, NetworkServer)
    with Proxy(server.port, network) as proxy:
        yield proxy


@pytest.fixture
def through(origin: str, proxy: Proxy) -> str:
    """The address of the same database, through the proxy."""
    return origin.replace(f":{proxy.target}/", f":{proxy.port}/")


@pytest.fixture
def client(origin: str) -> Iterator[JobWarden]:
    """All test jobs, past the proxy."""
    app = build(database_url=origin)
    yield app
    app.database.dispose()


@pytest.fixture
def rows(client: JobWarden) -> Factories:
    """Reads what the database has, past the proxy."""
    return Factories(client.database)


@pytest.fixture
def launch(through: str, runtime_dir: Path) -> Iterator[Start]:
    """Start a worker that goes through the proxy; whatever is left of it is ended after the test."""
    with ExitStack() as stack:

        def launched(url: str = through, env: dict[str, str] | None = None, **wishes: Any) -> Worker:
            worker = Worker(url, runtime_dir, env={**QUICK, **(env or {})}, **wishes)
            return stack.enter_context(worker).await_ready()

        yield launched
