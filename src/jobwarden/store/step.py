"""A step: rows that are moved as a set, if they are still where they are said to be, with all that is written for them.

On engines that can, it is one statement; elsewhere a locking read, and the same writes over the rows that it found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import FromClause, Select, select
from sqlalchemy.sql.dml import UpdateBase

from jobwarden.store.database import Transaction, Writer, encode, rows
from jobwarden.store.ledger import Row
from jobwarden.store.narrow import narrow


@dataclass(frozen=True)
class Step:
    """One kind of move: what a row carries, how the rows still ours are found, and what is written for them.

    ``found`` selects every column of ``spec`` and those of ``more`` from the rows still ours, and locks them;
    ``writes`` are built over any table with those columns.
    """

    name: str
    spec: Mapping[str, str]
    more: Mapping[str, str]
    found: Callable[[FromClause], Select[Any]]
    writes: Callable[[FromClause], Sequence[UpdateBase]]

    def __post_init__(self) -> None:
        given = rows("given_rows", **self.spec)
        found = self.found(given)
        won = found.cte("won")
        named = (found.selected_columns[name] for name in ("job_id", *self.more))
        object.__setattr__(self, "_found", found.with_only_columns(*named, maintain_column_froms=True))
        brought = select(won.c.job_id, *(won.c[name] for name in self.more))
        object.__setattr__(self, "_whole", brought.add_cte(*_ctes(self.writes(won))))
        spec = {**self.spec, **self.more}
        source = rows("won", **spec)
        object.__setattr__(self, "_writes", [narrow(write, source, spec) for write in self.writes(source)])

    def apply(self, transaction: Transaction, moves: Sequence[Row], **constants: Any) -> list[Row]:
        """Move what is still ours and give it back, with the columns of ``more``; constants are the same for all.

        The rows given back are those given, completed in place: hundreds of wide rows a batch are dear to copy.
        """
        if not moves:
            return []
        if transaction.facts.chains_writes:
            found = transaction.execute(self._whole, rows=encode(moves), **constants)  # type: ignore[attr-defined]
            return _merged(moves, found.all(), self.more)
        ordered = sorted(moves, key=lambda row: str(row["job_id"]))
        found = transaction.execute(self._found, rows=encode(ordered))  # type: ignore[attr-defined]
        won = _merged(ordered, found.all(), self.more)
        for write in self._writes if won else ():  # type: ignore[attr-defined]
            transaction.execute(write.statement, rows=write.encode(won), **constants)
        ours = {row["job_id"] for row in won}
        return [row for row in moves if row["job_id"] in ours]

    def send(self, writer: Writer, moves: Sequence[Row]) -> list[Row]:
        """`apply` over a caller's connection, which takes rows only: what is constant must be a column of ``spec``."""
        given = encode(moves)
        if writer.chains_writes:
            return _joined(moves, writer.send(self._whole, given), self.more)  # type: ignore[attr-defined]
        won = _joined(moves, writer.send(self._found, given), self.more)  # type: ignore[attr-defined]
        for write in self._writes if won else ():  # type: ignore[attr-defined]
            writer.send(write.statement, write.encode(won))
        return won


def _joined(given: Sequence[Row], found: Sequence[Mapping[str, Any]], more: Iterable[str]) -> list[Row]:
    names = ("job_id", *more)
    return _merged(given, [(str(row["job_id"]), *(row[name] for name in names[1:])) for row in found], more)


def _ctes(writes: Iterable[UpdateBase]) -> list[Any]:
    return [write.cte(f"write_{number}") for number, write in enumerate(writes)]


def _merged(given: Sequence[Row], found: Sequence[Any], more: Iterable[str]) -> list[Row]:
    """The rows that were found, completed by what they did not bring."""
    by_job = {row[0]: row for row in found}
    names = tuple(enumerate(more, 1))
    won = []
    for row in given:
        if (brought := by_job.get(row["job_id"])) is not None:
            for place, name in names:
                row[name] = brought[place]
            won.append(row)
    return won
