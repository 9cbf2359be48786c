"""What a running job is at: the daemon that watches it answers for its process, and the process for its own stack."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden import JobHandle, JobWarden
from jobwarden.errors import WrongState
from jobwarden.lifecycle.look import ask_for_look
from jobwarden.store import looks, schema
from jobwarden.views.fleet import Seen
from jobwarden.views.processes import of_job
from tests.acceptance.conftest import Start
from tests.acceptance.test_adoption import await_adopted
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, await_said, await_state
from tests.support.waiting import eventually


def look(app: JobWarden, rows: Factories, job: JobHandle) -> dict[str, Any]:
    """Ask for a look, and wait for the answer."""
    attempt = rows.attempts_of(job.id)[-1]["id"]
    with app.database.write() as transaction:
        ask_for_look(transaction, job.id)

    def answer() -> dict[str, Any] | None:
        with app.database.read() as transaction:
            asked_at, _, found = looks.of(transaction, attempt)
        return found if asked_at is None else None

    found = eventually(answer, PATIENCE)
    assert found is not None
    return found


def test_a_look_shows_process_and_stack_and_harms_nothing(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=2)
    job = app.enqueue("wait_with_a_thread", {"gate": str(gate)})
    await_said(rows, job)
    [attempt] = rows.attempts_of(job.id)
    for _ in range(3):
        found = look(app, rows, job)
        assert (found["seen"], found["by"].split()[0]) == ("verified", "worker")
        assert [one["pid"] for one in found["tree"]] == [attempt["child_pid"]]
        assert worker.pid in [one["pid"] for one in found["parents"]]
        assert "in wait_with_a_thread" in found["stack"]
        assert found["stack"].count("in in_the_thread") == 1, "the other thread, once a look"
    gate.touch()
    await_state(job, "succeeded")
    assert len(rows.attempts_of(job.id)) == 1
    with app.database.write() as transaction:  # as if somebody had asked while it ended
        transaction.connection.execute(sa.update(schema.attempts).values(look_asked_at=transaction.now()))
        card = of_job(transaction, job.id, None)
    assert card is not None
    assert (card.seen, card.asked_at, card.tree) == (Seen.ELSEWHERE, None, ())
    assert "in wait_with_a_thread" in (card.stack or ""), "what it said last stays"
    with pytest.raises(WrongState), app.database.write() as transaction:
        ask_for_look(transaction, job.id)


@pytest.mark.any_engine
def test_a_job_that_is_stuck_outside_of_python_shows_where(
    app: JobWarden, rows: Factories, start: Start, tmp_path: Path
) -> None:
    start(capacity=1)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        job = app.enqueue("wait_outside_of_python", {"lock": lock.name})
        await_said(rows, job)
        found = look(app, rows, job)
        assert "in wait_outside_of_python" in found["stack"]
        assert job.refresh().state == "running"
    await_state(job, "succeeded")


@pytest.mark.any_engine
def test_nothing_is_written_where_a_job_put_a_file_of_its_own(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    start(capacity=1)
    job = app.enqueue("wait_without_files", {"gate": str(gate)})
    await_said(rows, job)
    data = Path(f"{gate}-data")
    eventually(data.exists, PATIENCE)
    found = look(app, rows, job)
    assert "does not listen" in found["unable"]
    assert found["seen"] == "verified"
    assert data.read_bytes() == b""
    gate.touch()
    await_state(job, "succeeded")


def test_an_adopted_child_is_looked_at_by_who_adopted_it(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    worker = start(capacity=1)
    job = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    await_said(rows, job)
    worker.kill()
    await_adopted(rows, job)
    found = look(app, rows, job)
    assert found["by"].startswith("reaper ")
    assert "in wait_for" in found["stack"]
    gate.touch()
    await_state(job, "succeeded")
    worker.gone()


def jobwarden(database_url: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line on that database."""
    env = {**os.environ, "JOBWARDEN_DATABASE_URL": database_url}
    command = [sys.executable, "-m", "jobwarden.cli", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.mark.any_engine
def test_a_terminal_shows_the_stack(
    database_url: str, app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    start(capacity=1)
    job = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    await_said(rows, job)
    shown = jobwarden(database_url, "stack", job.id)
    assert shown.returncode == 0, shown.stderr
    assert "verified" in shown.stdout
    assert "in wait_for" in shown.stdout
    told = json.loads(jobwarden(database_url, "stack", job.id, "--json").stdout)
    assert told["tree"][0]["pid"] in [int(name) for name in os.listdir("/proc") if name.isdigit()]
    gate.touch()
    await_state(job, "succeeded")
    refused = jobwarden(database_url, "stack", job.id)
    assert refused.returncode != 0
    assert "is succeeded, and a look at its process needs it to be running" in refused.stderr
