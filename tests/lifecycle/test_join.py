"""A job enqueued over the caller's connection lives and dies with the caller's transaction, whatever the connection."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import django  # type: ignore[import-untyped]
import psycopg
import pymysql  # type: ignore[import-untyped]
import pytest
import sqlalchemy as sa
from django.conf import settings as django_settings  # type: ignore[import-untyped]
from django.db import connections, transaction  # type: ignore[import-untyped]
from pymysql.cursors import DictCursor  # type: ignore[import-untyped]
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from jobwarden import Bound, JobDefinition, JobHandle, JobWarden
from jobwarden.errors import IdempotencyConflict, InvalidParam, JobNotFound, UnsupportedConnection

Job = JobDefinition[..., ..., Any]


class Caller:
    """One open transaction of a caller: what tests may do with it."""

    def __init__(
        self,
        connection: Any,
        execute: Callable[[str], Any],
        commit: Callable[[], Any],
        rollback: Callable[[], Any],
        run: Callable[[Any], Any] | None = None,
    ) -> None:
        self.connection, self.execute, self.commit, self.rollback, self._run = (
            connection,
            execute,
            commit,
            rollback,
            run,
        )

    def enqueue(self, job: Job, *args: Any, **options: Any) -> JobHandle:
        """Enqueue in this transaction."""
        using = job.using(connection=self.connection, **options)
        if self._run is None:
            return using.enqueue(*args)
        handle: JobHandle = self._run(using.aenqueue(*args))
        return handle

    def enqueue_many(self, job: Job, calls: list[Bound]) -> Any:
        """Enqueue bound calls in this transaction."""
        using = job.using(connection=self.connection)
        return using.enqueue_many(calls) if self._run is None else self._run(using.aenqueue_many(calls))


def _url(url: str) -> sa.URL:
    parsed = sa.make_url(url)
    drivers = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql", "mariadb": "mysql+pymysql"}
    return parsed.set(drivername=drivers.get(parsed.get_backend_name(), "sqlite"))


def _async_url(url: str) -> sa.URL:
    parsed = _url(url)
    return parsed.set(drivername="sqlite+aiosqlite") if parsed.get_backend_name() == "sqlite" else parsed


@contextmanager
def alchemy_connection(url: str) -> Iterator[Caller]:
    engine = sa.create_engine(_url(url))
    with engine.connect() as connection:
        yield Caller(connection, connection.exec_driver_sql, connection.commit, connection.rollback)
    engine.dispose()


@contextmanager
def alchemy_begun(url: str) -> Iterator[Caller]:
    engine = sa.create_engine(_url(url))
    with engine.connect() as connection:
        begun = connection.begin()
        yield Caller(connection, connection.exec_driver_sql, begun.commit, begun.rollback)
    engine.dispose()


@contextmanager
def alchemy_session(url: str) -> Iterator[Caller]:
    engine = sa.create_engine(_url(url))
    with Session(engine) as session:
        yield Caller(session, lambda sql: session.execute(sa.text(sql)), session.commit, session.rollback)
    engine.dispose()


@contextmanager
def alchemy_scoped_session(url: str) -> Iterator[Caller]:
    engine = sa.create_engine(_url(url))
    session = scoped_session(sessionmaker(engine))
    yield Caller(session, lambda sql: session.execute(sa.text(sql)), session.commit, session.rollback)
    session.remove()
    engine.dispose()


@contextmanager
def _looped(make: Callable[[Any], Any], url: str) -> Iterator[Caller]:
    with asyncio.Runner() as runner:
        engine = create_async_engine(_async_url(url))
        opened: AsyncConnection | AsyncSession = runner.run(make(engine))
        yield Caller(
            opened,
            lambda sql: runner.run(opened.execute(sa.text(sql))),
            lambda: runner.run(opened.commit()),
            lambda: runner.run(opened.rollback()),
            runner.run,
        )
        runner.run(opened.close())
        runner.run(engine.dispose())


def alchemy_async_connection(url: str) -> AbstractContextManager[Caller]:
    async def make(engine: Any) -> AsyncConnection:
        return await AsyncConnection(engine).start()

    return _looped(make, url)


def alchemy_async_session(url: str) -> AbstractContextManager[Caller]:
    async def make(engine: Any) -> AsyncSession:
        return async_sessionmaker(engine)()

    return _looped(make, url)


def _dsn(url: str) -> dict[str, Any]:
    parsed = _url(url)
    named = {"host": parsed.host, "port": parsed.port, "user": parsed.username, "password": parsed.password}
    return {key: value for key, value in {**named, **parsed.query}.items() if value is not None}


def _connect_psycopg(url: str, **more: Any) -> Any:
    return psycopg.connect(dbname=_url(url).database, **_dsn(url), **more)


@contextmanager
def psycopg_connection(url: str) -> Iterator[Caller]:
    with _connect_psycopg(url) as raw:
        yield Caller(raw, raw.execute, raw.commit, raw.rollback)


@contextmanager
def psycopg_dict_rows(url: str) -> Iterator[Caller]:
    with _connect_psycopg(url, row_factory=psycopg.rows.dict_row) as raw:
        yield Caller(raw, raw.execute, raw.commit, raw.rollback)


@contextmanager
def psycopg_block_under_autocommit(url: str) -> Iterator[Caller]:
    with _connect_psycopg(url, autocommit=True) as raw:
        raw.execute("BEGIN")
        yield Caller(raw, raw.execute, lambda: raw.execute("COMMIT"), lambda: raw.execute("ROLLBACK"))


@contextmanager
def psycopg_async(url: str) -> Iterator[Caller]:
    async def make() -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(dbname=_url(url).database, **_dsn(url))

    with asyncio.Runner() as runner:
        raw = runner.run(make())
        yield Caller(
            raw,
            lambda sql: runner.run(raw.execute(sql)),
            lambda: runner.run(raw.commit()),
            lambda: runner.run(raw.rollback()),
            runner.run,
        )
        runner.run(raw.close())


def _connect_pymysql(url: str, **more: Any) -> Any:
    return pymysql.connect(database=_url(url).database, **_dsn(url), **more)


def _pymysql(url: str, **more: Any) -> Iterator[Caller]:
    raw = _connect_pymysql(url, **more)
    yield Caller(raw, raw.query, raw.commit, raw.rollback)
    raw.close()


@contextmanager
def pymysql_connection(url: str) -> Iterator[Caller]:
    yield from _pymysql(url)


@contextmanager
def pymysql_dict_cursor(url: str) -> Iterator[Caller]:
    yield from _pymysql(url, cursorclass=DictCursor)


@contextmanager
def pymysql_block_under_autocommit(url: str) -> Iterator[Caller]:
    raw = _connect_pymysql(url, autocommit=True)
    raw.begin()
    yield Caller(raw, raw.query, raw.commit, raw.rollback)
    raw.close()


def _sqlite(url: str, **more: Any) -> Iterator[Caller]:
    raw = sqlite3.connect(_url(url).database or "", **more)
    raw.row_factory = sqlite3.Row
    yield Caller(raw, raw.execute, raw.commit, raw.rollback)
    raw.close()


@contextmanager
def sqlite_connection(url: str) -> Iterator[Caller]:
    yield from _sqlite(url)


@contextmanager
def sqlite_block_under_autocommit(url: str) -> Iterator[Caller]:
    raw = sqlite3.connect(_url(url).database or "", isolation_level=None)
    raw.execute("BEGIN")
    yield Caller(raw, raw.execute, lambda: raw.execute("COMMIT"), lambda: raw.execute("ROLLBACK"))
    raw.close()


_DJANGO = {"sqlite": "sqlite3", "postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}


class _RolledBack(Exception):
    pass


@contextmanager
def _django_alias(url: str) -> Iterator[str]:
    pymysql.install_as_MySQLdb()
    if not django_settings.configured:
        django_settings.configure(DATABASES={}, USE_TZ=True)
        django.setup()
    parsed, dsn, alias = _url(url), _dsn(url), uuid.uuid4().hex
    options = {key: dsn.pop(key) for key in list(dsn) if key not in ("host", "port", "user", "password")}
    database = {"ENGINE": f"django.db.backends.{_DJANGO[parsed.get_backend_name()]}", "NAME": parsed.database}
    database |= {key.upper(): value for key, value in dsn.items()} | {"OPTIONS": options}
    connections.settings.update(connections.configure_settings({"default": {}, alias: database}))
    yield alias
    connections[alias].close()
    del connections[alias]


@contextmanager
def django_atomic(url: str) -> Iterator[Caller]:
    with _django_alias(url) as alias:
        connection, block = connections[alias], transaction.atomic(using=alias)
        block.__enter__()

        def execute(sql: str) -> None:
            with connection.cursor() as cursor:
                cursor.execute(sql)

        def rollback() -> None:
            block.__exit__(_RolledBack, _RolledBack(), None)

        yield Caller(connection, execute, lambda: block.__exit__(None, None, None), rollback)


Opener = Callable[[str], AbstractContextManager[Caller]]
_EVERYWHERE: list[Opener] = [alchemy_connection, alchemy_begun, alchemy_session, alchemy_scoped_session, django_atomic]
_OWN: dict[str, list[Opener]] = {
    "sqlite": [alchemy_async_connection, alchemy_async_session, sqlite_connection, sqlite_block_under_autocommit],
    "postgresql": [
        alchemy_async_connection,
        alchemy_async_session,
        psycopg_connection,
        psycopg_dict_rows,
        psycopg_block_under_autocommit,
        psycopg_async,
    ],
    "mariadb": [pymysql_connection, pymysql_dict_cursor, pymysql_block_under_autocommit],
}
KINDS = [
    pytest.param(engine, kind, id=f"{engine}-{getattr(kind, '__name__', kind)}", marks=getattr(pytest.mark, engine))
    for engine, own in _OWN.items()
    for kind in (*_EVERYWHERE, *own)
]


def _declared(url: str, **settings: Any) -> tuple[JobWarden, Job]:
    jw = JobWarden(database_url=url, nudge=False, **settings)

    @jw.job(idempotent=True, name="ship", tags={"kind": "order"})
    def ship(order: int) -> None: ...

    with jw.database.engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE orders (id INTEGER PRIMARY KEY)")
    return jw, ship


def _exists(handle: JobHandle) -> bool:
    try:
        handle.refresh()
    except JobNotFound:
        return False
    return True


def _count(jw: JobWarden, table: str) -> int:
    with jw.database.read() as tx:
        found: int = tx.connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()
        return found


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every kind of connection on the engines that have it."""
    if "kind" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--engine") or list(_OWN)
        metafunc.parametrize(("engine", "kind"), [param for param in KINDS if param.values[0] in chosen])


