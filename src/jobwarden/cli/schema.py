"""`migrate`: bring the database to this version's schema, check whether it is, or show what would be done."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from jobwarden.cli.opening import Opening, there_is_no_file, told
from jobwarden.errors import NotMigrated
from jobwarden.store import revision
from jobwarden.store.database import Database


@click.command()
@click.option("--check", is_flag=True, help="Change nothing; exit 1 unless the database is at this version's revision.")
@click.option("--sql", is_flag=True, help="Change nothing; print the SQL that would run.")
@click.pass_obj
def migrate(opening: Opening, check: bool, sql: bool) -> None:
    """Bring the database to this version.

    Safe from many hosts at once.
    """
    if check and sql:
        raise click.UsageError("--check and --sql exclude each other.")
    database = Database(opening.settings())
    with told(database):
        if sql:
            database.server()
            click.echo(_migrations().statements(database))
        elif check:
            _check(database)
        else:
            click.echo(migrated(database))


def migrated(database: Database) -> str:
    """Migrate, and say what was done."""
    applied = _migrations().migrate(database)
    done = f"applied {', '.join(applied)}" if applied else "nothing to do"
    return f"{database}: at revision {revision.newest()} ({done})"


def _check(database: Database) -> None:
    if there_is_no_file(database):
        raise NotMigrated(database=database, found="nothing (no such file)", needed=revision.newest())
    database.server()
    revision.check(database)
    click.echo(f"{database}: at revision {revision.newest()}")


def _migrations() -> Any:
    """What migrates: loading it takes as long as everything else, and only this command needs it."""
    return import_module("jobwarden.store.migrate")


COMMANDS = (migrate,)
