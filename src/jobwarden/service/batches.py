"""Batches: look at them and their members, call them off, hold them, run what failed again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jobwarden.domain.access import Principal, Role
from jobwarden.domain.orders import Answer, Order, Verb
from jobwarden.domain.states import BatchState
from jobwarden.lifecycle import batches as verbs
from jobwarden.service.gate import Part, needs
from jobwarden.views import batches as views
from jobwarden.views.ids import find_batch

VIEWER, OPERATOR = Role.VIEWER, Role.OPERATOR


@dataclass(frozen=True, slots=True)
class Graph:
    """Members and what they wait for."""

    members: list[views.MemberLine]
    edges: list[views.EdgeLine]


class Batches(Part):
    """What is seen of batches and done to them."""

    @needs(VIEWER, "see batches")
    def page(
        self,
        principal: Principal,
        states: Sequence[BatchState],
        labels: Mapping[str, str],
        before: str | None,
        limit: int,
    ) -> views.Page:
        """The newest that fit."""
        return self._read(lambda transaction: views.listed(transaction, states, before, limit, labels))

    @needs(VIEWER, "see batches")
    def one(self, principal: Principal, batch_id: str) -> views.BatchLine:
        """One batch. Raises `BatchNotFound` or `AmbiguousId`, as all that follow."""
        return self._read(lambda transaction: views.shown(transaction, find_batch(transaction, batch_id)))

    @needs(VIEWER, "see batches")
    def failures(self, principal: Principal, batch_id: str) -> list[views.Failure]:
        """Its members that ended badly, the first hundred."""
        return self._read(lambda transaction: views.failures_of(transaction, find_batch(transaction, batch_id)))

    @needs(VIEWER, "see batches")
    def members(
        self, principal: Principal, batch_id: str, after: str | None, limit: int
    ) -> tuple[list[views.MemberLine], str | None]:
        """A page of its members in the order of their birth, and the cursor of the next."""
        found = self._read(
            lambda transaction: views.members_after(transaction, find_batch(transaction, batch_id), after, limit + 1)
        )
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    @needs(VIEWER, "see batches")
    def graph(self, principal: Principal, batch_id: str) -> Graph:
        """All of it."""
        return self._read(
            lambda transaction: Graph(
                views.members_of(transaction, find_batch(transaction, batch_id)),
                views.edges_of(transaction, find_batch(transaction, batch_id)),
            )
        )

    @needs(VIEWER, "see batches")
    def states(self, principal: Principal, batch_id: str) -> dict[str, str]:
        """The state of every member, by its id."""
        return self._read(lambda transaction: views.states_of(transaction, find_batch(transaction, batch_id)))

    @needs(VIEWER, "see batches")
    def tally(
        self, principal: Principal, batch_id: str, ranges: Mapping[str, tuple[str, str]]
    ) -> dict[str, dict[str, int]]:
        """How many members are in which state, by the name of a range of their ids."""
        return self._read(lambda transaction: views.tally_of(transaction, find_batch(transaction, batch_id), ranges))

    @needs(VIEWER, "see batches")
    def course(self, principal: Principal, batch_id: str, most: int) -> views.Course:
        """When its members ran, and which of them took the time."""
        return self._read(lambda transaction: views.course_of(transaction, find_batch(transaction, batch_id), most))

    @needs(OPERATOR, "cancel batches")
    def cancel(self, principal: Principal, batch_id: str, reason: str | None) -> views.BatchLine:
        """Call it off with all its members."""
        return self._done(
            principal,
            batch_id,
            lambda whole: verbs.cancel_batch(self._database, whole, reason, principal.actor, address=principal.address),
        )

    @needs(OPERATOR, "hold batches")
    def hold(self, principal: Principal, batch_id: str, reason: str | None) -> views.BatchLine:
        """Have no more of it start."""
        return self._done(
            principal,
            batch_id,
            lambda whole: verbs.hold_batch(self._database, whole, reason, principal.actor, address=principal.address),
        )

    @needs(OPERATOR, "release batches")
    def release(self, principal: Principal, batch_id: str, reason: str | None) -> views.BatchLine:
        """Let it go on."""
        return self._done(
            principal,
            batch_id,
            lambda whole: verbs.release_batch(
                self._database, whole, reason, principal.actor, address=principal.address
            ),
        )

    @needs(OPERATOR, "retry batches")
    def retry(
        self,
        principal: Principal,
        batch_id: str,
        reason: str | None,
        force: bool,
        attempts: int | None,
        start: str | None,
    ) -> list[Answer]:
        """Run what failed again, from a member down where ``start`` names one."""
        order = Order(Verb.RETRY, reason, principal.actor, force, attempts, address=principal.address)
        whole = self._read(lambda transaction: find_batch(transaction, batch_id))
        with self._database.answering():
            return verbs.retry_batch(self._database, whole, order, start=start)

    def _done(self, principal: Principal, batch_id: str, verb: Callable[[str], object]) -> views.BatchLine:
        whole = self._read(lambda transaction: find_batch(transaction, batch_id))
        with self._database.answering():
            verb(whole)
        return self._read(lambda transaction: views.shown(transaction, whole))
