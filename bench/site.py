"""Where it is measured: a private server with the engine's own durability, and databases on it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from jobwarden.config import Settings
from jobwarden.store.database import Database
from jobwarden.store.migrate import migrate
from jobwarden.store.schema import attempts
from tests.support.servers import SERVERS

#: Room for what is measured, so that no checkpoint falls into a round; everything that is about safety is left alone.
ROOM: dict[str, dict[str, str | int]] = {
    "postgresql": {"shared_buffers": "512MB", "max_wal_size": "8GB", "checkpoint_timeout": "30min"},
    "mariadb": {"innodb_buffer_pool_size": "512M", "innodb_log_file_size": "512M"},
    "sqlite": {},
}
_TABLES = ("jobs", "job_attempts", "job_events", "job_logs", "counters")
_FILL = {
    "postgresql": "FROM generate_series(1, {count}) AS series(n)",
    "mariadb": "FROM (SELECT seq AS n FROM seq_1_to_{count}) AS series",
    "sqlite": "FROM (WITH RECURSIVE series(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM series WHERE n < {count}) "
    "SELECT n FROM series)",
}
_ID = {
    "postgresql": "gen_random_uuid()",
    "mariadb": "uuid()",
    "sqlite": "lower(printf('%s-%s-%s-%s-%s', hex(randomblob(4)), hex(randomblob(2)), hex(randomblob(2)), "
    "hex(randomblob(2)), hex(randomblob(6))))",
}
_NOW = {
    "postgresql": ("now()", "now() + interval '1 day'"),
    "mariadb": ("utc_timestamp(6)", "utc_timestamp(6) + interval 1 day"),
    "sqlite": ("strftime('%Y-%m-%d %H:%M:%f000', 'now')", "strftime('%Y-%m-%d %H:%M:%f000', 'now', '+1 day')"),
}


class Site:
    """A server of one engine, its databases and a folder for workers; nothing of it is left afterwards."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self._server = SERVERS[engine](ROOM[engine], durable=True)
        self._folder = tempfile.TemporaryDirectory(prefix="jobwarden-bench-", dir="/dev/shm")

    def __enter__(self) -> Self:
        self._server.start()
        self._server.prepare(_migrate)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.remove()
        self._folder.cleanup()

    @property
    def folder(self) -> Path:
        """For what workers keep while they run."""
        return Path(self._folder.name)

    @property
    def disk(self) -> Path:
        """The data folder's disk."""
        assert self._server.folder is not None
        return self._server.folder.parent

    @contextmanager
    def store(self) -> Iterator[Store]:
        """A fresh migrated database."""
        store = Store(self.engine, self._server.create_database(), self.folder)
        try:
            yield store
        finally:
            store.database.dispose()
            self._server.drop_database(store.url)