@pytest.fixture
def url(engines: Any, engine: str) -> Iterator[str]:
    """A fresh migrated database of that engine."""
    with engines.database(engine) as found:
        yield found


def test_a_rolled_back_caller_leaves_no_job(url: str, kind: Opener) -> None:
    jw, ship = _declared(url)
    with kind(url) as caller:
        caller.execute("INSERT INTO orders VALUES (1)")
        handle = caller.enqueue(ship, 1)
        assert handle.created
        caller.rollback()
    assert not _exists(handle)
    for table in ("orders", "jobwarden_jobs", "jobwarden_job_events", "jobwarden_job_tags", "jobwarden_counters"):
        assert _count(jw, table) == 0, table


def test_a_committed_caller_leaves_the_job(url: str, kind: Opener) -> None:
    jw, ship = _declared(url)
    with kind(url) as caller:
        caller.execute("INSERT INTO orders VALUES (1)")
        handle = caller.enqueue(ship, 1, lane="hot")
        assert not _exists(handle)
        caller.commit()
    assert handle.refresh().state == "queued"
    for table in ("orders", "jobwarden_jobs", "jobwarden_job_events", "jobwarden_job_tags", "jobwarden_counters"):
        assert _count(jw, table) == 1, table


def test_a_job_that_is_the_first_thing_in_a_transaction_is_rolled_back_too(url: str, kind: Opener) -> None:
    _, ship = _declared(url)
    with kind(url) as caller:
        handle = caller.enqueue(ship, 1)
        caller.rollback()
    assert not _exists(handle)


