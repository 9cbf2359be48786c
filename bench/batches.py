"""Batches beside the same work without one: a wide fan-out, a join, a long chain, and calling off what waits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from typing import TypeVar

import sqlalchemy as sa

from bench.app import jw as declared
from bench.figures import Line, Series, Target
from bench.site import Site, Store
from bench.whole import worker
from jobwarden import JobWarden
from jobwarden.batch import Batch
from jobwarden.store.schema import attempts, batches, jobs
from tests.support.waiting import eventually

T = TypeVar("T")
_PATIENCE = 600.0
_SUPERVISORS = 2
_JOB, _LANE = declared.find("nothing_pool"), "elsewhere"


def fan_out(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """Independent members of one batch, drained by two supervisors, beside the same jobs without a batch."""
    count = int(100_000 * scale)

    def ours(store: Store, jw: JobWarden) -> None:
        batch = jw.batch("wide")
        batch.fan_out(_JOB.bind(n) for n in range(count))
        batch.enqueue()

    def bare(store: Store, jw: JobWarden) -> None:
        jw.enqueue_many(_JOB.bind(n) for n in range(count))

    mine, limit = [], []
    for _ in range(rounds):
        for fill, rates in ((ours, mine), (bare, limit)):
            with site.store() as store:
                _with_app(store, partial(fill, store))
                rates.append(count / _drained(store, count))
    name, words = f"{count:,} members of one batch, two supervisors", "the same jobs without a batch"
    target = Target(0.8, of="ratio")
    yield Line(name, "jobs/s", Series(tuple(mine)), Series(tuple(limit)), words, target=target)


def join(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """How soon the last member starts after the last of all that it waits for has ended."""
    count = int(10_000 * scale)

    def build(batch: Batch) -> None:
        members = batch.fan_out(_JOB.bind(n) for n in range(count))
        batch.add(_JOB.bind(count), key="last", after=members)

    waits = []
    for _ in range(rounds):
        with site.store() as store:
            _run(store, build)
            last = sa.select(attempts.c.created_at).join(jobs, jobs.c.id == attempts.c.job_id)
            ends = sa.select(sa.func.max(jobs.c.finished_at)).where(jobs.c.batch_key != "last")
            with store.database.engine.connect() as connection:
                started = connection.execute(last.where(jobs.c.batch_key == "last")).scalar_one()
                waits.append((started - connection.execute(ends).scalar_one()).total_seconds())
    bound = Series((2.0,) * rounds)
    yield Line(f"join of {count:,}", "s", Series(tuple(waits)), bound, "the bound", target=Target(2, most=True))


def chain(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """A step of the last tenth of a long chain, beside a step of its first tenth."""
    count = int(5_000 * scale)
    late, early = [], []
    for _ in range(rounds):
        with site.store() as store:
            _run(store, lambda batch: batch.chain(*(_JOB.bind(n) for n in range(count))))
            with store.database.engine.connect() as connection:
                starts = connection.execute(sa.select(attempts.c.created_at).order_by(attempts.c.created_at))
                steps = [(b - a).total_seconds() * 1000 for a, b in pairwise(starts.scalars())]
        tenth = len(steps) // 10
        early.append(sum(steps[:tenth]) / tenth)
        late.append(sum(steps[-tenth:]) / tenth)
    name = f"chain of {count:,}, a step of its last tenth"
    yield Line(name, "ms", Series(tuple(late)), Series(tuple(early)), "a step of its first tenth")


def cancel(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """Calling off a batch that waits, while a worker claims other work: seconds, and the worker's longest pause."""
    count = int(100_000 * scale)
    took, pauses = [], []
    for _ in range(rounds):
        with site.store() as store:
            seconds, pause = _with_app(store, partial(_called_off, store, count))
            took.append(seconds)
            pauses.append(pause)
    name = f"cancel of {count:,} waiting members"
    yield Line(name, "s", Series(tuple(took)), Series(tuple(pauses)), "longest pause between claims of other work")


def _called_off(store: Store, count: int, jw: JobWarden) -> tuple[float, float]:
    batch = jw.batch("off")
    elsewhere = declared.find("nothing_fork").using(lane=_LANE)
    batch.fan_out(elsewhere.bind(n) for n in range(count))
    handle = batch.enqueue()
    store.fill(2000, "nothing_fork", "fork")
    with worker(store):
        eventually(lambda: store.ask("SELECT count(*) FROM jobwarden_job_attempts")[0] > 10, _PATIENCE)
        since, begun = store.now(), time.monotonic()
        handle.cancel("measured")
        seconds, until = time.monotonic() - begun, store.now()
    during = sa.select(attempts.c.created_at).where(attempts.c.created_at.between(since, until))
    with store.database.engine.connect() as connection:
        claims = [since, *sorted(connection.execute(during).scalars()), until]
        left = connection.execute(sa.select(sa.func.count()).where(jobs.c.lane == _LANE, jobs.c.state != "canceled"))
        if left.scalar_one():
            raise AssertionError("members were left that nobody called off")
    return seconds, max((b - a).total_seconds() for a, b in pairwise(claims))


def _with_app(store: Store, work: Callable[[JobWarden], T]) -> T:
    jw = JobWarden(database_url=store.url)
    try:
        return work(jw)
    finally:
        jw.database.dispose()


def _run(store: Store, build: Callable[[Batch], object]) -> None:
    """A batch, run to its end by two supervisors."""

    def enqueue(jw: JobWarden) -> None:
        batch = jw.batch("measured")
        build(batch)
        batch.enqueue()

    _with_app(store, enqueue)
    over = sa.select(sa.func.count()).where(batches.c.finished_at.is_(None))
    with ExitStack() as stack:
        for _ in range(_SUPERVISORS):
            stack.enter_context(worker(store))
        eventually(lambda: _count(store, over) == 0, _PATIENCE)


def _drained(store: Store, count: int) -> float:
    """Seconds in which two supervisors run so many jobs, from the first claim to the last settling."""
    store.settle_down()
    begun = store.now()
    with ExitStack() as stack:
        for running in [stack.enter_context(worker(store, burst=True)) for _ in range(_SUPERVISORS)]:
            running.wait(_PATIENCE)
    done, seconds = store.drained(begun)
    if done != count:
        raise AssertionError(f"{done} of {count} jobs succeeded")
    return seconds


def _count(store: Store, query: sa.Select[tuple[int]]) -> int:
    with store.database.engine.connect() as connection:
        return int(connection.execute(query).scalar_one())
