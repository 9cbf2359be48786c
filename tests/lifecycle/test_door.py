"""The door: a step moves only what is still where it was said to be; who lost changes nothing."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.report import Outcome
from jobwarden.domain.states import Actor, AttemptState, JobState
from jobwarden.errors import IllegalTransition
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.store.transition import close_attempts, move_jobs, open_attempts, start_attempts
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories

TABLES = (schema.jobs, schema.attempts, schema.events, schema.counters, schema.logs)


def everything(database: Database) -> dict[str, list[tuple[Any, ...]]]:
    """All rows that a step could touch."""
    with database.read() as transaction:
        return {
            table.name: [tuple(row) for row in transaction.execute(sa.select(table).order_by(table.c.id))]
            for table in TABLES
        }


def test_a_claim_takes_only_what_is_queued(database: Database, factories: Factories, claimant: Claimant) -> None:
    others = [factories.job(state) for state in JobState if state is not JobState.QUEUED]
    before = everything(database)
    moves = [_opening(job["id"]) for job in others]
    with database.write() as transaction:
        assert open_attempts(transaction, moves, Actor.SUPERVISOR, **claimant.owner.stamp()) == []
    assert everything(database) == before


def test_winners_and_losers_of_one_step_are_told_apart(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    mine, taken = factories.job(), factories.job(JobState.RUNNING)
    with database.write() as transaction:
        moves = [_opening(mine["id"]), _opening(taken["id"])]
        won = open_attempts(transaction, moves, Actor.SUPERVISOR, **claimant.owner.stamp())
    assert [(move["job_id"], move["number"], move["lane"]) for move in won] == [(mine["id"], 1, "default")]
    assert len(factories.attempts_of(taken["id"])) == 1
    assert factories.events_of(taken["id"]) == []


def _opening(job_id: str) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "attempt_id": "01890000-0000-7000-8000-" + job_id[-12:],
        "child_pid": 7,
        "child_start_time": 8,
        "child_inode": None,
        "proc_nonce": "nonce",
        "isolation": "fork",
        "isolation_reason": None,
        "context": "{}",
    }


@pytest.mark.parametrize("token", [0, 2, 99])
def test_a_start_under_another_token_changes_nothing(
    database: Database, factories: Factories, claimant: Claimant, token: int
) -> None:
    factories.job()
    [claim] = claimant.claim(database)
    before = everything(database)
    with database.write() as transaction:
        move = {"job_id": claim.job_id, "attempt_id": claim.attempt_id, "token": token, "ago": None}
        assert start_attempts(transaction, [move], Actor.WORKER, "w") == []
    assert everything(database) == before
    assert claimant.start(database, claim) == {claim.attempt_id}


def test_a_start_of_an_attempt_that_is_no_longer_the_current_one_changes_nothing(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    job = factories.job()
    [claim] = claimant.claim(database)
    factories.attempt(job, AttemptState.DISPATCHED)
    before = everything(database)
    assert claimant.start(database, claim) == set()
    assert everything(database) == before


def test_a_start_that_is_told_again_is_still_ours(database: Database, factories: Factories, claimant: Claimant) -> None:
    factories.job()
    [claim] = claimant.claim(database)
    assert claimant.start(database, claim) == {claim.attempt_id}
    before = everything(database)
    assert claimant.start(database, claim) == {claim.attempt_id}
    assert claimant.start(database, claim, token=2) == set()
    assert everything(database) == before


def test_an_outcome_under_another_token_leaves_one_ledger_row(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    job = factories.job()
    [claim] = claimant.claim(database)
    before = everything(database)
    assert claimant.settle(database, claim, token=5).decision is None
    after = everything(database)
    assert {name: rows for name, rows in after.items() if "events" not in name} == {
        name: rows for name, rows in before.items() if "events" not in name
    }
    rejected = factories.events_of(job["id"])[-1]
    assert len(after["jobwarden_job_events"]) == len(before["jobwarden_job_events"]) + 1
    assert (rejected["reason"], rejected["actor_type"], rejected["level"]) == (
        "stale_write_rejected",
        "system",
        "attempt",
    )
    assert (rejected["from_state"], rejected["to_state"]) == ("dispatched", "dispatched")
    assert rejected["context"] == {"attempted_to": "succeeded", "token": 5, "current_token": 1}


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.ORPHANED])
def test_an_outcome_that_comes_after_the_end_is_rejected(
    database: Database, factories: Factories, claimant: Claimant, state: JobState
) -> None:
    job = factories.job()
    [claim] = claimant.claim(database)
    with database.write() as transaction:
        ended = sa.update(schema.jobs).where(schema.jobs.c.id == job["id"]).values(state=state.value)
        transaction.execute(ended)
    before = factories.read(schema.jobs, job["id"])
    assert claimant.settle(database, claim).decision is None
    assert factories.read(schema.jobs, job["id"]) == before
    assert factories.events_of(job["id"])[-1]["reason"] == "stale_write_rejected"


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED, Outcome.SNOOZED, Outcome.UNSTARTED])
def test_a_settlement_that_is_told_again_is_accepted_in_silence(
    database: Database, factories: Factories, claimant: Claimant, outcome: Outcome
) -> None:
    factories.job()
    [claim] = claimant.claim(database)
    first = claimant.settle(database, claim, outcome)
    assert first.decision is not None
    before = everything(database)
    assert claimant.settle(database, claim, outcome) == first
    assert everything(database) == before


def test_a_job_is_moved_only_from_where_it_is(database: Database, factories: Factories) -> None:
    job = factories.job(JobState.PENDING)
    before = everything(database)
    wrong = {"job_id": job["id"], "origin": "retrying", "target": "queued"}
    with database.write() as transaction:
        assert move_jobs(transaction, [wrong], Actor.SUPERVISOR, "w") == []
    assert everything(database) == before
    right = {"job_id": job["id"], "origin": "pending", "target": "queued", "reason": "due", "context": '{"a":1}'}
    with database.write() as transaction:
        [won] = move_jobs(transaction, [right], Actor.SUPERVISOR, "w")
    assert won["lane"] == "default"
    [event] = factories.events_of(job["id"])
    assert (event["from_state"], event["to_state"], event["reason"], event["context"], event["actor_id"]) == (
        "pending",
        "queued",
        "due",
        {"a": 1},
        "w",
    )
    assert factories.read(schema.jobs, job["id"])["queued_at"] is not None


def test_an_edge_that_is_not_in_the_table_is_refused_before_anything_is_sent(
    database: Database, factories: Factories
) -> None:
    job = factories.job(JobState.SUCCEEDED)
    before = everything(database)
    with database.write() as transaction:
        move = {"job_id": job["id"], "origin": "succeeded", "target": "queued"}
        with pytest.raises(IllegalTransition, match="from succeeded to queued by operator"):
            move_jobs(transaction, [move], Actor.OPERATOR, "ann")
        closing = {
            "job_id": job["id"],
            "attempt_id": job["id"],
            "token": 1,
            "job_to": "running",
            "attempt_to": "failed",
        }
        with pytest.raises(IllegalTransition):
            close_attempts(transaction, [closing], Actor.WORKER, "w")
    assert everything(database) == before


def test_counters_equal_a_recount_whatever_happens(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    claimant.lanes = ("default", "hot")
    for lane in ("default", "hot"):
        factories.jobs(6, lane=lane)
    claims = claimant.claim(database, 10)
    outcomes = list(Outcome)
    for number, claim in enumerate(claims):
        claimant.settle(database, claim, outcomes[number % len(outcomes)], reason="r")
    with database.read() as transaction:
        counted = sa.select(schema.jobs.c.lane, schema.jobs.c.state, sa.func.count())
        rows = transaction.execute(counted.group_by(schema.jobs.c.lane, schema.jobs.c.state)).all()
    assert factories.counted() == {tuple(row[:2]): row[-1] for row in rows}


def test_a_step_that_is_rolled_back_leaves_nothing(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.job()
    before = everything(database)
    with contextlib.suppress(ZeroDivisionError), database.write() as transaction:
        assert claimant.look(transaction, claimant.seats(1)).seated
        raise ZeroDivisionError
    assert everything(database) == before
