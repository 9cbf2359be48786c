"""The app over its own connection, on each engine: enqueue, look, cancel, fork, and what a database in trouble says."""

from __future__ import annotations

import asyncio
import os
import signal
import traceback
from collections.abc import Iterator
from typing import Any

import pytest

from jobwarden import JobDefinition, JobWarden
from jobwarden.errors import DatabaseUnavailable, JobNotFound, NotMigrated, WrongState


@pytest.fixture
def jw(database_url: str) -> Iterator[JobWarden]:
    """An app on a fresh database."""
    jw = JobWarden(database_url=database_url, nudge=False, notify=False)
    yield jw
    jw.database.dispose()


@pytest.fixture
def ship(jw: JobWarden) -> JobDefinition[..., ..., Any]:
    """A job of it."""

    @jw.job(idempotent=True, name="ship", promote="order")
    def ship(order: str) -> None: ...

    return ship


def test_what_is_enqueued_can_be_looked_at_and_canceled(jw: JobWarden, ship: Any) -> None:
    handle = ship.using(label="one", tags={"by": "hand"}).enqueue("7")
    assert (handle.created, handle.state, handle.result, handle.error) == (True, "queued", None, None)
    assert jw.job_handle(handle.id).state == "queued"
    assert asyncio.run(ship.aenqueue("8")).state == "queued"
    assert ship.using(delay=60).enqueue("9").state == "pending"
    assert handle.cancel(reason="not wanted").state == "canceled"
    with pytest.raises(WrongState):
        handle.cancel()
    with pytest.raises(JobNotFound):
        jw.job_handle("00000000-0000-7000-8000-000000000000").refresh()


@pytest.mark.parametrize("text", ["a\0b", "\\u0000", "é😀", "x" * 100_000, "'; -- %s :rows ?"])
def test_any_text_is_stored_as_it_is(jw: JobWarden, ship: Any, text: str) -> None:
    ship.using(idempotency_key="text").enqueue(text)
    assert ship.using(idempotency_key="text").enqueue(text).created is False


def test_many_are_written_in_one_transaction_whatever_the_chunk(jw: JobWarden, ship: Any) -> None:
    handles = ship.enqueue_many((ship.bind(str(n)) for n in range(23)), chunk=10)
    assert len(set(handles.ids)) == 23
    assert {handle.state for handle in handles} == {"queued"}

    def broken() -> Iterator[Any]:
        yield ship.bind("a")
        raise RuntimeError("the source failed")

    with pytest.raises(RuntimeError):
        ship.enqueue_many(broken(), chunk=1)
    with jw.database.read() as tx:
        assert tx.connection.exec_driver_sql("SELECT count(*) FROM jobwarden_jobs").scalar_one() == 23


def test_an_app_used_before_a_fork_works_on_both_sides(jw: JobWarden, ship: Any) -> None:
    before = ship.enqueue("before")
    children = [_forked(ship) for _ in range(3)]
    after = [ship.enqueue(str(n)).id for n in range(20)]
    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert statuses == [0, 0, 0]
    assert before.refresh().state == "queued"
    with jw.database.read() as tx:
        assert tx.connection.exec_driver_sql("SELECT count(*) FROM jobwarden_jobs").scalar_one() == 1 + 20 + 60
    assert len(set(after)) == 20


def _forked(ship: Any) -> int:
    child = os.fork()
    if child:
        return child
    signal.alarm(60)
    try:
        handles = [ship.enqueue("child") for _ in range(20)]
        os._exit(0 if all(handle.state == "queued" for handle in handles) else 1)
    except BaseException:
        traceback.print_exc()
        os._exit(2)


def test_a_database_without_tables_says_so(empty_database_url: str) -> None:
    jw = JobWarden(database_url=empty_database_url, nudge=False, notify=False)

    @jw.job(idempotent=True, name="sample")
    def sample() -> None: ...

    for call in (sample.enqueue, jw.job_handle("00000000-0000-7000-8000-000000000000").refresh):
        with pytest.raises(NotMigrated, match="run `jobwarden migrate`") as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite:////nowhere/at/all.db", "postgresql://u:hush@127.0.0.1:1/x"])
def test_a_database_that_does_not_answer_is_named_without_its_password(url: str) -> None:
    jw = JobWarden(database_url=url, nudge=False, notify=False, connect_timeout=1)
    with pytest.raises(DatabaseUnavailable, match="check that it runs") as caught:
        jw.job_handle("00000000-0000-7000-8000-000000000000").refresh()
    assert "hush" not in str(caught.value)
