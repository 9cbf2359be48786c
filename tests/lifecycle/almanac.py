"""Schedules in a test: made, set back in time, evaluated, and read."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from jobwarden.domain.occurrences import Rules
from jobwarden.domain.orders import By
from jobwarden.domain.report import Outcome
from jobwarden.domain.schedule import Definition
from jobwarden.domain.states import JobState
from jobwarden.domain.timing import Timing
from jobwarden.lifecycle import schedules as verbs
from jobwarden.lifecycle.evaluate import Evaluated, evaluate
from jobwarden.store import schema
from jobwarden.store.database import Database, Transaction
from tests.lifecycle.claimants import Claimant

T = TypeVar("T")
ME = By("ann", "because")
SCHEDULER = "01900000-0000-7000-8000-00000000000a"
MINUTELY = Timing(every=timedelta(minutes=1))
LATE = 60.0


def definition(name: str = "s", timing: Timing = MINUTELY, **given: Any) -> Definition:
    """A schedule of a job that is harmless."""
    rules = Rules(**{key: given.pop(key) for key in list(given) if key in Rules.__dataclass_fields__})
    return Definition(name=name, job="job", params='{"n": 1}', timing=timing, rules=rules, **given)


class Almanac:
    """The schedules of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.claimant = Claimant(lanes=("scheduled",))
        self._numbers = itertools.count()

    def do(self, work: Callable[..., T], *given: Any, **named: Any) -> T:
        """One verb in a transaction of its own."""
        with self.database.write() as transaction:
            return work(transaction, *given, **named)

    def put(self, wanted: Definition, back: timedelta | None = None) -> Definition:
        """Make it, and have it as if it had last been looked at so long ago."""
        self.do(verbs.put, wanted, ME)
        if back is not None:
            self.set_back(wanted.name, back)
        return wanted

    def set_back(self, name: str, back: timedelta) -> datetime:
        """As if it had last been looked at so long ago; when that was."""
        with self.database.write() as transaction:
            moment = transaction.now() - back
            self._store(transaction, name, last_evaluated_at=moment, next_due_at=moment + timedelta(microseconds=1))
        return moment

    def store(self, name: str, **columns: Any) -> None:
        """Write columns past the door."""
        with self.database.write() as transaction:
            self._store(transaction, name, **columns)

    def evaluate(self, most: int = 200) -> Evaluated:
        """One look of a scheduler."""
        return self.do(evaluate, SCHEDULER, LATE, most)

    def evaluate_all(self) -> int:
        """Look until nothing more is due; how many jobs were made."""
        total = 0
        while True:
            told = self.evaluate()
            total += told.jobs
            if not told.more:
                return total

    def side_by_side(self, count: int) -> list[Evaluated]:
        """Several schedulers at once."""
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: self.database.attempt(_look, tries=30), range(count)))

    def row(self, name: str = "s") -> Any:
        """The schedule."""
        return self._all(sa.select(schema.schedules).where(schema.schedules.c.name == name))[0]

    def runs(self, name: str = "s") -> list[Any]:
        """Its runs, in the order of their occurrences."""
        runs = schema.schedule_runs
        return self._all(
            sa.select(runs).where(runs.c.schedule_id == self.row(name).id).order_by(runs.c.occurrence_time)
        )

    def actions(self, name: str = "s") -> list[str]:
        """What became of its occurrences."""
        return [run.action for run in self.runs(name)]

    def jobs(self, name: str = "s") -> list[Any]:
        """Its jobs, in the order of their occurrences."""
        jobs = schema.jobs
        return self._all(
            sa.select(jobs).where(jobs.c.schedule_id == self.row(name).id).order_by(jobs.c.scheduled_for, jobs.c.id)
        )

    def ledger(self, name: str = "s") -> list[Any]:
        """What was done to it."""
        events = schema.events
        return self._all(sa.select(events).where(events.c.schedule_id == self.row(name).id).order_by(events.c.id))

    def finish(self, outcome: Outcome = Outcome.SUCCEEDED) -> int:
        """Claim whatever can run and end it; how many."""
        claims = self.claimant.claim(self.database, 500)
        for claim in claims:
            self.claimant.settle(self.database, claim, outcome, retryable=False)
        return len(claims)

    def states(self, name: str = "s") -> list[JobState]:
        """The states of its jobs."""
        return [JobState(job.state) for job in self.jobs(name)]

    def _store(self, transaction: Transaction, name: str, **columns: Any) -> None:
        transaction.connection.execute(
            sa.update(schema.schedules).where(schema.schedules.c.name == name).values(**columns)
        )

    def _all(self, query: sa.Select[Any]) -> list[Any]:
        with self.database.read() as transaction:
            return list(transaction.execute(query).all())


def _look(transaction: Transaction) -> Evaluated:
    return evaluate(transaction, SCHEDULER, LATE)


def expected(timing: Timing, name: str, begin: datetime, end: datetime) -> list[datetime]:
    """The occurrences that are due later than ``begin`` and up to ``end``."""
    delay = timing.delay(name)
    found: list[datetime] = []
    for moment in replace(timing).occurrences(begin):
        if moment + delay > end:
            return found
        found.append(moment)
    return found
