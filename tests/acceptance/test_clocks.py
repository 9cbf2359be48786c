"""A host's wall clock is set by hours while jobs run: nothing decides by it, so nothing happens.

The clock of the machine itself is not touched: the processes of the worker and of the reapers read a wrong one.
"""

from __future__ import annotations

import os
from collections import Counter
from datetime import timedelta
from pathlib import Path

from jobwarden import JobWarden
from jobwarden.store import schema
from tests.acceptance.conftest import QUICK, Start
from tests.faults.story import enqueue_marks, marks_in
from tests.support.factories import Factories
from tests.support.hosts import ROOT, Reaper, await_beats, await_said, await_state

HOUR = 3600


class Clock:
    """The wall clock of the Python processes that are started with ``env``."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)
        path = os.pathsep.join([str(ROOT / "tests/support/clock"), str(ROOT)])
        self.env = {"WALL_CLOCK": str(file), "PYTHONPATH": path}

    def set(self, hours: float) -> None:
        """Set it wrong by so many hours."""
        fresh = self._file.with_suffix(".fresh")
        fresh.write_text(f"{hours * HOUR}")
        fresh.rename(self._file)


def test_a_wall_clock_that_is_set_by_hours_decides_nothing(
    app: JobWarden, rows: Factories, start: Start, database_url: str, tmp_path: Path, gate: Path
) -> None:
    clock = Clock(tmp_path / "clock")
    worker = start(env={**QUICK, **clock.env}, capacity=4)
    worker.expect("holds the lease")
    with Reaper(database_url, tmp_path, "global", env={**QUICK, **clock.env}) as leader:
        leader.await_lease()
        jobs = [app.enqueue("wait_for", {"gate": str(gate), "lines": 1}, timeout=600)]
        await_said(rows, jobs[0])
        for hours in (7, -5, 0):
            clock.set(hours)
            told = await_state(app.enqueue("wall_clock"), "succeeded").result
            assert abs(told - _database_clock(rows) - hours * HOUR) < HOUR, "the host believes it"
            marks = tmp_path / f"marks{hours}"
            made = enqueue_marks(app, marks, 8)
            later = app.enqueue("succeed", delay=1)
            for job in (*made.values(), later):
                await_state(job, "succeeded")
            assert marks_in(marks) == Counter(list(made))
            row = rows.read(schema.jobs, later.id)
            assert row["started_at"] - row["created_at"] >= timedelta(seconds=1)
            jobs += [later, *made.values()]
            await_beats(rows, "supervisor", 12)
        assert jobs[0].refresh().state == "running"
        gate.touch()
        for job in jobs:
            await_state(job, "succeeded")
            assert len(rows.attempts_of(job.id)) == 1
        with rows.database.read() as transaction:
            fleet = transaction.connection.execute(schema.workers.select()).mappings().all()
        assert [row["state"] for row in fleet] == ["active"] * 3, worker.log + leader.log


def _database_clock(rows: Factories) -> float:
    with rows.database.read() as transaction:
        return transaction.now().timestamp()
