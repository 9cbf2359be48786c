"""Migrations: once, under a lock, from however many processes; shown before they run; with the names that are set."""

from __future__ import annotations

import contextlib
import multiprocessing
import sqlite3
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.config import Settings
from jobwarden.errors import MigrationNewer, NotMigrated
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.store.migrate import migrate, statements
from jobwarden.store.revision import check, current, known, newest
from tests.lifecycle.claimants import Claimant
from tests.support.jobs import build


@pytest.fixture
def empty(empty_database_url: str) -> Iterator[Database]:
    database = Database(Settings(database_url=empty_database_url))
    yield database
    database.dispose()


def _tables(database: Database, schema_name: str | None = None) -> set[str]:
    return set(sa.inspect(database.engine).get_table_names(schema=schema_name))


def test_an_empty_database_gets_every_table_and_index(empty: Database) -> None:
    assert current(empty) is None
    assert migrate(empty) == known()
    assert _tables(empty) == {table.name for table in schema.metadata.sorted_tables} | {"jobwarden_version"}
    inspector = sa.inspect(empty.engine)
    for table in schema.metadata.sorted_tables:
        found = {index["name"] for index in inspector.get_indexes(table.name)}
        assert {index.name for index in table.indexes} <= found, table.name
        assert {column["name"] for column in inspector.get_columns(table.name)} == set(table.columns.keys())
    check(empty)
    assert migrate(empty) == [], "again is fine"


def test_twelve_processes_at_once_migrate_once(empty: Database) -> None:
    forks = multiprocessing.get_context("fork")
    gun, said = forks.Barrier(12), forks.SimpleQueue()
    racers = [forks.Process(target=_race, args=(empty, gun, said)) for _ in range(12)]
    for racer in racers:
        racer.start()
    answers = Counter(said.get() for _ in racers)
    for racer in racers:
        racer.join(60)
    assert answers == {",".join(known()): 1, "nothing": 11}
    check(empty)


def _race(database: Database, gun: Any, said: Any) -> None:
    try:
        with database.engine.connect():
            gun.wait(60)
        said.put(",".join(migrate(database)) or "nothing")
    except BaseException as error:
        said.put(repr(error))
    finally:
        database.dispose()


def test_check_names_what_is_found_what_is_needed_and_the_way_out(empty: Database) -> None:
    with pytest.raises(NotMigrated) as raised:
        check(empty)
    sentence = f"The database {empty} is at schema revision nothing and this version needs {newest()}"
    assert str(raised.value) == f"{sentence}: run `jobwarden migrate`."
    migrate(empty)
    check(empty)


def test_a_database_of_a_newer_version_is_left_alone(empty: Database) -> None:
    migrate(empty)
    with empty.write() as transaction:
        transaction.connection.exec_driver_sql("UPDATE jobwarden_version SET version_num = '9999'")
    for refused in (check, migrate):
        with pytest.raises(MigrationNewer, match=r"at schema revision 9999, which this version does not know: upgrade"):
            refused(empty)
    assert current(empty) == "9999"


def test_the_sql_that_is_shown_is_the_sql_that_migrates(empty: Database) -> None:
    shown = statements(empty)
    assert _tables(empty) == set(), "showing changes nothing"
    assert shown.count("CREATE TABLE") == len(schema.metadata.sorted_tables) + 1
    _run_script(empty, shown)
    check(empty)
    assert migrate(empty) == []
    assert "CREATE" not in statements(empty)


def _run_script(database: Database, script: str) -> None:
    """As a person would, with the engine's own client."""
    if database.url.get_backend_name() == "sqlite":
        with contextlib.closing(sqlite3.connect(str(database.url.database))) as connection:
            connection.executescript(script)
        return
    lines = [line for line in script.splitlines() if line and not line.startswith("--")]
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for statement in "\n".join(lines).split(";"):
            if statement.strip() not in ("", "BEGIN", "COMMIT"):
                connection.exec_driver_sql(statement.replace("%", "%%"))


# -- names ------------------------------------------------------------------------------------------------------------


def _end_to_end(settings: dict[str, Any]) -> Database:
    """Migrate, enqueue, claim, start, settle: every statement once."""
    app = build(**settings)
    database: Database = app.database
    migrate(database)
    check(database)
    app.find("succeed").using(tags={"a": "b"}, idempotency_key="k").enqueue()
    later = app.enqueue("succeed", delay=60)
    claimant = Claimant()
    [claim] = claimant.claim(database, 5)
    assert claimant.start(database, claim) == {claim.attempt_id}
    assert claimant.settle(database, claim).decision is not None
    assert app.look(claim.job_id).state == "succeeded"
    assert app.cancel(later.id) == "canceled"
    return database


def test_a_table_prefix_is_kept_by_everything(empty_database_url: str) -> None:
    database = _end_to_end({"database_url": empty_database_url, "table_prefix": "x_"})
    tables = _tables(database)
    assert tables == {table.name.replace("jobwarden_", "x_") for table in schema.metadata.sorted_tables} | {"x_version"}
    inspector = sa.inspect(database.engine)
    names = {str(index["name"]) for table in tables for index in inspector.get_indexes(table)}
    assert not [name for name in names if "jobwarden" in name]
    other = build(database_url=empty_database_url)
    with pytest.raises(NotMigrated):
        check(other.database)
    migrate(other.database)
    assert other.enqueue("succeed").state == "queued", "two prefixes share one database"
    with database.read() as transaction:
        jobs = transaction.execute(sa.select(sa.func.count()).select_from(schema.jobs)).scalar_one()
    assert jobs == 2
    other.database.dispose()
    database.dispose()


@pytest.mark.parametrize("engine", [pytest.param("postgresql", marks=pytest.mark.postgresql)])
def test_a_schema_of_its_own(engines: Any, engine: str) -> None:
    with engines.empty_database(engine) as url:
        plain = Database(Settings(database_url=url))
        settings = {"database_url": url, "schema_name": "deep", "table_prefix": "y_"}
        database = _end_to_end(settings)
        assert "y_jobs" in _tables(database, "deep")
        assert _tables(plain, "public") == set()
        assert migrate(database) == [], "the schema is there now"
        with plain.engine.connect() as outside, outside.begin():  # a caller's connection, with a path of its own
            job = build(**settings).find("succeed").using(connection=outside).enqueue()
        assert build(**settings).look(job.id).state == "queued"
        for each in (database, plain):
            each.dispose()
