"""Why a job is not running, said once and for the right reason."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.orders import By
from jobwarden.domain.states import JobState
from jobwarden.lifecycle.lanes import cap, pause
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.views.explain import explain
from tests.support.factories import Factories, Values
from tests.views.test_series import leave


def reasons(database: Database, job: Values) -> str:
    with database.read() as transaction:
        return " ".join(map(str, explain(transaction, job["id"]).reasons))


def insert(database: Database, table: sa.Table, **values: Any) -> None:
    with database.write() as transaction:
        transaction.execute(sa.insert(table).values(**values))


def test_a_job_that_is_not_due(database: Database, factories: Factories) -> None:
    with database.read() as transaction:
        later = transaction.now() + timedelta(seconds=90)
    factories.worker()
    job = factories.job(JobState.PENDING, available_at=later)
    assert re.search(r"not due yet: it is due in (90\.0|8\d\.\d) s, at ", reasons(database, job))


def test_a_retry_names_its_attempt_and_why_it_was_put_back(database: Database, factories: Factories) -> None:
    with database.read() as transaction:
        later = transaction.now() + timedelta(seconds=90)
    job = factories.job(JobState.RETRYING, available_at=later, wait_reason="the attempt failed")
    told = reasons(database, job)
    assert "attempt 2 is due in" in told
    assert "the attempt failed" in told


def test_a_job_behind_others_names_them(database: Database, factories: Factories) -> None:
    first = factories.job(JobState.RUNNING, job="shop:extract")
    job = factories.job(JobState.PENDING, blocked_by=1)
    insert(database, schema.dependencies, job_id=job["id"], depends_on_job_id=first["id"])
    assert f"waits for 1 other job(s) to finish: {first['id']} (shop:extract, running)" in reasons(database, job)


def test_a_paused_lane(database: Database, factories: Factories) -> None:
    job = factories.job(lane="hot")
    insert(
        database,
        schema.lanes,
        name="hot",
        paused=True,
        paused_by="ada",
        paused_reason="a deploy",
        updated_at=job["created_at"],
    )
    assert "Lane 'hot' is paused by ada: a deploy." in reasons(database, job)


@pytest.mark.parametrize("beat_ago", [None, 3600.0])
def test_no_live_worker(database: Database, factories: Factories, beat_ago: float | None) -> None:
    if beat_ago is not None:
        factories.worker(beat_ago=beat_ago)
    assert "No live worker" in reasons(database, factories.job())


def test_no_worker_serves_the_lane(database: Database, factories: Factories) -> None:
    factories.worker(meta={"lanes": ["default", "mail"]})
    told = reasons(database, factories.job(lane="hot"))
    assert "No live worker serves lane 'hot': they serve default, mail." in told


def test_no_worker_knows_the_name(database: Database, factories: Factories) -> None:
    factories.worker(meta={"lanes": ["default"], "jobs": ["shop:pay"]})
    told = reasons(database, factories.job(job="shop:refund"))
    assert "knows a job named 'shop:refund'" in told


def test_a_claimable_job_waits_for_a_seat(database: Database, factories: Factories) -> None:
    factories.worker(meta={"lanes": ["default"], "jobs": ["tests:succeed"]}, current_load=4)
    assert "4 of 4 seats" in reasons(database, factories.job())


def test_a_running_job_names_its_process(database: Database, factories: Factories) -> None:
    job = factories.job(JobState.RUNNING)
    [attempt] = factories.attempts_of(job["id"])
    assert f"attempt 1 in process {attempt['child_pid']} on host.example" in reasons(database, job)


def test_a_parked_job_says_what_it_waits_for(database: Database, factories: Factories) -> None:
    job = factories.job(JobState.ORPHANED, idempotent=False, wait_reason="the process was killed")
    told = reasons(database, job)
    assert "waits for a person: the process was killed" in told
    assert "not idempotent" in told


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.STOPPED])
def test_a_job_that_is_over(database: Database, factories: Factories, state: JobState) -> None:
    assert f"It is over: {state}." in reasons(database, factories.job(state))


@pytest.mark.parametrize(
    ("state", "idempotent", "steps"),
    [
        (JobState.ORPHANED, True, ["restart {}", "resolve {} --ran|--did-not-run|--ran-partly|--failed", "cancel {}"]),
        (
            JobState.ORPHANED,
            False,
            ["restart {} --force", "resolve {} --ran|--did-not-run|--ran-partly|--failed", "cancel {}"],
        ),
        (JobState.FAILED, True, ["retry {}"]),
        (JobState.FAILED, False, ["retry {} --force"]),
        (JobState.STOPPED, False, ["restart {} --force"]),
        (JobState.CANCELED, True, ["retry --as-new {}"]),
        (JobState.SUCCEEDED, False, ["retry --as-new {} --force"]),
    ],
)
def test_what_a_person_can_do_next_is_a_command(
    database: Database, factories: Factories, state: JobState, idempotent: bool, steps: list[str]
) -> None:
    job = factories.job(state, idempotent=idempotent)
    with database.read() as transaction:
        told = explain(transaction, job["id"]).next
    wanted = [f"jobwarden {step.format(job['id'])} --reason '...'" for step in steps]
    assert [step for step in told if "--reason" in step] == wanted


def codes(database: Database, job: Values) -> list[str]:
    with database.read() as transaction:
        return [reason.code for reason in explain(transaction, job["id"]).reasons]


def test_everything_is_paused(database: Database, factories: Factories) -> None:
    job = factories.job()
    with database.write() as transaction:
        pause(transaction, "*", By("ada", "a move"))
    assert "Every lane is paused by ada: a move." in reasons(database, job)
    assert codes(database, job)[0] == "lane_paused"


def test_a_cap_that_is_reached_names_who_holds_it(database: Database, factories: Factories) -> None:
    running = factories.job(JobState.RUNNING, lane="hot")
    job = factories.job(lane="hot")
    with database.write() as transaction:
        cap(transaction, "hot", 1, By())
    assert f"The cap of lane 'hot' is reached: 1 of 1 run, among them {running['id']}." in reasons(database, job)
    with database.write() as transaction:
        cap(transaction, "hot", 2, By())
        cap(transaction, "*", 1, By())
    assert "The cap of all lanes together is reached: 1 of 1 run" in reasons(database, job)


def test_the_place_in_line_and_when_its_turn_comes(database: Database, factories: Factories) -> None:
    factories.worker(meta={"lanes": ["hot"], "jobs": ["sync"]})
    for priority in (5, 5, 0, -5):
        factories.job(lane="hot", job="sync", priority=priority)
    job = factories.job(lane="hot", job="sync", priority=1)
    assert "2 queued jobs of lane 'hot' go before it" in reasons(database, job)
    assert codes(database, job) == ["no_seat", "in_line", "no_rate"]
    leave(database, timedelta(minutes=1), kind="wait", outcome="", lane="hot", number=60)
    assert "It starts in about 30 s, at the rate of the last 10 min." in reasons(database, job)
    assert codes(database, job)[-1] == "estimate"
