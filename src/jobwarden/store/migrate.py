"""Migrations: Alembic with a version table of its own, under a lock, safe to run from every host at once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from jobwarden.errors import DatabaseReadOnly, MigrationNewer
from jobwarden.store.database import PREFIX, Database, Fault
from jobwarden.store.revision import current, known, newest

_FOLDER = Path(__file__).parent / "migrations"


def migrate(database: Database) -> list[str]:
    """Bring the database to the newest revision and give the revisions applied; others that try meanwhile wait.

    Raises `DatabaseUnavailable`, `DatabaseTooOld`, `DatabaseReadOnly` or `MigrationNewer`, with nothing changed.
    """
    server = database.server()
    if not server.writable:
        raise DatabaseReadOnly(database=database, rule="it is read-only", way_out="connect to the primary")
    try:
        with _locked(database) as connection:
            if database.options.schema_name:
                database.facts.make_schema(connection, database.options.schema_name)
            return _upgrade(database, connection)
    except DBAPIError as error:
        if database.fault(error) is Fault.READ_ONLY:
            raise DatabaseReadOnly(
                database=database, rule=str(error.orig), way_out="connect to the primary, with the right to write"
            ) from error
        raise


def statements(database: Database) -> str:
    """The SQL that `migrate` would run now, without running it."""
    found = current(database)
    out = io.StringIO()
    script = _script()

    def steps(revision: Any, context: Any) -> Any:
        return script._upgrade_revs(newest(), found or "base")  # noqa: SLF001 - what alembic's own command does

    environment = EnvironmentContext(_config(), script)
    url = database.engine.url.render_as_string(hide_password=True)
    environment.configure(url=url, fn=steps, as_sql=True, output_buffer=out, version_table=_version_table(database))
    with environment.begin_transaction():
        environment.run_migrations()
    return database.spell(out.getvalue())


@contextmanager
def _locked(database: Database) -> Iterator[Connection]:
    with database.engine.connect().execution_options(jobwarden_write=True) as connection, connection.begin():
        database.facts.lock_schema(connection, f"{PREFIX}{database.fingerprint}")
        try:
            yield connection
        finally:
            database.facts.unlock_schema(connection, f"{PREFIX}{database.fingerprint}")


def _upgrade(database: Database, connection: Connection) -> list[str]:
    script = _script()
    applied: list[str] = []
    before = _context(database, connection).get_current_revision()
    if before is not None and before not in known():
        raise MigrationNewer(database=database, found=before)

    def steps(revision: Any, context: Any) -> Any:
        found = script._upgrade_revs("head", revision)  # noqa: SLF001 - what alembic's own command does
        applied.extend(step.revision.revision for step in found)
        return found

    environment = EnvironmentContext(_config(), script)
    environment.configure(connection=connection, fn=steps, version_table=_version_table(database))
    environment.run_migrations()
    return applied


def _context(database: Database, connection: Connection) -> MigrationContext:
    return MigrationContext.configure(connection, opts={"version_table": _version_table(database)})


def _version_table(database: Database) -> str:
    """Spelled here, because Alembic asks for it by a parameter too, and only the text of a statement is respelled."""
    return database.spell(f"{PREFIX}version")


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    return config


def _script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
