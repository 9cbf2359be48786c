"""The workload: a producer that keeps hostile jobs coming, and an operator who cancels and stops some that run.

Only what an enqueue acknowledged counts as enqueued; it is in the journal before anything else is asked. Both go on
through every fault of the database, since what they see of it is theirs to bear.
"""

from __future__ import annotations

import contextlib
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from chaos import journal
from chaos.evidence import SECOND, Injury
from chaos.kinds import KINDS
from jobwarden import JobWarden, Threshold
from jobwarden.errors import JobWardenError, WrongState
from jobwarden.store.schema import batches, jobs, turns

BACKLOG = 60
_SHARE_OF_BATCHES, _MEMBERS = 0.3, (2, 24)
_POLICIES = ("continue", "continue", "fail_fast", Threshold(2), Threshold(0.3))
_TROUBLE = (DBAPIError, JobWardenError, OSError)
_IDS_PER_LINE = 50
_SING, _STALL = 0.2, SECOND
_REASON = "the campaign's operator said so"


class Worker(threading.Thread):
    """A thread that does one round after another until it is told to end."""

    def __init__(self, name: str, round: Callable[[], float]) -> None:
        super().__init__(name=name, daemon=True)
        self._round, self._over = round, threading.Event()
        self.trouble: Counter[str] = Counter()

    def run(self) -> None:
        pause = 0.0
        while not self._over.wait(pause):
            try:
                pause = self._round()
            except _TROUBLE as error:
                self.trouble[type(error).__name__] += 1
                pause = 0.2

    def end(self) -> None:
        """Do no further round, and wait for the one under way."""
        self._over.set()
        self.join(60)


class Producer:
    """Enqueues ``count`` jobs, about ``rate`` a second, and never lets more than a backlog wait; some as graphs."""

    def __init__(self, app: JobWarden, seed: int, count: int, rate: float) -> None:
        self.acknowledged = self.batches = 0
        self._app, self._count = app, count
        self._rng = random.Random(f"{seed} producer")
        self._size, self._pause = max(1, round(rate / 4)), 0.25
        self._weights = [kind.weight for kind in KINDS.values()]

    def round(self) -> float:
        """One bulk of jobs, if there is room for it; gives the pause until the next."""
        if self.done or waiting(self._app) > BACKLOG:
            return self._pause
        if self._rng.random() < _SHARE_OF_BATCHES:
            self._enqueue_batch()
            return self._pause
        size = min(self._size, self._count - self.acknowledged)
        handles = self._app.enqueue_many([self._call() for _ in range(size)])
        ids = [handle.id for handle in handles]
        for begin in range(0, len(ids), _IDS_PER_LINE):
            journal.write("enqueued", job="", more={"ids": ids[begin : begin + _IDS_PER_LINE]})
        self.acknowledged += size
        return self._pause

    def _enqueue_batch(self) -> None:
        """A random graph, journalled with its edges once it is acknowledged."""
        batch = self._app.batch(f"graph {self.batches}", self._rng.choice(_POLICIES))
        nodes: list[tuple[str, list[str], list[str]]] = []
        for number in range(self._rng.randint(*_MEMBERS)):
            ups = self._rng.sample([key for key, _, _ in nodes], min(number, self._rng.choice((0, 1, 1, 2, 3))))
            ends = [up for up in ups if self._rng.random() < 0.4]
            key, after = f"m{number}", [up for up in ups if up not in ends]
            call = self._app.bind("growing") if self._rng.random() < 0.08 else self._call()
            batch.add(call, key, after=after, after_completion=ends)
            nodes.append((key, after, ends))
        handle = batch.enqueue()
        journal.write("batch", job="", more={"batch": handle.id, "nodes": nodes})
        self.batches += 1
        self.acknowledged += len(nodes)

    @property
    def done(self) -> bool:
        """Whether all are enqueued."""
        return self.acknowledged >= self._count

    def _call(self) -> Any:
        kind = self._rng.choices(list(KINDS.values()), self._weights)[0]
        least, most = kind.seconds
        params = {"seconds": round(self._rng.uniform(least, most), 2)} if most else {}
        return self._app.bind(kind.name, params)


