"""Control by proof: what is stranded, fenced out, hung, unstamped or stubborn costs neither a job nor a reaper."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden import JobHandle, JobWarden
from jobwarden.domain.states import AttemptState, JobState
from jobwarden.lifecycle.recover import charges_of, orphan
from jobwarden.process import probe
from jobwarden.process.file_locks import writers
from jobwarden.store import schema
from tests.acceptance.conftest import PATIENT, QUICK, Start
from tests.support.engines import Engines
from tests.support.factories import Factories
from tests.support.hosts import IN_OWN_PIDS, PATIENCE, Worker, await_beats, await_said, await_state
from tests.support.jobs import SOON, build
from tests.support.processes import Proc
from tests.support.waiting import eventually

#: More beats than the scaled death budget has.
BUDGET = 35


def child_of(rows: Factories, job: JobHandle) -> Proc:
    """The process of the job's latest attempt, alive."""
    child = Proc.of(rows.attempts_of(job.id)[-1]["child_pid"])
    assert child is not None
    return child


def stamp(rows: Factories, job_id: str, **columns: Any) -> None:
    """Write into a job's attempts, past the door."""
    with rows.database.write() as transaction:
        named = sa.update(schema.attempts).where(schema.attempts.c.job_id == job_id)
        transaction.connection.execute(named.values(**columns))


def daemons(rows: Factories, role: str) -> list[dict[str, Any]]:
    with rows.database.read() as transaction:
        found = transaction.connection.execute(sa.select(schema.workers).where(schema.workers.c.role == role))
        return [dict(row) for row in found.mappings()]


# -- claims ----------------------------------------------------------------------------------------------------------


def test_w04_an_attempt_of_ours_that_no_seat_has_is_resolved_while_its_supervisor_lives(
    app: JobWarden, rows: Factories, start: Start
) -> None:
    worker = start(capacity=1, env=QUICK)
    [me] = daemons(rows, "supervisor")
    begun = {"running": rows.job(JobState.RUNNING, idempotent=False, job="charge")}
    for name in ("dispatched", "retried"):
        attempt = AttemptState.DISPATCHED if name == "dispatched" else AttemptState.RUNNING
        begun[name] = rows.job(JobState.RUNNING, attempt=attempt, job="succeed", backoff=asdict(SOON))
    for job in begun.values():
        stamp(rows, job["id"], worker_id=me["id"], pid_scope=me["pid_scope"])
    ends = {"dispatched": "succeeded", "retried": "succeeded", "running": "orphaned"}
    eventually(
        lambda: {name: rows.read(schema.jobs, job["id"])["state"] for name, job in begun.items()} == ends, PATIENCE
    )
    unspent = {name: rows.read(schema.jobs, job["id"])["unspent_count"] for name, job in begun.items()}
    assert unspent == {"dispatched": 1, "retried": 0, "running": 0}
    assert worker.log.count("no seat here runs it") == 3
    assert [row["id"] for row in daemons(rows, "supervisor")] == [me["id"]]


@pytest.mark.parametrize("name", ["charge", "succeed"])
@pytest.mark.parametrize("killed", ["its seat", "its supervisor too"])
@pytest.mark.any_engine
def test_w05_what_is_lost_before_it_starts_costs_nothing(
    app: JobWarden, rows: Factories, start: Start, name: str, killed: str
) -> None:
    worker = start(capacity=1, env=QUICK)
    worker.expect("holds the lease")
    idle = eventually(lambda: found if len(found := worker.titled("seat (idle)")) == 2 else [], PATIENCE)
    for seat in idle:
        seat.signal(signal.SIGSTOP)
    job = app.enqueue(name, {}, max_attempts=1)
    await_state(job, "running")
    child = child_of(rows, job)
    assert child in idle
    if killed != "its seat":
        worker.kill()
    for seat in sorted(idle, key=lambda seat: seat == child):
        seat.signal(signal.SIGKILL)
        if killed == "its seat":  # another seat is there before the claim comes to nothing
            eventually(lambda: set(worker.titled("seat (idle)")) - set(idle), PATIENCE)
    if killed != "its seat":
        await_state(job, "queued")
        worker = start(capacity=1, env=QUICK)
    await_state(job, "succeeded")
    first, second = rows.attempts_of(job.id)
    assert (first["state"], first["started_at"], second["state"]) == ("canceled", None, "succeeded")
    row = rows.read(schema.jobs, job.id)
    assert (row["attempt_count"], row["unspent_count"]) == (2, 1), "it had one try, and still has it"
    worker.drain()


