"""One batch in one database, driven by hand: what tests of batches begin with."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import sqlalchemy as sa

from jobwarden.domain.claims import Claim
from jobwarden.domain.dag import Node, finalizers, ordered
from jobwarden.domain.draft import Draft
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import JobState
from jobwarden.domain.verdict import Policy
from jobwarden.lifecycle.admit import admit
from jobwarden.lifecycle.advance import advance
from jobwarden.lifecycle.batches import Plan, enqueue_batch
from jobwarden.lifecycle.grow import Grower, Growth, grow
from jobwarden.lifecycle.settle import Settlement, complete
from jobwarden.store import schema
from jobwarden.store.batches import exact_counts
from jobwarden.store.database import Database
from jobwarden.store.ids import new_id, new_ids
from jobwarden.views.batches import BatchLine, shown
from tests.lifecycle.claimants import Claimant

#: Tries enough for whatever a test loses, each at once.
MANY, AT_ONCE = 1000, Backoff(base=0.0, cap=0.0)
ME = "01900000-0000-7000-8000-000000000001"


class _Killed(Exception):
    """A process is no more."""


class Run:
    """One batch in one database, driven by hand."""

    def __init__(
        self,
        database: Database,
        nodes: list[Node],
        policy: Policy = Policy.CONTINUE,
        tries: int = 1,
        idempotent: bool = True,
        **more: Any,
    ) -> None:
        self.database, self.claimant = database, Claimant()
        self.terms: dict[str, Any] = {"idempotent": idempotent, "max_attempts": tries, "backoff": AT_ONCE}
        self.nodes = ordered("b", nodes)
        ids = new_ids(len(nodes))
        self.ids = {node.key: key for node, key in zip(self.nodes, ids, strict=True)}
        self.keys = {key: name for name, key in self.ids.items()}
        drafts = [Draft(self.ids[node.key], "job", "{}", **self.terms) for node in self.nodes]
        spared = frozenset(finalizers(self.nodes))
        self.plan = Plan(new_id(), "b", self.nodes, drafts, policy, finalizers=spared, **more)
        with database.write() as transaction:
            enqueue_batch(transaction, self.plan)

    def advance(self) -> int:
        """One transaction of one who advances and admits."""
        with self.database.write() as transaction:
            found = advance(transaction, ME).turns
            admit(transaction, ME)
            return found

    def die_advancing(self) -> None:
        """One who advances is killed before its commit: the database takes back what it did."""
        with suppress(_Killed), self.database.write() as transaction:
            advance(transaction, ME)
            admit(transaction, ME)
            raise _Killed

    def lose(self, claims: dict[str, Claim]) -> None:
        """The processes of these attempts are killed, and found to be gone."""
        for claim in claims.values():
            self.claimant.settle(self.database, claim, Outcome.LOST)

    def settle_down(self) -> None:
        """Advance until nothing is left to follow up."""
        for _ in range(10_000):
            if not self.advance():
                return
        raise AssertionError("it never comes to rest")

    def claim(self, most: int = 50) -> dict[str, Claim]:
        """Claim members, by key."""
        found = self.claimant.claim(self.database, most)
        return {self.keys[claim.job_id]: claim for claim in found if claim.job_id in self.keys}

    def end(self, claims: dict[str, Claim], outcome: Callable[[str], Outcome] = lambda key: Outcome.SUCCEEDED) -> None:
        """End what was claimed."""
        for key, claim in claims.items():
            self.claimant.settle(self.database, claim, outcome(key), retryable=False)

    def grow(self, claim: Claim, nodes: Sequence[Node], *, success: bool = False, params: Any = None) -> int:
        """A member that runs adds these, with its success or at once; gives how many are new."""
        text = json.dumps(params or {})
        drafts = [Draft(key, "job", text, **self.terms) for key in new_ids(len(nodes))]
        grower = Grower(claim.job_id, claim.attempt_id, claim.token, self.plan.id)
        with self.database.write() as transaction:
            number = grow(transaction, grower, Growth(nodes, drafts))
            if success:
                report = Report(claim.attempt_id, Outcome.SUCCEEDED)
                complete(transaction, Settlement(claim.job_id, claim.token, report), self.claimant.worker_id)
        new = {node.key: draft.id for node, draft in zip(nodes, drafts, strict=True) if node.key not in self.ids}
        self.nodes += [node for node in nodes if node.key in new]
        self.ids |= new
        self.keys |= {job_id: key for key, job_id in new.items()}
        return number

    def drain(self, outcome: Callable[[str], Outcome] = lambda key: Outcome.SUCCEEDED) -> list[str]:
        """Run everything that can run, in the order in which it came up."""
        order: list[str] = []
        self.settle_down()
        while claims := self.claim():
            order += claims
            self.end(claims, outcome)
            self.settle_down()
        return order

    @property
    def states(self) -> dict[str, JobState]:
        """Members by key."""
        found = sa.select(schema.jobs.c.batch_key, schema.jobs.c.state).where(schema.jobs.c.batch_id == self.plan.id)
        with self.database.read() as transaction:
            return {row.batch_key: JobState(row.state) for row in transaction.execute(found)}

    @property
    def line(self) -> BatchLine:
        """The batch."""
        with self.database.read() as transaction:
            return shown(transaction, self.plan.id)

    def check_counts(self) -> None:
        """What is counted by deltas is what is there."""
        with self.database.read() as transaction:
            counts = shown(transaction, self.plan.id).counts
            exact = exact_counts(transaction, self.plan.id)
        own = {name: getattr(counts, name) for name in ("pending", "running", "succeeded", "failed", "canceled")}
        assert own == {name: exact.get(name, 0) for name in own}
        assert sum(own.values()) == counts.total == len(self.nodes)


def fails(*keys: str) -> Callable[[str], Outcome]:
    """These fail."""
    return lambda key: Outcome.FAILED if key in keys else Outcome.SUCCEEDED
