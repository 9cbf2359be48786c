"""The clerk: takes checked calls to the database and brings answers back.

All that the application's side needs of the engine room hangs on this module, so that the app can load it with the
first call and importing ``jobwarden`` stays cheap. Calls are repeated after a conflict or a lost connection, under
the same ids, so that an answer that got lost enqueues nothing twice.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from sqlalchemy.exc import DBAPIError

from jobwarden.batch import Built
from jobwarden.config import Settings
from jobwarden.domain.draft import Draft, Enqueued
from jobwarden.domain.findings import Finding
from jobwarden.domain.orders import Answer, Order
from jobwarden.domain.states import WorkerState
from jobwarden.errors import DatabaseReadOnly, DatabaseUnavailable
from jobwarden.handle import Snapshot
from jobwarden.hooks import Hooks, call_all
from jobwarden.lane_clerk import LaneClerk
from jobwarden.lifecycle import batches, operate
from jobwarden.lifecycle.enqueue import enqueue, enqueue_alike
from jobwarden.lifecycle.join import join, join_async
from jobwarden.options import Bound, Terms, require_whole
from jobwarden.schedule_clerk import ScheduleClerk
from jobwarden.store.database import Database, Direct, Fault, Transaction, Writer
from jobwarden.store.ids import new_id, new_ids
from jobwarden.views.batches import BatchLine, shown
from jobwarden.views.health import check
from jobwarden.views.snapshot import look

Calls = Sequence[tuple[Bound, Terms]]
T = TypeVar("T")
W = TypeVar("W")
_MANY = 500  # jobs from which streaming beats one statement, though it takes a transaction of several
_PAUSES = (0.02, 0.08, 0.3, 1.2)  # seconds between repetitions, before jitter


class Clerk:
    """One application's way to its database. Making one connects nowhere."""

    def __init__(self, settings: Settings, hooks: Sequence[Hooks]) -> None:
        self.database, self._hooks = Database(settings), hooks
        self.schedules = ScheduleClerk(self.database, self._repeated)
        self.lanes = LaneClerk(self.database, self._repeated, self._told)

    def submit(self, calls: Calls, connection: Any, chunk: int) -> Sequence[Enqueued]:
        """Enqueue calls in one transaction: the caller's if ``connection`` is given, else one of their own."""
        order = _Order(calls, max(1, chunk))
        if connection is not None:
            enqueued = join(self.database, connection, order.write, self.database.announce)
        elif order.calls:
            begin: Any = self.database.step if order.is_one_step else self.database.write
            enqueued = self._repeated(begin, order.write_own)
            self.database.announce()
        else:
            enqueued = []
        self._tell_hooks(order)
        return enqueued

    async def submit_async(self, calls: Calls, connection: Any, chunk: int) -> Sequence[Enqueued]:
        """`submit` for async code: over the caller's connection in its loop, else in a thread."""
        if connection is None:
            return await asyncio.to_thread(self.submit, calls, None, chunk)
        order = _Order(calls, max(1, chunk))
        enqueued = await join_async(self.database, connection, order.write, self.database.announce)
        self._tell_hooks(order)
        return enqueued

    def submit_batch(self, built: Built, connection: Any) -> str:
        """Enqueue a batch in one transaction, the caller's if ``connection`` is given; gives its id."""
        order = _BatchOrder(built)
        if connection is not None:
            join(self.database, connection, order.write, self.database.announce)
        else:
            self._repeated(self.database.write, order.write)
            self.database.announce()
        if self._hooks:
            call_all([hook.enqueued for hook in self._hooks], order.plan.drafts)
        return order.plan.id

    def look_at_batch(self, batch_id: str) -> BatchLine:
        """A batch as it is now; raises `BatchNotFound`."""
        return self._repeated(self.database.read, lambda transaction: shown(transaction, batch_id))

    def cancel_batch(self, batch_id: str, reason: str | None, actor: str | None) -> int:
        """Call a batch off; gives how many members were called off at once."""
        with self._told():
            return batches.cancel_batch(self.database, batch_id, reason, actor)

    def retry_batch(self, batch_id: str, order: Order, start: str | None) -> list[Answer]:
        """Run the failed members of a batch again; one answer for each."""
        with self._told():
            return batches.retry_batch(self.database, batch_id, order, start=start)

    def hold_batch(self, batch_id: str, reason: str | None, actor: str | None) -> int:
        """Have no more of a batch start; gives how many members it reached."""
        with self._told():
            return batches.hold_batch(self.database, batch_id, reason, actor)

    def release_batch(self, batch_id: str, reason: str | None, actor: str | None) -> None:
        """Let a held batch go on."""
        with self._told():
            batches.release_batch(self.database, batch_id, reason, actor)

    def look(self, job_id: str) -> Snapshot:
        """A job as it is now; raises `JobNotFound`."""
        return self._repeated(self.database.read, lambda transaction: look(transaction, job_id))

    def operate(self, order: Order, job_ids: Iterable[str]) -> list[Answer]:
        """Carry an order out on jobs; one answer for each."""
        with self._told():
            return operate.carry_out(self.database, order, job_ids)

    def drain(self, worker_id: str, reason: str | None, actor: str | None) -> WorkerState:
        """Ask a worker to drain; gives the state it is in now."""
        with self._told():
            return self.database.attempt(lambda transaction: operate.drain(transaction, worker_id, reason, actor))

    def health(self, deep: bool, silence: float) -> list[Finding]:
        """What contradicts the engine's own rules."""
        return self._repeated(self.database.read, lambda transaction: check(transaction, deep, silence))

    def _tell_hooks(self, order: _Order) -> None:
        if self._hooks and order.calls:
            call_all([hook.enqueued for hook in self._hooks], order.drafts())

    def _repeated(self, begin: Callable[[], AbstractContextManager[W]], work: Callable[[W], T]) -> T:
        """Do work that is safe to repeat in a transaction of its own, again after what passes."""
        with self._told():
            for pause in _PAUSES:
                with self._passing(pause):
                    return _done(begin, work)
            return _done(begin, work)

    @contextmanager
    def _passing(self, pause: float) -> Iterator[None]:
        """Swallow a fault that may pass, and wait."""
        try:
            yield
        except DBAPIError as error:
            if not self.database.fault(error).transient:
                raise
            time.sleep(pause * random.uniform(0.5, 1))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """The driver's errors as one clear sentence where we know what they mean."""
        try:
            yield
        except DBAPIError as error:
            fault, rule = self.database.fault(error), " ".join(str(error.orig).split())
            if fault is Fault.LOST:
                way_out = "check that it runs and that database_url has the right host, name, user and password"
                raise DatabaseUnavailable(database=self.database, rule=rule, way_out=way_out) from error
            if fault is Fault.READ_ONLY:
                raise DatabaseReadOnly(database=self.database, rule=rule, way_out="write to the primary") from error
            self.database.check_migrated(error)
            raise


