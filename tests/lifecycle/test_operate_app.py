"""What a person can do from Python, on each engine: the app's verbs, the handle's, and many jobs at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

from jobwarden import JobDefinition, JobHandle, JobWarden
from jobwarden.domain.orders import Verb
from jobwarden.domain.report import Outcome
from jobwarden.domain.states import JobState, WorkerState
from jobwarden.errors import DatabaseUnavailable, ForceRequired, InvalidOption, JobNotFound, WorkerNotFound, WrongState
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories

NOBODY = "00000000-0000-7000-8000-000000000000"
Job = JobDefinition[..., ..., Any]


@pytest.fixture
def jw(database_url: str) -> Iterator[JobWarden]:
    """An app on a fresh database."""
    jw = JobWarden(database_url=database_url, nudge=False, notify=False)
    yield jw
    jw.database.dispose()


@pytest.fixture
def charge(jw: JobWarden) -> Job:
    """A job of it that is not idempotent."""

    @jw.job(idempotent=False, name="charge", lane="money", max_attempts=1)
    def charge(order: int) -> None: ...

    return charge


def ended(database: Database, handle: JobHandle, outcome: Outcome) -> JobHandle:
    claimant = Claimant(lanes=["money"])
    [claim] = claimant.claim(database)
    assert claim.job_id == handle.id
    claimant.settle(database, claim, outcome)
    return handle.refresh()


def test_a_jobs_life_with_a_person(jw: JobWarden, charge: Job, database: Database, factories: Factories) -> None:
    handle = ended(database, charge.enqueue(7), Outcome.FAILED)
    with pytest.raises(ForceRequired, match=r"Job .* \(charge\) is not idempotent, and retry may repeat"):
        handle.retry("again", "ann")
    assert handle.retry("again", "ann", force=True, attempts=2).state == "queued"
    assert ended(database, handle, Outcome.LOST).state == "orphaned"
    assert jw.resolve(handle.id, "did_not_run", "nothing was charged", "ann") is JobState.QUEUED
    assert ended(database, handle, Outcome.LOST).state == "orphaned"
    assert handle.restart("checked", force=True).state == "queued"
    assert ended(database, handle, Outcome.SUCCEEDED).state == "succeeded"
    with pytest.raises(WrongState, match="is succeeded, and cancel needs it to be waiting, running or parked"):
        handle.cancel()
    again = jw.rerun(handle.id, "charge once more", "ben", force=True)
    assert (again.created, again.state) == (True, "queued")
    row = factories.read(schema.jobs, again.id)
    assert (row["rerun_of"], row["params"], row["lane"], row["created_by"]) == (handle.id, {"order": 7}, "money", "ben")
    assert again.stop("not today").state == "canceled"
    actors = [event["actor_id"] for event in factories.events_of(handle.id) if event["actor_type"] == "operator"]
    assert actors == ["ann", "ann", None, "ben"]


def test_many_at_once_are_answered_one_by_one(jw: JobWarden, charge: Job, database: Database) -> None:
    failed, waiting = charge.enqueue(1), charge.using(delay=60).enqueue(2)
    ended(database, failed, Outcome.FAILED)
    answers = jw.operate("retry", [failed.id, waiting.id, NOBODY], "all of it", "ann", force=True)
    assert [(answer.id, answer.state) for answer in answers] == [
        (failed.id, "queued"),
        (waiting.id, "pending"),
        (NOBODY, None),
    ]
    assert [type(answer.refused) for answer in answers] == [type(None), WrongState, JobNotFound]
    assert [answer.state for answer in jw.operate("cancel", (h.id for h in (failed, waiting)))] == ["canceled"] * 2
    assert jw.operate("cancel", []) == []


def test_bad_words_are_refused_before_anything_is_written(jw: JobWarden, charge: Job, factories: Factories) -> None:
    handle = charge.enqueue(1)
    with pytest.raises(InvalidOption, match="one of cancel, stop, retry, restart, rerun, resolve"):
        jw.operate("kill", [handle.id])
    with pytest.raises(InvalidOption, match="one of ran, did_not_run, ran_partly, failed"):
        jw.resolve(handle.id, "perhaps", "who knows")
    with pytest.raises(InvalidOption, match="attempts = 0"):
        jw.retry(handle.id, attempts=0)
    for call in (jw.cancel, jw.stop, jw.retry, jw.restart, jw.rerun):
        for name in (NOBODY, "nonsense", ""):
            with pytest.raises(JobNotFound):
                call(name)
    assert len(factories.events_of(handle.id)) == 1


def test_draining_and_health(jw: JobWarden, charge: Job, factories: Factories) -> None:
    worker = factories.worker()
    assert jw.drain(worker["id"], "a deploy", "ann") is WorkerState.ACTIVE
    with pytest.raises(WorkerNotFound):
        jw.drain(NOBODY)
    charge.enqueue(1)
    assert jw.health() == jw.health(deep=True) == []
    job = factories.job(JobState.ORPHANED)
    assert [(finding.invariant, finding.id) for finding in jw.health()] == [("ledger_gap", job["id"])]


def test_the_verbs_are_pinned(jw: JobWarden) -> None:
    assert all(callable(getattr(jw, verb)) for verb in Verb)
    given = {verb: list(inspect.signature(getattr(jw, verb)).parameters) for verb in Verb}
    asked = ["job_id", "reason", "actor"]
    assert given == {
        "cancel": asked,
        "stop": asked,
        "retry": [*asked, "force", "attempts"],
        "restart": [*asked, "force", "attempts"],
        "rerun": [*asked, "force", "attempts"],
        "resolve": ["job_id", "verdict", "reason", "actor"],
    }


@pytest.mark.any_engine
def test_a_database_that_is_gone_is_one_sentence() -> None:
    jw = JobWarden(database_url="postgresql://ada@127.0.0.1:1/none")
    for call in (lambda: jw.retry(NOBODY), lambda: jw.drain(NOBODY), jw.health):
        with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
            call()
