"""Shipping: what a spool holds of one attempt goes to the database, by whoever watches over it then.

The attempt's row says how far it was read and what its last line's number is. It is locked first, so a reaper and a
seat that settles for itself never number two lines alike and never tell one twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from sqlalchemy import bindparam, select

from jobwarden.lifecycle.record import Saying, record
from jobwarden.process.spool import Spool
from jobwarden.runner.sayings import Sayings
from jobwarden.store.database import Transaction
from jobwarden.store.schema import attempts

Offsets: TypeAlias = tuple[int, int]
_read_to = (
    select(attempts.c.log_seq, attempts.c.log_cursor)
    .where(attempts.c.id == bindparam("attempt"))
    .with_for_update(of=[attempts])
)


def ship(
    transaction: Transaction,
    spool: Spool,
    attempt: tuple[str, str, int],
    begin: Offsets = (0, 0),
    end: tuple[int | None, int | None] = (None, None),
    *,
    final: bool = False,
    words: Sequence[Saying] = (),
) -> None:
    """Record what the spool holds from where it was read to, ``begin`` at first, and then ``words`` of our own.

    ``attempt`` is job id, attempt id and token. ``final``: lines that are not complete count too.
    """
    row = transaction.execute(_read_to, attempt=attempt[1]).one_or_none()
    cursor = row.log_cursor or {} if row else {}
    sayings = Sayings(row.log_seq if row else 0)
    out, err = cursor.get("out", begin[0]), cursor.get("err", begin[1])
    while True:
        before = out, err
        lines, out, err = spool.read(out, err, *end, final=final)
        if (out, err) == before:
            break
        sayings.take(lines)
        _record(transaction, sayings, attempt, (out, err))
    for line in words:
        sayings.say(line.level, line.body, line.step or "")
    _record(transaction, sayings, attempt, (out, err))


def _record(transaction: Transaction, sayings: Sayings, attempt: tuple[str, str, int], read_to: Offsets) -> None:
    said = sayings.record(*attempt, {"out": read_to[0], "err": read_to[1]})
    record(transaction, [said] if said else [])