def _done(begin: Callable[[], AbstractContextManager[W]], work: Callable[[W], T]) -> T:
    with begin() as transaction:
        return work(transaction)


class _Order:
    """Calls with their ids, made once: writing them again writes the same jobs."""

    def __init__(self, calls: Calls, chunk: int) -> None:
        for call, _ in calls:
            if call.refs:
                require_whole(call)
        self.calls, self._chunk = calls, chunk
        self._ids = new_ids(len(calls))
        self._is_plain = not any(terms.has_key or terms.tags or call.promoted for call, terms in calls)
        self._tried = False

    @property
    def is_one_step(self) -> bool:
        """Whether a single statement can write it all: few, no keys to look up, no tags."""
        return self._is_plain and len(self.calls) < min(_MANY, self._chunk + 1)

    def write_own(self, writer: Transaction | Direct) -> list[Enqueued]:
        """Write it all in a transaction of our own, the quick way if it is much and cannot be there yet."""
        again, self._tried = self._tried, True
        quick = self._is_plain and len(self.calls) >= _MANY and not again
        if not quick or isinstance(writer, Direct) or not writer.facts.pours_rows:
            return self.write(writer, again)
        enqueue_alike(writer, self._alike())
        return [Enqueued(job_id, True) for job_id in self._ids]

    def write(self, writer: Writer, again: bool = False) -> list[Enqueued]:
        """Write it all; ``again`` if it may be there already."""
        enqueued: list[Enqueued] = []
        for begin in range(0, len(self.calls), self._chunk):
            enqueued += enqueue(writer, self.drafts(begin, begin + self._chunk), again)
        return enqueued

    def drafts(self, begin: int = 0, end: int | None = None) -> list[Draft]:
        """A stretch of it as drafts."""
        pairs = zip(self.calls[begin:end], self._ids[begin:end], strict=True)
        return [call.draft(job_id, terms) for (call, terms), job_id in pairs]

    def _alike(self) -> list[tuple[Draft, list[tuple[str, str]]]]:
        """The calls of each job on the same terms, as one draft with the ids and params of them all."""
        alike: dict[tuple[str, int], tuple[Draft, list[tuple[str, str]]]] = {}
        for (call, terms), job_id in zip(self.calls, self._ids, strict=True):
            key = (call.job, id(terms))
            if key not in alike:
                alike[key] = (call.draft(job_id, terms), [])
            alike[key][1].append((job_id, call.params))
        return list(alike.values())


class _BatchOrder:
    """A batch with its ids, made once: writing it again writes the same."""

    def __init__(self, built: Built) -> None:
        batch_id, *ids = new_ids(1 + len(built.nodes))
        drafts = [call.draft(job_id) for call, job_id in zip(built.calls, ids, strict=True)]
        self.plan = batches.Plan(
            id=batch_id,
            name=built.name,
            nodes=built.nodes,
            drafts=drafts,
            policy=built.policy,
            threshold=built.threshold,
            params=built.params,
            created_by=built.created_by,
            on_complete=[call.draft(new_id()) for call in built.on_complete],
            labels=built.labels,
            finalizers=built.finalizers,
        )
        self._tried = False

    def write(self, writer: Writer) -> None:
        """Write it; a second time only if it is not there."""
        again, self._tried = self._tried, True
        batches.enqueue_batch(writer, self.plan, again)
