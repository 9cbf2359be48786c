"""The short way for the one statement of a single enqueue: past SQLAlchemy's execution, straight to the driver.

Executing a statement through SQLAlchemy on a connection that commits by itself costs the client three times what the
driver needs for it, and more than the database's own work. The statement is compiled once, the connection comes from
the same pool and goes back as it was, and errors are those that SQLAlchemy would have raised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.sql import ClauseElement

Spell = Callable[[str], str]


class Direct:
    """A driver's connection that commits each statement; for engines on which a step is one statement."""

    chains_writes = True

    def __init__(self, raw: Any, texts: Callable[[ClauseElement], tuple[str, Mapping[str, Any]]]) -> None:
        self._raw, self._texts = raw, texts

    def say(self, sql: str) -> None:
        """Run plain SQL."""
        self._raw.execute(sql)

    def send(self, statement: Any, rows: str) -> list[Mapping[str, Any]]:
        """Run a statement whose one parameter is ``rows``, and give what it returns."""
        sql, constants = self._texts(statement)
        with self._raw.cursor() as cursor:
            cursor.execute(sql, {**constants, "rows": rows})
            if cursor.description is None:
                return []
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


class Shortcut:
    """Makes `Direct` connections from one engine's pool."""

    def __init__(self, engine: Engine, spell: Spell) -> None:
        self.engine, self._spell = engine, spell
        self._known: dict[ClauseElement, tuple[str, Mapping[str, Any]]] = {}

    @contextmanager
    def connection(self) -> Iterator[Direct]:
        """A connection for statements that each commit; the driver's errors come as SQLAlchemy's."""
        kind = self.engine.dialect.loaded_dbapi.Error
        try:
            pooled = self.engine.raw_connection()
        except kind as error:
            raise self._as_sqlalchemy(error, kind) from error
        raw: Any = pooled.driver_connection
        try:
            raw.autocommit = True
            yield Direct(raw, self._texts)
            raw.autocommit = False
        except BaseException as error:
            lost = isinstance(error, kind) and self.engine.dialect.is_disconnect(error, raw, None)
            pooled.invalidate(error)  # whatever it is in now, nobody shall have it
            if lost:
                self.engine.dispose()  # nor the others
            if isinstance(error, kind):
                raise self._as_sqlalchemy(error, kind) from error
            raise
        finally:
            pooled.close()

    def _texts(self, statement: ClauseElement) -> tuple[str, Mapping[str, Any]]:
        if statement not in self._known:
            compiled = statement.compile(self.engine)
            constants = {name: value for name, value in (compiled.params or {}).items() if name != "rows"}
            self._known[statement] = (self._spell(str(compiled)), constants)
        return self._known[statement]

    def _as_sqlalchemy(self, error: Exception, kind: type[Exception]) -> BaseException:
        return DBAPIError.instance(None, None, error, kind, dialect=self.engine.dialect)
