"""The one way to the database: connections with deadlines, transactions, the clock, and the engine's facts.

A `Transaction` runs statements whose rows travel as one JSON parameter; on engines that can, the statements of a step
travel as one. Nothing above this module knows which engine it is on. Connections made before a fork are never used,
nor closed, by the child.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection, CursorResult, Engine, Executable, Table, create_engine, event, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql.dml import UpdateBase

from jobwarden.errors import ConfigurationError, DatabaseReadOnly, DatabaseTooOld, DatabaseUnavailable, NotMigrated
from jobwarden.store import urls
from jobwarden.store.dialects.facts import Facts, Fault, Limits, Server
from jobwarden.store.dialects.mysql import MySQL
from jobwarden.store.dialects.postgresql import PostgreSQL, spread_hosts
from jobwarden.store.dialects.sql import (
    Id,
    Instant,
    Json,
    Serial,
    Words,
    after,
    age,
    column_of,
    encode,
    ending,
    instant,
    name_type,
    now,
    rows,
    skipping_duplicates,
)
from jobwarden.store.dialects.sqlite import SQLite
from jobwarden.store.direct import Direct, Shortcut
from jobwarden.store.nudge import Voice
from jobwarden.store.sockets import Sockets

__all__ = [
    "Database",
    "Direct",
    "Fault",
    "Id",
    "Instant",
    "Json",
    "Serial",
    "Server",
    "Transaction",
    "Words",
    "Writer",
    "after",
    "age",
    "column_of",
    "encode",
    "ending",
    "instant",
    "name_type",
    "now",
    "rows",
    "skipping_duplicates",
]

PREFIX = "jobwarden_"
_UNMIGRATED = ("no such table", "no such column", "does not exist", "doesn't exist", "Unknown column")
_QUIET = 0.01
_PATIENT = 1.5  # who is in haste waits for a connection so much longer than for a lock
_ENGINES: Mapping[str, Facts] = {facts.name: facts for facts in (SQLite(), PostgreSQL(), MySQL())}
_ENGINES = {**_ENGINES, "mariadb": _ENGINES["mysql"]}
_T = TypeVar("_T")


class Options(Protocol):
    """The settings that a database is built from."""

    @property
    def database_url(self) -> str: ...
    @property
    def table_prefix(self) -> str: ...
    @property
    def schema_name(self) -> str | None: ...
    @property
    def statement_timeout(self) -> float: ...
    @property
    def connect_timeout(self) -> float: ...
    @property
    def silence(self) -> float: ...
    @property
    def pgbouncer(self) -> bool: ...
    @property
    def notify(self) -> bool: ...
    @property
    def nudge(self) -> bool: ...
    @property
    def sqlite_synchronous(self) -> str: ...


class Writer(Protocol):
    """Anything that can run our statements in a transaction: our own, or one joined from the caller."""

    @property
    def chains_writes(self) -> bool:
        """Whether a step travels as one statement."""
        ...

    def send(self, statement: Any, rows: str) -> list[Mapping[str, Any]]:
        """Run a statement whose one parameter is ``rows``, and give what it returns."""
        ...


class Transaction:
    """One open transaction. Statements take their rows as ``rows=encode(...)`` and other parameters by name."""

    def __init__(self, connection: Connection, facts: Facts, spell: Callable[[str], str] = str) -> None:
        self.connection, self.facts, self._spell = connection, facts, spell

    def execute(self, statement: Executable, **parameters: Any) -> CursorResult[Any]:
        """Run one statement."""
        return self.connection.execute(statement, parameters)

    def run(self, *writes: UpdateBase, **parameters: Any) -> None:
        """Run the writes of one step, in one statement where the engine can. They must touch different tables."""
        if self.facts.chains_writes and len(writes) > 1:
            self.connection.execute(chained(writes), parameters)
            return
        for write in writes:
            self.connection.execute(write, parameters)

    @property
    def chains_writes(self) -> bool:
        """Whether a step travels as one statement."""
        return self.facts.chains_writes

    def send(self, statement: Executable, rows: str) -> list[Mapping[str, Any]]:
        """Run a statement whose one parameter is ``rows``, and give what it returns."""
        result = self.execute(statement, rows=rows)
        return [dict(row) for row in result.mappings()] if result.returns_rows else []

    def pour(self, table: Table, columns: Iterable[str], lines: Iterable[str]) -> None:
        """Stream lines of `Facts.field` texts into a table, on engines that can (``facts.pours_rows``)."""
        raw: Any = self.connection.connection.driver_connection
        try:
            self.facts.pour(raw, self._spell(table.name), columns, lines)
        except self.connection.dialect.loaded_dbapi.Error as error:
            base = self.connection.dialect.loaded_dbapi.Error
            raise DBAPIError.instance(
                f"COPY {table.name}", None, error, base, dialect=self.connection.dialect
            ) from error

    def now(self) -> datetime:
        """The database's clock."""
        moment: datetime = self.connection.execute(select(now())).scalar_one()
        return moment