# -- fences ----------------------------------------------------------------------------------------------------------


def test_w12_a_child_that_was_fenced_out_is_ended_by_its_living_supervisor(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=3, env=QUICK)
    jobs = [
        app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, isolation=isolation)
        for isolation in ("fork", "pool", "exec")
    ]
    for job in jobs:
        await_said(rows, job)
    children = [child_of(rows, job) for job in jobs]
    [me] = daemons(rows, "supervisor")
    with rows.database.write() as transaction:
        assert orphan(transaction, charges_of(transaction, me["id"]), "other", "taken by another", {}) == 3
    eventually(lambda: not any(child.alive for child in children), PATIENCE, why=lambda: worker.log)
    worker.expect("is no longer ours", times=3)
    gate.touch()
    for job in jobs:
        await_state(job, "succeeded")
        assert [row["state"] for row in rows.attempts_of(job.id)] == ["orphaned", "succeeded"]
        assert [row["fencing_token"] for row in rows.attempts_of(job.id)] == [2, 2]
    worker.drain()


# -- hosts that hang -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orphan_children", ["adopt", "kill"])
@pytest.mark.any_engine
def test_w13_a_hung_supervisor_on_a_living_host_is_its_hosts_to_end(
    app: JobWarden, rows: Factories, start: Start, reaper: Any, gate: Path, orphan_children: str
) -> None:
    leader = reaper("global", before=IN_OWN_PIDS, env={**QUICK, "JOBWARDEN_DEATH_BUDGET": "30"})
    worker = start(capacity=1, env={**QUICK, **PATIENT, "JOBWARDEN_ORPHAN_CHILDREN": orphan_children})
    worker.expect("holds the lease")
    job = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, grace=1, backoff=SOON)
    await_said(rows, job)
    child = child_of(rows, job)
    worker.signal(signal.SIGSTOP)
    assert worker.wait() == -signal.SIGKILL, "its host's reaper ended it"
    if orphan_children == "kill":
        await_state(job, "retrying", "queued")
        assert not child.alive, "ended and confirmed before anybody may run it again"
        [end] = [event for event in rows.events_of(job.id) if event["attempt_to"] == "orphaned"]
        assert end["actor_id"] in {row["id"] for row in daemons(rows, "local_reaper")}
    else:
        eventually(lambda: "adopted" in {event["reason"] for event in rows.events_of(job.id)}, PATIENCE)
        assert (child.alive, rows.attempts_of(job.id)[0]["fencing_token"]) == (True, 1)
        gate.touch()
        await_state(job, "succeeded")
        assert len(rows.attempts_of(job.id)) == 1
    assert "are taken from" not in leader.log


@pytest.mark.sqlite
def test_w13_a_supervisor_that_was_stopped_in_the_middle_of_a_write_to_a_file_blocks_nobody(
    engines: Engines, runtime_dir: Path, gate: Path
) -> None:
    """A file has no server that takes a lock from whoever is silent: its host's reaper ends the holder."""
    with engines.database("sqlite") as url:
        app = build(database_url=url)
        rows = Factories(app.database)
        with Worker(url, runtime_dir, capacity=1, env={**QUICK, **PATIENT}) as worker:
            worker.await_ready().expect("holds the lease")
            job = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
            await_said(rows, job)
            lock = app.database.facts.write_lock(app.database.url)
            assert lock is not None
            eventually(lambda: _stopped_while_writing(worker, *lock), PATIENCE, interval=0.001)
            assert worker.wait() == -signal.SIGKILL, "its host's reaper ended it"
            worker.expect("holds the database's write lock and has not run")
            eventually(lambda: "adopted" in {event["reason"] for event in rows.events_of(job.id)}, PATIENCE)
            gate.touch()
            await_state(job, "succeeded")
            assert len(rows.attempts_of(job.id)) == 1
        app.database.dispose()


_HOLD = """
import signal, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA busy_timeout = 30000")
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
signal.pause()
"""


