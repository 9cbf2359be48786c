"""A host's wall clock is set by hours while jobs run: nothing decides by it, so nothing happens.

The clock of the machine itself is not touched: the processes of the worker and of the reapers read a wrong one.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from jobwarden import JobWarden
from jobwarden.store import schema
from tests.acceptance.conftest import QUICK, Start
from tests.faults.story import enqueue_marks, marks_in
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, ROOT, Reaper, Scheduler, Worker, await_beats, await_said, await_state
from tests.support.jobs import build
from tests.support.servers import NetworkServer, Server
from tests.support.waiting import eventually

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


def test_w07_whatever_zones_and_clocks_say_a_schedule_is_neither_early_nor_late(
    own_server: Server, runtime_dir: Path, tmp_path: Path
) -> None:
    """The host of one scheduler is seven hours ahead, that of the other five behind; processes and sessions are in
    other time zones, and so is the pattern."""
    url = own_server.create_database()
    if isinstance(own_server, NetworkServer):
        _set_session_zone(own_server, url)
    app = build(database_url=url)
    rows = Factories(app.database)
    with ExitStack() as stack:
        stack.callback(app.database.dispose)
        for number, (hours, zone) in enumerate(((7, "Asia/Tokyo"), (-5, "America/Lima"))):
            clock = Clock(tmp_path / f"clock{number}")
            clock.set(hours)
            env = {**QUICK, **clock.env, "TZ": zone}
            stack.enter_context(Scheduler(url, runtime_dir, env=env)).expect("started")
            lanes = ["scheduled"] if number else ["elsewhere"]
            stack.enter_context(Worker(url, runtime_dir, env=env, lanes=lanes)).await_ready()
        with rows.database.read() as transaction:
            begin = transaction.now()
        once = begin.astimezone(ZoneInfo("Pacific/Auckland")) + timedelta(seconds=4)
        app.schedules.put("once", once, app.bind("succeed"))
        app.schedules.put("often", "*/2 * * * * *", app.bind("succeed"), timezone="Pacific/Chatham", overlap="allow")
        eventually(lambda: len(_runs(rows)) >= 8, PATIENCE)
        runs = _runs(rows)
    assert [run.occurrence_time for run in runs if run.name == "once"] == [once]
    for run in runs:
        late = run.detected_at - run.occurrence_time
        assert timedelta() <= late < timedelta(hours=1)
        assert run.occurrence_time.second % 2 == 0 or run.name == "once"
        row = rows.read(schema.jobs, run.job_id)
        assert timedelta() <= row["available_at"] - run.occurrence_time < timedelta(hours=1)
    assert any(rows.read(schema.jobs, run.job_id)["state"] == "succeeded" for run in runs)


def _set_session_zone(server: NetworkServer, url: str) -> None:
    """Have every session that begins from now on in another time zone."""
    name = sa.make_url(url).database
    words = {"postgresql": f"ALTER DATABASE {name} SET timezone TO 'Asia/Kathmandu'"}
    words["mariadb"] = "SET GLOBAL time_zone = '+05:45'"
    engine = sa.create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(words[server.engine])


def _runs(rows: Factories) -> Sequence[sa.Row[Any]]:
    schedules, runs = schema.schedules, schema.schedule_runs
    query = sa.select(runs, schedules.c.name).join(schedules, schedules.c.id == runs.c.schedule_id)
    with rows.database.read() as transaction:
        return transaction.connection.execute(query.order_by(runs.c.occurrence_time)).all()
