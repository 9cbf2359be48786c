"""Lines that swallow what is said while both ends believe to be connected: nothing hangs, nothing is lost, and nobody
is restarted."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobwarden import JobHandle, JobWarden
from jobwarden.store import schema
from jobwarden.store.database import age
from tests.faults.conftest import SILENCE, Start
from tests.faults.story import all_succeeded_once, enqueue_marks, marks_in
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, Worker, await_said, await_state
from tests.support.proxy import Proxy, Way
from tests.support.waiting import eventually


@pytest.mark.parametrize("way", ["up", "down", "both"])
def test_a_black_hole_loses_nothing(
    client: JobWarden, rows: Factories, launch: Start, proxy: Proxy, tmp_path: Path, way: Way
) -> None:
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    worker = launch(capacity=4, lanes=["default", "long"])
    long = client.enqueue("wait_for", {"gate": str(gate), "lines": 20}, lane="long")
    await_said(rows, long)
    jobs = enqueue_marks(client, marks, 40, 0.02)
    eventually(lambda: len(marks_in(marks)) >= 5, PATIENCE)
    proxy.swallow(way)
    worker.expect("the database cannot be used")
    before = proxy.accepted
    gate.touch()  # it ends while nothing can be said
    eventually(lambda: proxy.accepted >= before + 2, PATIENCE, why="new connections are tried")
    proxy.heal()
    worker.expect("the database answers again")
    await_state(long, "succeeded")
    assert [line["seq"] for line in rows.logs_of(long.id)] == list(range(1, long.result + 1))
    jobs["after"] = client.enqueue("append", {"path": str(marks), "text": "after"})
    _goes_on(worker, rows, jobs, marks)


def test_what_was_held_back_and_arrives_late_changes_nothing(
    client: JobWarden, rows: Factories, launch: Start, proxy: Proxy, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    worker = launch(capacity=4)
    jobs = enqueue_marks(client, marks, 60, 0.02)
    for times in range(1, 4):
        left = len(marks_in(marks))
        eventually(_more_than(marks, left + 6), PATIENCE)
        proxy.hold()
        worker.expect("the database cannot be used", times)
        proxy.heal()
        worker.expect("the database answers again", times)
    _goes_on(worker, rows, jobs, marks)


def test_a_slow_line_is_used_all_the_same(
    client: JobWarden, rows: Factories, launch: Start, proxy: Proxy, tmp_path: Path
) -> None:
    """A transaction of a dozen statements takes several times what is allowed at first."""
    marks = tmp_path / "marks"
    worker = launch(capacity=2)
    jobs = enqueue_marks(client, marks, 4)
    proxy.seconds = 0.08
    _goes_on(worker, rows, jobs, marks)


def test_a_child_alone_outlasts_a_black_hole(
    client: JobWarden, rows: Factories, launch: Start, proxy: Proxy, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    env = {"JOBWARDEN_STATEMENT_TIMEOUT": "1"}
    worker = launch(capacity=1, env=env)
    job = client.enqueue("wait_for", {"gate": str(gate), "lines": 3})
    await_said(rows, job, 3)
    proxy.swallow("down")
    worker.kill()
    before = proxy.accepted
    gate.touch()
    eventually(lambda: proxy.accepted >= before + 3, PATIENCE, why="it connects again and again")
    proxy.heal()
    await_state(job, "succeeded")
    worker.gone()
    assert [attempt["state"] for attempt in rows.attempts_of(job.id)] == ["succeeded"]
    assert [line["seq"] for line in rows.logs_of(job.id)] == list(range(1, job.result + 1))


def test_a_worker_beats_in_time_though_its_line_goes_deaf(
    client: JobWarden, rows: Factories, launch: Start, proxy: Proxy, tmp_path: Path
) -> None:
    """One connection is forgotten by whatever is between, new ones are not: that is found out within the silence after
    which others would take the worker for dead."""
    worker, ages = launch(capacity=1), []
    await_state(client.enqueue("succeed"), "succeeded")
    proxy.forget()
    worker.expect("the database cannot be used")
    until = time.monotonic() + SILENCE
    while time.monotonic() < until:
        ages.append(_silent_for(rows))
        time.sleep(0.05)
    assert max(ages) < SILENCE
    worker.expect("the database answers again")
    assert min(ages) < SILENCE / 3, "it beats again"
    worker.drain()


def test_a_listener_whose_line_goes_deaf_is_replaced(
    client: JobWarden, rows: Factories, launch: Start, proxy: Proxy
) -> None:
    worker = launch(capacity=1, env={"JOBWARDEN_NUDGE": "0", "JOBWARDEN_POLL_IDLE": "30"})
    await_state(client.enqueue("succeed"), "succeeded")
    with proxy.record() as seen:
        proxy.forget()
        worker.expect("the database answers again")
        await_state(client.enqueue("succeed"), "succeeded")
        if proxy.engine == "postgresql":
            eventually(lambda: any("LISTEN" in unit.text for unit in seen), PATIENCE)
    worker.drain()


def _more_than(marks: Path, count: int) -> Callable[[], bool]:
    return lambda: len(marks_in(marks)) > count


def _silent_for(rows: Factories) -> float:
    with rows.database.read() as transaction:
        of_workers = schema.workers.c.role == "supervisor"
        return float(transaction.execute(sa.select(age(schema.workers.c.heartbeat_at)).where(of_workers)).scalar_one())


def _goes_on(worker: Worker, rows: Factories, jobs: dict[str, JobHandle], marks: Path) -> None:
    """Everything ends as it should, by the process that was there from the beginning."""
    all_succeeded_once(rows, jobs, marks)
    assert worker.running, "the supervisor was not restarted"
    worker.drain()
    worker.gone()
    assert "Traceback" not in worker.log
