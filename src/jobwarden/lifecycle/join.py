"""Join: our statements inside the caller's own transaction, so that both commit or neither does.

Whatever the connection is, the work runs between a savepoint and its release, so that a refused enqueue leaves the
caller's transaction as it was. Where the caller's connection commits every statement by itself, the work gets a
transaction of its own. Nothing here ever commits, rolls back or closes what the caller began.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import Enum
from functools import lru_cache
from typing import Any, NoReturn, Protocol, TypeVar, cast

from sqlalchemy import Connection, Dialect, Executable, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import UnboundExecutionError
from sqlalchemy.sql import ClauseElement

from jobwarden.errors import UnsupportedConnection
from jobwarden.store.database import Database, Writer

T = TypeVar("T")
Work = Callable[[Writer], T]
Wake = Callable[[], None]
OnCommit = Callable[[Wake], Any]
Rows = list[Mapping[str, Any]]
Run = Callable[[str, Mapping[str, Any] | None], Rows]

_IN_TRANSACTION = 1  # bit of MariaDB's and MySQL's server status
_DRIVERS = {"sqlite": "sqlite://", "postgresql": "postgresql+psycopg://", "mysql": "mysql+pymysql://"}
_STYLES = {"sqlite": "named", "postgresql": "pyformat", "mysql": "pyformat"}
#: SQLite has one writer at a time. In a transaction that began as a reader, what we read first would be old as soon as
#: another wrote, and our own write refused at once: so the first thing is a write, which waits for its turn.
_BE_THE_WRITER = "DELETE FROM jobwarden_batch_turns WHERE 0"
_OTHERS = {
    "sqlalchemy.engine.base.Engine": "an Engine has no transaction of its own; pass one of its connections",
    "sqlalchemy.ext.asyncio.engine.AsyncEngine": "an AsyncEngine has no transaction; pass one of its connections",
    "sqlalchemy.orm.session.sessionmaker": "a sessionmaker has no transaction; pass a Session that it made",
    "sqlalchemy.ext.asyncio.session.async_sessionmaker": "a sessionmaker has no transaction; pass a session it made",
}
_KNOWN = (
    "pass a SQLAlchemy Connection or Session (async ones with aenqueue), a psycopg, PyMySQL or sqlite3 connection, "
    "or django.db.connection"
)


def join(database: Database, connection: Any, work: Work[T], wake: Wake) -> T:
    """Do ``work`` in the transaction of ``connection``; raises `UnsupportedConnection` where that cannot be.

    ``wake`` is called after the caller's commit where the connection can tell; elsewhere PostgreSQL notifies by itself.
    """
    kinds = _kinds(connection)
    for kind in kinds:
        if kind in _SYNC:
            return _worked(database, _SYNC[kind](database, connection), work, wake)
        if kind in _ASYNC:
            _refuse(connection, "it is async and this call is not", "use `await ...aenqueue(...)`")
    rule = next((_OTHERS[kind] for kind in kinds if kind in _OTHERS), "it is of no known kind")
    raise UnsupportedConnection(kind=kinds[0], rule=rule, way_out=_KNOWN)


async def join_async(database: Database, connection: Any, work: Work[T], wake: Wake) -> T:
    """`join` for async code. A sync connection is used as it is, in the loop's own thread."""
    for kind in _kinds(connection):
        if kind in _ASYNC:
            return cast(T, await _ASYNC[kind](database, connection, work, wake))
    return join(database, connection, work, wake)


def _worked(database: Database, caller: Caller, work: Work[T], wake: Wake) -> T:
    with _bounded(caller) as writer:
        if database.facts.one_machine:
            caller.say(database.spell(_BE_THE_WRITER, qualified=True))
        done = work(writer)
    options = database.options
    if caller.on_commit is not None:
        caller.on_commit(wake)
    elif database.facts.notifies and options.notify and not options.pgbouncer:
        caller.say(f'NOTIFY "{database.channel}"')
    return done


# -- the bounds of our work -------------------------------------------------------------------------------------------