_chains: dict[tuple[int, ...], tuple[tuple[UpdateBase, ...], UpdateBase]] = {}


def chained(writes: Sequence[UpdateBase]) -> UpdateBase:
    """The writes as one statement: all but the last become data-modifying CTEs. Built once per combination."""
    key = tuple(map(id, writes))
    if key not in _chains:
        *early, last = writes
        _chains[key] = (tuple(writes), last.add_cte(*(write.cte(f"step_{n}") for n, write in enumerate(early))))
    return _chains[key][1]


class Database:
    """A database by its settings. Building one reads nothing and connects nowhere."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.url = urls.parse(spread_hosts(options.database_url), _ENGINES)
        self.facts = _ENGINES[self.url.get_backend_name()]
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._inherited: list[Engine] = []
        self._short: Shortcut | None = None
        self._announced = 0.0
        self._haste: float | None = None
        self._sockets: Sockets | None = None
        self.heard = 0.0  # when a server last answered a statement, by the monotonic clock; kept once hastened
        self._voice = Voice(self.fingerprint)
        _databases.add(self)

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @property
    def fingerprint(self) -> str:
        """A short name for this database that two processes on one machine agree on."""
        url = self.url
        if self.facts.one_machine and url.database:
            url = url.set(database=os.path.realpath(url.database))
        hosts = url.query.get("host", f"{url.host}:{url.port}")
        named = f"{hosts}/{url.database}/{self.options.schema_name}/{self.options.table_prefix}"
        return hashlib.sha256(named.encode()).hexdigest()[:16]

    @property
    def engine(self) -> Engine:
        """The connection pool, made on first use in each process."""
        with self._lock:
            if self._engine is None:
                self._engine = self._make_engine()
            return self._engine

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that may write: committed at the end, rolled back on an error."""
        with self.engine.connect().execution_options(jobwarden_write=True) as connection, connection.begin():
            yield Transaction(connection, self.facts, self.spell)

    @contextmanager
    def step(self) -> Iterator[Transaction | Direct]:
        """A transaction for exactly one `send`, without a begin and commit of its own where one suffices."""
        if self.facts.chains_writes:
            with self._shortcut(self.engine).connection() as direct:
                yield direct
            return
        with self.write() as transaction:
            yield transaction

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        """A transaction that only reads."""
        with self.engine.connect() as connection, connection.begin():
            yield Transaction(connection, self.facts, self.spell)

    def attempt(
        self,
        work: Callable[[Transaction], _T],
        tries: int = 5,
        pause: Callable[[int], None] = lambda n: None,
        *,
        reads: bool = False,
    ) -> _T:
        """Run ``work`` in a transaction of its own, again after a conflict or a lost connection, up to ``tries`` times.

        ``work`` must be safe to repeat: a commit whose answer was lost may have happened. ``pause(n)`` is called
        before the n-th repetition. ``reads``: it writes nothing.
        """
        begin = self.read if reads else self.write
        for n in range(1, tries + 1):
            try:
                with begin() as transaction:
                    return work(transaction)
            except DBAPIError as error:
                if n == tries or not self.fault(error).transient:
                    raise
                pause(n)
        raise AssertionError("unreachable")

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Raises `DatabaseUnavailable` or `DatabaseReadOnly` for a fault that passes, and `NotMigrated` where tables
        are missing, not the driver's error."""
        try:
            yield
        except DBAPIError as error:
            fault, rule = self.fault(error), " ".join(str(error.orig).split())
            self.check_migrated(error)
            if not fault.transient:
                raise
            kind = DatabaseReadOnly if fault is Fault.READ_ONLY else DatabaseUnavailable
            raise kind(database=self, rule=rule, way_out="wait until it takes writes, and start again") from error

    def check_migrated(self, error: DBAPIError) -> None:
        """Raises `NotMigrated` if that is what an error means."""
        rule = " ".join(str(error.orig).split())
        if any(sign in rule for sign in _UNMIGRATED):
            message = f"The database {self} lacks tables that this version needs ({rule}): run `jobwarden migrate`."
            raise NotMigrated(message) from error

    def fault(self, error: BaseException) -> Fault:
        """What kind of error this is."""
        if isinstance(error, DBAPIError):
            if error.connection_invalidated:
                return Fault.LOST
            return self.facts.fault(error.orig) if error.orig is not None else Fault.OTHER
        return Fault.LOST if isinstance(error, ConnectionError | TimeoutError) else Fault.OTHER

    def server(self) -> Server:
        """What answers; raises `DatabaseUnavailable` or `DatabaseTooOld`."""
        if why := self.facts.missing(self.url):
            raise DatabaseUnavailable(database=self, rule=why, way_out="correct database_url")
        try:
            with self.read() as transaction:
                server = self.facts.server(transaction.connection)
        except DBAPIError as error:
            why = " ".join(str(error.orig).split())
            way_out = "check that it runs and that database_url has the right host, name, user and password"
            raise DatabaseUnavailable(database=self, rule=why, way_out=way_out) from error
        oldest = self.facts.oldest[server.product]
        if server.version < oldest:
            needed = f"{server.product} {'.'.join(map(str, oldest))} or later"
            raise DatabaseTooOld(database=self, found=server, needed=needed)
        return server

    def listen(self) -> Any:
        """A listener for `announce`, or None where engine or settings have no notifications; connects, and so waits."""
        if not self.facts.notifies or self.options.pgbouncer or not self.options.notify:
            return None
        fairy = self.engine.raw_connection()
        try:
            listener = self.facts.listen(fairy.driver_connection, self.channel)
        except self.engine.dialect.loaded_dbapi.Error as error:
            fairy.invalidate(error)
            raise ConnectionResetError("the listening connection is lost") from error
        fairy.detach()
        return listener

    def announce(self) -> None:
        """Wake workers, after the commit: those of this host by a nudge, the others by a notification.

        Notifications are sent once in a while only, since who was woken looks again soon. In the enqueuing transaction
        a notification would take a lock that all of them share (measured with 32 clients: 10,800 inserts a second
        without, 4,000 with). Never raises: correctness does not depend on it.
        """
        if self.options.nudge:
            self._voice.nudge()
        if not self.facts.notifies or self.options.pgbouncer or not self.options.notify:
            return
        moment = time.monotonic()
        if moment - self._announced < _QUIET:
            return
        self._announced = moment
        try:
            with self._shortcut(self.engine).connection() as direct:
                direct.say(f'BEGIN; SET LOCAL synchronous_commit = off; NOTIFY "{self.channel}"; COMMIT')
        except DBAPIError:
            return

    @property
    def channel(self) -> str:
        """Where work is announced."""
        return f"{self.options.table_prefix}queued"

    def spell(self, sql: str, qualified: bool = False) -> str:
        """SQL with the configured table prefix; ``qualified`` names the schema too, for connections not our own."""
        prefix = self.options.table_prefix
        if qualified and self.options.schema_name:
            prefix = f'"{self.options.schema_name}".{prefix}'
        return sql if prefix == PREFIX else sql.replace(PREFIX, prefix)

    def hasten(self, seconds: float) -> None:
        """For a daemon that must be heard of in time: whoever vanished in the middle of a transaction of ours holds its
        locks no longer than this, who waits for a lock or a connection is told so in time, and `break_off` works.
        Connects anew."""
        engine, self._haste = self.engine, seconds
        self._sockets = Sockets(self.facts.descriptor, time.monotonic)
        self._watch(engine, self._sockets)
        engine.dispose()

    def break_off(self, before: float) -> int:
        """From another thread than the one that waits: end the calls over connections that are older than the monotonic
        moment ``before``; they fail as lost. How many connections were shut down."""
        return self._sockets.cut(before) if self._sockets is not None else 0

    def reconnect(self) -> None:
        """Close the connections of the pool; the next use connects anew, and asks nothing that is known already."""
        self.engine.dispose()

    def dispose(self) -> None:
        """Close the pool; the next use opens it again."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()

    def forget_inherited(self) -> None:
        """Called in a child after a fork: the parent's connections are neither used nor closed here."""
        self._lock = threading.Lock()
        if self._engine is not None:
            self._inherited.append(self._engine)
            self._engine = None

    def _shortcut(self, engine: Engine) -> Shortcut:
        if self._short is None or self._short.engine is not engine:
            self._short = Shortcut(engine, self.spell)
        return self._short

    def _make_engine(self) -> Engine:
        options, facts = self.options, self.facts
        url = urls.with_driver(self.url, list(facts.drivers))
        try:
            engine = create_engine(url, pool_recycle=1800, **facts.engine_options())
        except ImportError as error:
            extra = facts.drivers.get(url.get_driver_name(), "all")
            way_out = f"pip install 'jobwarden[{extra}]'"
            raise ConfigurationError(
                name="database_url", value=str(self), rule=f"its driver is not installed ({error})", way_out=way_out
            ) from error
        event.listen(engine, "do_connect", self._connect)
        event.listen(engine, "connect", self._prepare)
        if self._sockets is not None:
            self._watch(engine, self._sockets)
        if not facts.chains_writes and facts.one_machine:
            event.listen(engine, "begin", _begin)
        if options.table_prefix != PREFIX:
            event.listen(engine, "before_cursor_execute", self._respell, retval=True)
        return engine

    @property
    def _limits(self) -> Limits:
        connect = self.options.connect_timeout if self._haste is None else _PATIENT * self._haste
        return Limits(self.options.statement_timeout, min(connect, self.options.connect_timeout), self._haste)

    def _watch(self, engine: Engine, sockets: Sockets) -> None:
        sockets.watch(engine)
        event.listen(engine, "after_cursor_execute", self._answered)

    def _answered(self, *told: Any) -> None:
        self.heard = time.monotonic()

    def _connect(self, dialect: Any, record: Any, arguments: Any, named: Any) -> Any:
        ours = self.facts.connect_args(self._limits, self.options.pgbouncer)
        if self.facts.notifies:
            ours["options"] = urls.server_options(self.url, ours, self.options.schema_name)
        raw = self.facts.connect(dialect.dbapi, self._limits, *arguments, **{**named, **ours})
        if self._sockets is not None:
            self._sockets.hold(raw)
        return raw

    def _prepare(self, raw: Any, record: Any) -> None:
        self.facts.prepare(raw, self.options.sqlite_synchronous, self._limits)

    def _respell(self, conn: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> tuple[str, Any]:
        return self.spell(sql), parameters


def _begin(connection: Connection) -> None:
    write = connection.get_execution_options().get("jobwarden_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


_databases: weakref.WeakSet[Database] = weakref.WeakSet()


def _drop_inherited_connections() -> None:
    for database in list(_databases):
        database.forget_inherited()


if hasattr(os, "register_at_fork"):  # elsewhere nothing forks
    os.register_at_fork(after_in_child=_drop_inherited_connections)