class Store:
    """One database under measurement."""

    def __init__(self, engine: str, url: str, folder: Path) -> None:
        self.engine, self.url, self.folder = engine, url, folder
        self.database = Database(Settings(database_url=url))

    def run(self, *statements: str) -> None:
        """Plain SQL, each statement in a transaction of its own."""
        url = self.database.engine.url
        options = {} if self.engine == "sqlite" else {"isolation_level": "AUTOCOMMIT"}
        engine = sa.create_engine(url, poolclass=NullPool, **options)
        with engine.connect() as connection:
            if self.engine == "sqlite":
                raw: Any = connection.connection.driver_connection
                raw.isolation_level = None
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%") if self.engine != "sqlite" else statement)

    def ask(self, statement: str) -> Any:
        """One row."""
        with self.database.engine.connect() as connection:
            return connection.exec_driver_sql(statement).one()

    def facts(self) -> dict[str, Any]:
        """What the server says of itself."""
        server = str(self.database.server())
        if self.engine == "postgresql":
            keys = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
            return {"server": server, **{key: self.ask(f"SHOW {key}")[0] for key in keys}}
        if self.engine == "mariadb":
            flush = self.ask("SELECT @@innodb_flush_log_at_trx_commit")[0]
            return {"server": server, "innodb_flush_log_at_trx_commit": flush}
        return {"server": server, "synchronous": self.ask("PRAGMA synchronous")[0]}

    def empty(self) -> None:
        """Every table of jobs as after migrating."""
        words = "DELETE FROM" if self.engine == "sqlite" else "TRUNCATE TABLE"
        self.run(*(f"{words} jobwarden_{table}" for table in _TABLES))

    def fill(self, count: int, job: str = "nothing_pool", isolation: str = "pool", quick: bool = False) -> None:
        """So many queued jobs, as enqueueing would have left them, by one statement a table.

        ``quick`` leaves the tables as they are otherwise, which takes long where they are large.
        """
        now, _ = _NOW[self.engine]
        series = _FILL[self.engine].format(count=count)
        kept = "NULL" if isolation == "fork" else f"'{isolation}'"
        one = "true" if self.engine == "postgresql" else "1"
        self.run(
            "INSERT INTO jobwarden_jobs (id, job, lane, params, priority, idempotent, isolation, max_attempts, state, "
            f"available_at, queued_at, created_at, updated_at) SELECT {_ID[self.engine]}, '{job}', 'default', "
            f"'{{\"number\":1}}', 0, {one}, {kept}, 4, 'queued', {now}, {now}, {now}, {now} {series}",
            f"INSERT INTO jobwarden_counters (scope, name, state, delta) VALUES ('lane', 'default', 'queued', {count})",
        )
        if not quick:
            self.settle_down()
        elif self.engine == "postgresql":
            self.run("CHECKPOINT")

    def now(self) -> datetime:
        """The database's clock."""
        with self.database.read() as transaction:
            return transaction.now()

    def drained(self, begun: datetime) -> tuple[int, float]:
        """How many attempts made since then succeeded, and the seconds from the first claim to the last settling."""
        since = (attempts.c.created_at >= begun, attempts.c.state == "succeeded")
        asked = sa.select(sa.func.count(), sa.func.min(attempts.c.created_at), sa.func.max(attempts.c.finished_at))
        with self.database.engine.connect() as connection:
            count, first, last = connection.execute(asked.where(*since)).one()
        return count, (last - first).total_seconds() if count else 0.0

    def bury(self, count: int) -> None:
        """So many other rows that wait: queued in another lane, delayed by a day, and blocked by another job."""
        now, later = _NOW[self.engine]
        series, one = _FILL[self.engine].format(count=count), "true" if self.engine == "postgresql" else "1"
        self.run(
            "INSERT INTO jobwarden_jobs (id, job, lane, params, priority, idempotent, max_attempts, state, blocked_by, "
            f"available_at, created_at, updated_at) SELECT {_ID[self.engine]}, 'other', "
            "CASE n % 3 WHEN 0 THEN 'elsewhere' ELSE 'default' END, '{\"number\":1}', 0, "
            f"{one}, 4, CASE n % 3 WHEN 0 THEN 'queued' ELSE 'pending' END, CASE n % 3 WHEN 1 THEN 1 ELSE 0 END, "
            f"CASE n % 3 WHEN 2 THEN {later} ELSE {now} END, {now}, {now} {series}",
        )
        self.settle_down()

    def settle_down(self) -> None:
        """What the server would do by itself sooner or later: know its tables, and have its dirty pages written."""
        if self.engine == "postgresql":
            self.run(*(f"VACUUM ANALYZE jobwarden_{table}" for table in _TABLES), "CHECKPOINT")
        elif self.engine == "mariadb":
            self.run(*(f"ANALYZE TABLE jobwarden_{table}" for table in _TABLES))
        else:
            self.run("ANALYZE", "PRAGMA wal_checkpoint(TRUNCATE)")


def _migrate(url: str) -> None:
    database = Database(Settings(database_url=url))
    migrate(database)
    database.dispose()