class Standing(Enum):
    """What the caller's connection is doing: which statements begin our work, end it, and undo it."""

    OPEN = (("SAVEPOINT jobwarden",), ("RELEASE SAVEPOINT jobwarden",), ("ROLLBACK TO SAVEPOINT jobwarden",))
    # On SQLite the release of an outermost savepoint is a commit: begin first, and leave the commit to the caller.
    UNBEGUN = (("BEGIN IMMEDIATE", *OPEN[0]), OPEN[1], OPEN[2])
    AUTOCOMMIT = (("BEGIN",), ("COMMIT",), ("ROLLBACK",))
    AUTOCOMMIT_SQLITE = (("BEGIN IMMEDIATE",), ("COMMIT",), ("ROLLBACK",))


class Caller(Writer, Protocol):
    """A caller's connection, able to run our statements; ``on_commit`` where it can say that it has committed."""

    on_commit: OnCommit | None

    def standing(self) -> Standing:
        """Whether a transaction is open on it."""
        ...

    def say(self, sql: str) -> Any:
        """Run plain SQL."""
        ...


@contextmanager
def _bounded(caller: Caller) -> Iterator[Writer]:
    begin, end, undo = caller.standing().value
    for sql in begin:
        caller.say(sql)
    try:
        yield caller
    except BaseException:
        with suppress(Exception):  # the error is the news; a lost connection has undone everything anyway
            for sql in undo:
                caller.say(sql)
        raise
    for sql in end:
        caller.say(sql)


# -- SQLAlchemy -------------------------------------------------------------------------------------------------------


