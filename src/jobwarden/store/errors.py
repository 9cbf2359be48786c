"""The kinds of errors that there were, each once, with when it was seen first and last (to the minute).

Left by the transaction that settles the attempts. A kind that is there is not waited for: who finds it locked knows
that somebody else is just saying that it was seen.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import bindparam, insert, select, update

from jobwarden.domain.errorprint import ErrorPrint
from jobwarden.store.database import Transaction, after, encode, now, rows, skipping_duplicates
from jobwarden.store.schema import errors

_MINUTE = 60.0
_known = select(errors.c.print).where(errors.c.print.in_(bindparam("prints", expanding=True)))
_stale = _known.where(errors.c.last_seen < after(bindparam("ago"))).with_for_update(of=[errors], skip_locked=True)
_seen = update(errors).where(errors.c.print.in_(bindparam("prints", expanding=True))).values(last_seen=now())
_given = rows("given_errors", print="text", class_name="text", words="text")
_add = insert(errors).from_select(
    ["print", "class_name", "message", "first_seen", "last_seen"],
    skipping_duplicates(
        select(_given.c.print, _given.c.class_name, _given.c.words, now(), now()), errors.name, key="print"
    ),
)


def seen(transaction: Transaction, kinds: Iterable[ErrorPrint]) -> None:
    """These were seen now."""
    by_print = {kind.print: kind for kind in kinds}
    if not by_print:
        return
    known = set(transaction.execute(_known, prints=list(by_print)).scalars())
    fresh = [kind for key, kind in sorted(by_print.items()) if key not in known]
    if fresh:
        given = [{"print": kind.print, "class_name": kind.class_name, "words": kind.words} for kind in fresh]
        transaction.execute(_add, rows=encode(given))
    stale = list(transaction.execute(_stale, prints=list(by_print), ago=-_MINUTE).scalars()) if known else []
    if stale:
        transaction.execute(_seen, prints=stale)
