"""A database behind a proxy that breaks, a client that goes past it, and workers that go through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobwarden import JobWarden
from tests.faults.app import build_all
from tests.support.binaries import ENGINES
from tests.support.engines import Engines
from tests.support.factories import Factories
from tests.support.hosts import Worker
from tests.support.jobs import build
from tests.support.proxy import Proxy
from tests.support.servers import NetworkServer

Start = Callable[..., Worker]
#: Scaled down: silent after this many seconds, which must leave time for a call and a connection that get no answer.
SILENCE = 4.5
QUICK = {"JOBWARDEN_BEAT_INTERVAL": "0.3", "JOBWARDEN_MISSED_BEATS": "15", "JOBWARDEN_CONNECT_TIMEOUT": "2"}


_KINDS = {
    "network": ("postgresql", "mariadb"),
    "postgresql_alone": ("postgresql",),
    "mariadb_alone": ("mariadb",),
    "sqlite_alone": ("sqlite",),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test runs on each engine of the kind that it asks for."""
    chosen = metafunc.config.getoption("--engine") or ENGINES
    for kind in set(_KINDS) & set(metafunc.fixturenames):
        names = [name for name in _KINDS[kind] if name in chosen]
        params = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in names]
        metafunc.parametrize(kind, params, indirect=True, scope="session")


def _engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


network = pytest.fixture(scope="session")(_engine)
postgresql_alone = pytest.fixture(scope="session")(_engine)
mariadb_alone = pytest.fixture(scope="session")(_engine)
sqlite_alone = pytest.fixture(scope="session")(_engine)


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


@pytest.fixture
def app(database_url: str) -> Iterator[JobWarden]:
    """The app with hard words, on a fresh database of any engine."""
    app = build_all(database_url=database_url)
    yield app
    app.database.dispose()