class Alchemy:
    """A SQLAlchemy connection: it compiles and runs our statements itself, whatever its driver."""

    def __init__(self, database: Database, connection: Connection, on_commit: OnCommit | None = None) -> None:
        self._database, self._connection, self.on_commit = database, connection, on_commit
        self.chains_writes = database.facts.chains_writes
        _check_engine(database, connection, connection.dialect.name)
        if not connection.in_transaction():
            connection.begin()
        name = connection.engine.url.database
        _check_name(database, connection, _sqlite_file(self.say) if database.facts.one_machine else name)

    def say(self, sql: str) -> Any:
        """Run plain SQL."""
        result = self._connection.exec_driver_sql(sql)
        return [dict(row) for row in result.mappings()] if result.returns_rows else []

    def send(self, statement: Any, rows: str) -> Rows:
        """Run one of our statements."""
        with self._respelled():
            result = self._connection.execute(cast(Executable, statement), {"rows": rows})
        return [dict(row) for row in result.mappings()] if result.returns_rows else []

    def standing(self) -> Standing:
        """Whether a transaction is open on it."""
        one_machine = self._database.facts.one_machine
        if one_machine and getattr(self._connection.connection.driver_connection, "in_transaction", False):
            return Standing.OPEN
        if self._commits_by_itself():
            return Standing.AUTOCOMMIT_SQLITE if one_machine else Standing.AUTOCOMMIT
        return Standing.UNBEGUN if one_machine else Standing.OPEN

    def _commits_by_itself(self) -> bool:
        general = getattr(self._connection.dialect, "_on_connect_isolation_level", None)
        return bool(self._connection.get_execution_options().get("isolation_level", general) == "AUTOCOMMIT")

    @contextmanager
    def _respelled(self) -> Iterator[None]:
        """Our table names in their configured spelling, for our own statements only."""
        database = self._database
        if database.spell("jobwarden_", qualified=True) == "jobwarden_":
            yield
            return

        def respell(conn: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> tuple[str, Any]:
            return database.spell(sql, qualified=True), parameters

        event.listen(self._connection, "before_cursor_execute", respell, retval=True)
        try:
            yield
        finally:
            event.remove(self._connection, "before_cursor_execute", respell)


def _session(database: Database, session: Any) -> Caller:
    def on_commit(wake: Wake) -> None:
        event.listen(session, "after_commit", lambda session: wake(), once=True)

    try:
        return Alchemy(database, session.connection(), on_commit)
    except UnboundExecutionError as error:
        _refuse(session, f"it has no one engine ({error})", "pass session.connection(bind_arguments=...) instead")


def _scoped(database: Database, scoped: Any) -> Caller:
    return _session(database, scoped())


# -- drivers ----------------------------------------------------------------------------------------------------------


class Raw:
    """A driver's own connection: our statements go to its cursor as text, with their one parameter by name."""

    def __init__(self, database: Database, engine: str, run: Run, standing: Callable[[], Standing]) -> None:
        self._database, self._engine, self._run, self.standing = database, engine, run, standing
        self.chains_writes = database.facts.chains_writes
        self.on_commit: OnCommit | None = None

    def say(self, sql: str) -> Any:
        """Run plain SQL."""
        return self._run(sql, None)

    def send(self, statement: Any, rows: str) -> Rows:
        """Run one of our statements."""
        sql, constants = _as_text(statement, self._engine)
        return self._run(self._database.spell(sql, qualified=True), {**constants, "rows": rows})


@lru_cache(maxsize=256)
def _as_text(statement: ClauseElement, engine: str) -> tuple[str, Mapping[str, Any]]:
    compiled = statement.compile(dialect=_dialect(engine))
    return str(compiled), {name: value for name, value in (compiled.params or {}).items() if name != "rows"}


@lru_cache
def _dialect(engine: str) -> Dialect:
    made: Dialect = cast(Any, make_url(_DRIVERS[engine]).get_dialect())(paramstyle=_STYLES[engine])
    return made


def _sqlite(database: Database, connection: Any) -> Caller:
    _check_engine(database, connection, "sqlite")

    def run(sql: str, given: Mapping[str, Any] | None) -> Rows:
        cursor = connection.cursor()
        cursor.row_factory = None
        return _rows_of(cursor, sql, given or {})

    _check_name(database, connection, _sqlite_file(lambda sql: run(sql, None)))
    return Raw(database, "sqlite", run, lambda: _sqlite_standing(connection))


def _sqlite_standing(connection: Any) -> Standing:
    if connection.in_transaction:
        return Standing.OPEN
    by_itself = connection.isolation_level is None and getattr(connection, "autocommit", True) is not False
    return Standing.AUTOCOMMIT_SQLITE if by_itself else Standing.UNBEGUN


def _psycopg(database: Database, connection: Any) -> Caller:
    def run(sql: str, given: Mapping[str, Any] | None) -> Rows:
        with connection.cursor(row_factory=lambda cursor: tuple) as cursor:
            return _rows_of(cursor, sql, given)

    return _psycopg_caller(database, connection, run)


def _psycopg_caller(database: Database, connection: Any, run: Run) -> Caller:
    _check_engine(database, connection, "postgresql")
    _check_name(database, connection, connection.info.dbname)

    def standing() -> Standing:
        idle = connection.info.transaction_status == 0
        return Standing.AUTOCOMMIT if connection.autocommit and idle else Standing.OPEN

    return Raw(database, "postgresql", run, standing)


def _mysql(database: Database, connection: Any) -> Caller:
    _check_engine(database, connection, "mysql")
    name = getattr(connection, "db", None)
    _check_name(database, connection, name.decode() if isinstance(name, bytes) else name)

    def run(sql: str, given: Mapping[str, Any] | None) -> Rows:
        with connection.cursor() as cursor:
            return _rows_of(cursor, sql, given)

    def standing() -> Standing:
        begun = getattr(connection, "server_status", 0) & _IN_TRANSACTION
        return Standing.AUTOCOMMIT if connection.get_autocommit() and not begun else Standing.OPEN

    return Raw(database, "mysql", run, standing)


def _rows_of(cursor: Any, sql: str, given: Mapping[str, Any] | None) -> Rows:
    cursor.execute(sql, given) if given is not None else cursor.execute(sql)
    if cursor.description is None:
        return []
    names = [column[0] for column in cursor.description]
    return [row if isinstance(row, dict) else dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


_VENDORS: Mapping[str, Callable[[Database, Any], Caller]] = {
    "sqlite": _sqlite,
    "postgresql": _psycopg,
    "mysql": _mysql,
}


def _django(database: Database, connection: Any) -> Caller:
    make = _VENDORS.get(connection.vendor)
    if make is None:
        _refuse(connection, f"its vendor is {connection.vendor!r}", "use PostgreSQL, MariaDB, MySQL or SQLite")
    connection.validate_no_broken_transaction()
    connection.ensure_connection()
    raw = connection.connection
    if connection.vendor == "postgresql" and not hasattr(raw, "info"):
        _refuse(connection, "Django uses psycopg2 here", "install psycopg 3, which Django prefers when it is there")
    caller = make(database, raw)
    caller.on_commit = connection.on_commit
    return caller


# -- async ------------------------------------------------------------------------------------------------------------


async def _async_connection(database: Database, connection: Any, work: Work[T], wake: Wake) -> T:
    return cast(T, await connection.run_sync(lambda inner: _worked(database, Alchemy(database, inner), work, wake)))


async def _async_session(database: Database, session: Any, work: Work[T], wake: Wake) -> T:
    def joined(inner: Any) -> T:
        caller = _session(database, inner)
        caller.on_commit = None  # the wake-up would block the loop
        return _worked(database, caller, work, wake)

    return cast(T, await session.run_sync(joined))


async def _async_scoped(database: Database, scoped: Any, work: Work[T], wake: Wake) -> T:
    return await _async_session(database, scoped(), work, wake)


async def _async_psycopg(database: Database, connection: Any, work: Work[T], wake: Wake) -> T:
    """The work runs in a thread and its statements in the loop, where the connection lives."""
    loop = asyncio.get_running_loop()

    async def execute(sql: str, given: Mapping[str, Any] | None) -> Rows:
        async with connection.cursor(row_factory=lambda cursor: tuple) as cursor:
            await cursor.execute(sql, given)
            return _named(cursor.description, await cursor.fetchall()) if cursor.description else []

    def run(sql: str, given: Mapping[str, Any] | None) -> Rows:
        return asyncio.run_coroutine_threadsafe(execute(sql, given), loop).result()

    return await asyncio.to_thread(lambda: _worked(database, _psycopg_caller(database, connection, run), work, wake))


def _named(description: Sequence[Any], rows: Sequence[Sequence[Any]]) -> Rows:
    names = [column[0] for column in description]
    return [dict(zip(names, row, strict=True)) for row in rows]


# -- what a connection is ---------------------------------------------------------------------------------------------

_SYNC: Mapping[str, Callable[[Database, Any], Caller]] = {
    "sqlalchemy.engine.base.Connection": Alchemy,
    "sqlalchemy.orm.session.Session": _session,
    "sqlalchemy.orm.scoping.scoped_session": _scoped,
    "sqlite3.Connection": _sqlite,
    "psycopg.Connection": _psycopg,
    "pymysql.connections.Connection": _mysql,
    "MySQLdb.connections.Connection": _mysql,
    "django.utils.connection.ConnectionProxy": _django,
    "django.db.backends.base.base.BaseDatabaseWrapper": _django,
}
_ASYNC: Mapping[str, Callable[[Database, Any, Any, Wake], Any]] = {
    "sqlalchemy.ext.asyncio.engine.AsyncConnection": _async_connection,
    "sqlalchemy.ext.asyncio.session.AsyncSession": _async_session,
    "sqlalchemy.ext.asyncio.scoping.async_scoped_session": _async_scoped,
    "psycopg.AsyncConnection": _async_psycopg,
}


def _kinds(connection: Any) -> list[str]:
    """The names of its classes: known without importing anything that the caller may not have."""
    return [f"{kind.__module__}.{kind.__qualname__}" for kind in type(connection).__mro__]


def _refuse(connection: Any, rule: str, way_out: str) -> NoReturn:
    raise UnsupportedConnection(kind=_kinds(connection)[0], rule=rule, way_out=way_out)


def _check_engine(database: Database, connection: Any, engine: str) -> None:
    engine = "mysql" if engine == "mariadb" else engine
    if engine != database.facts.name:
        rule = f"it is {engine} and JobWarden's tables are in {database}"
        _refuse(connection, rule, "pass a connection to that database, or leave connection out")


def _check_name(database: Database, connection: Any, name: str | None) -> None:
    ours = database.url.database
    if not name or not ours or name == ours:
        return
    if database.facts.one_machine and os.path.realpath(name) == os.path.realpath(ours):
        return
    rule = f"it is connected to {name!r} and JobWarden's tables are in {database}"
    _refuse(connection, rule, "pass a connection to that database, or leave connection out")


def _sqlite_file(say: Callable[[str], Any]) -> str:
    listed = say("PRAGMA database_list")
    return next((row["file"] for row in listed if row["name"] == "main"), "") or ":memory:"
