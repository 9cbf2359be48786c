"""The API in process, over ASGI, as a client on this machine sees it; on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from jobwarden import JobWarden
from jobwarden.web import create_app
from tests.support.jobs import build


@pytest.fixture
def jw(database_url: str) -> Iterator[JobWarden]:
    jw = build(database_url=database_url, nudge=False, notify=False)
    yield jw
    jw.database.dispose()


def client_of(jw: JobWarden, address: str = "127.0.0.1", **more: Any) -> TestClient:
    """A client at an address; a fault of the server is an answer like any other."""
    return TestClient(
        create_app(jw),
        base_url="http://127.0.0.1:8484",
        client=(address, 50000),
        raise_server_exceptions=False,
        **more,
    )


@pytest.fixture
def api(jw: JobWarden) -> TestClient:
    """A client on this machine, which may do everything."""
    return client_of(jw)
