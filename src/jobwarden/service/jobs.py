"""Jobs: enqueue them, look at them, act on one, on some, or on all that a filter finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobwarden.binding import Field
from jobwarden.domain.access import Principal, Role
from jobwarden.domain.orders import Answer, Order, Verb, Verdict
from jobwarden.errors import ArtifactNotFound, InvalidOption, JobWardenError
from jobwarden.lifecycle import operate
from jobwarden.lifecycle.look import ask_for_look
from jobwarden.options import Bound
from jobwarden.service.gate import Part, by, needs
from jobwarden.store.audit import record_enqueued
from jobwarden.views import errors as error_views
from jobwarden.views import explain as explaining
from jobwarden.views import jobs as views
from jobwarden.views import logs as log_views
from jobwarden.views import tags as tag_views
from jobwarden.views.batches import Neighbours, neighbours_of
from jobwarden.views.fleet import this_host
from jobwarden.views.ids import find_job
from jobwarden.views.processes import Card, of_job

VIEWER, OPERATOR = Role.VIEWER, Role.OPERATOR
MOST_AT_ONCE = 1000
BITE = 500


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody asks of jobs; see `domain.orders.Order`."""

    verb: Verb
    reason: str | None = None
    force: bool = False
    attempts: int | None = None
    verdict: Verdict | None = None

    def order(self, principal: Principal) -> Order:
        """The order, with who gives it. Raises `InvalidOption`."""
        told = (self.verb, self.reason, principal.actor, self.force, self.attempts, self.verdict)
        return Order(*told, address=principal.address)


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A job by its id; ``created`` is False where one with the same idempotency key was there."""

    id: str
    created: bool


@dataclass(frozen=True, slots=True)
class Bite:
    """What became of some of the jobs that a filter finds; ``next`` is where to go on (None: that was the last)."""

    answers: list[Answer]
    next: str | None


class Jobs(Part):
    """What is seen of jobs and done to them."""

    # -- enqueue

    @needs(OPERATOR, "enqueue jobs")
    def enqueue(
        self, principal: Principal, job: str, params: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Enqueued:
        """Enqueue one by its registered name; checked as everywhere."""
        return self._enqueued(principal, [self._app.bind(job, params, **{"created_by": principal.actor, **options})])[0]

    @needs(OPERATOR, "enqueue jobs")
    def enqueue_many(
        self, principal: Principal, calls: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]
    ) -> list[Enqueued]:
        """Enqueue many in one transaction, all or none; an error names the place of the one that is refused."""
        if len(calls) > MOST_AT_ONCE:
            rule = f"at most {MOST_AT_ONCE:,} at once"
            raise InvalidOption(option="jobs", value=f"{len(calls):,} jobs", job="enqueue", rule=rule)
        bound = []
        for place, (job, params, options) in enumerate(calls):
            try:
                bound.append(self._app.bind(job, params, **{"created_by": principal.actor, **options}))
            except JobWardenError as error:
                error.facts["index"] = place
                raise
        return self._enqueued(principal, bound)

    def _enqueued(self, principal: Principal, calls: Sequence[Bound]) -> list[Enqueued]:
        """The jobs and their row of the audit, in one transaction; not tried again, since that could enqueue twice."""
        with self._database.answering(), self._database.write() as transaction:
            handles = list(self._app.enqueue_many(calls, connection=transaction.connection))
            record_enqueued(transaction, [handle.id for handle in handles if handle.created], by(principal, None))
        self._database.announce()
        return [Enqueued(handle.id, handle.created) for handle in handles]

    @needs(VIEWER, "see which jobs there are")
    def registered(self, principal: Principal) -> list[str]:
        """The names of the application's jobs."""
        return sorted(self._app.jobs)

    @needs(VIEWER, "see which jobs there are")
    def runbooks(self, principal: Principal) -> dict[str, str]:
        """What the docstrings of the application's jobs say, by name."""
        return {name: job.runbook for name, job in self._app.jobs.items() if job.runbook}

    @needs(VIEWER, "see which jobs there are")
    def form(self, principal: Principal, job: str) -> list[Field]:
        """The parameters of one of the application's jobs; empty for one that is not registered."""
        return self._app.jobs[job].fields if job in self._app.jobs else []

    # -- see

    @needs(VIEWER, "see jobs")
    def process(self, principal: Principal, job_id: str) -> Card | None:
        """The process of its current or last attempt, None before the first: looked at now if it is on this host, else
        as the daemon that watches it saw it last; with the stack that this one was told."""
        return self._read(lambda transaction: of_job(transaction, find_job(transaction, job_id), this_host()))

    @needs(OPERATOR, "ask for a look at a process")
    def look(self, principal: Principal, job_id: str) -> None:
        """Have the daemon that watches its attempt look at the process and ask it for its Python stack: `process` has
        the answer within a heartbeat or two. Raises `WrongState` if no attempt is in flight."""
        with self._database.answering(), self._database.write() as transaction:
            ask_for_look(transaction, find_job(transaction, job_id))

    @needs(VIEWER, "see jobs")
    def last_lines(self, principal: Principal, job_id: str, lines: int) -> list[log_views.LogLine]:
        """Its last lines."""
        return self._read(lambda transaction: log_views.last(transaction, find_job(transaction, job_id), lines))

    @needs(VIEWER, "see jobs")
    def page(self, principal: Principal, wanted: views.Filter) -> views.Page:
        """The newest jobs that fit."""
        return self._read(lambda transaction: views.listed(transaction, wanted))

    @needs(VIEWER, "see tags")
    def tags(self, principal: Principal, most: int) -> list[tag_views.TagName]:
        """The names of tags."""
        return self._read(lambda transaction: tag_views.names(transaction, most))

    @needs(VIEWER, "see tags")
    def tag_values(
        self, principal: Principal, name: str, prefix: str, after: str | None, limit: int
    ) -> tag_views.Values:
        """The values of a tag. Raises `RoleRequired` for one that is masked."""
        if self._redactor.hides(name):
            principal.require(self._sees_all, f"see values of the tag {name}")
        return self._read(lambda transaction: tag_views.values(transaction, name, prefix, after, limit))

    @needs(VIEWER, "see errors")
    def errors(self, principal: Principal, after: str | None, limit: int) -> error_views.Page:
        """The kinds of errors, the one that was seen last first."""
        return self._read(lambda transaction: error_views.listed(transaction, after, limit))

    @needs(VIEWER, "see jobs")
    def one(self, principal: Principal, job_id: str) -> views.JobView:
        """One job, whole. Raises `JobNotFound` or `AmbiguousId`, as all that follow."""
        return self._read(lambda transaction: views.shown(transaction, find_job(transaction, job_id)))

    @needs(VIEWER, "see jobs")
    def attempts(
        self, principal: Principal, job_id: str, after: int = 0, limit: int | None = None
    ) -> list[views.AttemptView]:
        """Its attempts, after the one of that number."""
        return self._read(
            lambda transaction: views.attempts_of(transaction, find_job(transaction, job_id), after, limit)
        )

    @needs(VIEWER, "see jobs")
    def events(
        self, principal: Principal, job_id: str, after: int = 0, limit: int | None = None
    ) -> list[views.EventView]:
        """Its ledger, after the row of that id."""
        return self._read(lambda transaction: views.events_of(transaction, find_job(transaction, job_id), after, limit))

    @needs(VIEWER, "see jobs")
    def logs(self, principal: Principal, job_id: str, after: int, limit: int) -> list[log_views.LogLine]:
        """Its next lines after a cursor."""
        return self._read(lambda transaction: log_views.after(transaction, find_job(transaction, job_id), after, limit))

    @needs(VIEWER, "see jobs")
    def tail(self, principal: Principal, job_id: str, after: int, limit: int) -> tuple[list[log_views.LogLine], bool]:
        """The same of a job whose whole id is known, and whether it is at rest: nothing more is to come."""
        return self._read(
            lambda transaction: (
                log_views.after(transaction, job_id, after, limit),
                views.state_of(transaction, job_id) in views.AT_REST,
            )
        )

    @needs(VIEWER, "see jobs")
    def artifacts(self, principal: Principal, job_id: str) -> list[views.ArtifactView]:
        """What it left behind."""
        return self._read(lambda transaction: views.artifacts_of(transaction, find_job(transaction, job_id)))

    @needs(VIEWER, "see jobs")
    def artifact(self, principal: Principal, job_id: str, artifact_id: str) -> views.ArtifactContent:
        """One of them with its content, or with the path of its file. Raises `ArtifactNotFound`."""
        found = self._read(
            lambda transaction: views.artifact_of(transaction, find_job(transaction, job_id), artifact_id)
        )
        if found is None:
            raise ArtifactNotFound(id=artifact_id, job=job_id)
        return found

    @needs(VIEWER, "see jobs")
    def neighbours(self, principal: Principal, job_id: str) -> Neighbours:
        """What it waits for in its batch, and what waits for it."""
        return self._read(lambda transaction: neighbours_of(transaction, find_job(transaction, job_id)))

    @needs(VIEWER, "see jobs")
    def explain(self, principal: Principal, job_id: str) -> explaining.Explanation:
        """Why it is not running."""
        return self._read(
            lambda transaction: explaining.explain(transaction, find_job(transaction, job_id), self._silence)
        )

    # -- act

    @needs(OPERATOR, "act on jobs")
    def act(self, principal: Principal, wish: Wish, job_id: str) -> Answer:
        """Carry a wish out on one job; raises what refuses it."""
        order = wish.order(principal)
        whole = self._read(lambda transaction: find_job(transaction, job_id))
        [answer] = self._carry_out(order, [whole])
        if answer.refused is not None:
            raise answer.refused
        return answer

    @needs(OPERATOR, "act on jobs")
    def act_on(self, principal: Principal, wish: Wish, job_ids: Sequence[str]) -> list[Answer]:
        """Carry a wish out on these; all ids are looked up before the first is touched."""
        order = wish.order(principal)
        whole = self._read(lambda transaction: [find_job(transaction, job_id) for job_id in job_ids])
        return self._carry_out(order, whole)

    @needs(VIEWER, "see jobs")
    def count(self, principal: Principal, wanted: views.Filter) -> int:
        """How many fit, exactly."""
        return self._read(lambda transaction: views.counted(transaction, wanted))

    @needs(OPERATOR, "act on jobs")
    def act_on_next(self, principal: Principal, wish: Wish, wanted: views.Filter, after: str | None) -> Bite:
        """Carry a wish out on the next 500 jobs that fit, in the order of their ids.

        Whoever asks goes on with ``next`` until there is none, and stops by not asking again: nothing runs unseen.
        """
        order = wish.order(principal)
        ids, following = self._read(lambda transaction: views.ids_of(transaction, wanted, after, BITE))
        return Bite(self._carry_out(order, ids), following)

    def _carry_out(self, order: Order, ids: Sequence[str]) -> list[Answer]:
        with self._database.answering():
            return operate.carry_out(self._database, order, ids)
