"""One attempt's story, from its claim to its acknowledgement."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path

import pytest

from jobwarden.domain.report import Cause, Outcome
from jobwarden.process import probe
from tests.runner.stage import Stage, claim, claim_frame
from tests.support.waiting import eventually

# -- coming out of a handler


def test_a_return_value_is_the_result(stage: Stage) -> None:
    report, seat = stage.run(claim("add", a=20, b=22))
    assert (report.outcome, report.result) == (Outcome.SUCCEEDED, "42")
    assert report.usage.wall_ms is not None
    assert report.usage.peak_rss is not None
    assert stage.wait_exit(seat).code == 0
    assert stage.runtime.read_outcome(report.attempt_id) is None, "an acknowledged outcome needs no file"


def test_an_exception_is_a_failure_with_everything_about_it(stage: Stage) -> None:
    report, seat = stage.run(claim("fail", odd=True))
    assert report.outcome is Outcome.FAILED
    assert report.error is not None
    assert report.error["class"] == "RuntimeError"
    assert report.error["message"] == "it broke \ufffd\u2400"
    assert Path(report.error["location"].rpartition(":")[0]).name == "jobs.py"
    assert report.error["previous"]["class"] == "KeyError"
    assert "jobwarden/runner" not in report.error["trace"]
    assert report.error["trace"].startswith("Traceback")
    assert stage.wait_exit(seat).code == 1


def test_sys_exit_is_a_failure_and_the_exit_code(stage: Stage) -> None:
    report, seat = stage.run(claim("leave", code=3))
    assert (report.outcome, report.exit_code, report.cause) == (Outcome.FAILED, 3, Cause.EXITED)
    assert report.error is not None
    assert report.error["class"] == "SystemExit"
    assert stage.wait_exit(seat).code == 3


@pytest.mark.parametrize(
    ("kind", "outcome", "reason"),
    [
        ("snooze", Outcome.SNOOZED, "snoozed for 7.5 s"),
        ("fail", Outcome.FAILED, "never again"),
        ("park", Outcome.PARKED, "ask Ann"),
        ("cancel", Outcome.CANCELED, "not needed"),
        ("stopped", Outcome.STOPPED, "the handler honoured a stop"),
    ],
)
def test_an_ending_passes_through_careless_code(stage: Stage, kind: str, outcome: Outcome, reason: str) -> None:
    report, _ = stage.run(claim("raise_ending", kind=kind))
    assert (report.outcome, report.reason) == (outcome, reason)
    assert report.delay == (7.5 if kind == "snooze" else None)
    assert report.retryable is (False if kind == "fail" else None)


def test_an_ending_in_a_task_group_is_an_ending(stage: Stage) -> None:
    report, _ = stage.run(claim("snooze_in_group"))
    assert (report.outcome, report.delay) == (Outcome.SNOOZED, 3)


def test_a_result_that_is_too_large_fails_loudly_and_the_largest_that_fits_does_not(stage: Stage) -> None:
    report, _ = stage.run(claim("big", size=98), limit=100)
    assert report.outcome is Outcome.SUCCEEDED
    report, _ = stage.run(claim("big", size=1 << 20))
    assert report.outcome is Outcome.FAILED
    assert report.retryable is False
    assert "1048578 bytes" in (report.reason or "")
    report, _ = stage.run(claim("unstorable"))
    assert "not JSON data" in (report.reason or "")


def test_an_async_handler_runs_in_a_loop_of_its_own(stage: Stage) -> None:
    report, seat = stage.run(claim("sleep_async"))
    assert report.result == '"slept"'
    assert [line.message for line in stage.said(seat)] == ["slept"]


def test_the_context_knows_its_attempt(stage: Stage) -> None:
    made = dataclasses.replace(
        claim("facts"), label="cat:42", tags={"store": "42"}, batch_id="b", scheduled_for="2026-01-02T03:04:05+00:00"
    )
    report, _ = stage.run(made)
    facts = json.loads(report.result or "")
    assert facts == {
        "job_id": made.job_id,
        "attempt_id": made.attempt_id,
        "number": 1,
        "token": 7,
        "job": "facts",
        "label": "cat:42",
        "lane": "default",
        "tags": {"store": "42"},
        "batch": "b",
        "scheduled": "2026-01-02T03:04:05Z",
    }


# -- before the handler


@pytest.mark.parametrize("isolation", ["fork", "pool"])
def test_a_job_that_is_not_known_here_is_given_back_for_later(stage: Stage, isolation: str) -> None:
    seat = stage.seat()
    made = dataclasses.replace(claim("nobody", isolation), unspent=3)
    seat.send(claim_frame(made))
    report = stage.report(seat)
    assert (report.outcome, report.delay) == (Outcome.UNSTARTED, 40)
    assert "'nobody'" in (report.reason or "")
    seat.send({"op": "ack", "attempt_ids": [made.attempt_id]}, {"op": "bye"})
    assert stage.wait_exit(seat).code == 0


def test_params_that_do_not_fit_never_enter_the_handler(stage: Stage) -> None:
    seat = stage.seat()
    made = claim("add", a="x")
    seat.send(claim_frame(made))
    report = stage.report(seat)
    assert (report.outcome, report.retryable) == (Outcome.FAILED, False)
    assert "do not fit" in (report.reason or "")
    seat.send({"op": "ack", "attempt_ids": [made.attempt_id]})
    assert stage.wait_exit(seat).code == 1


def test_what_is_not_idempotent_waits_for_the_barrier(stage: Stage, tmp_path: Path) -> None:
    seat, mark = stage.seat(), tmp_path / "mark"
    made = dataclasses.replace(claim("touch", path=str(mark)), idempotent=False)
    seat.send(claim_frame(made))
    start = stage.wait_frame(seat, "start")
    assert (start["attempt_id"], start["out"], start["err"]) == (made.attempt_id, 0, 0)
    found = eventually(lambda: (stat := probe.stat(seat.process.pid)) and stat.state == "S" and stat)
    assert found
    assert not mark.exists()
    seat.send({"op": "go", "attempt_id": made.attempt_id})
    assert stage.report(seat).outcome is Outcome.SUCCEEDED
    assert mark.exists()
    seat.send({"op": "ack", "attempt_ids": [made.attempt_id]})
    stage.wait_exit(seat)


def test_a_refused_start_never_enters_the_handler(stage: Stage, tmp_path: Path) -> None:
    seat, mark = stage.seat(), tmp_path / "mark"
    made = dataclasses.replace(claim("touch", path=str(mark)), idempotent=False)
    seat.send(claim_frame(made))
    stage.wait_frame(seat, "start")
    seat.send({"op": "refuse", "attempt_id": made.attempt_id})
    assert stage.wait_exit(seat).code == 0
    assert not mark.exists()


# -- isolation


def test_forks_share_nothing_and_pool_attempts_share_their_process(stage: Stage) -> None:
    for value in ("a", "b"):
        assert stage.run(claim("set_global", value=value))[0].result is None
    seat = stage.seat()
    reports = [stage.run(claim("set_global", "pool", value=value), seat)[0] for value in "abc"]
    assert [report.result for report in reports] == [None, '"a"', '"b"']
    seat.send({"op": "bye"})
    assert stage.wait_exit(seat).code == 0


def test_an_exec_attempt_has_a_fresh_interpreter_in_the_same_process(stage: Stage) -> None:
    seat = stage.seat()
    report, _ = stage.run(dataclasses.replace(claim("who", "exec"), idempotent=False), seat)
    who = json.loads(report.result or "")
    assert who["pid"] == who["session"] == seat.process.pid
    assert who["nonce"] == seat.nonce
    assert who["title"].startswith("jobwarden: who ")
    assert "--seat-fd" in who["argv"]
    end = stage.wait_exit(seat)
    assert (end.process, end.code) == (seat.process, 0), "pid and start time stayed"


def test_a_seat_is_a_clean_place(stage: Stage) -> None:
    made = dataclasses.replace(claim("who"), idempotent=False)
    first, second = (json.loads(stage.run(dataclasses.replace(made, attempt_id=n))[0].result or "") for n in "xy")
    assert first["threads"] == 1
    assert first["title"] == "jobwarden: who x"
    assert first["random"] != second["random"]
    assert len(first["fds"]) <= 6, "standard streams, the socket, and the folder being listed"


# -- pool


def test_a_queue_of_pool_attempts_runs_in_order(stage: Stage) -> None:
    seat = stage.seat()
    queue = [claim("add", "pool", a=n, b=0) for n in range(50)]
    seat.send(*map(claim_frame, queue))
    reports = [stage.report(seat) for _ in queue]
    assert [report.attempt_id for report in reports] == [made.attempt_id for made in queue]
    assert [report.result for report in reports] == [str(n) for n in range(50)]
    assert set(stage.runtime.outcomes()) >= {made.attempt_id for made in queue}
    seat.send({"op": "ack", "attempt_ids": [made.attempt_id for made in queue]}, {"op": "bye"})
    assert stage.wait_exit(seat).code == 0
    assert not set(stage.runtime.outcomes()) & {made.attempt_id for made in queue}


def test_a_queued_attempt_that_is_refused_is_skipped(stage: Stage) -> None:
    seat = stage.seat()
    slow, refused, last = claim("nap", "pool", seconds=0.2), claim("noop", "pool"), claim("add", "pool", a=1, b=1)
    seat.send(*map(claim_frame, (slow, refused, last)))
    stage.wait_frame(seat, "start")
    seat.send({"op": "refuse", "attempt_id": refused.attempt_id})
    assert [stage.report(seat).attempt_id for _ in range(2)] == [slow.attempt_id, last.attempt_id]
    seat.send({"op": "ack", "attempt_ids": [slow.attempt_id, last.attempt_id]}, {"op": "bye"})
    assert stage.wait_exit(seat).code == 0


def test_outcomes_are_not_held_back_by_an_attempt_that_takes_unexpectedly_long(stage: Stage) -> None:
    seat = stage.seat()
    quick = [claim("nap", "pool", seconds=0) for _ in range(5)]
    slow = claim("nap", "pool", seconds=600)
    seat.send(*map(claim_frame, (*quick, slow)))
    for made in quick:
        assert stage.report(seat).attempt_id == made.attempt_id
    starts = [stage.wait_frame(seat, "start")["attempt_id"] for _ in range(6)]
    assert starts[-1] == slow.attempt_id
    seat.kill_tree()
    assert stage.wait_exit(seat).signal == 9


def test_each_pool_attempt_has_its_own_stretch_of_the_spool(stage: Stage) -> None:
    seat = stage.seat()
    stretches = []
    for n in (3, 5):
        made = claim("talk", "pool", lines=n)
        seat.send(claim_frame(made))
        start, end = stage.wait_frame(seat, "start"), stage.wait_frame(seat, "outcome")
        stretches.append((start, end))
        lines, *_ = seat.spool.read(start["out"], start["err"], end["out"], end["err"], final=True)
        assert [line.message for line in lines] == [f"line {m}" for m in range(n)]
        seat.send({"op": "ack", "attempt_ids": [made.attempt_id]})
    assert stretches[0][1]["out"] == stretches[1][0]["out"]
    seat.send({"op": "bye"})
    stage.wait_exit(seat)


# -- stop


def test_term_is_a_wish_that_a_handler_may_see(stage: Stage) -> None:
    seat = stage.seat()
    made = claim("wait_for_stop")
    seat.send(claim_frame(made))
    stage.wait_said(seat, "waiting")
    seat.stop(made.attempt_id)
    report = stage.report(seat)
    assert (report.outcome, report.result) == (Outcome.STOPPED, '"done"')
    seat.send({"op": "ack", "attempt_ids": [made.attempt_id]})
    assert stage.wait_exit(seat).code == 0


def test_a_handler_that_never_looked_has_succeeded(stage: Stage) -> None:
    seat = stage.seat()
    made = claim("wait_for_stop", look=False)
    seat.send(claim_frame(made))
    stage.wait_said(seat, "waiting")
    seat.signal(signal.SIGTERM)
    report = stage.report(seat)
    assert (report.outcome, report.result) == (Outcome.SUCCEEDED, '"done"')
    seat.send({"op": "ack", "attempt_ids": [made.attempt_id]})
    stage.wait_exit(seat)


def test_a_checkpoint_raises_and_a_class_job_is_told(stage: Stage) -> None:
    for made, outcome, result in (
        (claim("stop_at_checkpoint"), Outcome.STOPPED, None),
        (claim("Told", reason="why"), Outcome.SUCCEEDED, '"why: told"'),
    ):
        seat = stage.seat()
        seat.send(claim_frame(made))
        stage.wait_said(seat, "waiting")
        seat.stop(made.attempt_id)
        report = stage.report(seat)
        assert (report.outcome, report.result) == (outcome, result)
        seat.send({"op": "ack", "attempt_ids": [made.attempt_id]})
        stage.wait_exit(seat)


def test_a_stop_that_names_another_attempt_does_not_stop_this_one(stage: Stage) -> None:
    seat = stage.seat()
    running, queued = claim("wait_for_stop", "pool"), claim("wait_for_stop", "pool")
    seat.send(claim_frame(running), claim_frame(queued))
    stage.wait_said(seat, "waiting")
    seat.stop(queued.attempt_id)
    seat.stop(running.attempt_id)
    assert stage.report(seat).attempt_id == running.attempt_id
    report = stage.report(seat)
    assert (report.attempt_id, report.outcome) == (queued.attempt_id, Outcome.UNSTARTED), "its wish waited for it"
    seat.send({"op": "ack", "attempt_ids": [running.attempt_id, queued.attempt_id]}, {"op": "bye"})
    stage.wait_exit(seat)


# -- the tree


@pytest.mark.parametrize("isolation", ["fork", "pool"])
@pytest.mark.parametrize("deaf", [False, True])
def test_what_a_handler_leaves_behind_is_ended_and_reported(stage: Stage, isolation: str, deaf: bool) -> None:
    report, seat = stage.run(claim("leave_grandchild", isolation, deaf=deaf))
    assert report.outcome is Outcome.SUCCEEDED
    pid = int(report.result or 0)
    assert not Path(f"/proc/{pid}").exists(), "the tree was empty before the outcome was told"
    said = [line.message for line in stage.said(seat)]
    assert any(f"left 1 process behind: {pid} " in message and message.endswith("; ended") for message in said)
    seat.send({"op": "bye"})
    assert stage.wait_exit(seat).leftovers == ()


def test_pythons_own_helper_is_not_a_leftover(stage: Stage) -> None:
    report, seat = stage.run(claim("use_multiprocessing"))
    assert report.outcome is Outcome.SUCCEEDED
    assert report.usage.wall_ms is not None
    assert report.usage.wall_ms < 900, "nothing waited for a helper that ignores TERM"
    assert not any("behind" in line.message for line in stage.said(seat))


# -- what outlives it


@pytest.mark.parametrize("isolation", ["fork", "pool"])
def test_an_outcome_survives_a_kill_before_anyone_heard_it(stage: Stage, isolation: str) -> None:
    seat = stage.seat()
    made = claim("add", isolation, a=1, b=2)
    seat.send(claim_frame(made))
    report = eventually(lambda: stage.runtime.read_outcome(made.attempt_id))
    seat.signal(signal.SIGKILL)
    assert stage.wait_exit(seat).signal in (9, None)
    assert report == stage.runtime.read_outcome(made.attempt_id)
    assert report is not None
    assert report.result == "3"


def test_the_last_words_of_a_killed_child_are_kept(stage: Stage) -> None:
    seat = stage.seat()
    seat.send(claim_frame(claim("last_words")))
    assert stage.wait_exit(seat).signal == 9
    assert [line.message for line in stage.said(seat)] == ["my last words"]


def test_a_crash_in_native_code_leaves_its_stack(stage: Stage) -> None:
    seat = stage.seat()
    seat.send(claim_frame(claim("segfault")))
    assert stage.wait_exit(seat).signal == signal.SIGSEGV
    said = "\n".join(line.message for line in stage.said(seat))
    assert "Segmentation fault" in said
    assert "in segfault" in said


# -- limits


def test_memory_over_the_limit_is_an_error_that_is_reported(stage: Stage) -> None:
    report, _ = stage.run(dataclasses.replace(claim("eat", megabytes=400), memory=150 << 20))
    assert (report.outcome, report.cause) == (Outcome.FAILED, Cause.OUT_OF_MEMORY)
    report, _ = stage.run(dataclasses.replace(claim("eat", megabytes=50), memory=150 << 20))
    assert report.outcome is Outcome.SUCCEEDED


def test_a_full_disk_costs_lines_and_not_the_outcome(stage: Stage) -> None:
    report, seat = stage.run(claim("fill_disk", limit=100_000))
    assert (report.outcome, report.result) == (Outcome.SUCCEEDED, '"survived"')
    assert os.path.getsize(stage.runtime.spool_paths(seat.nonce)[0]) <= 100_000
    assert stage.wait_exit(seat).code == 0
