"""The column types and the SQL constructs in which engines differ.

`rows` turns one JSON parameter into a table, so that every set-wise statement has a constant text whatever the number
of rows. `now`, `after` and `age` are the only spellings of the database's clock: UTC, the time of the statement, with
the precision the engine has (microseconds; milliseconds on SQLite).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import PydanticSerializationError, to_json
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    Float,
    Integer,
    Select,
    String,
    Text,
    bindparam,
    column,
    literal_column,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ColumnElement
from sqlalchemy.sql.expression import TableValuedAlias
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

_MYSQL = ("mysql", "mariadb")
_BINARY = {"collation": "utf8mb4_bin"}


class Instant(TypeDecorator[datetime]):
    """A UTC instant; aware in Python whatever the engine keeps."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(postgresql.TIMESTAMP(timezone=True))
        if dialect.name in _MYSQL:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        utc = value.astimezone(UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _per_engine(default: Any, pg: Any, my: Any) -> Any:
    return default.with_variant(pg, "postgresql").with_variant(my, *_MYSQL)


Id = _per_engine(String(36), postgresql.UUID(as_uuid=False), mysql.VARCHAR(36, **_BINARY))
Serial = _per_engine(Integer(), BigInteger(), BigInteger())
Words = _per_engine(Text(), Text(), mysql.LONGTEXT(**_BINARY))
Json = _per_engine(JSON(none_as_null=True), postgresql.JSON(none_as_null=True), mysql.JSON(none_as_null=True))


def name_type(length: int) -> Any:
    """A short text of at most ``length`` characters, compared byte by byte."""
    return _per_engine(String(length), String(length), mysql.VARCHAR(length, **_BINARY))


# -- the clock --------------------------------------------------------------------------------------------------------


class now(FunctionElement[datetime]):  # noqa: N801 - reads as SQL
    """The database's clock."""

    type = Instant()
    inherit_cache = True


class after(FunctionElement[datetime]):  # noqa: N801
    """The database's clock plus a number of seconds, which may be negative; NULL stays NULL."""

    type = Instant()
    inherit_cache = True


class age(FunctionElement[float]):  # noqa: N801
    """Seconds from an instant to the database's clock."""

    type = Float()
    inherit_cache = True


class ending(FunctionElement[str]):  # noqa: N801
    """The last 8 characters of an id: what people are shown of it."""

    type = Text()
    inherit_cache = True


@compiles(ending, "postgresql")
def _(element: ending, compiler: SQLCompiler, **kw: Any) -> str:
    return f"right(({_argument(element, compiler, kw)})::text, 8)"


@compiles(ending, "mysql", "mariadb")
def _(element: ending, compiler: SQLCompiler, **kw: Any) -> str:
    return f"right({_argument(element, compiler, kw)}, 8)"


@compiles(ending, "sqlite")
def _(element: ending, compiler: SQLCompiler, **kw: Any) -> str:
    return f"substr({_argument(element, compiler, kw)}, -8)"


@compiles(now, "postgresql")
def _(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "statement_timestamp()"


@compiles(now, "mysql", "mariadb")
def _(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "utc_timestamp(6)"


@compiles(now, "sqlite")
def _(element: now, compiler: SQLCompiler, **kw: Any) -> str:
    return "(strftime('%Y-%m-%d %H:%M:%f', 'now') || '000')"


@compiles(after, "postgresql")
def _(element: after, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(statement_timestamp() + ({_argument(element, compiler, kw)}) * interval '1 second')"


@compiles(after, "mysql", "mariadb")
def _(element: after, compiler: SQLCompiler, **kw: Any) -> str:
    return f"timestampadd(MICROSECOND, round(({_argument(element, compiler, kw)}) * 1000000), utc_timestamp(6))"


@compiles(after, "sqlite")
def _(element: after, compiler: SQLCompiler, **kw: Any) -> str:
    argument = _argument(element, compiler, kw)
    moment = f"strftime('%Y-%m-%d %H:%M:%f', 'now', printf('%.3f seconds', {argument})) || '000'"
    return f"(CASE WHEN {argument} IS NULL THEN NULL ELSE {moment} END)"


@compiles(age, "postgresql")
def _(element: age, compiler: SQLCompiler, **kw: Any) -> str:
    return f"extract(epoch from statement_timestamp() - {_argument(element, compiler, kw)})::float8"


@compiles(age, "mysql", "mariadb")
def _(element: age, compiler: SQLCompiler, **kw: Any) -> str:
    return f"(timestampdiff(MICROSECOND, {_argument(element, compiler, kw)}, utc_timestamp(6)) / 1e6)"


@compiles(age, "sqlite")
def _(element: age, compiler: SQLCompiler, **kw: Any) -> str:
    return f"((julianday('now') - julianday({_argument(element, compiler, kw)})) * 86400.0)"


def _argument(element: FunctionElement[Any], compiler: SQLCompiler, kw: dict[str, Any]) -> str:
    return compiler.process(element.clauses, **kw)


# -- rows from one parameter ------------------------------------------------------------------------------------------

_KINDS: Mapping[str, tuple[TypeEngine[Any], str, str, str]] = {
    # kind: type in expressions, declared on PostgreSQL, expression over it, declared on MariaDB and MySQL
    "id": (Id, "uuid", "{0}", "VARCHAR(36) CHARACTER SET utf8mb4"),
    "text": (Words, "text", "{0}", "LONGTEXT CHARACTER SET utf8mb4"),
    "json": (Json, "text", "{0}::json AS {0}", "LONGTEXT CHARACTER SET utf8mb4"),
    "int": (BigInteger(), "bigint", "{0}", "BIGINT"),
    "float": (Float(), "float8", "{0}", "DOUBLE"),
    "bool": (Boolean(), "bool", "{0}", "TINYINT"),
    "instant": (Instant(), "text", "({0} || '+00')::timestamptz AS {0}", "DATETIME(6)"),
}


class _RowSource(FunctionElement[Any]):
    """The function that a set of rows comes from; each shape is a subclass of its own, so that statements cache."""

    spec: Mapping[str, str]
    inherit_cache = True


def rows(title: str, /, **spec: str) -> TableValuedAlias:
    """A table called ``title`` over the JSON array in the parameter ``rows``; ``spec`` gives each column's kind.

    Kinds: id, text, json, int, float, bool, instant. A key that a row lacks is NULL.
    """
    kind = type(f"_RowSource_{title}", (_RowSource,), {"spec": spec, "inherit_cache": True})
    columns = [column(key, _KINDS[value][0]) for key, value in spec.items()]
    source: _RowSource = kind(bindparam("rows", type_=Text()))
    return source.table_valued(*columns, name=title)


def encode(values: Iterable[Mapping[str, Any]]) -> str:
    """Rows as the one parameter: plain JSON values and texts of `instant`; None is left out.

    ASCII, whatever the connection's character set. A text that is no Unicode is passed on for the database to refuse.
    """
    given = [{key: value for key, value in row.items() if value is not None} for row in values]
    try:
        text = to_json(given).decode()  # three times as fast as json
    except PydanticSerializationError:
        text = ""
    return text if text and text.isascii() else json.dumps(given, separators=(",", ":"))


def instant(value: datetime) -> str:
    """An aware instant as `encode` takes it and `rows` reads it."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


@compiles(_RowSource, "postgresql")
def _(element: _RowSource, compiler: SQLCompiler, **kw: Any) -> str:
    kw.pop("within_columns_clause", None)
    listed = ", ".join(_KINDS[kind][2].format(key) for key, kind in element.spec.items())
    declared = ", ".join(f"{key} {_KINDS[kind][1]}" for key, kind in element.spec.items())
    given = _argument(element, compiler, kw)
    return f"(SELECT {listed} FROM json_to_recordset(CAST({given} AS json)) AS given({declared}))"


@compiles(_RowSource, "mysql", "mariadb")
def _(element: _RowSource, compiler: SQLCompiler, **kw: Any) -> str:
    declared = ", ".join(f"{key} {_KINDS[kind][3]} PATH '$.{key}'" for key, kind in element.spec.items())
    given = _argument(element, compiler, kw)
    return f"(SELECT * FROM JSON_TABLE({given}, '$[*]' COLUMNS({declared})) AS given)"


@compiles(_RowSource, "sqlite")
def _(element: _RowSource, compiler: SQLCompiler, **kw: Any) -> str:
    listed = ", ".join(f"json_extract(value, '$.{key}') AS {key}" for key in element.spec)
    return f"(SELECT {listed} FROM json_each({_argument(element, compiler, kw)}))"


def column_of(source: TableValuedAlias, name: str) -> ColumnElement[Any]:
    """A column of `rows`, typed for the checker."""
    result: ColumnElement[Any] = source.c[name]
    return result


def skipping_duplicates(source: Select[*tuple[Any, ...]], table: str, key: str = "id") -> Select[*tuple[Any, ...]]:
    """The source of an INSERT ... SELECT that leaves out rows whose key is taken, on every engine."""
    keep = f"ON DUPLICATE KEY UPDATE {table}.{key} = {table}.{key}"
    marked = source.where(literal_column("1") == literal_column("1"))  # SQLite tells ON CONFLICT from a join by a WHERE
    for engine, words in (("mysql", keep), ("mariadb", keep)):
        marked = marked.suffix_with(words, dialect=engine)
    for engine in ("postgresql", "sqlite"):
        marked = marked.suffix_with("ON CONFLICT DO NOTHING", dialect=engine)
    return marked
