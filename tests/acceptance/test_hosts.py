"""What can happen to a whole host and to each of its daemons, and what it costs: no job, and none done twice."""

from __future__ import annotations

import shutil
import signal
import subprocess
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jobwarden import JobHandle, JobWarden
from jobwarden.store import schema
from tests.acceptance.conftest import PATIENT, QUICK, Start
from tests.faults.story import enqueue_marks, marks_in
from tests.support.factories import Factories
from tests.support.hosts import BELOW_AN_INIT, IN_OWN_PIDS, PATIENCE, Worker, await_beats, await_said, await_state
from tests.support.jobs import SOON
from tests.support.processes import Proc
from tests.support.waiting import eventually

#: Run in a PID namespace: something that has nothing to do with us, as the process that is asked for.
INNOCENT = 'echo $(($1 - 1)) > /proc/sys/kernel/ns_last_pid; setsid sleep "$2" & test $! = "$1"'


def adopted(rows: Factories, job: JobHandle) -> bool:
    """Whether a reaper took the job's process over."""
    return "adopted" in {event["reason"] for event in rows.events_of(job.id)}


def child_of(rows: Factories, job: JobHandle) -> Proc:
    """The process of the job's latest attempt, alive."""
    child = Proc.of(rows.attempts_of(job.id)[-1]["child_pid"])
    assert child is not None
    return child


def daemons(rows: Factories, role: str) -> list[dict[str, Any]]:
    """The rows of all daemons of a role."""
    with rows.database.read() as transaction:
        found = transaction.connection.execute(schema.workers.select().where(schema.workers.c.role == role))
        return [dict(row) for row in found.mappings()]


def reaper_of(worker: Worker) -> Proc:
    """The local reaper beside a worker, once it acts."""
    worker.expect("holds the lease")
    [reaper] = worker.titled("local reaper")
    return reaper


# -- a pid that is used again -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", ["its exit was recorded", "nobody saw its end"])
@pytest.mark.any_engine
def test_a_pid_that_is_used_again_is_neither_taken_for_the_child_nor_signalled(
    app: JobWarden, rows: Factories, start: Start, gate: Path, told: str
) -> None:
    worker = start(before=BELOW_AN_INIT, capacity=2, env={**QUICK, **PATIENT})
    reaper, [supervisor] = reaper_of(worker), worker.titled("jobwarden: supervisor")
    again = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, backoff=SOON)
    once = app.enqueue("charge_at_the_gate", {"gate": str(gate)})
    for job in (again, once):
        await_said(rows, job)
    pids = [rows.attempts_of(job.id)[0]["child_pid"] for job in (again, once)]
    doomed = [*worker.titled("jobwarden: wait_for"), *worker.titled("jobwarden: charge_at_the_gate")]
    assert len(doomed) == 2
    for proc in (reaper, supervisor):
        proc.signal(signal.SIGSTOP)
    supervisor.signal(signal.SIGKILL)
    if told != "its exit was recorded":
        worker.zygote.signal(signal.SIGKILL)
    for proc in doomed:
        proc.signal(signal.SIGKILL)
    strangers = [_take_pid(worker, pid, 600 + n) for n, pid in enumerate(pids)]
    reaper.signal(signal.SIGCONT)
    await_state(again, "retrying", "queued")
    await_state(once, "orphaned")
    assert all(stranger.alive for stranger in strangers), "they are somebody else, and were left alone"
    for job in (again, once):
        [end] = [event for event in rows.events_of(job.id) if event["attempt_to"] == "orphaned"]
        assert (end["context"]["proof"] == "its exit was recorded") == (told == "its exit was recorded")


def _take_pid(worker: Worker, pid: int, seconds: int) -> Proc:
    """Have a stranger become that process of the worker's namespace, once nobody is it any more."""
    inside = worker.titled("jobwarden: local reaper")[0]

    def taken() -> bool:
        enter = ["nsenter", f"--target={inside.pid}", "--pid", "--mount", "sh", "-c", INNOCENT, "sh"]
        return subprocess.run([*enter, str(pid), str(seconds)], check=False).returncode == 0

    eventually(taken, PATIENCE, interval=0.1)
    [stranger] = eventually(lambda: worker.titled(f"sleep {seconds}"), PATIENCE)
    return stranger


