"""Lists of jobs by filter and page, and one job whole."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.states import AttemptState, JobState
from jobwarden.errors import JobNotFound
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.store.ids import new_id
from jobwarden.views.jobs import Filter, Page, listed, shown
from tests.support.factories import Factories


def page(database: Database, **wanted: Any) -> Page:
    with database.read() as transaction:
        return listed(transaction, Filter(**wanted))


def ids(database: Database, **wanted: Any) -> list[str]:
    return [job.id for job in page(database, **wanted).jobs]


def tag(database: Database, job_id: str, **tags: str) -> None:
    with database.write() as transaction:
        for name, value in tags.items():
            transaction.execute(sa.insert(schema.tags).values(job_id=job_id, name=name, value=value))


def test_pages_walk_from_the_newest_to_the_oldest(database: Database, factories: Factories) -> None:
    made = [factories.job(id=new_id())["id"] for _ in range(5)][::-1]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        found = page(database, limit=2, before=cursor)
        seen += [job.id for job in found.jobs]
        cursor = found.next
        if cursor is None:
            break
    assert seen == made


def test_a_page_that_holds_all_has_no_next(database: Database, factories: Factories) -> None:
    factories.jobs(2)
    assert page(database, limit=2).next is None


@pytest.mark.parametrize("state", list(JobState))
def test_jobs_by_state(database: Database, factories: Factories, state: JobState) -> None:
    made = {other: factories.job(other)["id"] for other in JobState}
    assert ids(database, states=[state]) == [made[state]]


def test_several_states_at_once(database: Database, factories: Factories) -> None:
    made = {other: factories.job(other)["id"] for other in JobState}
    both = [JobState.FAILED, JobState.QUEUED]
    assert set(ids(database, states=both)) == {made[state] for state in both}


def test_every_filter_narrows(database: Database, factories: Factories) -> None:
    batch = factories.batch()
    facts = {"lane": "hot", "job": "shop:pay", "name": "order 7", "batch_id": batch["id"], "created_by": "ada"}
    wanted = {"lane": "hot", "job": "shop:pay", "label": "order 7", "batch": batch["id"], "created_by": "ada"}
    made = factories.job(**facts)["id"]
    factories.job()
    for name, value in wanted.items():
        assert ids(database, **{name: value}) == [made], name
    assert ids(database, **wanted) == [made]
    assert ids(database, **{**wanted, "lane": "cold"}) == []


def test_tags_match_whole_by_beginning_or_by_presence(database: Database, factories: Factories) -> None:
    oslo, bergen, none = (factories.job(id=new_id())["id"] for _ in range(3))
    tag(database, oslo, store="oslo_1", kind="big")
    tag(database, bergen, store="oslox2")
    assert ids(database, tags={"store": "oslo_1"}) == [oslo]
    assert ids(database, tags={"store": "oslo*"}) == [bergen, oslo]
    assert ids(database, tags={"store": "oslo_*"}) == [oslo]
    assert ids(database, tags={"store": ""}) == [bergen, oslo]
    assert ids(database, tags={"store": "oslo*", "kind": "big"}) == [oslo]
    assert none not in ids(database, tags={"kind": ""})


def test_a_job_is_shown_with_all_that_is_known_of_it(database: Database, factories: Factories) -> None:
    batch = factories.batch(name="nightly")
    job = factories.job(
        JobState.FAILED,
        batch_id=batch["id"],
        params={"store": "42"},
        name="store 42",
        tags={"store": "42"},
        last_error={"class": "ValueError", "message": "no"},
    )
    attempt = factories.attempt(job, AttemptState.FAILED, term_signal=9, cause="killed", exit_code=None)
    with database.write() as transaction:
        transaction.execute(
            sa.insert(schema.events).values(
                job_id=job["id"],
                attempt_id=attempt["id"],
                level="job",
                from_state="running",
                to_state="failed",
                actor_type="supervisor",
                context={"signal": 9},
                created_at=job["created_at"],
            )
        )
        transaction.execute(
            sa.insert(schema.artifacts).values(
                id=new_id(), job_id=job["id"], type="file", name="report", path="/r", created_at=job["created_at"]
            )
        )
    with database.read() as transaction:
        seen = shown(transaction, job["id"])
    assert (seen.label, seen.params, seen.tags) == ("store 42", {"store": "42"}, {"store": "42"})
    assert seen.batch is not None
    assert (seen.batch.id, seen.batch.name) == (batch["id"], "nightly")
    assert [found.attempt_number for found in seen.attempts] == [1, 2]
    last = seen.attempts[-1]
    assert (last.id, last.term_signal, last.cause) == (attempt["id"], 9, "killed")
    assert (last.child_pid, last.child_start_time, last.child_inode) == (
        attempt["child_pid"],
        attempt["child_start_time"],
        attempt["child_inode"],
    )
    assert [(event.from_state, event.to_state, event.context) for event in seen.events] == [
        ("running", "failed", {"signal": 9})
    ]
    assert [artifact.name for artifact in seen.artifacts] == ["report"]
    assert seen.created_at.tzinfo is not None


def test_an_unknown_job_is_not_found(database: Database) -> None:
    with database.read() as transaction, pytest.raises(JobNotFound):
        shown(transaction, new_id())
