"""Who claims in a test: an owner with a stamp of its own, and seats that exist on paper only."""

from __future__ import annotations

import itertools
import random
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from jobwarden.domain.claims import Claim
from jobwarden.domain.report import Outcome, Report, Usage
from jobwarden.domain.stamp import Host, ProcessId
from jobwarden.domain.states import Actor
from jobwarden.lifecycle.claim import Catch, Owner, Seated, Vacancy, claim
from jobwarden.lifecycle.settle import Settled, Settlement, settle
from jobwarden.lifecycle.start import Start, start
from jobwarden.store.database import Database, Transaction
from jobwarden.store.ids import new_ids

_pids = itertools.count(50_000)


class Claimant:
    """One worker as far as the verbs see it."""

    def __init__(self, *, racing: bool = False, lanes: Sequence[str] = ("default",)) -> None:
        self.worker_id = str(uuid.uuid4())
        self.owner = Owner(self.worker_id, Host("host", "host:1", "host.example"), ProcessId(next(_pids), 1, 1))
        self.lanes = lanes
        self._shuffle = random.shuffle if racing else None

    def seats(self, count: int, *, pooled: bool = False, room: int = 1) -> list[Vacancy]:
        """So many free seats."""
        return [self.seat(pooled=pooled, room=room) for _ in range(count)]

    def seat(self, *, pooled: bool = False, room: int = 1, fallback: str | None = None) -> Vacancy:
        """One free seat."""
        return Vacancy(uuid.uuid4().hex[:8], ProcessId(next(_pids), 2, 3), pooled, room, fallback)

    def look(self, transaction: Transaction, seats: Sequence[Vacancy], depth: int | Callable[[str], int] = 1) -> Catch:
        """Claim onto seats."""
        return claim(
            transaction,
            self.lanes,
            seats,
            self.owner,
            new_ids,
            depth if callable(depth) else lambda job: depth,
            self._shuffle,
        )

    def claim(self, database: Database, count: int = 1) -> list[Claim]:
        """Claim up to so many jobs, each onto a seat of its own."""
        with database.write() as transaction:
            return [seated.claim for seated in self.look(transaction, self.seats(count)).seated]

    def start(self, database: Database, *claims: Claim, token: int | None = None) -> set[str]:
        """Say that handlers are about to be entered."""
        starts = [Start(given.job_id, given.attempt_id, token or given.token) for given in claims]
        with database.write() as transaction:
            return start(transaction, starts, self.worker_id)

    def settle(
        self,
        database: Database,
        given: Claim,
        outcome: Outcome = Outcome.SUCCEEDED,
        *,
        token: int | None = None,
        **facts: Any,
    ) -> Settled:
        """Report one attempt's end."""
        report = Report(given.attempt_id, outcome, **{"usage": Usage(wall_ms=5), **facts})
        with database.write() as transaction:
            settlement = Settlement(given.job_id, token or given.token, report)
            return settle(transaction, [settlement], Actor.WORKER, self.worker_id, lambda: 0.5)[0]


def by_nonce(seated: Sequence[Seated]) -> dict[str, list[str]]:
    """The jobs' ids by the seat that they went to, in order."""
    found: dict[str, list[str]] = {}
    for given in seated:
        found.setdefault(given.nonce, []).append(given.claim.job_id)
    return found
