"""A database that cannot be used: one clear sentence that names it, why, and the way out; and no secret in it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.config import Settings
from jobwarden.errors import (
    ConfigurationError,
    DatabaseReadOnly,
    DatabaseTooOld,
    DatabaseUnavailable,
    JobWardenError,
    NotMigrated,
)
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.store.migrate import migrate
from tests.support.hosts import Worker
from tests.support.jobs import build
from tests.support.servers import free_port


@pytest.fixture
def opened() -> Iterator[Callable[..., Database]]:
    made: list[Database] = []

    def open_one(url: str | sa.URL, **settings: Any) -> Database:
        text = url if isinstance(url, str) else url.render_as_string(hide_password=False)
        made.append(Database(Settings(database_url=text, connect_timeout=2, **settings)))
        return made[-1]

    yield open_one
    for database in made:
        database.dispose()


def _sentence(error: JobWardenError) -> str:
    text = str(error)
    assert "\n" not in text
    assert text.endswith(".")
    assert "Traceback" not in text
    assert "secret" not in text
    return text


def _elsewhere(url: str, engine_name: str, tmp_path: Path) -> sa.URL:
    parsed = sa.make_url(url)
    if engine_name == "sqlite":
        return parsed.set(database=str(tmp_path / "nowhere" / "x.db"))
    return parsed.set(port=free_port(), password="secret")


def test_a_server_that_is_not_there(
    database_url: str, engine_name: str, tmp_path: Path, opened: Callable[..., Database]
) -> None:
    url = _elsewhere(database_url, engine_name, tmp_path)
    database = opened(url)
    for work in (database.server, lambda: migrate(database)):
        with pytest.raises(DatabaseUnavailable) as raised:
            work()
        text = _sentence(raised.value)
        assert url.database is not None
        assert url.database in text
        assert "database_url" in text
    with pytest.raises(DatabaseUnavailable) as raised:
        build(database_url=url.render_as_string(hide_password=False), connect_timeout=2).enqueue("succeed")
    _sentence(raised.value)


def test_a_database_that_is_not_there(database_url: str, engine_name: str, opened: Callable[..., Database]) -> None:
    if engine_name == "sqlite":
        with pytest.raises(DatabaseUnavailable, match="in-memory database is seen by one connection only"):
            opened("sqlite:///:memory:").server()
        return
    with pytest.raises(DatabaseUnavailable, match="no_such_database") as raised:
        opened(sa.make_url(database_url).set(database="no_such_database")).server()
    _sentence(raised.value)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("postgresq://user:secret@host/name", "'postgresq' is no engine that JobWarden knows"),
        ("oracle://user:secret@host/name", "'oracle' is no engine"),
        ("just words", "it is not a database URL"),
        ("", "it is not a database URL"),
        ("postgresql+nonsense://user:secret@host/name", "there is no such driver"),
    ],
)
def test_a_typo_in_the_url(url: str, rule: str, opened: Callable[..., Database]) -> None:
    with pytest.raises(ConfigurationError, match=rule) as raised:
        _ = opened(url).engine
    assert "database_url" in _sentence(raised.value)


def test_a_server_that_is_too_old(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    found = str(database.server())
    product = found.split(maxsplit=1)[0]
    monkeypatch.setattr(type(database.facts), "oldest", {product: (99, 1)})
    for work in (database.server, lambda: migrate(database)):
        with pytest.raises(DatabaseTooOld) as raised:
            work()
        text = _sentence(raised.value)
        assert f"is {found}, and JobWarden needs {product} 99.1 or later" in text


def test_a_database_without_our_tables(empty_database_url: str, opened: Callable[..., Database]) -> None:
    with pytest.raises(NotMigrated, match="run `jobwarden migrate`") as raised:
        build(database_url=empty_database_url).enqueue("succeed")
    _sentence(raised.value)


def test_a_database_that_takes_no_writes(
    database_url: str, engine_name: str, tmp_path: Path, opened: Callable[..., Database]
) -> None:
    url, undo = _read_only(database_url, engine_name, tmp_path)
    try:
        with pytest.raises(DatabaseReadOnly) as raised:
            build(database_url=url).enqueue("succeed")
        text = _sentence(raised.value)
        assert re.search(r"read.?only", text), text
    finally:
        undo()
    with opened(database_url).read() as transaction:
        assert transaction.execute(sa.select(schema.jobs)).all() == [], "nothing is half done"


def _read_only(url: str, engine_name: str, tmp_path: Path) -> tuple[str, Callable[[], None]]:
    """The same database through a door that lets no write in."""
    engine = sa.create_engine(url)
    if engine_name == "sqlite":
        parsed = sa.make_url(url)
        engine.dispose()
        return f"sqlite:///file:{parsed.database}?mode=ro&uri=true", lambda: None
    if engine_name == "postgresql":
        return f"{url}?options=-c%20default_transaction_read_only%3Don", engine.dispose
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE USER reader@'%%'")
        connection.exec_driver_sql(f"GRANT ALL ON {sa.make_url(url).database}.* TO reader@'%%'")
        connection.exec_driver_sql("SET GLOBAL read_only = 1")

    def undo() -> None:
        with engine.connect() as connection:
            connection.exec_driver_sql("SET GLOBAL read_only = 0")
            connection.exec_driver_sql("DROP USER reader@'%%'")
        engine.dispose()

    return sa.make_url(url).set(username="reader").render_as_string(), undo


@pytest.mark.any_engine
@pytest.mark.parametrize("problem", ["missing", "unmigrated", "typo"])
def test_a_worker_says_it_in_one_sentence_and_ends(
    problem: str, empty_database_url: str, engine_name: str, runtime_dir: Path, tmp_path: Path
) -> None:
    urls = {
        "missing": f"sqlite:///{tmp_path}/nowhere/x.db",
        "unmigrated": empty_database_url,
        "typo": "postgresq://user:secret@host/name",
    }
    words = {"missing": "does not exist", "unmigrated": "run `jobwarden migrate`", "typo": "'postgresq' is no engine"}
    with Worker(urls[problem], runtime_dir) as worker:
        assert worker.wait() == 1
        lines = worker.log.strip().splitlines()
        assert words[problem] in lines[-1]
        assert "Traceback" not in worker.log
        assert "secret" not in worker.log
        worker.gone()
    assert [path.name for path in runtime_dir.iterdir() if path.is_dir()] == []
    assert os.listdir(tmp_path) == []
