"""A real worker under a service manager's eyes: ready when it serves, alive while it moves, and alone in saying so."""

from __future__ import annotations

import signal
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden import JobWarden, Settings
from jobwarden.daemons.writer import Batch, Writer
from jobwarden.domain.stamp import Host, ProcessId
from jobwarden.lifecycle.claim import Owner
from jobwarden.store.database import Database
from jobwarden.store.migrate import migrate
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, Worker, await_said, await_state
from tests.support.jobs import build
from tests.support.manager import Manager
from tests.support.waiting import eventually

NAMES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
#: What systemd does last: name the process that it starts, and become it.
_AS_SYSTEMD = ["sh", "-c", 'export WATCHDOG_PID=$$; exec "$@"', "sh"]


@pytest.fixture
def app(tmp_path: Path) -> Iterator[JobWarden]:
    app = build(database_url=f"sqlite:///{tmp_path / 'jobs.db'}")
    migrate(app.database)
    yield app
    app.database.dispose()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with Manager(tmp_path / "notify") as manager:
        yield manager


def _worker(app: JobWarden, runtime_dir: Path, manager: Manager, **settings: str) -> Worker:
    told = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "600000", **settings}
    return Worker(app.settings.database_url, runtime_dir, env=told, before=_AS_SYSTEMD, capacity=1)


def test_a_worker_says_when_it_serves_gets_new_code_and_ends(
    app: JobWarden, runtime_dir: Path, tmp_path: Path, manager: Manager
) -> None:
    rows, gate = Factories(app.database), tmp_path / "gate"
    with _worker(app, runtime_dir, manager) as worker:
        eventually(lambda: manager.story() == ["READY=1"], PATIENCE, why=lambda: worker.log)
        eventually(lambda: manager.listen().count("WATCHDOG=1") > 3, PATIENCE)
        assert "STATUS=serving lanes default, scheduled with 1 seats" in manager.heard
        worker.signal(signal.SIGHUP)
        eventually(lambda: manager.story() == ["READY=1", "RELOADING=1", "READY=1"], PATIENCE, why=manager.listen)
        running = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
        await_said(rows, running)
        worker.signal(signal.SIGTERM)
        eventually(lambda: manager.story()[3:] == ["STOPPING=1"], PATIENCE, why=manager.listen)
        seen = manager.listen().count("WATCHDOG=1")
        eventually(lambda: manager.listen().count("WATCHDOG=1") > seen + 2, PATIENCE, why="it drains and is alive")
        gate.touch()
        assert worker.wait() == 0
        assert running.refresh().state == "succeeded"
        assert manager.story() == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


def test_no_child_can_speak_for_its_worker(app: JobWarden, runtime_dir: Path, manager: Manager) -> None:
    with _worker(app, runtime_dir, manager) as worker:
        worker.await_ready()
        for isolation in ("fork", "pool", "exec"):
            found = await_state(app.enqueue("environment", isolation=isolation), "succeeded").result
            assert not set(NAMES) & set(found)
        for proc in worker.tree():
            named = {line.partition(b"=")[0].decode() for line in _environment(proc.pid)}
            assert proc.pid == worker.pid or not named & set(NAMES), proc.command
        worker.drain()


def test_a_database_that_is_away_is_no_reason_to_be_ended(
    app: JobWarden, runtime_dir: Path, tmp_path: Path, manager: Manager
) -> None:
    with _worker(app, runtime_dir, manager, JOBWARDEN_STATEMENT_TIMEOUT="0.2") as worker:
        worker.await_ready()
        with sqlite3.connect(tmp_path / "jobs.db", isolation_level=None) as lock:
            lock.execute("BEGIN EXCLUSIVE")
            worker.expect("the database cannot be used")
            seen = manager.listen().count("WATCHDOG=1")
            eventually(lambda: manager.listen().count("WATCHDOG=1") > seen + 5, PATIENCE)
            lock.execute("ROLLBACK")
        lock.close()
        worker.expect("the database answers again")
        worker.drain()


def test_an_application_that_does_not_import_is_not_ready_and_the_manager_is_told_why(
    app: JobWarden, runtime_dir: Path, tmp_path: Path, manager: Manager
) -> None:
    (tmp_path / "broken_app.py").write_text("import nothing_of_that_name")
    told = {"NOTIFY_SOCKET": manager.address}
    with Worker(app.settings.database_url, runtime_dir, app="broken_app:jw", cwd=tmp_path, env=told):
        eventually(lambda: any("nothing_of_that_name" in line for line in manager.listen()), PATIENCE)
        assert manager.story() == []


def test_a_writer_that_hangs_is_known_from_one_that_waits_for_work(app: JobWarden) -> None:
    database = Database(Settings(database_url=app.settings.database_url))
    owner = Owner("w", Host("m", "m:1", "here"), ProcessId(1, 1))
    writer, held = Writer(database, owner, lambda: None, lambda job: 1, False), threading.Event()
    writer.start()
    try:
        writer.offer(Batch(acts=[lambda transaction: None]))
        eventually(writer.take, PATIENCE)
        fresh = writer.quiet_for
        writer.offer(Batch(acts=[lambda transaction: _wait(held)]))
        eventually(lambda: writer.quiet_for > fresh + 0.5, PATIENCE)
        held.set()
        eventually(lambda: writer.take() and writer.quiet_for < 0.5, PATIENCE)
    finally:
        held.set()
        writer.close(Batch(), PATIENCE)


def _wait(held: threading.Event) -> None:
    held.wait(PATIENCE)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
