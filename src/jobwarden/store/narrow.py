"""A write over rows that arrive as one JSON text, narrowed to the columns that it uses.

Engines that cannot chain writes are sent the rows anew with each; most of what a row carries is of use to one of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import FromClause
from sqlalchemy.sql import visitors
from sqlalchemy.sql.dml import UpdateBase

from jobwarden.store.database import encode, rows


@dataclass(frozen=True, slots=True)
class Narrow:
    """A write, and the names of the columns that its rows must have."""

    statement: UpdateBase
    names: tuple[str, ...]

    def encode(self, won: Iterable[Mapping[str, Any]]) -> str:
        """Rows as its parameter: what it has no use for is left out."""
        return encode({name: row.get(name) for name in self.names} for row in won)


def _parts(write: Any) -> Iterator[Any]:
    return visitors.iterate(write)


def narrow(write: Any, source: FromClause, spec: Mapping[str, str]) -> Narrow:
    """The same write over a source that has only the columns of ``source`` that it uses; ``spec`` gives their kinds."""
    used = {part.name for part in _parts(write) if getattr(part, "table", None) is source}
    names = tuple(name for name in spec if name in used)
    slim = rows(f"won_{write.table.name}", **{name: spec[name] for name in names})

    def replaced(element: Any, **kw: Any) -> Any:
        if element is source:
            return slim
        return slim.c[element.name] if getattr(element, "table", None) is source else None

    statement: Any = visitors.replacement_traverse(write, {}, replaced)
    return Narrow(statement, names)
