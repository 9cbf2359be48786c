"""One look of a scheduler at very many schedules, few of them due, beside one where only those few are there."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from statistics import median

import sqlalchemy as sa

from bench.figures import Line, Series, Target
from bench.site import Site, Store
from jobwarden.domain.orders import By
from jobwarden.domain.schedule import Definition
from jobwarden.domain.timing import Timing
from jobwarden.lifecycle.evaluate import evaluate
from jobwarden.lifecycle.schedules import put
from jobwarden.store.schema import schedules

_TICKS = 15
_DAILY = Timing(cron="0 0 * * *")
_MOMENT = timedelta(seconds=1)


def tick(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """10,000 schedules, 1 % due; and a look when none is."""
    count, due = int(10_000 * scale), int(100 * scale)
    many, few, idle, empty = [], [], [], []
    for _ in range(rounds):
        with site.store() as full, site.store() as small, site.store() as bare:
            _fill(full, count)
            _fill(small, due)
            for store, looks in ((full, many), (small, few)):
                looks.append(median(_look(store, due) for _ in range(_TICKS)))
            for store, looks in ((full, idle), (bare, empty)):
                looks.append(median(_look(store, 0) for _ in range(_TICKS)))
    bound = Target(2.0, of="ratio", most=True)
    name, words = f"{count:,} schedules, {due} due: one look", f"{due} schedules, all due"
    yield Line(name, "ms", _ms(many), _ms(few), words, target=bound)
    yield Line(f"{count:,} schedules, none due: one look", "ms", _ms(idle), _ms(empty), "no schedules", target=bound)


def _fill(store: Store, count: int) -> None:
    """So many schedules that are due once a day, none of them now."""
    by = By("bench")
    for begin in range(0, count, 500):
        with store.database.write() as transaction:
            for number in range(begin, min(count, begin + 500)):
                put(transaction, Definition(f"s{number:05}", "nothing", "{}", _DAILY), by)
    store.settle_down()


def _look(store: Store, due: int) -> float:
    """Have so many due, and look; the seconds that it took."""
    if due:
        with store.database.write() as transaction:
            names = [f"s{number:05}" for number in range(due)]
            moment = transaction.now() - _MOMENT
            values = {"next_due_at": moment, "last_evaluated_at": moment - timedelta(days=1)}
            transaction.connection.execute(sa.update(schedules).where(schedules.c.name.in_(names)).values(**values))
    begin = time.monotonic()
    with store.database.write() as transaction:
        told = evaluate(transaction, None, 60.0)
    spent = time.monotonic() - begin
    if told.decided < due or told.broken:
        raise RuntimeError(f"{told.decided} of {due} occurrences were decided: {told.broken}")
    return spent


def _ms(seconds: list[float]) -> Series:
    return Series(tuple(1000 * value for value in seconds))