# -- a runtime directory that is wiped --------------------------------------------------------------------------------


def wipe(base: Path) -> None:
    """Remove every daemon's directory, although notes are written into it meanwhile."""

    def removed(folder: Path) -> bool:
        with suppress(OSError):
            shutil.rmtree(folder)
        return not folder.exists()

    for folder in [found for found in base.iterdir() if found.is_dir()]:
        eventually(lambda: removed(folder))  # noqa: B023


@pytest.mark.any_engine
def test_a_runtime_directory_that_is_wiped_costs_no_job(
    app: JobWarden, rows: Factories, start: Start, gate: Path, tmp_path: Path
) -> None:
    worker, early = start(capacity=8, env={**QUICK, **PATIENT}), tmp_path / "early"
    reaper_of(worker)
    kinds = ("fork", "pool", "exec")
    ends_before = [app.enqueue("wait_for", {"gate": str(early), "lines": 1}, isolation=kind) for kind in kinds]
    ends_after = [app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, isolation=kind) for kind in kinds]
    for job in (*ends_before, *ends_after):
        await_said(rows, job)
    wipe(worker.runtime_dir)
    early.touch()
    fresh = [app.enqueue("succeed", {"value": n}, isolation=kind) for n, kind in enumerate(kinds * 3)]
    for job in (*ends_before, *fresh):
        await_state(job, "succeeded")
    worker.kill()
    for job in ends_after:
        eventually(lambda: adopted(rows, job), PATIENCE)  # noqa: B023
    gate.touch()
    for job in ends_after:
        await_state(job, "succeeded")
    for job in (*ends_before, *ends_after, *fresh):
        assert len(rows.attempts_of(job.id)) == 1
    worker.gone()


@pytest.mark.any_engine
def test_without_its_note_a_child_that_lost_its_zygote_goes_on(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    """A wiped directory has no note of those who live: it must not be taken for one that ran out."""
    worker = start(capacity=3, env=QUICK)
    jobs = [app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, isolation=kind) for kind in ("fork", "pool")]
    for job in jobs:
        await_said(rows, job)
    wipe(worker.runtime_dir)
    worker.zygote.signal(signal.SIGKILL)
    await_beats(rows, "supervisor", 40)
    gate.touch()
    for job in jobs:
        await_state(job, "succeeded")
        assert len(rows.attempts_of(job.id)) == 1


# -- a host that is gone at once --------------------------------------------------------------------------------------


@pytest.mark.any_engine
def test_a_host_that_dies_at_once_is_recovered_by_another_after_the_death_budget(
    app: JobWarden, rows: Factories, start: Start, reaper: Any, gate: Path
) -> None:
    leader = reaper("global")
    doomed = start(before=IN_OWN_PIDS, capacity=3, env=QUICK)
    again = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, backoff=SOON)
    once = app.enqueue("charge_at_the_gate", {"gate": str(gate)})
    for job in (again, once):
        await_said(rows, job)
    for seat in eventually(lambda: doomed.titled("seat (idle)"), PATIENCE):
        seat.signal(signal.SIGSTOP)
    never_begun = app.enqueue("charge", {})
    eventually(lambda: rows.attempts_of(never_begun.id), PATIENCE)
    assert rows.attempts_of(never_begun.id)[0]["state"] == "dispatched"
    doomed.kill()
    doomed.gone()
    other = start(capacity=3, env=QUICK)
    await_state(once, "orphaned")
    await_state(never_begun, "succeeded")
    gate.touch()
    await_state(again, "succeeded")
    assert "are taken from" in leader.log
    first, second = rows.attempts_of(never_begun.id)
    assert (first["state"], first["started_at"], second["state"]) == ("canceled", None, "succeeded")
    row = rows.read(schema.jobs, never_begun.id)
    assert (row["attempt_count"], row["unspent_count"]) == (2, 1)
    lost, taken = rows.attempts_of(again.id)
    assert (lost["state"], lost["fencing_token"], taken["state"]) == ("orphaned", 2, "succeeded")
    assert taken["pid_scope"] != lost["pid_scope"]
    for job in (again, once):
        [end] = [event for event in rows.events_of(job.id) if event["attempt_to"] == "orphaned"]
        assert end["context"]["silent"] > float(QUICK["JOBWARDEN_DEATH_BUDGET"])
    other.drain()


