"""Servers that restart, refuse, stop taking writes or hand over to another: nothing is lost, nobody is restarted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobwarden import JobHandle, JobWarden
from jobwarden.domain.states import WorkerState
from jobwarden.errors import DatabaseUnavailable
from jobwarden.store import schema
from jobwarden.store.migrate import migrate
from jobwarden.store.revision import check
from tests.faults.conftest import QUICK, SILENCE
from tests.faults.story import all_succeeded_once, enqueue_marks, marks_in
from tests.support.clusters import Standby, galera
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, Reaper, Worker
from tests.support.jobs import build
from tests.support.proxy import Proxy
from tests.support.servers import SERVERS, NetworkServer, PostgreSQL
from tests.support.waiting import eventually

# -- one server of our own --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shaky(network: str) -> Iterator[NetworkServer]:
    """A server for these tests alone, to be restarted and reconfigured."""
    kind = SERVERS[network]
    assert issubclass(kind, NetworkServer)
    with kind({"max_connections": 40}) as server:
        server.prepare(_migrate)
        yield server


@pytest.fixture
def client(shaky: NetworkServer) -> Iterator[JobWarden]:
    app = build(database_url=shaky.create_database())
    yield app
    app.database.dispose()


@pytest.fixture
def rows(client: JobWarden) -> Factories:
    return Factories(client.database)


@pytest.fixture
def worker(client: JobWarden, runtime_dir: Path) -> Iterator[Worker]:
    with Worker(client.settings.database_url, runtime_dir, env=QUICK, capacity=4) as worker:
        yield worker.await_ready()


def _migrate(url: str) -> None:
    app = build(database_url=url)
    migrate(app.database)
    app.database.dispose()


def _under_way(client: JobWarden, marks: Path, count: int = 60) -> dict[str, JobHandle]:
    """Jobs of which some have run and most have not."""
    jobs = enqueue_marks(client, marks, count, 0.02)
    eventually(lambda: len(marks_in(marks)) >= 5, PATIENCE)
    return jobs


def _undisturbed(worker: Worker, rows: Factories, jobs: dict[str, JobHandle], marks: Path) -> None:
    """Everything ended as it should, by the processes that were there from the beginning."""
    all_succeeded_once(rows, jobs, marks)
    assert worker.running, "the supervisor was not restarted"
    with rows.database.read() as transaction:
        found = [dict(row) for row in transaction.execute(sa.select(schema.workers)).mappings()]
    assert WorkerState.DEAD not in [row["state"] for row in found], "nobody was declared dead"
    assert [row["role"] for row in found].count("supervisor") == 1, "nobody registered anew"
    worker.drain()
    assert "Traceback" not in worker.log


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_under_load_loses_nothing(
    shaky: NetworkServer, client: JobWarden, rows: Factories, worker: Worker, tmp_path: Path, mode: str
) -> None:
    marks = tmp_path / "marks"
    jobs = _under_way(client, marks)
    for _ in range(3):
        seen = len(marks_in(marks))
        shaky.restart(mode)
        eventually(_more_than(marks, min(seen, len(jobs) - 1)), PATIENCE, why=lambda: worker.log)
    _undisturbed(worker, rows, jobs, marks)


def _more_than(marks: Path, count: int) -> Callable[[], bool]:
    return lambda: len(marks_in(marks)) > count


def test_an_outage_for_everybody_is_nobodys_death(
    shaky: NetworkServer, client: JobWarden, rows: Factories, runtime_dir: Path, tmp_path: Path
) -> None:
    """It lasts four times as long as the silence after which a daemon counts as silent, and is over for all at once."""
    marks = tmp_path / "marks"
    with ExitStack() as stack:
        url = client.settings.database_url
        workers = [stack.enter_context(Worker(url, runtime_dir, env=QUICK, capacity=2)) for _ in range(2)]
        reaper = stack.enter_context(Reaper(url, runtime_dir, "global", env=QUICK)).await_lease()
        for worker in workers:
            worker.await_ready()
        jobs = _under_way(client, marks, 80)
        shaky.kill()
        for worker in workers:
            worker.expect("the database cannot be used")
        time.sleep(4 * SILENCE)
        shaky.start()
        all_succeeded_once(rows, jobs, marks)
        assert reaper.running
        for worker in workers:
            worker.expect("the database answers again")
            assert worker.running
            worker.drain()
        with rows.database.read() as transaction:
            states = transaction.execute(sa.select(schema.workers.c.state)).scalars().all()
        assert WorkerState.DEAD not in states


def test_a_storm_of_ended_connections_loses_nothing(
    shaky: NetworkServer, client: JobWarden, rows: Factories, worker: Worker, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    jobs = _under_way(client, marks, 80)
    ended = 0
    until = time.monotonic() + 5
    while time.monotonic() < until:
        ended += _end_connections(shaky, client.settings.database_url)
    assert ended > 5
    client.database.dispose()
    _undisturbed(worker, rows, jobs, marks)


def test_a_connection_ended_while_the_schema_is_looked_at_is_said_in_a_sentence(
    shaky: NetworkServer, client: JobWarden
) -> None:
    """What a daemon reads first, it waits for like all the rest: the end of its connection is no internal error."""
    database, ended = client.database, 0

    def end_it(*told: object) -> None:
        nonlocal ended
        ended = _end_connections(shaky, client.settings.database_url)

    sa.event.listen(database.engine, "before_cursor_execute", end_it, once=True)
    with pytest.raises(DatabaseUnavailable, match="start again"):
        check(database)
    assert ended
    check(database)


def _end_connections(server: NetworkServer, url: str) -> int:
    name = sa.make_url(url).database
    with server._connect() as connection:
        if server.engine == "postgresql":
            found = connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,)
            )
            return len(found.all())
        ids = connection.exec_driver_sql("SELECT id FROM information_schema.processlist WHERE db = %s", (name,))
        ended = 0
        for (thread,) in ids.all():
            try:
                connection.exec_driver_sql(f"KILL {thread}")
                ended += 1
            except sa.exc.DBAPIError:
                continue  # it went by itself
        return ended


@contextmanager
def _read_only(server: NetworkServer, name: str) -> Iterator[None]:
    """No writes for a while, for connections that there are and for new ones."""
    if server.engine == "postgresql":
        change = f"ALTER DATABASE {name} SET default_transaction_read_only = %s"
        server.admin(change % "on", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        yield
        server.admin(change % "off", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        return
    server.admin("SET GLOBAL read_only = 1")
    yield
    server.admin("SET GLOBAL read_only = 0")


def test_read_only_for_a_while_is_waited_out(
    shaky: NetworkServer, client: JobWarden, rows: Factories, runtime_dir: Path, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    url = _mortal(shaky, client.settings.database_url)  # an administrator may write all the same
    with Worker(url, runtime_dir, env=QUICK, capacity=4) as worker:
        worker.await_ready()
        jobs = _under_way(client, marks)
        client.database.dispose()
        with _read_only(shaky, str(sa.make_url(url).database)):
            worker.expect("the database cannot be used")
            time.sleep(SILENCE)
        client.database.dispose()
        _undisturbed(worker, rows, jobs, marks)


def _mortal(server: NetworkServer, url: str) -> str:
    """The address for a user who may do all that a worker does, and has no administrator's rights."""
    if server.engine == "postgresql":
        server.admin(
            "DO $$ BEGIN CREATE ROLE mortal LOGIN; EXCEPTION WHEN duplicate_object THEN END $$",
            "GRANT pg_read_all_data, pg_write_all_data TO mortal",
        )
    else:
        rights = "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE TEMPORARY TABLES ON *.* TO 'mortal'@"
        for host in ("'%'", "'localhost'"):
            server.admin(f"CREATE USER IF NOT EXISTS 'mortal'@{host}", rights + host)
    return url.replace("jobwarden@", "mortal@")


