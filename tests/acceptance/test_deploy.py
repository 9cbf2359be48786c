"""New workers take over beside old ones: whoever drains takes nothing more, finishes what it has, and loses nothing."""

from __future__ import annotations

import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden import JobHandle, JobWarden
from jobwarden.store import schema
from tests.acceptance.conftest import Start
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, Worker, await_said, await_state
from tests.support.waiting import eventually

NUMBER = 60


def _workers(rows: Factories) -> dict[int, dict[str, Any]]:
    """The supervisors by pid."""
    query = sa.select(schema.workers).where(schema.workers.c.role == "supervisor")
    with rows.database.read() as transaction:
        return {row["pid"]: dict(row) for row in transaction.execute(query).mappings()}


def _wish(rows: Factories, worker: Worker, reason: str) -> str:
    """Ask a worker to drain, as an operator does; gives its id."""
    found = str(_workers(rows)[worker.pid]["id"])
    change = sa.update(schema.workers).where(schema.workers.c.id == found)
    with rows.database.write() as transaction:
        transaction.execute(change.values(wish="drain", wish_actor="ann", wish_reason=reason))
    return found


def _owner(rows: Factories, job: JobHandle) -> str:
    return str(rows.attempts_of(job.id)[-1]["worker_id"])


def _spent(rows: Factories, job: JobHandle) -> int:
    """The attempts that counted; one that was claimed as its worker began to drain is given back before it begins."""
    row = rows.read(schema.jobs, job.id)
    given_back = [attempt for attempt in rows.attempts_of(job.id) if attempt["state"] == "canceled"]
    assert row["unspent_count"] == len(given_back)
    return int(row["attempt_count"] - row["unspent_count"])


def test_a_new_worker_takes_over_beside_one_that_drains_and_nothing_is_lost(
    app: JobWarden, rows: Factories, start: Start, tmp_path: Path, gate: Path
) -> None:
    old, marks = start(capacity=2), tmp_path / "marks"
    long = app.enqueue("wait_for", {"gate": str(gate), "lines": 3})
    await_said(rows, long, 3)
    jobs = [_marking(app, n, marks) for n in range(NUMBER)]
    eventually(marks.exists, PATIENCE)
    old.signal(signal.SIGTERM)
    old.expect("draining: no more claims")
    late = app.enqueue("who")
    new = start(capacity=2)
    for job in (*jobs, late):
        await_state(job, "succeeded")
    old_id, new_id = (str(_workers(rows)[worker.pid]["id"]) for worker in (old, new))
    assert (_owner(rows, late), long.refresh().state.value, _owner(rows, long)) == (new_id, "running", old_id)
    assert old.running, "it waits for its last attempt"
    gate.touch()
    assert old.wait() == 0
    assert await_state(long, "succeeded").result == 3
    assert Counter(marks.read_text().split()) == Counter(str(n) for n in range(NUMBER)), "each ran once"
    assert {_owner(rows, job) for job in jobs} == {old_id, new_id}
    for job in (*jobs, late, long):
        assert _spent(rows, job) == 1, "nobody was interrupted"
    assert [line["seq"] for line in rows.logs_of(long.id)] == [1, 2, 3]
    assert rows.counted() == {("default", "succeeded"): NUMBER + 2}
    new.drain()


def test_a_worker_that_is_wished_to_drain_does_and_another_goes_on(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    old = start(capacity=1)
    long = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    await_said(rows, long)
    old_id = _wish(rows, old, "new kernel")
    old.expect("draining: no more claims")
    assert "ann" in old.log
    assert "new kernel" in old.log
    eventually(lambda: _workers(rows)[old.pid]["state"] == "draining", PATIENCE)
    new = start(capacity=1)
    after = app.enqueue("who")
    await_state(after, "succeeded")
    assert _owner(rows, after) == _workers(rows)[new.pid]["id"] != old_id
    assert long.refresh().state == "running"
    gate.touch()
    assert old.wait() == 0, "a wish that was granted is a good end"
    assert long.refresh().state == "succeeded"
    assert _workers(rows)[old.pid]["state"] == "stopped"
    new.drain()


def test_a_worker_without_work_heeds_the_wish_too(app: JobWarden, rows: Factories, start: Start) -> None:
    worker = start(capacity=1)
    _wish(rows, worker, "no longer needed")
    assert worker.wait() == 0
    worker.gone()
    waits = app.enqueue("who")
    assert waits.refresh().state == "queued"


@pytest.mark.any_engine
def test_a_deploy_under_load_with_a_renewed_worker_and_a_replaced_one_runs_everything_once(
    app: JobWarden, rows: Factories, start: Start, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    first, second = start(capacity=2), start(capacity=2)
    jobs = [_marking(app, n, marks) for n in range(NUMBER)]
    eventually(marks.exists, PATIENCE)
    first.signal(signal.SIGHUP)
    second.signal(signal.SIGTERM)
    third = start(capacity=2)
    more = [_marking(app, NUMBER + n, marks) for n in range(NUMBER)]
    for job in (*jobs, *more):
        await_state(job, "succeeded")
    assert second.wait() == 0
    assert Counter(marks.read_text().split()) == Counter(str(n) for n in range(2 * NUMBER))
    assert all(_spent(rows, job) == 1 for job in (*jobs, *more)), "neither a renewal nor a drain costs an attempt"
    first.drain()
    third.drain()


def _marking(app: JobWarden, n: int, marks: Path) -> JobHandle:
    """A job that leaves a mark, of each kind and in each kind of seat."""
    name, isolation = ("append", "append_guarded")[n % 2], ("fork", "pool")[n // 2 % 2]
    return app.enqueue(name, {"path": str(marks), "text": f"{n}", "seconds": 0.02}, isolation=isolation)