# -- a child whose every guard is dead --------------------------------------------------------------------------------


def kill_the_guards(worker: Worker) -> None:
    """Supervisor, zygote and local reaper at once: each is stopped before the first is killed."""
    supervisor = next(iter(worker.titled("jobwarden: supervisor")), Proc.of(worker.pid))
    assert supervisor is not None
    guards = [reaper_of(worker), supervisor, worker.zygote]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for guard in guards:
            guard.signal(number)
    eventually(lambda: not any(guard.alive for guard in guards), PATIENCE)


@pytest.mark.any_engine
def test_a_child_whose_every_guard_was_killed_ends_itself_before_another_takes_its_job(
    app: JobWarden, rows: Factories, start: Start, reaper: Any, gate: Path
) -> None:
    reaper("global", before=IN_OWN_PIDS)
    doomed = start(before=BELOW_AN_INIT, capacity=4, env=QUICK)
    kinds = ("fork", "pool", "exec")
    jobs = [app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, isolation=kind, backoff=SOON) for kind in kinds]
    jobs.append(app.enqueue("wait_with_a_child", {"gate": str(gate)}, backoff=SOON))
    for job in jobs:
        await_said(rows, job)
    children = [*doomed.titled("jobwarden: wait_"), *doomed.titled("sleep 987")]
    assert len(children) == len(jobs) + 1
    kill_the_guards(doomed)
    for job in jobs:
        eventually(lambda: len(rows.attempts_of(job.id)) > 1 or job.refresh().state != "running", PATIENCE)  # noqa: B023
        assert not any(child.alive for child in children), "ended before it was taken"
    other = start(capacity=4, env=QUICK)
    gate.touch()
    for job in jobs:
        await_state(job, "succeeded")
        assert [row["state"] for row in rows.attempts_of(job.id)] == ["orphaned", "succeeded"]
    other.drain()


@pytest.mark.any_engine
def test_a_child_whose_every_guard_was_killed_goes_on_under_whoever_comes_in_time(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    in_time = {**QUICK, "JOBWARDEN_SELF_FENCE_TTL": "8", "JOBWARDEN_DEATH_BUDGET": "16"}
    bereft = start(capacity=3, env=in_time)
    kinds = ("fork", "pool", "exec")
    jobs = [app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, isolation=kind) for kind in kinds]
    for job in jobs:
        await_said(rows, job)
    kill_the_guards(bereft)
    other = start(capacity=1, env=in_time)
    for job in jobs:
        eventually(lambda: adopted(rows, job), PATIENCE)  # noqa: B023
    await_beats(rows, "local_reaper", 45)  # past the moment at which they would have ended themselves
    gate.touch()
    for job in jobs:
        await_state(job, "succeeded")
        assert len(rows.attempts_of(job.id)) == 1
    other.drain()


# -- jobs that outlive everything -------------------------------------------------------------------------------------


def test_a_long_job_outlives_every_lease_and_budget_in_one_attempt(
    app: JobWarden, rows: Factories, start: Start, reaper: Any, tmp_path: Path
) -> None:
    """Five death budgets and forty leases long; one beside it loses its supervisor, which is stopped, on the way."""
    marks = tmp_path / "marks"
    leader = reaper("global", before=IN_OWN_PIDS)
    calm = start(capacity=1, env=QUICK)
    reaper_of(calm)
    stopped = start(capacity=1, lanes=["other"], env={**QUICK, **PATIENT})
    untouched, bereft = (
        app.enqueue("append_guarded", {"path": str(marks), "text": lane, "seconds": 25}, lane=lane)
        for lane in ("default", "other")
    )
    eventually(lambda: len(marks_in(marks)) == 2, PATIENCE)
    stopped.signal(signal.SIGSTOP)
    for job in (untouched, bereft):
        await_state(job, "succeeded")
    assert marks_in(marks) == {"default": 1, "other": 1}
    for job in (untouched, bereft):
        [attempt] = rows.attempts_of(job.id)
        assert (attempt["state"], attempt["fencing_token"]) == ("succeeded", 1)
        assert attempt["duration_ms"] >= 25_000
    assert {event["actor_type"] for event in rows.events_of(untouched.id)} <= {"client", "supervisor", "worker"}
    assert adopted(rows, bereft), "ended as hung, and what it ran went on"
    assert stopped.wait() == -signal.SIGKILL
    assert "are taken from" not in leader.log
    calm.drain()


