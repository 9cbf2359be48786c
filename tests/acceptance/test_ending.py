"""Ending an attempt: nothing of it is alive when the database says that it is over, whatever it did to escape."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
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

CONFIRMED = "confirmed: nothing of it is alive"
_FREEZER = Path("/sys/fs/cgroup/freezer")
_UNIFIED = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


def said(rows: Factories, job: JobHandle) -> list[str]:
    return [line["body_ref"] for line in rows.logs_of(job.id)]


def bred(rows: Factories, job: JobHandle) -> list[Proc]:
    """The seat and the grandchildren of a `breed`, as they are now."""

    def line() -> str | None:
        return next((text for text in said(rows, job) if text.startswith("bred ")), None)

    pids = eventually(line, PATIENCE, interval=0.02, why=lambda: (job.refresh().state, said(rows, job)))
    procs = [Proc.of(int(pid)) for pid in str(pids).split()[1:]]
    assert len(procs) == 3
    assert all(procs), "all three are there before anybody asks for an end"
    return [proc for proc in procs if proc is not None]


def ended(rows: Factories, job: JobHandle, procs: list[Proc], state: str) -> None:
    """The very moment at which the state shows, none of the processes is alive."""
    found = eventually(lambda: job.refresh().state.value != "running" and job.state.value, PATIENCE, interval=0.005)
    alive = [proc for proc in procs if proc.alive]
    assert (found, alive) == (state, []), [proc.command for proc in alive]


@pytest.mark.parametrize("heed", [True, False], ids=["heeds", "deaf"])
@pytest.mark.any_engine
def test_a_hundred_cancels_leave_nothing_of_what_escaped(
    app: JobWarden, rows: Factories, start: Start, heed: bool
) -> None:
    start(capacity=20)
    jobs: list[JobHandle] = []
    for _ in range(5):
        jobs = [app.enqueue("breed", {"heed": heed}) for _ in range(20)]
        families = {job.id: bred(rows, job) for job in jobs}
        for job in jobs:
            app.cancel(job.id, "enough", "ann")
        waiting = list(jobs)
        while waiting:
            job = waiting.pop(0)
            if job.refresh().state.value == "running":
                waiting.append(job)
                continue
            assert job.state.value == "canceled"
            alive = [proc.command for proc in families[job.id] if proc.alive]
            assert not alive, f"{job.id} is canceled and {alive} are alive"
    assert CONFIRMED in said(rows, jobs[0])


@pytest.mark.parametrize("isolation", ["fork", "pool", "exec"])
def test_w10_a_stop_ends_grandchildren_too(app: JobWarden, rows: Factories, start: Start, isolation: str) -> None:
    start(capacity=2)
    heeds, deaf = (app.enqueue("breed", {"heed": heed}, isolation=isolation) for heed in (True, False))
    families = [bred(rows, job) for job in (heeds, deaf)]
    for job in (heeds, deaf):
        app.stop(job.id, "enough", "ann")
    seat, *family = families[0]
    ended(rows, heeds, family if isolation == "pool" else [seat, *family], "stopped")
    ended(rows, deaf, families[1], "stopped")
    lines = said(rows, deaf)
    steps = ["asked to stop: a stop request: enough", "killed with everything below it", CONFIRMED]
    places = [next(n for n, line in enumerate(lines) if line.startswith(step)) for step in steps]
    assert places == sorted(places)
    assert str(families[1][1].pid) in lines[places[1]], "the log names what was alive"
    [attempt] = rows.attempts_of(deaf.id)
    assert (attempt["state"], attempt["term_signal"]) == ("stopped", 9)


@pytest.mark.any_engine
def test_w10_a_fence_ends_grandchildren_too(app: JobWarden, rows: Factories, start: Start) -> None:
    start(capacity=1)
    job = app.enqueue("breed", {"heed": False})
    family = bred(rows, job)
    with app.database.write() as transaction:
        moved = schema.attempts.update().where(schema.attempts.c.job_id == job.id)
        transaction.connection.execute(moved.values(fencing_token=schema.attempts.c.fencing_token + 1))
    eventually(lambda: not any(proc.alive for proc in family), PATIENCE)
    assert job.refresh().state == "running", "what became of it is somebody else's to say"


@pytest.mark.any_engine
def test_w31_a_timeout_ends_the_attempt_with_all_that_it_started(app: JobWarden, rows: Factories, start: Start) -> None:
    start(capacity=1)
    job = app.enqueue("breed_too_long")
    ended(rows, job, bred(rows, job), "failed")
    [attempt] = rows.attempts_of(job.id)
    assert (attempt["cause"], attempt["error"]["class"]) == ("timed out", "TimeoutExceeded")
    assert CONFIRMED in said(rows, job)


@pytest.mark.any_engine
def test_w31_a_soft_limit_flags_the_attempt_that_runs_too_long_and_no_other(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    start(capacity=1)
    job = app.enqueue("fail_at_the_gate", {"gate": str(gate)}, max_runtime=0.2)
    stuck = "stuck: it runs longer than its max_runtime of 0.2 s"
    eventually(lambda: stuck in said(rows, job), PATIENCE)
    assert job.refresh().state == "running", "it is flagged, not ended"
    gate.touch()
    await_state(job, "succeeded")
    flagged = {line["attempt_id"] for line in rows.logs_of(job.id) if line["body_ref"] == stuck}
    assert flagged == {rows.attempts_of(job.id)[0]["id"]}, "the clock of the second attempt began with it"


@pytest.mark.parametrize("isolation", ["fork", "pool"])
@pytest.mark.any_engine
def test_w11_a_handler_that_heeds_a_stop_and_returns_is_stopped_and_not_succeeded(
    app: JobWarden, rows: Factories, start: Start, isolation: str
) -> None:
    start(capacity=2)
    tidy, broken = (app.enqueue("Tidy", {"broken": broken}, isolation=isolation) for broken in (False, True))
    for job in (tidy, broken):
        await_said(rows, job)
        app.stop(job.id, "enough", "ann")
        await_state(job, "stopped")
    assert "on_terminate ran" in said(rows, tidy)
    assert any(line.startswith("on_terminate raised:") and "no time" in line for line in said(rows, broken))
    assert tidy.result == "half of it"


@pytest.mark.any_engine
def test_what_was_canceled_before_its_handler_began_never_enters_it(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    start(capacity=1)
    first = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, isolation="pool")
    await_said(rows, first)
    behind = app.enqueue("append", {"path": str(gate.with_name("mark"))}, isolation="pool")
    app.cancel(behind.id, "not needed", "ann")
    gate.touch()
    await_state(first, "succeeded")
    await_state(behind, "canceled")
    assert not gate.with_name("mark").exists()


@pytest.mark.any_engine
def test_a_swarm_that_starts_itself_again_is_ended(app: JobWarden, rows: Factories, start: Start) -> None:
    worker = start(capacity=1)
    job = app.enqueue("swarm", {"count": 100})
    await_said(rows, job)
    eventually(lambda: len(worker.tree()) > 200, PATIENCE)
    swarm = [proc for proc in worker.tree() if "jobwarden: swarm" in proc.command]
    assert len(swarm) > 200
    app.cancel(job.id, "enough", "ann")
    ended(rows, job, swarm, "canceled")
    assert not [proc for proc in worker.tree() if "jobwarden: swarm" in proc.command]


# -- what SIGKILL does not end ----------------------------------------------------------------------------------------


@pytest.fixture
def frozen() -> Iterator[Path]:
    """A freezer group: what is in it while it is frozen does not die of SIGKILL."""
    group = _FREEZER / f"jobwarden-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as problem:
        pytest.fail(f"this takes a freezer of version 1 ({problem}): nothing else here survives SIGKILL to be shown")
    yield group
    (group / "freezer.state").write_text("THAWED")
    eventually(lambda: _removed(group), 10)


def _removed(group: Path) -> bool:
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


def freeze(group: Path, *procs: Proc) -> None:
    for proc in procs:
        (group / "cgroup.procs").write_text(str(proc.pid))
    (group / "freezer.state").write_text("FROZEN")
    eventually(lambda: (group / "freezer.state").read_text().strip() == "FROZEN", 10)


@pytest.mark.parametrize("who", ["seat", "grandchild"])
def test_what_does_not_die_is_shown_and_keeps_its_seat_until_it_does(
    app: JobWarden, rows: Factories, start: Start, frozen: Path, who: str
) -> None:
    worker = start(capacity=1, unkillable_after=0.5)
    job = app.enqueue("breed", {"heed": who == "grandchild"})
    family = bred(rows, job)
    stuck = family[0] if who == "seat" else family[2]
    freeze(frozen, stuck)
    app.cancel(job.id, "enough", "ann")

    def shown() -> Any:
        return rows.attempts_of(job.id)[0]["unkillable_since"]

    eventually(shown, PATIENCE, why=lambda: (worker.log, said(rows, job)))
    worker.expect("is unkillable")
    assert job.refresh().state == "running", "nothing is over while something of it lives"
    [event] = [event for event in rows.events_of(job.id) if event["reason"] == "unkillable"]
    [left] = event["context"]["processes"]
    assert (event["level"], left["pid"]) == ("attempt", stuck.pid)
    assert left["state"] in "DTR", "frozen, as the kernel shows it"
    next_one = app.enqueue("succeed")
    (frozen / "freezer.state").write_text("THAWED")
    ended(rows, job, family, "canceled")
    [attempt] = rows.attempts_of(job.id)
    assert attempt["unkillable_since"] is None
    assert CONFIRMED in said(rows, job)
    await_state(next_one, "succeeded")
    [began] = [event for event in rows.events_of(next_one.id) if event["to_state"] == "running"][:1]
    [over] = [event for event in rows.events_of(job.id) if event["to_state"] == "canceled"]
    assert over["id"] < began["id"], "its place was nobody else's before it was dead"
