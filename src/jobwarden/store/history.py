"""The history: how many attempts began and ended, how long they waited and ran, left by the very steps that move them.

So its sums are exactly what the tables say, whoever settled an attempt. Rows are left per transaction and folded in the
background: into minutes once a minute is over, later into hours and days. Nobody counts the attempts table.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, FromClause, bindparam, case, delete, func, insert, literal_column, select
from sqlalchemy.sql.dml import UpdateBase

from jobwarden.domain.history import BEYOND, BOUNDS, LADDER, Kind, Span, beginning
from jobwarden.domain.states import LIVE_WORKER, Actor
from jobwarden.store import counters
from jobwarden.store.database import Transaction, encode, instant, now, rows
from jobwarden.store.ledger import words
from jobwarden.store.schema import history, workers

_BITE = 2000
_KEY = ("kind", "lane", "job", "outcome", "cause", "actor", "bucket")
_NONE = words("")


def began(won: FromClause) -> UpdateBase:
    """What attempts that begin leave: ``won`` has lane, job and waited (seconds)."""
    return _left(won, Kind.WAIT, _NONE, _NONE, won.c.waited)


def ended(won: FromClause) -> UpdateBase:
    """What attempts that end leave: ``won`` has lane, job, attempt_to, cause, duration_ms, and lived: the seconds since
    its start, for one of which nobody told how long it took."""
    seconds = func.coalesce(won.c.duration_ms / literal_column("1000.0"), won.c.lived)
    return _left(won, Kind.RUN, won.c.attempt_to, func.coalesce(won.c.cause, _NONE), seconds)


def _left(
    won: FromClause, kind: Kind, outcome: ColumnElement[Any], cause: ColumnElement[Any], seconds: ColumnElement[Any]
) -> UpdateBase:
    """One row for each group of those that won."""
    actor = won.c.actor_type if "actor_type" in won.c else bindparam("actor_type")
    named = {"lane": won.c.lane, "job": won.c.job, "outcome": outcome, "cause": cause, "actor": actor}
    each = select(
        *(column.label(name) for name, column in named.items()), _bucket(seconds).label("bucket"), seconds.label("took")
    ).subquery("each_one")
    keys = [each.c[name] for name in (*named, "bucket")]
    sums = select(words(Span.MOMENT), now(), words(kind), *keys, func.count(), func.sum(each.c.took)).group_by(*keys)
    columns = ["span", "at", "kind", *named, "bucket", "number", "seconds"]
    return insert(history).from_select(columns, sums)


def _bucket(seconds: ColumnElement[Any]) -> ColumnElement[int]:
    steps: list[Any] = [
        (seconds <= literal_column(repr(bound)), literal_column(str(n))) for n, bound in enumerate(BOUNDS)
    ]
    return case(*steps, else_=literal_column(str(BEYOND)))


_blank = {"lane": "", "job": "", "outcome": "", "cause": "", "bucket": 0, "seconds": 0.0}
_refused = insert(history).values(
    span=Span.MOMENT.value,
    at=now(),
    kind=Kind.FENCED.value,
    actor=bindparam("actor"),
    number=bindparam("many"),
    **_blank,
)


def refused(transaction: Transaction, many: int, actor: Actor) -> None:
    """What outcomes leave that came too late."""
    if many:
        transaction.execute(_refused, many=many, actor=actor.value)


# -- levels: what is there at a time, looked at once a minute by whoever comes first -----------------------------------

_sampled = (
    select(history.c.id)
    .where(
        history.c.span == words(Span.MOMENT),
        history.c.at >= bindparam("since", type_=history.c.at.type),
        history.c.kind == words(Kind.SEATS),
    )
    .limit(1)
)
_seats = select(func.sum(workers.c.capacity).label("there"), func.sum(workers.c.current_load).label("busy")).where(
    workers.c.role == "supervisor", workers.c.state.in_([state.value for state in sorted(LIVE_WORKER)])
)


def sample(transaction: Transaction) -> None:
    """Note how many jobs are queued in each lane and how many seats are there and busy, unless this minute has that."""
    since = beginning(Span.MINUTE, transaction.now())
    if transaction.execute(_sampled, since=since).one_or_none() is not None:
        return
    queued = {lane: states.get("queued", 0) for lane, states in counters.totals(transaction).items()}
    seats = transaction.execute(_seats).one()
    found = [{"kind": Kind.DEPTH.value, "lane": lane, "seconds": float(depth)} for lane, depth in queued.items()]
    counted = {"there": seats.there, "busy": seats.busy}
    found += [{"kind": Kind.SEATS.value, "outcome": name, "seconds": float(n or 0)} for name, n in counted.items()]
    blank = {**_blank, "actor": "", "number": 1, "span": Span.MOMENT.value, "at": instant(transaction.now())}
    transaction.execute(_refill, rows=encode([{**blank, **each} for each in found]))


# -- fold: what is over becomes part of something longer --------------------------------------------------------------

_old = (
    select(history)
    .where(history.c.span == bindparam("span"), history.c.at < bindparam("before", type_=history.c.at.type))
    .order_by(history.c.at)
    .limit(_BITE)
    .with_for_update(of=[history], skip_locked=True)
)
_drop = delete(history).where(history.c.id.in_(bindparam("ids", expanding=True)))
_SPEC = {
    "span": "text",
    "at": "instant",
    **dict.fromkeys(_KEY, "text"),
    "bucket": "int",
    "number": "int",
    "seconds": "float",
}
_sums = rows("sums", **_SPEC)
_refill = insert(history).from_select(list(_SPEC), select(*_sums.c))


def fold(transaction: Transaction) -> int:
    """Fold what is over, a bite of each span at most; gives how many rows there are fewer."""
    moment = transaction.now()
    fewer = 0
    for span, (age, target) in LADDER.items():
        before = beginning(Span.MINUTE if span is Span.MOMENT else span, moment - age)
        found = transaction.execute(_old, span=span.value, before=before).all()
        fewer += _fold(transaction, found, target)
    return fewer


def _fold(transaction: Transaction, found: Iterable[Any], target: Span) -> int:
    sums: dict[tuple[Any, ...], list[float]] = defaultdict(lambda: [0, 0.0])
    ids = []
    for row in found:
        ids.append(row.id)
        total = sums[(beginning(target, row.at), *(getattr(row, name) for name in _KEY))]
        total[0] += row.number
        total[1] += row.seconds
    if not ids:
        return 0
    transaction.execute(_drop, ids=ids)
    kept = [
        {"span": target.value, "at": instant(at), **dict(zip(_KEY, key, strict=True)), "number": n, "seconds": seconds}
        for (at, *key), (n, seconds) in sums.items()
    ]
    transaction.execute(_refill, rows=encode(kept))
    return len(ids) - len(kept)
