"""What a worker does when it is told to: drain, end, renew, and end by itself when nothing is left."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from jobwarden import JobWarden
from jobwarden.store import schema
from tests.acceptance.conftest import Start
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, await_said, await_state
from tests.support.waiting import eventually

_APP = """
from pathlib import Path
import time
from jobwarden import JobWarden
jw = JobWarden()
VERSION = {version}

@jw.job(idempotent=True, name="version")
def version(gate: str = "/") -> int:
    print("here", flush=True)
    while not Path(gate).exists():
        time.sleep(0.005)
    return VERSION
"""


def test_term_drains(app: JobWarden, rows: Factories, start: Start, gate: Path) -> None:
    worker = start(capacity=1)
    running = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    await_said(rows, running)
    worker.signal(signal.SIGTERM)
    worker.expect("draining: no more claims, 1 attempts still run")
    late = app.enqueue("succeed")
    [row] = _workers(rows)
    assert eventually(lambda: _workers(rows)[0]["state"] == "draining", PATIENCE), row
    gate.touch()
    assert worker.wait() == 0
    worker.gone()
    assert running.refresh().state == "succeeded"
    assert late.refresh().state == "queued", "a draining worker claims nothing"
    [row] = _workers(rows)
    assert (row["state"], row["last_signal"], row["current_load"]) == ("stopped", "SIGTERM", 0)
    assert row["stopped_at"] is not None


@pytest.mark.any_engine
def test_a_drain_window_that_is_over_ends_what_still_runs(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=3, drain_timeout=0.2)
    deaf = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, grace=0.1)
    heeds = app.enqueue("stop_at_checkpoint")
    pooled = app.enqueue("stop_at_checkpoint", isolation="pool")
    for job in (deaf, heeds, pooled):
        await_said(rows, job)
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    worker.gone()
    for job in (heeds, pooled):
        assert job.refresh().state == "queued", "it heeded its checkpoint, and begins again elsewhere at no cost"
        assert rows.read(schema.jobs, job.id)["unspent_count"] == 1
    assert deaf.refresh().state == "retrying", "ended by us, it may run again elsewhere"
    said = [line["body_ref"] for line in rows.logs_of(deaf.id)]
    assert any("the drain window of 0.2 s is over" in line for line in said), said
    assert "confirmed: nothing of it is alive" in said, said


@pytest.mark.any_engine
def test_a_second_term_ends_children_after_their_grace(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=2)
    deaf = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, grace=0.1)
    heeds = app.enqueue("stop_at_checkpoint")
    await_said(rows, deaf)
    await_said(rows, heeds)
    worker.signal(signal.SIGTERM)
    worker.expect("draining")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0
    worker.gone()
    assert heeds.refresh().state == "queued", "nobody wished it to stop: it begins again elsewhere"
    assert deaf.refresh().state == "retrying", "ended by us, it may run again elsewhere"
    assert "the supervisor was told to end" in rows.attempts_of(deaf.id)[0]["error"]["message"]


@pytest.mark.any_engine
def test_quit_ends_everything_at_once(app: JobWarden, rows: Factories, start: Start, gate: Path) -> None:
    worker = start(capacity=1)
    deaf = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, grace=600)
    await_said(rows, deaf)
    worker.signal(signal.SIGQUIT)
    assert worker.wait() == 0
    worker.gone()
    assert deaf.refresh().state == "retrying"


@pytest.mark.any_engine
def test_hup_brings_new_code_and_leaves_what_runs_alone(
    app: JobWarden, rows: Factories, start: Start, tmp_path: Path, gate: Path
) -> None:
    @app.job(idempotent=True, name="version")
    def version(gate: str = "/") -> int:
        raise NotImplementedError

    module = tmp_path / "renewed.py"
    module.write_text(_APP.format(version=1))
    worker = start(capacity=2, app="renewed:jw", cwd=tmp_path, env={"PYTHONDONTWRITEBYTECODE": "1"})
    forked = version.using().enqueue(gate=str(gate))
    pooled = version.using(isolation="pool").enqueue(gate=str(gate))
    for job in (forked, pooled):
        await_said(rows, job)
    old = worker.zygote
    module.write_text(_APP.format(version=2))
    worker.signal(signal.SIGHUP)
    worker.expect("zygote ready", times=1)
    eventually(lambda: worker.zygote != old, PATIENCE)
    assert (forked.refresh().state, pooled.refresh().state) == ("running", "running")
    gate.touch()
    assert (await_state(forked, "succeeded").result, await_state(pooled, "succeeded").result) == (1, 1)
    again = [version.using(isolation=isolation).enqueue() for isolation in ("fork", "pool", "exec")]
    assert [await_state(job, "succeeded").result for job in again] == [2, 2, 2]
    eventually(lambda: not old.alive, PATIENCE)
    worker.drain()


@pytest.mark.any_engine
def test_burst_ends_when_nothing_is_left(app: JobWarden, rows: Factories, start: Start) -> None:
    jobs = [app.enqueue("succeed", {"value": n}, isolation="pool" if n % 2 else "fork") for n in range(20)]
    later = app.enqueue("succeed", delay=3600)
    worker = start(burst=True, capacity=4)
    assert worker.wait() == 0
    worker.gone()
    assert [job.refresh().result for job in jobs] == list(range(20))
    assert later.refresh().state == "pending"


def test_cancel_and_stop_reach_what_runs(app: JobWarden, rows: Factories, start: Start, gate: Path) -> None:
    start(capacity=2)
    stopped = app.enqueue("stop_at_checkpoint")
    canceled = app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, grace=0.1)
    await_said(rows, stopped)
    await_said(rows, canceled)
    app.stop(stopped.id, "enough", "ann")
    app.cancel(canceled.id, "not needed", "ben")
    await_state(stopped, "stopped")
    await_state(canceled, "canceled")
    for job, actor, words in ((stopped, "ann", "enough"), (canceled, "ben", "not needed")):
        [wish] = [event for event in rows.events_of(job.id) if event["actor_type"] == "operator"]
        assert (wish["actor_id"], wish["reason"], wish["from_state"]) == (actor, words, "running")
        assert any(words in line["body_ref"] for line in rows.logs_of(job.id)), "its log says why it was ended"


def _workers(rows: Factories) -> list[dict[str, object]]:
    with rows.database.read() as transaction:
        found = schema.workers.select().where(schema.workers.c.role == "supervisor")
        return [dict(row) for row in transaction.connection.execute(found).mappings()]
