"""An attempt that asks: what the hook answers is what is reported, and the handler is never entered."""

from __future__ import annotations

import dataclasses
import json

import pytest

from jobwarden.domain.claims import Claim, Purpose
from jobwarden.domain.report import Outcome
from tests.runner.stage import Stage, claim, claim_frame

ANSWERS = {
    "ran": (Outcome.SUCCEEDED, "it had run"),
    "ran without a result": (Outcome.SUCCEEDED, "it had run"),
    "did not run": (Outcome.DID_NOT_RUN, "no such payment"),
    "failed": (Outcome.DID_FAIL, "the card was refused"),
    "fail": (Outcome.DID_FAIL, "refused for good"),
    "unknown": (Outcome.PARKED, "two payments look alike"),
    "park": (Outcome.PARKED, "ask Ann"),
    "snooze": (Outcome.SNOOZED, "snoozed for 7.5 s"),
    "raise": (Outcome.FAILED, "the bank does not answer"),
    "ran with too much": (Outcome.FAILED, "100002 bytes"),
    "wrong": (Outcome.PARKED, "its reconcile hook returned a str and no Outcome"),
    "nothing": (Outcome.PARKED, "its reconcile hook returned None and no Outcome"),
}


def _asking(job: str, kind: str, isolation: str = "fork") -> Claim:
    return dataclasses.replace(claim(job, isolation, kind=kind), idempotent=False, purpose=Purpose.RECONCILE)


@pytest.mark.parametrize("job", ["Asks", "AsksAsync"])
@pytest.mark.parametrize("kind", ANSWERS)
def test_what_the_hook_answers_is_reported(stage: Stage, job: str, kind: str) -> None:
    report, seat = stage.run(_asking(job, kind))
    outcome, words = ANSWERS[kind]
    assert report.outcome is outcome
    assert words in (report.reason or "")
    assert (report.result and json.loads(report.result)) == ({"paid": 3} if kind == "ran" else None)
    assert not any("ENTERED" in line.message for line in stage.said(seat))


@pytest.mark.parametrize("isolation", ["fork", "pool", "exec"])
def test_the_hook_is_asked_in_each_kind_of_process_and_its_lines_are_kept(stage: Stage, isolation: str) -> None:
    report, seat = stage.run(_asking("Asks", "ran", isolation))
    assert report.outcome is Outcome.SUCCEEDED
    assert "asking, to reconcile" in [line.message for line in stage.said(seat)]
    if isolation == "pool":
        report, _ = stage.run(claim("add", "pool", a=1, b=2), seat)
        assert report.result == "3", "and the seat takes the next attempt"


def test_the_hook_is_asked_only_once_its_start_is_committed(stage: Stage) -> None:
    seat = stage.seat()
    made = _asking("Asks", "ran")
    seat.send(claim_frame(made))
    stage.wait_frame(seat, "start")
    assert stage.said(seat) == []
    seat.send({"op": "refuse", "attempt_id": made.attempt_id})
    assert stage.wait_exit(seat).code == 0
    assert stage.said(seat) == []


def test_code_without_the_hook_asks_a_person(stage: Stage) -> None:
    for job in ("Hookless", "add"):
        made = _asking(job, "x") if job == "Hookless" else dataclasses.replace(claim("add", a=1, b=2))
        report, seat = stage.run(dataclasses.replace(made, idempotent=False, purpose=Purpose.RECONCILE))
        assert report.outcome is Outcome.PARKED
        assert f"the job {job!r} was enqueued with a reconcile hook, and its code here has none" in str(report.reason)
        assert stage.said(seat) == []


def test_params_that_no_longer_fit_are_a_failure_of_asking(stage: Stage) -> None:
    made = dataclasses.replace(_asking("Asks", "ran"), params=json.dumps({"customer": 7}))
    seat = stage.seat()
    seat.send(claim_frame(made))
    report = stage.report(seat)
    assert report.outcome is Outcome.FAILED
    assert "do not fit" in (report.reason or "")


def test_a_hook_that_heeds_a_stop_is_stopped(stage: Stage) -> None:
    seat = stage.seat()
    made = _asking("Asks", "stop")
    seat.send(claim_frame(made))
    stage.wait_frame(seat, "start")
    seat.send({"op": "go", "attempt_id": made.attempt_id})
    stage.wait_said(seat, "waiting")
    seat.stop(made.attempt_id)
    assert stage.report(seat).outcome is Outcome.STOPPED
    seat.send({"op": "ack", "attempt_ids": [made.attempt_id]})
    stage.wait_exit(seat)
