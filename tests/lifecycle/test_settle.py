"""Settle: every report becomes the state, the wait and the words that the rules say; record is fenced by the token."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.report import Cause, Outcome, Report, Usage
from jobwarden.domain.states import Actor, JobState
from jobwarden.lifecycle import operate
from jobwarden.lifecycle.record import Record, Saying, record, record_exits
from jobwarden.lifecycle.settle import Settlement, settle, settle_alone
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories

ERROR = {"class": "ValueError", "message": "no", "trace": "…"}
#                      outcome, of the job, facts of the report    job, attempt, unspent, delay
RULES: list[tuple[Outcome, dict[str, Any], dict[str, Any], tuple[str, str, int, float | None]]] = [
    (Outcome.SUCCEEDED, {}, {"result": '{"a":1}'}, ("succeeded", "succeeded", 0, None)),
    (Outcome.FAILED, {}, {"error": ERROR}, ("retrying", "failed", 0, 3.75)),
    (Outcome.FAILED, {"max_attempts": 1}, {"error": ERROR}, ("failed", "failed", 0, None)),
    (Outcome.FAILED, {"idempotent": False}, {"error": ERROR}, ("failed", "failed", 0, None)),
    (Outcome.FAILED, {}, {"error": ERROR, "retryable": False}, ("failed", "failed", 0, None)),
    (Outcome.FAILED, {"backoff": {"base": 60.0, "jitter": False}}, {"error": ERROR}, ("retrying", "failed", 0, 60.0)),
    (Outcome.LOST, {}, {"error": ERROR}, ("retrying", "failed", 0, 3.75)),
    (Outcome.LOST, {"idempotent": False}, {"error": ERROR}, ("orphaned", "failed", 0, None)),
    (Outcome.LOST, {"idempotent": False, "on_lost": "retry"}, {"error": ERROR}, ("retrying", "failed", 0, 3.75)),
    (Outcome.LOST, {"on_lost": "park"}, {"error": ERROR}, ("orphaned", "failed", 0, None)),
    (Outcome.LOST, {"on_lost": "fail"}, {"error": ERROR}, ("failed", "failed", 0, None)),
    (Outcome.PARKED, {}, {}, ("orphaned", "failed", 0, None)),
    (Outcome.CANCELED, {}, {}, ("canceled", "canceled", 0, None)),
    (Outcome.STOPPED, {}, {}, ("stopped", "stopped", 0, None)),
    (Outcome.SNOOZED, {}, {"delay": 30.0}, ("pending", "stopped", 1, 30.0)),
    (Outcome.UNSTARTED, {}, {}, ("queued", "canceled", 1, None)),
    (Outcome.UNSTARTED, {}, {"delay": 8.0}, ("pending", "canceled", 1, 8.0)),
]


@pytest.mark.parametrize(("outcome", "job", "facts", "expected"), RULES)
def test_every_outcome_goes_where_the_rules_say(
    database: Database,
    factories: Factories,
    claimant: Claimant,
    outcome: Outcome,
    job: dict[str, Any],
    facts: dict[str, Any],
    expected: tuple[str, str, int, float | None],
) -> None:
    made = factories.job(**job)
    [claim] = claimant.claim(database)
    usage = Usage(wall_ms=2000, user_ms=3, system_ms=4, peak_rss=5 << 20)
    decision = claimant.settle(database, claim, outcome, reason="because", usage=usage, **facts).decision
    state, attempt_state, unspent, delay = expected
    assert decision is not None
    assert (decision.job.value, decision.attempt.value) == (state, attempt_state)

    row = factories.read(schema.jobs, made["id"])
    assert (row["state"], row["unspent_count"]) == (state, unspent)
    assert (row["finished_at"] is not None) == (state in ("succeeded", "failed", "canceled", "stopped"))
    waits = state in ("pending", "queued", "retrying", "orphaned")
    assert row["wait_reason"] == ("because" if waits else None)
    assert row["last_error"] == facts.get("error")
    assert row["result"] == ({"a": 1} if outcome is Outcome.SUCCEEDED else None)
    if delay is not None:
        with database.read() as transaction:
            left = (row["available_at"] - transaction.now()).total_seconds()
        assert delay - 20 < left <= delay

    [attempt] = factories.attempts_of(made["id"])
    assert (attempt["state"], attempt["fencing_token"]) == (attempt_state, 1)
    assert (attempt["duration_ms"], attempt["user_ms"], attempt["system_ms"]) == (2000, 3, 4)
    assert attempt["peak_rss_bytes"] == 5 << 20
    assert attempt["finished_at"] is not None
    if outcome is Outcome.UNSTARTED:
        assert attempt["started_at"] is None, "it never began"
    else:
        ran = attempt["finished_at"] - attempt["started_at"]
        assert timedelta(seconds=1.9) < ran < timedelta(seconds=2.1), "its start is reckoned back from its end"

    event = factories.events_of(made["id"])[-1]
    assert (event["from_state"], event["to_state"], event["attempt_to"]) == ("running", state, attempt_state)
    assert (event["actor_type"], event["actor_id"]) == ("worker", claimant.worker_id)
    assert factories.counted() == {("default", state): 1}


@pytest.mark.parametrize(("wish", "state"), [("cancel", "canceled"), ("stop", "stopped")])
def test_a_wish_wins_over_a_retry_and_loses_to_success(
    database: Database, factories: Factories, claimant: Claimant, wish: str, state: str
) -> None:
    factories.jobs(2)
    wished = claimant.claim(database, 2)
    for claim in wished:
        with database.write() as transaction:
            assert getattr(operate, wish)(transaction, claim.job_id, "enough", "ann") == "running"
    failed, succeeded = wished
    claimant.settle(database, failed, Outcome.FAILED, error=ERROR)
    claimant.settle(database, succeeded, Outcome.SUCCEEDED)
    assert factories.read(schema.jobs, failed.job_id)["state"] == state
    assert factories.read(schema.jobs, succeeded.job_id)["state"] == "succeeded"
    [noted] = [event for event in factories.events_of(failed.job_id) if event["actor_type"] == "operator"]
    assert (noted["actor_id"], noted["reason"], noted["context"]) == ("ann", "enough", {"wish": wish})


def test_a_set_is_settled_at_once_each_for_itself(database: Database, factories: Factories, claimant: Claimant) -> None:
    factories.jobs(30)
    claims = claimant.claim(database, 30)
    outcomes = [list(Outcome)[n % len(Outcome)] for n in range(30)]
    given = [
        Settlement(claim.job_id, claim.token if n else 9, Report(claim.attempt_id, outcome, reason=f"{n}"))
        for n, (claim, outcome) in enumerate(zip(claims, outcomes, strict=True))
    ]
    with database.write() as transaction:
        settled = settle(transaction, given, Actor.WORKER, "w")
    assert [answer.attempt_id for answer in settled] == [claim.attempt_id for claim in claims]
    assert settled[0].decision is None
    for claim, answer in zip(claims[1:], settled[1:], strict=True):
        assert answer.decision is not None
        assert factories.read(schema.jobs, claim.job_id)["state"] == answer.decision.job.value
    assert factories.read(schema.jobs, claims[0].job_id)["state"] == "running"


def test_how_the_process_ended_is_kept(database: Database, factories: Factories, claimant: Claimant) -> None:
    factories.job(idempotent=False)
    [claim] = claimant.claim(database)
    claimant.settle(database, claim, Outcome.LOST, cause=Cause.KILLED, signal=9, error=ERROR)
    [attempt] = factories.attempts_of(claim.job_id)
    assert (attempt["cause"], attempt["exit_code"], attempt["term_signal"]) == ("killed", None, 9)
    context = factories.events_of(claim.job_id)[-1]["context"]
    assert context == {"token": 1, "outcome": "lost", "cause": "killed", "exit_code": None, "signal": 9}


def test_settling_alone_brings_its_last_lines_in_the_same_transaction(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.job()
    [claim] = claimant.claim(database)
    said = Record(claim.job_id, claim.attempt_id, claim.token, [Saying(1, "info", "last")])
    pauses: list[float] = []
    settlement = Settlement(claim.job_id, claim.token, Report(claim.attempt_id, Outcome.SUCCEEDED))
    answer = settle_alone(database, settlement, "w", lambda transaction: record(transaction, [said]), pauses.append)
    assert answer.decision is not None
    assert [line["body_ref"] for line in factories.logs_of(claim.job_id)] == ["last"]
    late = Settlement(claim.job_id, 9, Report(claim.attempt_id, Outcome.FAILED))
    assert settle_alone(database, late, "w", pause=pauses.append).decision is None
    assert pauses == []


# -- record -----------------------------------------------------------------------------------------------------------


def _said(claim: Any, *numbers: int, token: int | None = None) -> Record:
    lines = [Saying(number, "info", f"line {number}", context={"n": number}) for number in numbers]
    return Record(
        claim.job_id, claim.attempt_id, token or claim.token, lines, {"fraction": 0.5}, (), {"out": 7, "err": 0}
    )


def test_lines_are_kept_once_and_in_order(database: Database, factories: Factories, claimant: Claimant) -> None:
    factories.jobs(2)
    one, two = claimant.claim(database, 2)
    for records in ([_said(one, 1, 2), _said(two, 1)], [_said(one, 1, 2)], [_said(two, 2, 3), _said(one, 3)]):
        with database.write() as transaction:
            record(transaction, records)
    for claim in (one, two):
        lines = factories.logs_of(claim.job_id)
        assert [(line["seq"], line["body_ref"], line["context"]) for line in lines] == [
            (n, f"line {n}", {"n": n}) for n in (1, 2, 3)
        ]
        [attempt] = factories.attempts_of(claim.job_id)
        assert (attempt["log_seq"], attempt["log_cursor"], attempt["progress"]) == (
            3,
            {"out": 7, "err": 0},
            {"fraction": 0.5},
        )


def test_what_a_fenced_out_attempt_says_is_not_written(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.job()
    [claim] = claimant.claim(database)
    thing = {"id": claim.job_id, "type": "file", "name": "a", "path": "/a"}
    late = _said(claim, 1, token=9)
    with database.write() as transaction:
        record(transaction, [Record(late.job_id, late.attempt_id, 9, late.lines, late.progress, [thing], late.cursor)])
        record_exits(transaction, [{"attempt_id": claim.attempt_id, "token": 9, "cause": "exited", "exit_code": 1}])
    assert factories.logs_of(claim.job_id) == []
    [attempt] = factories.attempts_of(claim.job_id)
    assert (attempt["log_seq"], attempt["progress"], attempt["exit_code"]) == (0, None, None)
    with database.read() as transaction:
        assert transaction.execute(sa.select(schema.artifacts)).all() == []


def test_what_a_job_says_of_itself_is_cut_to_what_the_columns_hold(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.job()
    [claim] = claimant.claim(database)
    thing = {"id": claim.job_id, "type": "t" * 99, "name": "n" * 999, "content_type": "c" * 999, "meta": {"a": 1}}
    line = Saying(1, "info", "x" * 100_000, step="s" * 999)
    with database.write() as transaction:
        record(transaction, [Record(claim.job_id, claim.attempt_id, claim.token, [line], None, [thing])])
    [kept] = factories.logs_of(claim.job_id)
    assert (kept["step"], len(kept["body_ref"])) == ("s" * 200, 100_000)
    with database.read() as transaction:
        [artifact] = transaction.execute(sa.select(schema.artifacts)).all()
    assert (artifact.type, artifact.name, artifact.content_type) == ("t" * 32, "n" * 200, "c" * 200)
    assert artifact.meta == {"a": 1}


def test_exit_facts_do_not_erase_what_is_known(database: Database, factories: Factories, claimant: Claimant) -> None:
    factories.job()
    [claim] = claimant.claim(database)
    claimant.settle(database, claim, cause=Cause.EXITED)
    with database.write() as transaction:
        record_exits(transaction, [{"attempt_id": claim.attempt_id, "token": 1, "exit_code": 0, "user_ms": 12}])
    [attempt] = factories.attempts_of(claim.job_id)
    assert (attempt["cause"], attempt["exit_code"], attempt["user_ms"], attempt["duration_ms"]) == ("exited", 0, 12, 5)


def test_what_a_reaper_ended_for_a_wish_is_called_so_and_what_it_found_lost_is_orphaned(
    database: Database, factories: Factories
) -> None:
    lost, wished = (factories.job(JobState.RUNNING) for _ in range(2))
    with database.write() as transaction:
        operate.cancel(transaction, wished["id"], "not needed", "ann")
    for job in (lost, wished):
        with database.write() as transaction:
            [attempt] = factories.attempts_of(job["id"])
            report = Report(attempt["id"], Outcome.LOST, reason="gone")
            settle(transaction, [Settlement(job["id"], 1, report)], Actor.REAPER, None)
    ends = [factories.attempts_of(job["id"])[0] for job in (lost, wished)]
    assert [(end["state"], end["fencing_token"]) for end in ends] == [("orphaned", 2), ("canceled", 1)]


def test_records_of_one_attempt_that_come_together_are_marked_to_the_last(
    database: Database, factories: Factories
) -> None:
    job = factories.job(JobState.RUNNING)
    [attempt] = factories.attempts_of(job["id"])
    records = [
        Record(job["id"], attempt["id"], 1, [Saying(1, "info", "one"), Saying(2, "info", "two")], {"fraction": 0.5}),
        Record(job["id"], attempt["id"], 1, [Saying(3, "info", "three")], cursor={"out": 9}),
    ]
    with database.write() as transaction:
        record(transaction, records)
    row = factories.attempts_of(job["id"])[0]
    assert (row["log_seq"], row["log_cursor"], row["progress"]) == (3, {"out": 9}, {"fraction": 0.5})
