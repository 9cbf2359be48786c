"""The check-up of a database: reachable, new enough, ours to write, migrated, and on speaking terms about the time.

What is tried is taken back: tables are created and dropped, rows written and rolled back.
"""

from __future__ import annotations

import select as polling
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Column, Connection, Integer, MetaData, Table, delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from jobwarden.cli.checks import Finding, fail, ok, warn
from jobwarden.cli.opening import there_is_no_file
from jobwarden.config import ClaimDriver, Settings
from jobwarden.errors import JobWardenError, NotMigrated
from jobwarden.store import revision
from jobwarden.store.database import Database
from jobwarden.store.schema import counters

_APART = 1.0
_HEARING = 2.0
_MIGRATE = "run `jobwarden migrate`"


def check_database(settings: Settings) -> Iterator[Finding]:
    """Everything that clients and workers need of the database."""
    try:
        database = Database(settings)
    except JobWardenError as error:
        yield fail("database", str(error), "correct database_url")
        return
    try:
        yield from _looked_at(database)
    finally:
        database.dispose()


def _looked_at(database: Database) -> Iterator[Finding]:
    if there_is_no_file(database):
        yield fail("database", f"{database}: there is no such file yet", f"{_MIGRATE}, which makes it")
        return
    try:
        server = database.server()
    except JobWardenError as error:
        yield fail("database", str(error), "nothing works without it")
        return
    yield ok("database", f"{database} answers: {server}")
    if not server.writable:
        yield fail("writable", "it is read-only", "connect to the primary, with the right to write")
        return
    migrated = _migrated(database)
    yield migrated
    yield _may_create(database)
    if migrated.fix is None:
        yield _may_write(database)
    yield _locking(database)
    yield from _notifications(database)
    yield _clock(database)


def _migrated(database: Database) -> Finding:
    try:
        revision.check(database)
    except NotMigrated as error:
        return fail("schema", str(error), _MIGRATE)
    except JobWardenError as error:
        return fail("schema", str(error), "upgrade JobWarden here")
    return ok("schema", f"at revision {revision.newest()}")


def _may_create(database: Database) -> Finding:
    """A table is made and dropped; some engines commit that, so it has a name of its own."""
    probe = Table(f"jobwarden_doctor_{uuid.uuid4().hex[:8]}", MetaData(), Column("id", Integer(), primary_key=True))
    try:
        with database.engine.connect().execution_options(jobwarden_write=True) as connection, connection.begin():
            probe.create(connection)
            probe.drop(connection)
    except DBAPIError as error:
        fix = "give this user the right to create tables, or migrate as one who has it"
        return warn("may create tables", _words(error), fix)
    return ok("may create tables", "a table was made and dropped")


def _may_write(database: Database) -> Finding:
    try:
        with database.engine.connect().execution_options(jobwarden_write=True) as connection:
            transaction = connection.begin()
            try:
                _try_row(connection)
            finally:
                transaction.rollback()
    except DBAPIError as error:
        fix = "give this user SELECT, INSERT, UPDATE and DELETE on all tables of JobWarden"
        return fail("may write", _words(error), fix)
    return ok("may write", "a row was inserted, changed, deleted and rolled back")


def _try_row(connection: Connection) -> None:
    row = {"scope": "doctor", "name": "doctor", "state": "doctor", "delta": 0}
    mine = counters.c.scope == "doctor"
    connection.execute(insert(counters).values(**row))
    connection.execute(update(counters).where(mine).values(delta=1))
    connection.execute(delete(counters).where(mine))
    connection.execute(select(counters.c.id).where(mine).with_for_update(skip_locked=True))


def _locking(database: Database) -> Finding:
    chosen = getattr(database.options, "claim_driver", ClaimDriver.AUTO)
    if database.facts.skips_locked:
        return ok("claims", f"rows are locked and skipped by others (claim_driver {chosen})")
    return ok("claims", f"no SKIP LOCKED: workers race, and a guarded update decides (claim_driver {chosen})")


def _notifications(database: Database) -> Iterator[Finding]:
    if not database.facts.notifies:
        return
    poll = "workers on other hosts find new work by polling"
    try:
        listener = database.listen()
    except DBAPIError as error:
        yield warn("notifications", f"{_words(error)}; {poll}", "connect past the pooler, or set pgbouncer = true")
        return
    if listener is None:
        yield ok("notifications", f"switched off in the settings; {poll}")
        return
    try:
        database.announce()
        heard = bool(polling.select([listener.fileno()], [], [], _HEARING)[0]) and listener.heard()
    finally:
        listener.close()
    if heard:
        yield ok("notifications", "one was sent and heard")
    else:
        yield warn("notifications", f"one was sent and not heard; {poll}", "connect past the pooler")


def _clock(database: Database) -> Finding:
    """The difference to the middle of a round trip; nothing rests on it, but people compare what both say."""
    with database.read() as transaction:
        transaction.now()
        begun = time.monotonic()
        theirs = transaction.now()
        trip = time.monotonic() - begun
    ours = datetime.now(UTC)
    apart = abs((ours - theirs).total_seconds() - trip / 2)
    says = f"{apart:.3f} s from this host's; a round trip takes {trip * 1000:.1f} ms"
    if apart > _APART:
        return warn("database clock", says, "nothing breaks, the database's clock decides; run NTP so that logs agree")
    return ok("database clock", says)


def _words(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())
