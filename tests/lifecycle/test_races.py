"""Many claimers, each with a connection of its own, race for the same jobs: each is claimed once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from jobwarden.config import Settings
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import Actor, JobState
from jobwarden.lifecycle.claim import Seated
from jobwarden.lifecycle.settle import Settlement, settle
from jobwarden.store import schema
from jobwarden.store.database import Database, Fault, Transaction
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories

JOBS, CLAIMERS = 100, 50
T = TypeVar("T")


class Racer:
    """One claimer with a pool of its own, that repeats after conflicts as the writer does."""

    def __init__(self, settings: Settings, racing: bool) -> None:
        self.database = Database(settings)
        self.claimant = Claimant(racing=racing)
        self.won: list[Seated] = []
        self.conflicts = 0

    def run(self, gun: threading.Barrier, settles: bool) -> Racer:
        """Claim, two seats at a time, until nothing is queued."""
        with self.database.read() as transaction:
            self._queued(transaction)  # connected before the gun
        gun.wait(60)
        while self._again(self._round, settles):
            pass
        return self

    def close(self) -> None:
        """Let go of the connections."""
        self.database.dispose()

    def _round(self, transaction: Transaction, settles: bool) -> bool:
        seated = self.claimant.look(transaction, self.claimant.seats(2)).seated
        if settles and seated:
            over = [_success(given) for given in seated]
            assert all(settled.decision for settled in settle(transaction, over, Actor.WORKER, "w"))
        more = self._queued(transaction)
        self._caught = seated
        return more

    def _again(self, work: Any, *given: Any) -> bool:
        while True:
            try:
                with self.database.write() as transaction:
                    more: bool = work(transaction, *given)
            except DBAPIError as error:
                if self.database.fault(error) is not Fault.CONFLICT:
                    raise
                self.conflicts += 1
                time.sleep(random.random() * 0.02)
            else:
                self.won += self._caught
                return more

    @staticmethod
    def _queued(transaction: Transaction) -> bool:
        found = sa.select(schema.jobs.c.id).where(schema.jobs.c.state == "queued").limit(1)
        return transaction.execute(found).first() is not None


def _success(given: Seated) -> Settlement:
    return Settlement(given.claim.job_id, given.claim.token, Report(given.claim.attempt_id, Outcome.SUCCEEDED))


@pytest.fixture(params=["locking", "racing"])
def racers(request: pytest.FixtureRequest, settings: Settings) -> Iterator[list[Racer]]:
    racers = [Racer(settings, request.param == "racing") for _ in range(CLAIMERS)]
    yield racers
    for racer in racers:
        racer.close()


def _race(racers: list[Racer], *, settles: bool) -> None:
    gun = threading.Barrier(len(racers))
    with ThreadPoolExecutor(len(racers)) as threads:
        for done in [threads.submit(racer.run, gun, settles) for racer in racers]:
            done.result(100)


def test_each_job_is_claimed_once(racers: list[Racer], factories: Factories) -> None:
    made = {job["id"] for job in factories.jobs(JOBS)}
    _race(racers, settles=False)
    won = Counter(given.claim.job_id for racer in racers for given in racer.won)
    assert won == Counter(made), "claimed once each, and nothing else"
    assert sum(bool(racer.won) for racer in racers) > 1, "nobody raced"
    for racer in racers:
        for given in racer.won:
            [attempt] = factories.attempts_of(given.claim.job_id)
            assert (attempt["id"], attempt["fencing_token"]) == (given.claim.attempt_id, 1)
            assert (attempt["worker_id"], attempt["proc_nonce"]) == (racer.claimant.worker_id, given.nonce)
            events = factories.events_of(given.claim.job_id)
            assert [(e["to_state"], e["actor_id"]) for e in events] == [("running", racer.claimant.worker_id)]
    nonces = [given.nonce for racer in racers for given in racer.won]
    assert len(set(nonces)) == JOBS, "one job to a seat"
    assert factories.counted() == {("default", "running"): JOBS}


def test_claiming_and_settling_at_once_counts_right(racers: list[Racer], factories: Factories) -> None:
    made = [job["id"] for job in factories.jobs(JOBS)]
    _race(racers[:12], settles=True)
    with factories.database.read() as transaction:
        states = Counter(transaction.execute(sa.select(schema.jobs.c.state)).scalars())
        attempts = transaction.execute(sa.select(schema.attempts.c.job_id)).scalars().all()
    assert states == {JobState.SUCCEEDED.value: JOBS}
    assert Counter(attempts) == Counter(made)
    assert factories.counted() == {("default", "succeeded"): JOBS}