@pytest.mark.timeout(240)
@pytest.mark.any_engine
def test_a_supervisor_that_is_stopped_for_ten_budgets_is_fenced_and_never_overlaps(
    app: JobWarden, rows: Factories, start: Start, reaper: Any, tmp_path: Path, gate: Path
) -> None:
    """It has no reaper beside it, so all that can end its child in time is the zygote."""
    quicker = {**QUICK, "JOBWARDEN_SELF_FENCE_TTL": "1.2", "JOBWARDEN_DEATH_BUDGET": "3.5"}
    marks = tmp_path / "marks"
    leader = reaper("global", before=IN_OWN_PIDS, env=quicker)
    stopped = start(before=IN_OWN_PIDS, capacity=2, env={**quicker, "JOBWARDEN_LOCAL_REAPER": "false"})
    [supervisor] = stopped.titled("jobwarden: supervisor")
    again = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, backoff=SOON)
    once = app.enqueue("append_guarded", {"path": str(marks), "text": "x", "seconds": 600})
    await_said(rows, again)
    eventually(marks.exists, PATIENCE)
    children = [*stopped.titled("jobwarden: wait_for"), *stopped.titled("jobwarden: append_guarded")]
    assert len(children) == 2
    supervisor.signal(signal.SIGSTOP)
    try:
        for job in (once, again):
            eventually(lambda: len(rows.attempts_of(job.id)) > 1 or job.refresh().state != "running", PATIENCE)  # noqa: B023
            assert not any(child.alive for child in children), "ended before it was taken"
        other = start(capacity=2, env=QUICK)
        await_said(rows, again, 2)
        await_beats(rows, "global_reaper", 175)
    finally:
        supervisor.signal(signal.SIGCONT)
    stopped.expect("registers anew")
    gate.touch()
    await_state(again, "succeeded")
    await_state(once, "orphaned")
    assert [row["state"] for row in rows.attempts_of(again.id)] == ["orphaned", "succeeded"]
    assert marks_in(marks) == {"x": 1}
    assert "are taken from" in leader.log
    await_state(app.enqueue("succeed"), "succeeded")
    other.drain()


# -- each daemon stopped for a while ----------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["local reaper", "global reaper", "zygote", "child"])
@pytest.mark.any_engine
def test_whoever_is_stopped_for_several_leases_and_goes_on_costs_nothing(
    app: JobWarden, rows: Factories, start: Start, reaper: Any, tmp_path: Path, gate: Path, role: str
) -> None:
    leader = reaper("global", before=IN_OWN_PIDS)
    worker = start(capacity=3, env=QUICK)
    local = reaper_of(worker)
    waits = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    await_said(rows, waits)
    stopped = {
        "local reaper": local,
        "global reaper": leader.titled("jobwarden: global reaper")[0],
        "zygote": worker.zygote,
        "child": child_of(rows, waits),
    }[role]
    stopped.signal(signal.SIGSTOP)
    try:
        jobs = enqueue_marks(app, tmp_path / "marks", 20, 0.2)
        await_beats(rows, "supervisor", 15)
    finally:
        stopped.signal(signal.SIGCONT)
    gate.touch()
    for job in (waits, *jobs.values()):
        await_state(job, "succeeded")
        assert len(rows.attempts_of(job.id)) == 1
    assert marks_in(tmp_path / "marks") == Counter(list(jobs))
    assert [row["state"] for row in daemons(rows, "supervisor")] == ["active"]
    assert "are taken from" not in leader.log
    worker.drain()
