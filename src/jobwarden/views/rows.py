"""From rows to frozen dataclasses, by column name, with one spelling of what is derived."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Row, Table, literal_column, or_

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
