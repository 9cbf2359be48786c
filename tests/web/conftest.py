"""The API in process, over ASGI, as a client on this machine sees it; on each engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from jobwarden import JobWarden
from jobwarden.domain.access import Role
from jobwarden.domain.orders import By
from jobwarden.lifecycle.access import create_token
from jobwarden.store.database import Database
from jobwarden.web import create_app
from tests.support.jobs import build

PROBLEM = "application/problem+json"
OWN = {"X-JobWarden": "1"}


@pytest.fixture
def jw(database_url: str) -> Iterator[JobWarden]:
    jw = build(database_url=database_url, nudge=False, notify=False)
    yield jw
    jw.database.dispose()


def client_of(jw: JobWarden, address: str = "127.0.0.1", secret: str | None = None, **more: Any) -> TestClient:
    """A client at an address, with a token if it has one; a fault of the server is an answer like any other."""
    headers = OWN | ({"Authorization": f"Bearer {secret}"} if secret else {})
    return TestClient(
        create_app(jw),
        base_url="http://127.0.0.1:8484",
        client=(address, 50000),
        headers=headers,
        raise_server_exceptions=False,
        **more,
    )


@pytest.fixture
def api(jw: JobWarden) -> TestClient:
    """A client on this machine, which may do everything."""
    return client_of(jw)


@pytest.fixture
def token(database: Database) -> Callable[[Role], str]:
    """Makes a token of a role; gives its secret."""

    def made(role: Role) -> str:
        with database.write() as transaction:
            return create_token(transaction, f"{role.value}'s", role, By("test"), None)[1]

    return made


def refused(answer: Any, status: int, *words: str) -> dict[str, Any]:
    """A refusal as a problem whose detail has all the words; gives the problem."""
    told: dict[str, Any] = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), told
    assert told["status"] == status
    missing = [word for word in words if word not in told["detail"]]
    assert not missing, told["detail"]
    return told
