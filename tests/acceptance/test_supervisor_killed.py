"""A supervisor's death is not its children's: they finish, settle for themselves, and nothing of the host is left."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from jobwarden import JobHandle, JobWarden
from jobwarden.store import schema
from tests.acceptance.conftest import Start
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, await_said, await_state
from tests.support.processes import Proc
from tests.support.waiting import eventually

Params = dict[str, Any]


def test_a_child_outlives_its_supervisor_and_settles_itself(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=2)
    running = app.enqueue("wait_for", {"gate": str(gate), "lines": 400})
    waiting = app.enqueue("charge", {}, lane="nobody")
    await_said(rows, running, 3)
    [child] = worker.titled("jobwarden: wait_for")
    first_owner = rows.attempts_of(running.id)[0]["worker_id"]
    worker.kill()
    eventually(lambda: not worker.titled("seat (idle)"), PATIENCE)
    assert child.alive
    assert worker.titled("jobwarden: zygote"), "the zygote stays until its last child is gone"
    gate.touch()
    await_state(running, "succeeded")
    worker.gone()

    assert running.result >= 400
    attempt = rows.attempts_of(running.id)[0]
    assert (attempt["state"], attempt["child_pid"], attempt["fencing_token"]) == ("succeeded", child.pid, 1)
    assert attempt["duration_ms"] > 0
    lines = rows.logs_of(running.id)
    said = [line["body_ref"] for line in lines if line["source"] == "stdout"]
    assert said == [f"line {n}" for n in range(1, running.result + 1)], "told once each, whoever carried them"
    assert [line["seq"] for line in lines] == list(range(1, len(lines) + 1))
    assert attempt["log_seq"] == len(lines)
    last = rows.events_of(running.id)[-1]
    assert (last["to_state"], last["attempt_to"], last["actor_type"]) == ("succeeded", "succeeded", "worker")
    assert last["actor_id"] == first_owner
    assert waiting.refresh().state == "queued"
    assert [path.name for path in worker.runtime_dir.glob("*/outcomes/*")] == []


def test_a_child_that_fails_without_a_supervisor_is_retried_by_the_next_one(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    first = start(capacity=1)
    job = app.enqueue("fail_at_the_gate", {"gate": str(gate)})
    await_said(rows, job)
    first.kill()
    gate.touch()
    await_state(job, "retrying")
    first.gone()
    assert rows.attempts_of(job.id)[0]["error"]["message"] == "the gate was opened"
    start(capacity=1)
    await_state(job, "succeeded")
    assert [a["state"] for a in rows.attempts_of(job.id)] == ["failed", "succeeded"]


def behind(app: JobWarden, rows: Factories, gate: Path, head: str, *others: tuple[str, Params]) -> list[JobHandle]:
    """Claimed onto one pool seat, all at once: a job of a kind that was quick so far, and others behind it."""
    opened = gate.with_name("opened")
    opened.touch()
    for name, params in [(head, {"gate": str(opened)}), *dict(others).items(), ("succeed", {})]:
        await_state(app.enqueue(name, params, isolation="pool"), "succeeded")  # from now on it is known to be quick
    calls = [(head, {"gate": str(gate), "lines": 1}), *others]
    jobs = list(app.enqueue_many(app.bind(name, params, isolation="pool") for name, params in calls))
    for job in jobs:
        eventually(lambda: rows.attempts_of(job.id), PATIENCE)  # noqa: B023
    seats = {attempt["proc_nonce"] for job in jobs for attempt in rows.attempts_of(job.id)}
    assert len(seats) == 1, "they wait on the seat that is busy"
    return jobs


def test_what_waits_behind_an_attempt_that_takes_longer_than_its_kind_did_runs_elsewhere(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    first = start(capacity=1)
    running, *others = behind(app, rows, gate, "wait_for", *(("succeed", {"value": n}) for n in range(5)))
    for job in others:
        await_state(job, "queued")
        row = rows.read(schema.jobs, job.id)
        assert (row["attempt_count"], row["unspent_count"]) == (1, 1)
        [event] = [event for event in rows.events_of(job.id) if event["attempt_to"] == "canceled"]
        assert "takes longer than its kind did" in event["reason"]
    later = app.enqueue("succeed", {}, isolation="pool")
    second = start(capacity=1)
    assert [await_state(job, "succeeded").result for job in others] == list(range(5))
    await_state(later, "succeeded")
    assert running.refresh().state == "running"
    gate.touch()
    await_state(running, "succeeded")
    assert len(rows.attempts_of(running.id)) == 1
    first.drain()
    second.drain()


def test_what_had_not_begun_when_the_supervisor_died_is_released_and_runs_elsewhere(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    first = start(capacity=1)
    running, *others = behind(app, rows, gate, "wait_deaf", *(("succeed", {"value": n}) for n in range(5)))
    await_said(rows, running)
    first.kill()
    gate.touch()
    await_state(running, "succeeded")
    for job in others:
        await_state(job, "queued")
        row = rows.read(schema.jobs, job.id)
        assert (row["attempt_count"], row["unspent_count"]) == (1, 1)
        assert rows.attempts_of(job.id)[0]["state"] == "canceled"
    first.gone()
    start(capacity=2)
    assert [await_state(job, "succeeded").result for job in others] == list(range(5))


def test_a_seat_settles_all_that_nobody_heard_of_each_with_its_own_lines(
    app: JobWarden, rows: Factories, start: Start, gate: Path, tmp_path: Path
) -> None:
    worker, marks = start(capacity=1), tmp_path / "marks"
    chatter = [("chatter", {"lines": lines}) for lines in (3, 4, 5)]
    jobs = behind(app, rows, gate, "wait_deaf", *chatter, ("append", {"path": str(marks), "text": "x"}))
    await_said(rows, jobs[0])
    worker.signal(signal.SIGSTOP)
    gate.touch()
    eventually(lambda: marks.read_text().count("x") == 2, PATIENCE)
    worker.kill()
    for job in jobs:
        await_state(job, "succeeded")
    worker.gone()
    said = [[line["body_ref"] for line in rows.logs_of(job.id)] for job in jobs]
    assert said == [["line 1"], *([f"line {n}" for n in range(1, lines + 1)] for lines in (3, 4, 5)), []]


def test_a_child_killed_after_it_noted_its_outcome_has_succeeded(app: JobWarden, rows: Factories, start: Start) -> None:
    worker = start(capacity=2)
    jobs = [app.enqueue("die_after_outcome", {}, isolation=isolation) for isolation in ("fork", "pool", "exec")]
    for job in jobs:
        assert await_state(job, "succeeded", "failed", "orphaned").result == "done"
        assert job.state == "succeeded"
        [attempt] = rows.attempts_of(job.id)
        assert Proc.of(attempt["child_pid"]) is None
        assert attempt["term_signal"] == signal.SIGKILL, "how its process ended is kept all the same"
    worker.drain()


@pytest.mark.any_engine
def test_running_attempts_outlive_their_zygote_and_a_new_one_serves(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=2)
    running = app.enqueue("wait_for", {"gate": str(gate), "lines": 5})
    await_said(rows, running, 5)
    old = worker.zygote
    old.signal(signal.SIGKILL)
    after = app.enqueue("who")
    await_state(after, "succeeded")
    eventually(lambda: worker.titled("jobwarden: zygote") and worker.zygote != old, PATIENCE)
    assert running.refresh().state == "running"
    gate.touch()
    assert await_state(running, "succeeded").result == 5
    worker.drain()
    worker.gone()
    [attempt] = rows.attempts_of(running.id)
    assert (attempt["cause"], attempt["exit_code"]) == ("exited", 0), "its supervisor saw how it ended"
    assert "the zygote ended" in worker.log