class Operator:
    """Cancels or stops a running job now and then, has a parked one run again, and holds or calls off batches."""

    def __init__(self, app: JobWarden, seed: int) -> None:
        self.acted: Counter[str] = Counter()
        self._app, self._rng = app, random.Random(f"{seed} operator")
        names = [kind.name for kind in KINDS.values() if kind.operable]
        self._running = sa.select(jobs.c.id).where(jobs.c.state == "running", jobs.c.job.in_(names)).limit(50)
        self._open = sa.select(batches.c.id).where(batches.c.finished_at.is_(None), batches.c.hold_id.is_(None))
        self._held = sa.select(batches.c.id).where(batches.c.hold_id.is_not(None))
        self._parked = sa.select(jobs.c.id).where(jobs.c.state == "orphaned").limit(50)

    def round(self) -> float:
        """Act on one job; gives the pause until the next."""
        acts = (self._end_one, self._end_one, self._run_one_again, self._hold_one, self._release_one)
        act = self._cancel_batch if self._rng.random() < 0.03 else self._rng.choice(acts)
        with contextlib.suppress(WrongState):  # it went on meanwhile
            act()
        return self._rng.uniform(0.3, 1.2)

    def _end_one(self) -> None:
        wish = self._rng.choice(("cancel", "stop"))
        if job := self._one_of(self._running):
            getattr(self._app, wish)(job, reason=_REASON, actor="operator")
            self.acted[wish] += 1

    def _run_one_again(self) -> None:
        if job := self._one_of(self._parked):
            self._app.retry(job, reason=_REASON, actor="operator", force=True)
            self.acted["retry"] += 1

    def _hold_one(self) -> None:
        if batch := self._one_of(self._open):
            self._app.hold_batch(batch, reason=_REASON, actor="operator")
            journal.write("held", job="", more={"batch": batch})
            self.acted["hold"] += 1

    def _release_one(self) -> None:
        if batch := self._one_of(self._held):
            journal.write("released", job="", more={"batch": batch})
            self._app.release_batch(batch, reason=_REASON, actor="operator")
            self.acted["release"] += 1

    def release_all(self) -> None:
        """Let everything that is held go on."""
        while self._one_of(self._held):
            self._release_one()

    def _cancel_batch(self) -> None:
        if batch := self._one_of(self._open):
            self._app.cancel_batch(batch, reason=_REASON, actor="operator")
            self.acted["cancel a batch"] += 1

    def _one_of(self, asked: sa.Select[Any]) -> str | None:
        with self._app.database.read() as transaction:
            found = list(transaction.execute(asked).scalars())
        return self._rng.choice(found) if found else None


class Canary:
    """Writes a row of its own over and over, and notes as an injury whenever that took long: then nobody got through.

    So a machine that has too much to do is told from daemons that did too little.
    """

    def __init__(self, app: JobWarden) -> None:
        self.injuries: list[Injury] = []
        self._app, self._last = app, journal.boottime()
        with app.database.write() as transaction:
            transaction.connection.exec_driver_sql("CREATE TABLE canary (sings INTEGER)")
            transaction.connection.exec_driver_sql("INSERT INTO canary VALUES (0)")

    def round(self) -> float:
        """One write; gives the pause until the next."""
        with self._app.database.write() as transaction:
            transaction.connection.exec_driver_sql("UPDATE canary SET sings = sings + 1")
        now = journal.boottime()
        if now - self._last > _STALL:
            self.injuries.append(Injury(0, "stall", begun=self._last, ended=now))
        self._last = now
        return _SING


def waiting(app: JobWarden) -> int:
    """How many jobs wait for a seat, and for nothing else."""
    return _count(app, ("queued", "pending", "retrying"))


def unsettled(app: JobWarden) -> int:
    """How many jobs are neither over nor parked, nor wait for such; and what is not followed up yet."""
    with app.database.read() as transaction:
        left = int(transaction.execute(sa.select(sa.func.count()).select_from(turns)).scalar_one())
    return left + _count(app, ("queued", "pending", "retrying", "running"))


def _count(app: JobWarden, states: tuple[str, ...]) -> int:
    free = sa.or_(jobs.c.blocked_by == 0, jobs.c.state != "pending")
    counted = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.state.in_(states), free)
    with app.database.read() as transaction:
        return int(transaction.execute(counted).scalar_one())
