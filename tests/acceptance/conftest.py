"""A database, an app that enqueues, and workers that are ended with the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobwarden import JobWarden
from tests.support.factories import Factories
from tests.support.hosts import Reaper, Worker
from tests.support.jobs import build

Start = Callable[..., Worker]
#: Silent after 0.6 s; ended by the own host after 2.8 s without the database, taken by others after 5 s.
QUICK = {
    "JOBWARDEN_BEAT_INTERVAL": "0.2",
    "JOBWARDEN_MISSED_BEATS": "3",
    "JOBWARDEN_SELF_FENCE_TTL": "2.8",
    "JOBWARDEN_DEATH_BUDGET": "5",
}
#: For a worker that is to be stopped and not fenced, however busy the machine is.
PATIENT = {"JOBWARDEN_SELF_FENCE_TTL": "60", "JOBWARDEN_DEATH_BUDGET": "90"}


@pytest.fixture
def app(database_url: str) -> Iterator[JobWarden]:
    """All test jobs, on the fresh database."""
    app = build(database_url=database_url)
    yield app
    app.database.dispose()


@pytest.fixture
def rows(app: JobWarden) -> Factories:
    """Reads what the database has."""
    return Factories(app.database)


@pytest.fixture
def start(database_url: str, runtime_dir: Path) -> Iterator[Start]:
    """Start a worker that serves; whatever is left of it is ended after the test, and its log shown if that failed."""
    with ExitStack() as stack:
        yield lambda **wishes: stack.enter_context(Worker(database_url, runtime_dir, **wishes)).await_ready()


@pytest.fixture
def reaper(database_url: str, tmp_path: Path) -> Iterator[Any]:
    """Start a reaper of a role; whatever is left of it is ended after the test."""
    with ExitStack() as stack:

        def started(role: str, env: dict[str, str] = QUICK, **wishes: Any) -> Reaper:
            return stack.enter_context(Reaper(database_url, tmp_path, role, env=env, **wishes)).await_lease()

        yield started


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that is not there yet: `wait_for` waits for it."""
    return tmp_path / "gate"
