"""A seat's own way to the database: to settle without a supervisor, fenced, with all that its spool still holds; and to
answer what a handler asks. A seat whose supervisor lives and whose handler asks nothing never opens it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import bindparam, select

from jobwarden.domain.claims import LostAttempt, Purpose
from jobwarden.domain.dag import Node
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.refs import names_within
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.schedule import timing_of
from jobwarden.lifecycle.grow import Grower, Growth, grow
from jobwarden.lifecycle.join import join
from jobwarden.lifecycle.settle import Settlement, complete, settle_alone
from jobwarden.options import Bound
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.spool import Spool
from jobwarden.runner.outcome import Offsets
from jobwarden.runner.shipping import ship
from jobwarden.store.database import Database, Id, Options, Transaction
from jobwarden.store.ids import new_ids
from jobwarden.store.schema import attempts, dependencies, jobs, schedules
from jobwarden.views.batches import BatchNow, now_of

#: Half a minute of a database that is away.
_TRIES, _PATIENCE = 40, Backoff(base=0.05, factor=2.0, cap=1.0)
T = TypeVar("T")
_job = bindparam("job", type_=Id)
_upstream = (
    select(jobs.c.batch_key, jobs.c.result)
    .select_from(dependencies.join(jobs, jobs.c.id == dependencies.c.depends_on_job_id))
    .where(dependencies.c.job_id == _job, jobs.c.batch_key.in_(bindparam("keys", expanding=True)))
)
_asking = select(jobs.c.batch_key, jobs.c.rerun_of).where(jobs.c.id == _job)


class SettlesAlone:
    """Settles the attempts of one seat; made when it is needed."""

    def __init__(self, settings: Options, runtime: RuntimeDir, nonce: str) -> None:
        self._database = Database(settings)
        self._runtime = runtime
        self._nonce = nonce

    def __call__(self, claim: Mapping[str, Any], report: dict[str, Any], begin: Offsets, end: Offsets) -> None:
        """Settle one attempt, retrying until it is accepted or fenced out; raises what no retry can mend."""
        settlement = Settlement(claim["job_id"], claim["token"], Report.load(report))
        self._database.forget_inherited()
        spool, attempt = Spool(self._runtime, self._nonce), (claim["job_id"], claim["attempt_id"], claim["token"])
        settle_alone(
            self._database,
            settlement,
            self._runtime.worker_id,
            also=lambda transaction: ship(transaction, spool, attempt, begin, end, final=True),
        )


class DatabaseInquiry:
    """Answers a context's questions; one for each attempt that asks."""

    def __init__(self, settings: Options, worker_id: str) -> None:
        self._database, self._worker_id = Database(settings), worker_id

    def _asked(self, question: Callable[[Transaction], T]) -> T:
        """An answer from the database, also if it is away for a while: a blip is no failure of the handler's."""
        return self._database.attempt(question, _TRIES, _rest, reads=True)

    def batch(self, batch_id: str) -> BatchNow:
        """The batch as it stands: name, state, counts, and its failures with their errors."""
        return self._asked(lambda transaction: now_of(transaction, batch_id))

    def followed(self, job_id: str) -> str:
        """The id of the batch that enqueued this job because it was over; raises LookupError if there is none."""
        found = select(jobs.c.follows_batch_id).where(jobs.c.id == job_id)
        batch_id: str | None = self._asked(lambda transaction: transaction.execute(found).scalar_one())
        if batch_id is None:
            raise LookupError("this job is no member of a batch, and follows none")
        return batch_id

    def upstream(self, job_id: str, key: str) -> Any:
        """The result of the dependency with that key; raises LookupError if the job does not depend on it.

        A job that is a new run of another has the dependencies of that one.
        """
        found = self._asked(lambda transaction: _result_of(transaction, job_id, key))
        if found is not None:
            return found.result
        raise LookupError(f"this job does not depend on a batch member with the key {key!r}")

    def neighbours(self, job_id: str) -> tuple[datetime | None, datetime | None]:
        """The occurrences of the job's schedule before and after its own; None for both once the schedule is gone."""
        found = (
            select(*schedules.c, jobs.c.scheduled_for)
            .select_from(jobs.join(schedules, schedules.c.id == jobs.c.schedule_id))
            .where(jobs.c.id == job_id)
        )
        row = self._asked(lambda transaction: transaction.execute(found).one_or_none())
        if row is None:
            return None, None
        timing = timing_of(row)
        return timing.previous(row.scheduled_for), timing.next(row.scheduled_for)

    def lost_attempt(self, job_id: str, number: int) -> LostAttempt:
        """The last attempt before this number that was there to run the job; raises LookupError if there is none."""
        found = (
            select(attempts.c.id, attempts.c.attempt_number, attempts.c.started_at)
            .where(attempts.c.job_id == job_id, attempts.c.attempt_number < number)
            .where(attempts.c.purpose == Purpose.RUN.value)
            .order_by(attempts.c.attempt_number.desc())
            .limit(1)
        )
        row = self._asked(lambda transaction: transaction.execute(found).one_or_none())
        if row is None:
            raise LookupError(f"no attempt before number {number} was there to run this job")
        return LostAttempt(row.id, row.attempt_number, row.attempt_number, row.started_at)

    def grow(
        self,
        claim: Mapping[str, Any],
        nodes: Sequence[Node],
        calls: Sequence[Bound],
        *,
        success: bool = False,
        result: str | None = None,
    ) -> int:
        """Add members to the job's batch; with ``success`` the attempt is settled so in the same transaction."""
        grower = Grower(claim["job_id"], claim["attempt_id"], claim["token"], claim["batch_id"])
        drafts = [call.draft(job_id) for call, job_id in zip(calls, new_ids(len(calls)), strict=True)]
        report = Report(claim["attempt_id"], Outcome.SUCCEEDED, result=result)

        def work(transaction: Transaction) -> int:
            number = grow(transaction, grower, Growth(nodes, drafts))
            if success:
                complete(transaction, Settlement(grower.job_id, grower.token, report), self._worker_id)
            return number

        number = self._database.attempt(work, _TRIES, _rest)
        self._database.announce()
        return number

    def complete(self, connection: Any, claim: Mapping[str, Any], result: str | None) -> None:
        """Settle the attempt as succeeded, with its result as JSON text, inside the caller's transaction."""
        report = Report(claim["attempt_id"], Outcome.SUCCEEDED, result=result)
        settlement = Settlement(claim["job_id"], claim["token"], report)
        join(self._database, connection, lambda writer: complete(writer, settlement, self._worker_id), lambda: None)


def _result_of(transaction: Transaction, job_id: str, key: str) -> Any:
    """The row of the dependency with that key, of the job or of what it is a new run of; None if there is none."""
    origin: str | None = job_id
    while origin is not None:
        job = transaction.execute(_asking, job=origin).one()
        names = names_within(job.batch_key or "", key)
        found = {row.batch_key: row for row in transaction.execute(_upstream, job=origin, keys=names)}
        if found:
            return next(found[name] for name in names if name in found)
        origin = job.rerun_of
    return None


def _rest(tries: int) -> None:
    time.sleep(_PATIENCE.delay(tries, random.random()))
