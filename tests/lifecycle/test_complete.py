"""Success inside a caller's own transaction: it counts if that commits, is fenced, and is heard again in silence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from jobwarden.config import Settings
from jobwarden.domain.claims import Claim
from jobwarden.domain.report import Outcome, Report
from jobwarden.errors import FencedOut
from jobwarden.lifecycle.join import join
from jobwarden.lifecycle.settle import Settlement, complete
from jobwarden.store.database import Database
from tests.lifecycle.claimants import Claimant
from tests.support.engines import Engines
from tests.support.factories import Factories


@contextmanager
def _callers(database: Database, kind: str) -> Iterator[Any]:
    """A connection of the caller's: SQLAlchemy's, or the driver's own; nothing is committed at the end."""
    if kind == "sqlalchemy":
        with database.engine.connect() as connection:
            yield connection
        return
    fairy = database.engine.raw_connection()
    raw: Any = fairy.driver_connection
    fairy.detach()
    if database.facts.one_machine:
        raw.isolation_level = ""  # as sqlite3 gives it to a caller; ours announce their transactions themselves
    try:
        yield raw
    finally:
        raw.close()


def _complete(database: Database, connection: Any, claim: Claim, token: int | None = None) -> None:
    report = Report(claim.attempt_id, Outcome.SUCCEEDED, result='{"paid":1}')
    settlement = Settlement(claim.job_id, token or claim.token, report)
    join(database, connection, lambda writer: complete(writer, settlement, "worker"), lambda: None)


@pytest.fixture
def running(database: Database, factories: Factories, claimant: Claimant) -> Claim:
    factories.job()
    [claim] = claimant.claim(database)
    claimant.start(database, claim)
    return claim


@pytest.mark.parametrize("kind", ["sqlalchemy", "driver"])
def test_a_success_counts_with_the_callers_commit(
    database: Database, factories: Factories, claimant: Claimant, running: Claim, kind: str
) -> None:
    with _callers(database, kind) as connection:
        _complete(database, connection, running)
        connection.commit()
    [attempt] = factories.attempts_of(running.job_id)
    assert attempt["state"] == "succeeded"
    assert [event["to_state"] for event in factories.events_of(running.job_id)][-1] == "succeeded"
    told = len(factories.events_of(running.job_id))
    assert claimant.settle(database, running).decision is not None
    assert len(factories.events_of(running.job_id)) == told
    assert claimant.start(database, running) == {running.attempt_id}


@pytest.mark.parametrize("kind", ["sqlalchemy", "driver"])
def test_a_success_that_is_rolled_back_never_was(
    database: Database, factories: Factories, running: Claim, kind: str
) -> None:
    before = len(factories.events_of(running.job_id))
    with _callers(database, kind) as connection:
        _complete(database, connection, running)
        connection.rollback()
    [attempt] = factories.attempts_of(running.job_id)
    assert (attempt["state"], len(factories.events_of(running.job_id))) == ("running", before)


def test_an_attempt_that_was_taken_over_cannot_complete(
    database: Database, factories: Factories, running: Claim
) -> None:
    with _callers(database, "sqlalchemy") as connection, pytest.raises(FencedOut, match="taken over"):
        _complete(database, connection, running, token=9)
    [attempt] = factories.attempts_of(running.job_id)
    assert attempt["state"] == "running"


@pytest.mark.sqlite
@pytest.mark.parametrize("kind", ["sqlalchemy", "driver"])
def test_a_transaction_that_began_as_a_reader_waits_for_its_turn_to_write(
    engines: Engines, claimant: Claimant, kind: str
) -> None:
    wrote: list[str] = []

    def write_between(sql: str) -> None:
        """Another's write, in the moment that ours would write first."""
        if not wrote and sql.startswith(("UPDATE", "INSERT", "DELETE")):
            wrote.append(sql)
            factories.job()

    with engines.database("sqlite") as url:
        database = Database(Settings(database_url=url))
        factories = Factories(database)
        factories.job()
        [claim] = claimant.claim(database)
        with _callers(database, kind) as connection:
            raw = connection.connection.driver_connection if kind == "sqlalchemy" else connection
            connection.begin() if kind == "sqlalchemy" else raw.execute("BEGIN")
            raw.set_trace_callback(write_between)
            _complete(database, connection, claim)
            raw.set_trace_callback(None)
            raw.commit()
        assert wrote
        assert factories.attempts_of(claim.job_id)[0]["state"] == "succeeded"
        database.dispose()