def test_a_refused_enqueue_leaves_the_callers_transaction_as_it_was(url: str, kind: Opener) -> None:
    jw, ship = _declared(url)
    first = ship.using(idempotency_key="order:1").enqueue(1)
    with kind(url) as caller:
        caller.execute("INSERT INTO orders VALUES (1)")
        again = caller.enqueue(ship, 1, idempotency_key="order:1")
        assert (again.id, again.created) == (first.id, False)
        with pytest.raises(IdempotencyConflict):
            caller.enqueue_many(ship, [ship.bind(3), ship.using(idempotency_key="order:1").bind(2)])
        with pytest.raises(InvalidParam):
            caller.enqueue(ship, "two")
        caller.commit()
    assert (_count(jw, "orders"), _count(jw, "jobwarden_jobs")) == (1, 1)


@pytest.mark.postgresql
def test_names_are_spelled_as_configured_on_the_callers_connection(engines: Any) -> None:
    with engines.empty_database("postgresql") as url:
        from jobwarden.store.migrate import migrate

        with _connect_psycopg(url, autocommit=True) as raw:
            raw.execute("CREATE SCHEMA work")
        migrate(JobWarden(database_url=url, schema_name="work", table_prefix="jw_").database)
        _, ship = _declared(url, schema_name="work", table_prefix="jw_")
        for kind in (alchemy_session, psycopg_connection, django_atomic, alchemy_async_session):
            with kind(url) as caller:
                handle = caller.enqueue(ship, 1)
                caller.commit()
            assert handle.state == "queued"


# -- connections that commit by themselves ----------------------------------------------------------------------------


