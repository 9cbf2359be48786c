"""Weaknesses of the system that this one follows, each pinned by a test that would fail on it."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from jobwarden import Backoff, JobWarden
from jobwarden.config import Settings
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import Actor, JobState
from jobwarden.lifecycle.admit import admit
from jobwarden.lifecycle.settle import Settlement, settle, settle_alone
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.store.transition import move_jobs
from tests.faults.conftest import QUICK, Start
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories
from tests.support.hosts import Worker, await_said, await_state
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

_REJECTED = "stale_write_rejected"

# -- an outcome is committed however often that takes -----------------------------------------------------------------


@pytest.mark.parametrize("after", [False, True])
def test_w03_a_connection_lost_at_its_commit_does_not_fail_finished_work(
    client: JobWarden, rows: Factories, through: str, proxy: Proxy, after: bool
) -> None:
    job, claimant, pauses = rows.job(idempotent=False), Claimant(), list[float]()
    [claim] = claimant.claim(client.database)
    claimant.start(client.database, claim)
    alone = Database(Settings(database_url=through))
    traps = [proxy.trap(lambda seen: seen.text == "COMMIT" and seen.wrote("jobwarden_job_attempts"), after=after)]
    if not after:
        traps.append(proxy.trap(lambda seen: "jobwarden_job_events" in seen.text, after=True))
    report = Settlement(claim.job_id, claim.token, Report(claim.attempt_id, Outcome.SUCCEEDED, result="7"))
    assert settle_alone(alone, report, claimant.worker_id, pause=pauses.append).decision is not None
    alone.dispose()
    assert all(trap.sprung.is_set() for trap in traps)
    assert len(pauses) == len(traps)
    row = rows.read(schema.jobs, job["id"])
    assert (row["state"], row["result"]) == ("succeeded", 7)
    assert [event["reason"] for event in rows.events_of(job["id"])].count(_REJECTED) == 0


# -- what is refused, and what is merely late, in the ledger ----------------------------------------------------------


def _told(database: Database, given: Settlement, times: int) -> None:
    for _ in range(times):
        with database.write() as transaction:
            [answer] = settle(transaction, [given, given], Actor.WORKER, "w")[:1]
        assert answer.decision is None


def test_w15_each_refused_outcome_leaves_one_row_however_often_it_is_told(
    database: Database, factories: Factories
) -> None:
    job, claimant = factories.job(), Claimant()
    [claim] = claimant.claim(database)
    for token, outcome in ((7, Outcome.SUCCEEDED), (7, Outcome.FAILED), (8, Outcome.SUCCEEDED)):
        _told(database, Settlement(claim.job_id, token, Report(claim.attempt_id, outcome, reason="late")), 3)
    refused = [event for event in factories.events_of(job["id"]) if event["reason"] == _REJECTED]
    assert [(event["context"]["token"], event["context"]["attempted_to"]) for event in refused] == [
        (7, "succeeded"),
        (7, "failed"),
        (8, "succeeded"),
    ]
    assert factories.read(schema.jobs, job["id"])["state"] == "running"


def test_w15_a_refusal_told_alone_is_kept_and_told_once(database: Database, factories: Factories) -> None:
    job, claimant = factories.job(), Claimant()
    [claim] = claimant.claim(database)
    late = Settlement(claim.job_id, claim.token + 1, Report(claim.attempt_id, Outcome.SUCCEEDED))
    for _ in range(2):
        assert settle_alone(database, late, claimant.worker_id).decision is None
    assert [event["reason"] for event in factories.events_of(job["id"])].count(_REJECTED) == 1


def test_w15_a_lost_admission_leaves_no_row(database: Database, factories: Factories) -> None:
    with database.read() as transaction:
        due = transaction.now() - timedelta(seconds=60)
    job = factories.job(JobState.RETRYING, available_at=due)
    with database.write() as transaction:
        assert admit(transaction, "first") == 1
    before = factories.events_of(job["id"])
    with database.write() as transaction:
        assert admit(transaction, "second") == 0
        late = {"job_id": job["id"], "origin": "retrying", "target": "queued"}
        assert move_jobs(transaction, [late], Actor.SUPERVISOR, "third") == [], (
            "it saw the row before the first moved it"
        )
    assert factories.events_of(job["id"]) == before
    assert factories.read(schema.jobs, job["id"])["state"] == "queued"


# -- an end that nobody could write down ------------------------------------------------------------------------------


@pytest.mark.parametrize("isolation", ["exec", "fork", "pool"])
def test_w18_a_child_that_ends_while_there_is_no_database_is_settled_when_there_is_one(
    client: JobWarden, rows: Factories, launch: Start, proxy: Proxy, tmp_path: Path, isolation: str
) -> None:
    gate = tmp_path / "gate"
    worker = launch(capacity=2)
    job = client.enqueue(
        "wait_for", {"gate": str(gate), "lines": 1}, isolation=isolation, backoff=Backoff(0.1, 1, 0.1, False)
    )
    neighbour = client.enqueue("wait_for", {"gate": str(gate), "lines": 1}, isolation=isolation)
    for handle in (job, neighbour):
        await_said(rows, handle)
    [attempt] = rows.attempts_of(job.id)
    proxy.refuse()
    worker.expect("the database cannot be used")
    [child] = [proc for proc in worker.tree() if proc.pid == attempt["child_pid"]]
    child.signal(signal.SIGKILL)
    eventually(lambda: not child.alive)
    gate.touch()
    proxy.heal()
    for handle in (job, neighbour):
        await_state(handle, "succeeded")
    first, second = rows.attempts_of(job.id)
    assert (first["state"], first["term_signal"], second["state"]) == ("failed", signal.SIGKILL, "succeeded")
    assert len(rows.attempts_of(neighbour.id)) == 1, "its neighbour was not touched"
    assert worker.running
    worker.drain()
    assert "Traceback" not in worker.log


# -- words that are hard to keep --------------------------------------------------------------------------------------


@pytest.fixture
def hard(database_url: str, runtime_dir: Path) -> Iterator[Worker]:
    with Worker(database_url, runtime_dir, app="tests.faults.app:jw", env=QUICK, capacity=2) as worker:
        yield worker.await_ready()


def test_w19_an_error_that_is_no_unicode_is_kept_with_its_trace_and_its_last_words(
    app: JobWarden, factories: Factories, hard: Worker
) -> None:
    job = app.enqueue("bad_words")
    await_state(job, "failed")
    assert job.error is not None
    assert job.error["class"] == "ValueError"
    assert "the reason" in job.error["message"]
    assert "bad_words" in job.error["trace"]
    said = [line["body_ref"] for line in factories.logs_of(job.id)]
    assert any(line.startswith("half a ") for line in said), said
    hard.drain()
    assert "Traceback" not in hard.log


@pytest.mark.parametrize("size", [65535, 65536, 300_000])
def test_w20_words_longer_than_a_text_column_of_old_are_kept(
    app: JobWarden, factories: Factories, hard: Worker, size: int
) -> None:
    job = app.enqueue("long_words", {"size": size})
    await_state(job, "failed")
    assert job.error is not None
    assert job.error["message"].startswith("x" * 1000)
    said = "".join(line["body_ref"] for line in factories.logs_of(job.id) if line["source"] == "stdout")
    assert said == "\u20ac" * size
    hard.drain()
    assert "Traceback" not in hard.log