@contextmanager
def _writing(path: str) -> Iterator[Proc]:
    """A program that has nothing to do with us, in the middle of a write; ended afterwards."""
    with subprocess.Popen([sys.executable, "-c", _HOLD, path], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"held\n"
            stranger = Proc.of(process.pid)
            assert stranger is not None
            yield stranger
        finally:
            process.kill()


def _threads(pid: int) -> list[probe.Stat]:
    texts = [Path(f"/proc/{pid}/task/{thread}/stat").read_text() for thread in probe.threads(pid)]
    return [probe.parse_stat(text) for text in texts]


def _stopped_while_writing(worker: Worker, path: str, byte: int) -> bool:
    """Stop the supervisor; unless it holds the lock at that moment, let it go on."""
    os.kill(worker.pid, signal.SIGSTOP)
    eventually(lambda: all(thread.state == "T" for thread in _threads(worker.pid)), PATIENCE)
    if worker.pid in writers(path, byte):
        return True
    os.kill(worker.pid, signal.SIGCONT)
    return False


@pytest.mark.sqlite
def test_who_blocks_everybody_and_is_not_ours_is_named_and_left_alone(engines: Engines, runtime_dir: Path) -> None:
    with engines.database("sqlite") as url:
        app = build(database_url=url)
        with Worker(url, runtime_dir, capacity=1, env={**QUICK, **PATIENT}) as worker:
            worker.await_ready().expect("holds the lease")
            with _writing(str(app.database.url.database)) as stranger:
                worker.expect(f"(pid {stranger.pid}) holds the database's write lock")
                assert stranger.alive
            job = app.enqueue("succeed", {})
            await_state(job, "succeeded")
            worker.drain()
        app.database.dispose()


@pytest.mark.any_engine
def test_w13_nothing_is_orphaned_blind_while_a_reaper_of_its_host_answers(rows: Factories, reaper: Any) -> None:
    scope = "elsewhere:1"
    silent = rows.worker(pid_scope=scope)
    beside = rows.worker(pid_scope=scope, role="local_reaper")
    job = rows.job(JobState.RUNNING)
    stamp(rows, job["id"], worker_id=silent["id"], pid_scope=scope)
    leader = reaper("global")
    with _beating(rows, beside["id"]):
        leader.expect("its host's reaper answers")
        await_beats(rows, "global_reaper", BUDGET)
        assert rows.read(schema.jobs, job["id"])["state"] == "running"
        assert rows.read(schema.workers, silent["id"])["state"] == "active"
    await_beats(rows, "global_reaper", 10)
    assert rows.read(schema.jobs, job["id"])["state"] == "running", "a reaper that is silent for a moment is not gone"
    eventually(lambda: rows.read(schema.jobs, job["id"])["state"] == "retrying", PATIENCE)
    assert rows.read(schema.workers, silent["id"])["state"] == "dead"


@contextmanager
def _beating(rows: Factories, worker_id: str) -> Iterator[None]:
    """Somebody beats for a daemon that is only a row."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(0.1):
            with rows.database.write() as transaction:
                named = sa.update(schema.workers).where(schema.workers.c.id == worker_id)
                transaction.connection.execute(named.values(heartbeat_at=transaction.now()))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


# -- stamps ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lacking", [{"child_start_time": None}, {"child_start_time": 0}, {"child_start_time": None, "child_pid": None}]
)
@pytest.mark.any_engine
def test_w14_a_child_without_a_whole_stamp_is_found_by_its_nonce(
    app: JobWarden, rows: Factories, start: Start, gate: Path, lacking: dict[str, Any]
) -> None:
    worker = start(capacity=2, env={**QUICK, **PATIENT})
    worker.expect("holds the lease")
    job = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    doomed = app.enqueue("charge_at_the_gate", {"gate": str(gate)})
    for handle in (job, doomed):
        await_said(rows, handle)
    child, other = child_of(rows, job), child_of(rows, doomed)
    for handle in (job, doomed):
        stamp(rows, handle.id, child_inode=None, **lacking)
    worker.kill()
    for handle in (job, doomed):
        eventually(lambda: "adopted" in {event["reason"] for event in rows.events_of(handle.id)}, PATIENCE)  # noqa: B023
    assert child.alive
    other.signal(signal.SIGKILL)
    await_state(doomed, "orphaned")
    assert rows.attempts_of(doomed.id)[0]["term_signal"] == signal.SIGKILL
    gate.touch()
    await_state(job, "succeeded")
    assert len(rows.attempts_of(job.id)) == 1
    worker.gone()


@pytest.mark.any_engine
def test_w14_a_child_without_a_whole_stamp_is_never_given_up_while_it_breathes(
    app: JobWarden, rows: Factories, start: Start, reaper: Any, gate: Path
) -> None:
    """Nobody of its host looks after it, and the global reaper is there."""
    reaper("global")
    worker = start(capacity=1, env={**QUICK, **PATIENT, "JOBWARDEN_LOCAL_REAPER": "false"})
    job = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, backoff=SOON)
    await_said(rows, job)
    child = child_of(rows, job)
    stamp(rows, job.id, child_start_time=None, child_inode=None)
    worker.kill()
    eventually(lambda: daemons(rows, "supervisor")[0]["state"] == "dead", PATIENCE)
    await_beats(rows, "global_reaper", 10)
    assert (child.alive, job.refresh().state) == (True, "running")
    child.signal(signal.SIGKILL)
    await_state(job, "retrying", "queued")


# -- daemons that end, or do not --------------------------------------------------------------------------------------


def test_w26_a_mistake_that_repeats_ends_each_daemon_loudly(
    app: JobWarden, rows: Factories, start: Start, reaper: Any
) -> None:
    """An outage is outlasted, and `test_blips` shows that; this is none, so hoping is no help."""
    fleet: list[Worker] = [reaper("global"), reaper("local")]
    fleet.append(start(capacity=1, env={**QUICK, "JOBWARDEN_LOCAL_REAPER": "false"}))
    with rows.database.write() as transaction:
        transaction.connection.exec_driver_sql(f"ALTER TABLE {schema.workers.name} RENAME TO workers_mislaid")
    for daemon in fleet:
        assert daemon.wait() != 0
        assert schema.workers.name in daemon.log.rsplit("Traceback", 1)[-1], daemon.log
        daemon.gone()


@pytest.mark.any_engine
def test_w28_a_zygote_that_is_recycled_leaves_what_runs_alone(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=3, env={**QUICK, "JOBWARDEN_ZYGOTE_RECYCLE": "8"})
    long = [
        app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, isolation=isolation) for isolation in ("fork", "pool")
    ]
    for job in long:
        await_said(rows, job)
    children, first = [child_of(rows, job) for job in long], worker.zygote
    quick = [app.enqueue("succeed", {"value": n}) for n in range(24)]
    for job in quick:
        await_state(job, "succeeded")
    worker.expect("zygote ready", times=3)
    assert first.alive, "it stays with its children"
    assert all(child.alive for child in children)
    gate.touch()
    for job in (*long, *quick):
        await_state(job, "succeeded")
        row = rows.read(schema.jobs, job.id)
        assert row["attempt_count"] - row["unspent_count"] == 1
    for job, child in zip(long, children, strict=True):
        assert [attempt["child_pid"] for attempt in rows.attempts_of(job.id)] == [child.pid]
    eventually(lambda: not first.alive, PATIENCE)
    assert [row["state"] for row in daemons(rows, "supervisor")] == ["active"]
    worker.drain()


@pytest.mark.any_engine
def test_w39_a_reaper_that_ends_twenty_stubborn_children_beats_on_and_ends_them_side_by_side(
    app: JobWarden, rows: Factories, start: Start, reaper: Any, tmp_path: Path
) -> None:
    leader = reaper("global", before=IN_OWN_PIDS)
    worker = start(capacity=20, env={**QUICK, **PATIENT, "JOBWARDEN_ORPHAN_CHILDREN": "kill"})
    worker.expect("holds the lease")
    beside = _of(rows, start(capacity=1, lanes=["nobody"], env=QUICK))
    jobs = [app.enqueue("ignore_term", {}, timeout=600, grace=3) for _ in range(20)]
    for job in jobs:
        await_said(rows, job)
    children = [child_of(rows, job) for job in jobs]
    [reaping] = worker.titled("local reaper")
    worker.kill()
    for job in jobs:
        eventually(lambda: any(line["step"] == "stop" for line in rows.logs_of(job.id)), PATIENCE)  # noqa: B023
    assert sum(child.alive for child in children) == 20, "all are asked before the grace of one is over"
    await_beats(rows, "local_reaper", 8, but=beside["id"])
    for job in jobs:
        await_state(job, "failed")
    assert not any(child.alive for child in children)
    lines = sorted((line for job in jobs for line in rows.logs_of(job.id)), key=lambda line: int(line["id"]))
    steps = [line["step"] for line in lines if line["step"] in ("stop", "kill")]
    assert steps == ["stop"] * 20 + ["kill"] * 20
    worker.gone()
    assert not reaping.alive
    assert "local_reaper" not in leader.log, "nobody declared it dead"
    assert {row["state"] for row in daemons(rows, "local_reaper")} == {"stopped", "active"}


def _of(rows: Factories, worker: Worker) -> dict[str, Any]:
    """The row of the local reaper beside a worker, once it has registered."""

    def registered() -> dict[str, Any] | None:
        mine = {proc.pid for proc in worker.titled("local reaper")}
        return next((row for row in daemons(rows, "local_reaper") if row["pid"] in mine), None)

    row = eventually(registered, PATIENCE)
    assert row is not None
    return row