def _bare(url: str, engine: str) -> Any:
    if engine == "postgresql":
        return _connect_psycopg(url, autocommit=True)
    if engine == "mariadb":
        return _connect_pymysql(url, autocommit=True)
    return sqlite3.connect(_url(url).database or "", isolation_level=None)


def test_on_an_autocommit_connection_the_job_is_there_at_once_or_not_at_all(
    engine_name: str, database_url: str
) -> None:
    jw, ship = _declared(database_url)
    ship.using(idempotency_key="taken").enqueue(1)
    raw = _bare(database_url, engine_name)
    handle = ship.using(connection=raw).enqueue(1)
    assert handle.state == "queued"
    calls = [ship.bind(2), ship.using(idempotency_key="taken").bind(3)]
    with pytest.raises(IdempotencyConflict):
        ship.using(connection=raw).enqueue_many(calls)
    assert _count(jw, "jobwarden_jobs") == 2
    raw.close()


def test_alchemy_under_autocommit_writes_all_or_nothing(database_url: str) -> None:
    jw, ship = _declared(database_url)
    ship.using(idempotency_key="taken").enqueue(1)
    engine = sa.create_engine(_url(database_url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        assert ship.using(connection=connection).enqueue(1).state == "queued"
        with pytest.raises(IdempotencyConflict):
            ship.using(connection=connection).enqueue_many([ship.bind(2), ship.using(idempotency_key="taken").bind(3)])
    engine.dispose()
    assert _count(jw, "jobwarden_jobs") == 2


def test_django_outside_a_transaction_writes_at_once(database_url: str) -> None:
    _, ship = _declared(database_url)
    with _django_alias(database_url) as alias:
        assert ship.using(connection=connections[alias]).enqueue(1).state == "queued"


def test_many_jobs_join_in_chunks(database_url: str) -> None:
    jw, ship = _declared(database_url)
    with alchemy_session(database_url) as caller:
        handles = ship.using(connection=caller.connection).enqueue_many((ship.bind(n) for n in range(25)), chunk=10)
        assert len(handles) == handles.created == 25
        assert _count(jw, "jobwarden_jobs") == 0
        caller.commit()
    assert _count(jw, "jobwarden_jobs") == 25


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_an_async_connection_is_refused_by_the_sync_call(database_url: str, engine_name: str) -> None:
    if engine_name == "mariadb":
        return
    _, ship = _declared(database_url)
    with (
        alchemy_async_session(database_url) as caller,
        pytest.raises(UnsupportedConnection, match="aenqueue"),
    ):
        ship.using(connection=caller.connection).enqueue(1)


def test_a_sync_session_may_be_used_from_async_code(database_url: str) -> None:
    _, ship = _declared(database_url)
    with alchemy_session(database_url) as caller:
        handle = asyncio.run(ship.using(connection=caller.connection).aenqueue(1))
        caller.rollback()
    assert not _exists(handle)


def test_another_database_of_the_same_engine_is_refused(database_url: str, engines: Any, engine_name: str) -> None:
    _, ship = _declared(database_url)
    with engines.empty_database(engine_name) as other:
        openers = [alchemy_connection, alchemy_session, django_atomic, *_OWN[engine_name]]
        for opener in openers:
            with opener(other) as caller, pytest.raises(UnsupportedConnection, match="tables are in"):
                caller.enqueue(ship, 1)


@pytest.mark.postgresql
def test_another_engine_is_refused(engines: Any) -> None:
    with engines.database("postgresql") as url:
        _, ship = _declared(url)
        with sqlite3.connect(":memory:") as raw, pytest.raises(UnsupportedConnection, match="it is sqlite"):
            ship.using(connection=raw).enqueue(1)
        engine = sa.create_engine("sqlite://")
        with engine.connect() as connection, pytest.raises(UnsupportedConnection, match="it is sqlite"):
            ship.using(connection=connection).enqueue(1)


@pytest.mark.sqlite
def test_what_is_no_connection_is_refused_with_what_to_pass_instead(engines: Any) -> None:
    with engines.database("sqlite") as url:
        _, ship = _declared(url)
        engine = sa.create_engine(_url(url))
        for wrong, words in (
            (engine, "an Engine has no transaction"),
            (sessionmaker(engine), "pass a Session that it made"),
            (object(), "SQLAlchemy Connection or Session"),
            (url, "SQLAlchemy Connection or Session"),
        ):
            with pytest.raises(UnsupportedConnection, match=words):
                ship.using(connection=wrong).enqueue(1)
        with Session() as unbound, pytest.raises(UnsupportedConnection, match="no one engine"):
            ship.using(connection=unbound).enqueue(1)
        engine.dispose()
