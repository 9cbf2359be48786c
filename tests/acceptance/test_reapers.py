"""Who judges whom: scopes, leases, silence, and what a worker does that was declared dead."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden import JobWarden
from jobwarden.domain.ids import first_at
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import AttemptState, JobState, WorkerState
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.store import schema
from jobwarden.views.audit import AuditFilter, listed
from tests.acceptance.conftest import QUICK, Start
from tests.support.factories import Factories
from tests.support.hosts import IN_OWN_PIDS, PATIENCE, Reaper, Worker, await_beats, await_said, await_state
from tests.support.processes import Proc
from tests.support.waiting import eventually


def test_w21_containers_of_one_machine_do_not_judge_each_others_processes(
    app: JobWarden, rows: Factories, start: Start, reaper: Any, gate: Path
) -> None:
    inside = start(before=IN_OWN_PIDS, capacity=1, env={**QUICK, "JOBWARDEN_LOCAL_REAPER": "false"})
    job = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    await_said(rows, job)
    owner = rows.attempts_of(job.id)[0]["worker_id"]
    outside = reaper("local")
    await_beats(rows, "local_reaper", 8)
    [attempt] = rows.attempts_of(job.id)
    assert (attempt["worker_id"], attempt["state"], attempt["fencing_token"]) == (owner, "running", 1)
    assert "adopted" not in outside.log
    here = {row["pid_scope"] for row in _workers(rows)}
    machines = {row["host_id"] for row in _workers(rows)}
    assert (len(here), len(machines)) == (2, 1), "two scopes on one machine"
    gate.touch()
    await_state(job, "succeeded")
    inside.end()


@pytest.mark.any_engine
def test_containers_that_share_a_runtime_directory_leave_each_others_folders_alone(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    """What looks like a dead keeper from beside is the fence of a living worker, and where its outcomes go."""
    inside = start(before=IN_OWN_PIDS, capacity=1, env={**QUICK, "JOBWARDEN_LOCAL_REAPER": "false"})
    job = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    await_said(rows, job)
    [folder] = [path for path in inside.runtime_dir.iterdir() if path.is_dir()]
    beside = start(before=IN_OWN_PIDS, capacity=1, lanes=["other"], env=QUICK)
    beside.expect("holds the lease")
    await_beats(rows, "local_reaper", 25)
    assert (folder / "keeper.json").exists()
    gate.touch()
    await_state(job, "succeeded")
    assert len(rows.attempts_of(job.id)) == 1


def test_w22_a_living_worker_that_was_declared_dead_begins_anew_as_another(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=2, env=QUICK)
    job = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    await_said(rows, job)
    child = Proc.of(rows.attempts_of(job.id)[0]["child_pid"])
    assert child is not None
    [before] = [row for row in _workers(rows) if row["role"] == "supervisor"]
    with rows.database.write() as transaction:
        named = sa.update(schema.workers).where(schema.workers.c.id == before["id"])
        transaction.connection.execute(named.values(state=WorkerState.DEAD.value))
    worker.expect("registers anew")
    eventually(lambda: not child.alive, PATIENCE)
    after = eventually(lambda: [r for r in _workers(rows) if r["role"] == "supervisor" and r["state"] == "active"])
    assert [row["id"] for row in after] != [before["id"]]
    assert rows.read(schema.workers, before["id"])["state"] == "dead", "it keeps what was said of it"
    await_state(job, "retrying", "queued", "running")
    quick = app.enqueue("succeed")
    await_state(quick, "succeeded")
    assert rows.attempts_of(quick.id)[0]["worker_id"] == after[0]["id"]
    gate.touch()
    worker.drain()


def test_a_worker_whose_row_vanished_writes_it_again(app: JobWarden, rows: Factories, start: Start) -> None:
    worker = start(capacity=1, env=QUICK)
    [row] = [row for row in _workers(rows) if row["role"] == "supervisor"]
    with rows.database.write() as transaction:
        transaction.connection.execute(sa.delete(schema.workers).where(schema.workers.c.id == row["id"]))
    eventually(lambda: [found for found in _workers(rows) if found["id"] == row["id"]], PATIENCE)
    worker.drain()


def test_w27_a_reaper_goes_when_its_supervisor_is_gone_and_nothing_is_left(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=1, env=QUICK)
    worker.expect("holds the lease")
    [first] = worker.titled("local reaper")
    first.signal(signal.SIGKILL)
    worker.expect("local reaper ended")
    eventually(lambda: [proc for proc in worker.titled("local reaper") if proc != first], PATIENCE)
    worker.expect("holds the lease", times=2)
    job = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    await_said(rows, job)
    worker.kill()
    eventually(lambda: any(e["reason"] == "adopted" for e in rows.events_of(job.id)), PATIENCE)
    assert worker.titled("local reaper"), "it stays while it watches something"
    gate.touch()
    await_state(job, "succeeded")
    worker.gone()
    assert {row["state"] for row in _workers(rows) if row["role"] == "local_reaper"} <= {"stopped", "active"}
    folders = [path for path in worker.runtime_dir.iterdir() if path.is_dir()]
    assert folders == [], "and takes away what the supervisor left"


def test_a_spare_takes_the_lease_of_a_dead_reaper_at_once(rows: Factories, reaper: Any) -> None:
    first = reaper("local")
    [row] = _workers(rows)
    spare = reaper_without_lease(rows, first)
    try:
        await_beats(rows, "local_reaper", 3, but=row["id"])
        first.kill()
        spare.expect("holds the lease")
    finally:
        spare.end()


def reaper_without_lease(rows: Factories, first: Worker) -> Reaper:
    url = rows.database.url.render_as_string(hide_password=False)
    spare = Reaper(url, first.runtime_dir, "local", env=QUICK)
    spare.start()
    spare.expect("started")
    return spare


def test_silent_daemons_that_hold_nothing_are_declared_dead(rows: Factories, reaper: Any) -> None:
    roles = ("supervisor", "local_reaper", "scheduler", "global_reaper")
    silent = [rows.worker(beat_ago=3600, role=role) for role in roles]
    leader = reaper("global")
    eventually(lambda: {rows.read(schema.workers, row["id"])["state"] for row in silent} == {"dead"}, PATIENCE)
    assert leader.log.count("is declared dead") == len(silent)


def test_what_a_stopped_worker_left_behind_is_taken_from_its_dark_host(rows: Factories, reaper: Any) -> None:
    """Draining can leave attempts behind, and a row may be gone: neither hides them."""
    stopped = rows.worker(WorkerState.STOPPED, beat_ago=3600)
    left = rows.job(JobState.RUNNING)
    _give(rows, left, stopped["id"])
    rowless = rows.job(JobState.RUNNING, idempotent=False)
    begun = rows.job(JobState.RUNNING, idempotent=False, attempt=AttemptState.DISPATCHED)
    reaper("global")
    ends = {left["id"]: "retrying", rowless["id"]: "orphaned", begun["id"]: "queued"}
    eventually(lambda: {key: rows.read(schema.jobs, key)["state"] for key in ends} == ends, PATIENCE)
    assert rows.attempts_of(left["id"])[0]["state"] == "orphaned"
    row = rows.read(schema.jobs, begun["id"])
    assert (row["attempt_count"], row["unspent_count"]) == (1, 1), "its handler had not begun: no budget is spent"


def test_a_dark_host_of_our_own_scope_is_looked_at(rows: Factories, reaper: Any) -> None:
    """Nobody but the global reaper is there: what lives is left alone however long nobody watches over it."""
    leader = reaper("global")
    mine = next(row for row in _workers(rows) if row["role"] == "global_reaper")
    me = Proc.of(leader.pid)
    assert me is not None
    dead = rows.worker(WorkerState.DEAD, pid_scope=mine["pid_scope"])
    alive, gone = rows.job(JobState.RUNNING), rows.job(JobState.RUNNING)
    _give(rows, alive, dead["id"], child_pid=me.pid, child_start_time=me.start_time, pid_scope=mine["pid_scope"])
    _give(rows, gone, dead["id"], child_pid=me.pid, child_start_time=1, pid_scope=mine["pid_scope"])
    eventually(lambda: rows.read(schema.jobs, gone["id"])["state"] == "retrying", PATIENCE)
    await_beats(rows, "global_reaper", 5)
    assert rows.read(schema.jobs, alive["id"])["state"] == "running", "its process is there"


@pytest.mark.any_engine
def test_a_grandchild_that_lives_in_our_own_scope_holds_the_global_reaper_back(
    rows: Factories, reaper: Any, escaped: tuple[Proc, Proc, str]
) -> None:
    """Its seat is dead and nothing but the nonce in its environment shows whose it is."""
    reaper("global")
    mine = next(row for row in _workers(rows) if row["role"] == "global_reaper")
    dead = rows.worker(WorkerState.DEAD, pid_scope=mine["pid_scope"])
    seat, grandchild, nonce = escaped
    survived, gone = rows.job(JobState.RUNNING), rows.job(JobState.RUNNING)
    stamp = {"child_pid": seat.pid, "child_start_time": seat.start_time, "pid_scope": mine["pid_scope"]}
    _give(rows, survived, dead["id"], proc_nonce=nonce, **stamp)
    _give(rows, gone, dead["id"], **stamp)
    eventually(lambda: rows.read(schema.jobs, gone["id"])["state"] == "retrying", PATIENCE)
    await_beats(rows, "global_reaper", 5)
    assert not seat.alive
    assert rows.read(schema.jobs, survived["id"])["state"] == "running", "something of it lives"
    grandchild.signal(signal.SIGKILL)
    eventually(lambda: rows.read(schema.jobs, survived["id"])["state"] == "retrying", PATIENCE)


@pytest.fixture
def escaped() -> Iterator[tuple[Proc, Proc, str]]:
    """A seat's process that has ended, a grandchild of it in a session of its own that lives, and their nonce."""
    nonce = os.urandom(8).hex()
    script = "read go; setsid sleep 600 >&- & echo $!"
    seat = subprocess.Popen(
        ["sh", "-c", script],
        env={**os.environ, "JOBWARDEN_NONCE": nonce},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    was = Proc.of(seat.pid)
    told, _ = seat.communicate("go\n")
    grandchild = Proc.of(int(told))
    assert was is not None
    assert grandchild is not None
    yield was, grandchild, nonce
    grandchild.signal(signal.SIGKILL)
    eventually(lambda: not grandchild.alive, PATIENCE)


@pytest.mark.any_engine
def test_the_global_reaper_reads_what_the_dead_of_its_own_scope_have_left(
    rows: Factories, reaper: Any, tmp_path: Path
) -> None:
    """Of another scope nothing is believed that lies here: its seats leave their outcomes elsewhere."""
    reaper("global")
    mine = next(row for row in _workers(rows) if row["role"] == "global_reaper")
    ours = rows.worker(WorkerState.DEAD, pid_scope=mine["pid_scope"])
    theirs = rows.worker(WorkerState.DEAD)
    left, elsewhere = (rows.job(JobState.RUNNING, idempotent=False) for _ in range(2))
    folder = RuntimeDir(tmp_path, ours["id"])
    folder.create()
    for job in (left, elsewhere):
        [attempt] = rows.attempts_of(job["id"])
        Path(folder.spool_paths(attempt["proc_nonce"])[0]).touch()
        folder.write_outcome(Report(attempt["id"], Outcome.SUCCEEDED, result="42"))
    never = {"child_pid": os.getpid(), "child_start_time": 1}
    _give(rows, left, ours["id"], pid_scope=mine["pid_scope"], **never)
    _give(rows, elsewhere, theirs["id"], **never)
    ends = {left["id"]: "succeeded", elsewhere["id"]: "orphaned"}
    eventually(lambda: {key: rows.read(schema.jobs, key)["state"] for key in ends} == ends, PATIENCE)
    assert rows.read(schema.jobs, left["id"])["result"] == 42
    assert [row["state"] for row in rows.attempts_of(left["id"])] == ["succeeded"]


def _give(rows: Factories, job: dict[str, Any], worker: str, **stamp: Any) -> None:
    with rows.database.write() as transaction:
        named = sa.update(schema.attempts).where(schema.attempts.c.job_id == job["id"])
        transaction.connection.execute(named.values(worker_id=worker, **stamp))


def _workers(rows: Factories) -> list[dict[str, Any]]:
    with rows.database.read() as transaction:
        return [dict(row) for row in transaction.connection.execute(schema.workers.select()).mappings()]


def test_the_leader_removes_what_was_kept_long_enough_again_and_again(rows: Factories, reaper: Any) -> None:
    """Not what is kept, and not while it does not lead; it beats on meanwhile."""
    stays = rows.job(JobState.FAILED)["id"]
    rules = {"JOBWARDEN_RETAIN": "succeeded=10d", "JOBWARDEN_PRUNE_EVERY": "0.5"}
    old = _old_jobs(rows, 700)
    leader = reaper("global", env={**QUICK, **rules})
    eventually(lambda: rows.count(schema.jobs) == 1, PATIENCE, why=lambda: f"{rows.count(schema.jobs)} are left")
    leader.expect("kept long enough and removed: 700 jobs")
    again = _old_jobs(rows, 1)
    eventually(lambda: rows.count(schema.jobs) == 1, PATIENCE, why=lambda: f"{again} is left")
    assert rows.read(schema.jobs, stays)["state"] == "failed"
    assert not rows.count(schema.attempts) - 1, f"of {len(old)}"
    with rows.database.read() as transaction:
        acts = [entry.action for entry in listed(transaction, AuditFilter(), None, 10).entries]
    assert acts == ["fleet.prune", "fleet.prune"]
    leader.end()


def _old_jobs(rows: Factories, number: int) -> list[str]:
    """Jobs that succeeded eleven days ago."""
    with rows.database.read() as transaction:
        at = transaction.now() - timedelta(days=11)
    ids = [first_at(at)[:-12] + f"{random.getrandbits(48):012x}" for _ in range(number)]
    return [rows.job(JobState.SUCCEEDED, id=job_id, created_at=at, finished_at=at)["id"] for job_id in ids]
