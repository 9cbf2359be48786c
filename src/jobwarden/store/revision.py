"""Which schema revision a database is at, and which this code needs; told without loading what migrates."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import inspect, text

from jobwarden.errors import MigrationNewer, NotMigrated
from jobwarden.store.database import PREFIX, Database

_VERSIONS = Path(__file__).parent / "migrations" / "versions"


def known() -> list[str]:
    """The revisions of this version of the code, oldest first: what the names of their files begin with."""
    return sorted(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*.py"))


def newest() -> str:
    """The schema revision that this version of the code needs."""
    return known()[-1]


def current(database: Database) -> str | None:
    """The schema revision that the database is at; None if it has no tables of ours.

    Raises `DatabaseUnavailable` where the connection is lost meanwhile.
    """
    table = f"{PREFIX}version"
    with database.answering(), database.read() as transaction:
        connection = transaction.connection
        if not inspect(connection).has_table(database.spell(table), schema=database.options.schema_name):
            return None
        found: str | None = connection.execute(text(f"SELECT version_num FROM {table}")).scalar()
        return found


def check(database: Database) -> None:
    """Raise `NotMigrated` or `MigrationNewer` unless the database is at the revision that this code needs."""
    found = current(database)
    if found == newest():
        return
    if found is not None and found not in known():
        raise MigrationNewer(database=database, found=found)
    raise NotMigrated(database=database, found=found or "nothing", needed=newest())