def test_no_free_connection_for_a_while_is_waited_out(
    shaky: NetworkServer, client: JobWarden, rows: Factories, runtime_dir: Path, tmp_path: Path
) -> None:
    marks, url = tmp_path / "marks", _mortal(shaky, client.settings.database_url)
    elsewhere = sa.make_url(url).set(database={"postgresql": "postgres"}.get(shaky.engine, "information_schema"))
    hog = sa.create_engine(elsewhere, poolclass=sa.pool.NullPool)
    with Worker(url, runtime_dir, env=QUICK, capacity=4) as worker:
        worker.await_ready()
        jobs = _under_way(client, marks)
        client.database.dispose()
        with ExitStack() as held:
            _take_all(hog, held)
            while "the database cannot be used" not in worker.log:
                _end_connections(shaky, url)
                _take_all(hog, held)
            time.sleep(SILENCE)
        worker.expect("the database answers again")
        _undisturbed(worker, rows, jobs, marks)


def _take_all(hog: sa.Engine, held: ExitStack) -> None:
    """Connect until the server refuses."""
    for _ in range(100):
        try:
            held.enter_context(hog.connect())
        except sa.exc.DBAPIError:
            return
    raise AssertionError("it takes as many as one likes")


# -- one server hands over to another ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["behind one address", "named both"])
def test_a_standby_that_is_promoted_has_everything(
    postgresql_alone: str, runtime_dir: Path, tmp_path: Path, way: str
) -> None:
    marks = tmp_path / "marks"
    with ExitStack() as stack:
        primary = stack.enter_context(PostgreSQL())
        primary.prepare(_migrate)
        url = primary.create_database()
        standby = stack.enter_context(Standby(primary))
        standby.followed()
        proxy = stack.enter_context(Proxy(primary.port, postgresql_alone))
        behind, both = f"127.0.0.1:{proxy.port}", f"127.0.0.1:{primary.port},127.0.0.1:{standby.port}"
        address = url.replace(f"127.0.0.1:{primary.port}", both if way == "named both" else behind)
        worker = stack.enter_context(Worker(address, runtime_dir, env=QUICK, capacity=4)).await_ready()
        client = build(database_url=address)
        stack.callback(client.database.dispose)
        jobs = _under_way(client, marks)
        primary.kill()
        worker.expect("the database cannot be used")
        standby.promote()
        standby.admin("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
        proxy.turn_to(standby.port)
        client.database.dispose()
        more = client.enqueue("append", {"path": str(marks), "text": "after"})
        _undisturbed(worker, Factories(client.database), jobs | {"after": more}, marks)


@pytest.mark.timeout(240)
def test_a_node_lost_by_a_galera_cluster_loses_nothing(mariadb_alone: str, runtime_dir: Path, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    with ExitStack() as stack:
        nodes = stack.enter_context(galera(3))
        url = nodes[0].create_empty()
        _migrate(url)
        proxy = stack.enter_context(Proxy(nodes[0].port, mariadb_alone))
        address = url.replace(f":{nodes[0].port}/", f":{proxy.port}/")
        beside = url.replace(f":{nodes[0].port}/", f":{nodes[1].port}/")  # writes through two nodes at once
        workers = [
            stack.enter_context(Worker(given, runtime_dir, env=QUICK, capacity=2)).await_ready()
            for given in (address, beside)
        ]
        client = build(database_url=beside)
        stack.callback(client.database.dispose)
        jobs = _under_way(client, marks, 80)
        nodes[0].kill()
        workers[0].expect("the database cannot be used")
        proxy.turn_to(nodes[2].port)
        rows = Factories(client.database)
        all_succeeded_once(rows, jobs, marks)
        for worker in workers:
            assert worker.running
            worker.drain()
            assert "Traceback" not in worker.log
