"""From rows to frozen dataclasses, by column name, with one spelling of what is derived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, Table, func, literal_column, or_, select

from jobwarden.store.database import Transaction

_T = TypeVar("_T")


def build(kind: type[_T], row: Row[Any], **more: Any) -> _T:
    """A dataclass from the row's columns of the same names and from ``more``; other columns are left out."""
    found = row._mapping
    given = {entry.name: found[entry.name] for entry in fields(kind) if entry.name in found}  # type: ignore[arg-type]
    return kind(**{**given, **more})


def columns(table: Table, kind: type[Any], **names: str) -> list[ColumnElement[Any]]:
    """The table's columns that a dataclass has fields for; ``names`` gives a column's field where it differs."""
    wanted = {entry.name for entry in fields(kind)}
    return [
        table.c[name].label(shown)
        for name in table.c.keys()  # noqa: SIM118 - a column collection is no mapping
        if (shown := names.get(name, name)) in wanted
    ]


def in_states(column: ColumnElement[Any], states: Iterable[str]) -> ColumnElement[bool]:
    """Rows in one of these states of ours, spelled out so that partial indexes are used."""
    return or_(*(column == literal_column(f"'{state}'") for state in sorted(states)))


def distinct(transaction: Transaction, column: ColumnElement[str], most: int) -> list[str]:
    """The different values of a column that an index begins with, in order: one look into the index for each."""
    if transaction.facts.recurses_along_indexes:
        first = select(func.min(column).label("value")).cte("found", recursive=True)
        following = select(func.min(column)).where(column > first.c.value).scalar_subquery()
        found = first.union_all(select(following).where(first.c.value.is_not(None)))
        query = select(found.c.value).where(found.c.value.is_not(None)).limit(most)
        return list(transaction.execute(query).scalars())
    values: list[str] = []
    while len(values) < most:
        later = select(func.min(column)).where(column > values[-1]) if values else select(func.min(column))
        value = transaction.execute(later).scalar_one()
        if value is None:
            break
        values.append(value)
    return values
