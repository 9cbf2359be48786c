"""From the command line to an application or to a database, each failure told in one sentence.

Commands that only read need no application: without one, the settings come from the environment and the files alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import click
from sqlalchemy.exc import DBAPIError

from jobwarden.app import JobWarden
from jobwarden.config import Settings
from jobwarden.errors import DatabaseUnavailable, NotMigrated
from jobwarden.runner.application import jobs_of, load_application
from jobwarden.store import revision
from jobwarden.store.database import Database, Transaction

APP_VARIABLE = "JOBWARDEN_APP"
_T = TypeVar("_T")
_WAY_OUT = "check that it runs and that database_url has the right host, name, user and password"


@dataclass
class Opening:
    """What was said before the command's name: the application, and whether to show tracebacks."""

    app: str | None = None
    debug: bool = False

    def application(self) -> JobWarden:
        """The application; a usage error if none was named, `ApplicationImportError` if it does not import."""
        found = load_application(self.needed())
        jobs_of(found)
        app: JobWarden = found
        return app

    def needed(self) -> str:
        """The application's address; a usage error if none was given."""
        if not self.app:
            raise click.UsageError(f"this command needs the application: -A module:attribute, or {APP_VARIABLE}.")
        return self.app

    def settings(self) -> Settings:
        """The application's settings, or those of the environment and the files where no application was named."""
        return self.application().settings if self.app else Settings()

    def database(self) -> Database:
        """The database, reachable and migrated; raises what is wrong with it."""
        return checked(Database(self.settings()))

    def read(self, work: Callable[[Transaction], _T]) -> _T:
        """What ``work`` reads in one transaction of the database."""
        return read(self.database(), work)


def checked(database: Database) -> Database:
    """The database, once it is known to be there and at our revision."""
    if there_is_no_file(database):
        raise NotMigrated(database=database, found="nothing (no such file)", needed=revision.newest())
    database.server()
    revision.check(database)
    return database


def there_is_no_file(database: Database) -> bool:
    """Whether connecting would make a new, empty database of an embedded engine."""
    path = database.url.database
    return database.facts.one_machine and bool(path) and not os.path.exists(str(path))


def read(database: Database, work: Callable[[Transaction], _T]) -> _T:
    """What ``work`` reads in one transaction."""
    with told(database), database.read() as transaction:
        return work(transaction)


@contextmanager
def told(database: Database) -> Iterator[None]:
    """A database that went away meanwhile, told in one sentence."""
    try:
        yield
    except DBAPIError as error:
        if not database.fault(error).transient:
            raise
        rule = " ".join(str(error.orig).split())
        raise DatabaseUnavailable(database=database, rule=rule, way_out=_WAY_OUT) from error


def opening(context: click.Context) -> Opening:
    """What was said before the command's name."""
    found: Any = context.find_object(Opening)
    return found if isinstance(found, Opening) else Opening()
