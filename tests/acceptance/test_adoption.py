"""A supervisor's death is not its children's: a reaper of the host takes them over and sees each to its proven end."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from jobwarden import JobHandle, JobWarden
from tests.acceptance.conftest import Start
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, Worker, await_said, await_state
from tests.support.processes import Proc
from tests.support.waiting import eventually


def adopted(rows: Factories, job: JobHandle) -> dict[str, Any] | None:
    """The ledger row of the job's adoption, if there is one."""
    return next((event for event in rows.events_of(job.id) if event["reason"] == "adopted"), None)


def await_adopted(rows: Factories, *jobs: JobHandle) -> None:
    eventually(lambda: all(adopted(rows, job) for job in jobs), PATIENCE)


def test_ten_children_of_a_killed_supervisor_are_adopted_and_succeed_once(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=10)
    jobs = [app.enqueue("wait_for", {"gate": str(gate), "lines": 3}) for _ in range(10)]
    for job in jobs:
        await_said(rows, job, 3)
    before = {job.id: rows.attempts_of(job.id)[0] for job in jobs}
    worker.kill()
    await_adopted(rows, *jobs)
    gate.touch()
    for job in jobs:
        await_state(job, "succeeded")
    worker.gone()
    for job in jobs:
        [attempt] = rows.attempts_of(job.id)
        was = before[job.id]
        assert attempt["child_pid"] == was["child_pid"]
        assert attempt["fencing_token"] == was["fencing_token"] == 1
        assert attempt["worker_id"] != was["worker_id"], "its owner is the reaper"
        assert (attempt["state"], attempt["cause"], attempt["exit_code"]) == ("succeeded", "exited", 0)
        assert attempt["peak_rss_bytes"], "its zygote told what it used"
        assert Proc.of(attempt["child_pid"]) is None


def test_an_adopted_child_is_stopped_when_somebody_asks(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=3)
    heeds = app.enqueue("stop_at_checkpoint")
    deaf = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, grace=0.2)
    slow = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, grace=0.2, timeout=12)
    for job in (heeds, deaf, slow):
        await_said(rows, job)
    worker.kill()
    await_adopted(rows, heeds, deaf, slow)
    app.stop(heeds.id, "enough", "ann")
    app.cancel(deaf.id, "not needed", "ben")
    await_state(heeds, "stopped")
    await_state(deaf, "canceled")
    await_state(slow, "retrying")
    assert rows.attempts_of(slow.id)[0]["cause"] == "timed out"
    worker.gone()
    assert any("asked to stop" in line["body_ref"] for line in rows.logs_of(deaf.id))


def test_a_child_that_dies_after_its_supervisor_is_judged_by_its_exit(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=3)
    idempotent = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    once = app.enqueue("charge_at_the_gate", {"gate": str(gate)})
    for job in (idempotent, once):
        await_said(rows, job)
    worker.kill()
    await_adopted(rows, idempotent, once)
    for job in (idempotent, once):
        child = Proc.of(rows.attempts_of(job.id)[0]["child_pid"])
        assert child is not None
        child.signal(signal.SIGKILL)
    await_state(idempotent, "retrying", "queued")
    await_state(once, "orphaned")
    for job in (idempotent, once):
        attempt = rows.attempts_of(job.id)[0]
        assert (attempt["state"], attempt["fencing_token"], attempt["term_signal"]) == ("orphaned", 2, 9)
    [verdict] = [event for event in rows.events_of(once.id) if event["to_state"] == "orphaned"]
    assert (verdict["actor_type"], verdict["attempt_to"]) == ("reaper", "orphaned")
    worker.gone()


def test_a_supervisor_that_hangs_is_ended_and_its_children_go_on(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker: Worker = start(capacity=2, env={"JOBWARDEN_BEAT_INTERVAL": "0.2"})
    job = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    await_said(rows, job)
    worker.signal(signal.SIGSTOP)
    await_adopted(rows, job)
    assert worker.wait() == -signal.SIGKILL
    gate.touch()
    await_state(job, "succeeded")
    assert len(rows.attempts_of(job.id)) == 1
    worker.gone()
