"""Operate: what a person asks of jobs and workers, each wish with its actor and reason in the ledger.

An order takes many jobs as one set: it locks them, refuses those that are in the wrong state, moves or flags the rest
and answers for each. A job that runs is not moved but flagged; who watches its process ends it and settles it. Flags
never lose who asked first without a ledger row, and a weaker wish never takes the place of a stronger one: after
`cancel`, `stop` is written down and changes nothing; after `stop`, `cancel` makes the end a canceled one.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, and_, bindparam, exists, false, func, literal_column, null, select, true, update

from jobwarden.domain.audit import Action
from jobwarden.domain.claims import Purpose
from jobwarden.domain.orders import Answer, By, Order, Verb, Verdict
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.states import LIVE_WORKER, Actor, JobState, WorkerState
from jobwarden.errors import BatchGone, JobNotFound, WorkerNotFound, WorkerNotLive
from jobwarden.store.audit import record_act
from jobwarden.store.database import Database, Id, Transaction, encode, now, rows
from jobwarden.store.ids import new_ids
from jobwarden.store.jobs import bear_again
from jobwarden.store.ledger import note
from jobwarden.store.schema import batches, events, jobs, workers
from jobwarden.store.transition import move_jobs
from jobwarden.store.workers import DRAIN

BITE = 500


# -- one job, in the caller's transaction -----------------------------------------------------------------------------


def cancel(transaction: Transaction, job_id: str, reason: str | None, actor_id: str | None) -> JobState:
    """Cancel a job: at once if it waits, otherwise its process is ended first; gives the state it is in now.

    Raises `JobNotFound`, or `WrongState` if the job is over.
    """
    return _one(transaction, Order(Verb.CANCEL, reason, actor_id), job_id)


def stop(transaction: Transaction, job_id: str, reason: str | None, actor_id: str | None) -> JobState:
    """Ask a running job to stop at its next checkpoint, or to be ended after its grace; a waiting one is canceled.

    Raises `JobNotFound`, or `WrongState` if the job is over.
    """
    return _one(transaction, Order(Verb.STOP, reason, actor_id), job_id)


def retry(
    transaction: Transaction,
    job_id: str,
    reason: str | None,
    actor_id: str | None,
    *,
    force: bool = False,
    attempts: int | None = None,
) -> JobState:
    """Queue a job again that failed or is parked, with ``attempts`` more tries, or with one at least.

    Raises `JobNotFound`, `WrongState`, or `ForceRequired` if it is not idempotent.
    """
    return _one(transaction, Order(Verb.RETRY, reason, actor_id, force, attempts), job_id)


def restart(
    transaction: Transaction,
    job_id: str,
    reason: str | None,
    actor_id: str | None,
    *,
    force: bool = False,
    attempts: int | None = None,
) -> JobState:
    """`retry`, also for a job that was stopped."""
    return _one(transaction, Order(Verb.RESTART, reason, actor_id, force, attempts), job_id)


def resolve(transaction: Transaction, job_id: str, verdict: Verdict, reason: str, actor_id: str | None) -> JobState:
    """Say what a parked job did: it is succeeded, queued again or failed. Raises `JobNotFound` or `WrongState`."""
    return _one(transaction, Order(Verb.RESOLVE, reason, actor_id, verdict=verdict), job_id)


def _one(transaction: Transaction, order: Order, job_id: str) -> JobState:
    [answer] = obey(transaction, order, [job_id])
    if answer.refused is not None:
        raise answer.refused
    return JobState(str(answer.state))


# -- many jobs --------------------------------------------------------------------------------------------------------


def carry_out(
    database: Database,
    order: Order,
    job_ids: Iterable[str],
    sleep: Callable[[float], None] = time.sleep,
    batch_id: str | None = None,
) -> list[Answer]:
    """Carry an order out on many jobs, at most 500 to a transaction, and answer for each in their order.

    A transaction is repeated after a conflict or a lost connection, and what it had done already is not done twice.
    ``batch_id``: the jobs are members that failed of a batch which is retried as a whole; the audit says so.
    """
    wanted = list(dict.fromkeys(job_ids))
    answers: list[Answer] = []
    for begin in range(0, len(wanted), BITE):
        bite = _Bite(order, wanted[begin : begin + BITE], batch_id)
        answers += database.attempt(bite.write, pause=lambda n: sleep(Backoff(0.02, 4, 1.2).delay(n, random.random())))
    if any(answer.new or answer.state is JobState.QUEUED for answer in answers if answer.refused is None):
        database.announce()
    return answers


class _Bite:
    """Some jobs of one order, with the name and the new ids that it keeps when it is written again."""

    def __init__(self, order: Order, job_ids: Sequence[str], batch_id: str | None = None) -> None:
        self._batch_id = batch_id
        key, *fresh = new_ids(1 + len(job_ids))
        self._order, self._ids, self._key = order, job_ids, key
        self._born = dict(zip(job_ids, fresh, strict=True))
        self._tried = False

    def write(self, transaction: Transaction) -> list[Answer]:
        again, self._tried = self._tried, True
        done = _done_already(transaction, self._ids, self._key) if again else {}
        left = [job_id for job_id in self._ids if job_id not in done]
        answers = obey(transaction, self._order, left, self._born, self._key, self._batch_id)
        fresh = {answer.id: answer for answer in answers}
        return [done.get(job_id) or fresh[job_id] for job_id in self._ids]


def obey(
    transaction: Transaction,
    order: Order,
    job_ids: Sequence[str],
    born: Mapping[str, str] | None = None,
    key: str | None = None,
    batch_id: str | None = None,
) -> list[Answer]:
    """Carry an order out on jobs as one set, inside the caller's transaction; one answer for each, in their order.

    ``born`` gives the ids of the jobs to be (`Verb.RERUN`); ``key`` names the order in the ledger. What was granted is
    one row of the audit: of the job, of the set, or of the batch ``batch_id`` that is retried.
    """
    born = born or dict(zip(job_ids, new_ids(len(job_ids)), strict=True))
    found = _lock(transaction, job_ids)
    answers = [_answer(order, job_id, found.get(job_id), born) for job_id in job_ids]
    granted = [found[answer.id] for answer in answers if answer.refused is None]
    if order.verb is Verb.RERUN:
        _rerun(transaction, order, granted, born, key)
    else:
        _wish(transaction, order, [row for row in granted if row.state == JobState.RUNNING], key)
        _move(transaction, order, [row for row in granted if row.state != JobState.RUNNING], key)
    fresh = {_whole(job_id): new for job_id, new in born.items()}
    changes = {row.id: _change(order, row, fresh.get(row.id)) for row in granted}
    if changes:
        _audit(transaction, order, changes, batch_id)
    return answers


def _change(order: Order, row: Row[Any], new: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a job is before and after, for the audit."""
    before, after = {"state": row.state}, {"state": str(_target(order, row))}
    if row.state == JobState.RUNNING:
        return {**before, "wish": row.cancel_mode}, {**after, "wish": order.verb.value}
    if order.verb is Verb.RERUN:
        after["new"] = str(new)
    return before, after


def _audit(
    transaction: Transaction,
    order: Order,
    changes: Mapping[str, tuple[dict[str, Any], dict[str, Any]]],
    batch_id: str | None,
) -> None:
    words = {"force": order.force or None, "attempts": order.attempts, "verdict": order.verdict and str(order.verdict)}
    said = {key: value for key, value in words.items() if value is not None}
    if batch_id is None and len(changes) == 1:
        [(job_id, (before, after))] = changes.items()
        record_act(transaction, Action(f"job.{order.verb}"), job_id, order.by, before, {**after, **said})
        return
    befores = {job_id: before for job_id, (before, _) in changes.items()}
    afters = {job_id: after for job_id, (_, after) in changes.items()}
    action = Action(f"job.{order.verb}") if batch_id is None else Action.BATCH_RETRY
    record_act(transaction, action, batch_id, order.by, {"jobs": befores}, {"jobs": afters, **said})


_asked = rows("asked", job_id="id")
_its_batch = exists().where(batches.c.id == jobs.c.batch_id).correlate(jobs)
_locked = (
    select(
        jobs.c.id,
        jobs.c.job,
        jobs.c.state,
        jobs.c.idempotent,
        jobs.c.max_attempts,
        (jobs.c.attempt_count - jobs.c.unspent_count).label("spent"),
        jobs.c.current_attempt_id,
        jobs.c.blocked_by,
        jobs.c.cancel_requested,
        jobs.c.cancel_mode,
        jobs.c.cancel_actor,
        and_(jobs.c.batch_id.is_not(None), ~_its_batch).label("batch_gone"),
    )
    .select_from(_asked.join(jobs, jobs.c.id == _asked.c.job_id))
    .order_by(jobs.c.id)
    .with_for_update(of=[jobs])
)


def _lock(transaction: Transaction, job_ids: Sequence[str]) -> dict[str, Row[Any]]:
    """The jobs by the ids that were given, whatever their spelling; held until the end of the transaction."""
    spelled = {job_id: whole for job_id in job_ids if (whole := _whole(job_id)) is not None}
    asked = encode({"job_id": whole} for whole in sorted(set(spelled.values())))
    found = {row.id: row for row in transaction.execute(_locked, rows=asked)} if spelled else {}
    return {job_id: found[whole] for job_id, whole in spelled.items() if whole in found}


def _whole(job_id: str) -> str | None:
    """An id as the database spells it; None for what is none."""
    try:
        return str(UUID(job_id))
    except (ValueError, AttributeError, TypeError):
        return None


def _answer(order: Order, job_id: str, row: Row[Any] | None, born: Mapping[str, str]) -> Answer:
    if row is None:
        return Answer(job_id, None, JobNotFound(id=job_id))
    state = JobState(row.state)
    refused = order.refusal(row.id, row.job, state, bool(row.idempotent))
    if refused is None and row.batch_gone and order.verb is not Verb.RERUN:
        refused = BatchGone(id=row.id, state=state.value, action=order.verb.value)
    if refused is not None:
        return Answer(job_id, state, refused)
    return Answer(job_id, _target(order, row), new=born[job_id] if order.verb is Verb.RERUN else None)


def _target(order: Order, row: Row[Any]) -> JobState | None:
    """Where the order takes the job; one that is to run again in a batch that is held waits until it is released."""
    target = order.target(JobState(row.state))
    return JobState.PENDING if target is JobState.QUEUED and row.blocked_by else target


_ordered = (
    select(events.c.job_id, events.c.to_state, events.c.context)
    .select_from(_asked.join(events, events.c.job_id == _asked.c.job_id))
    .where(events.c.actor_type == literal_column(f"'{Actor.OPERATOR.value}'"))
)


def _done_already(transaction: Transaction, job_ids: Sequence[str], key: str) -> dict[str, Answer]:
    """What this very order did to these jobs, in a commit whose answer was lost: its name is in their ledgers."""
    spelled = {whole: job_id for job_id in job_ids if (whole := _whole(job_id)) is not None}
    told = transaction.execute(_ordered, rows=encode({"job_id": whole} for whole in spelled)).all()
    mine = [row for row in told if (row.context or {}).get("order") == key and row.job_id in spelled]
    return {
        spelled[row.job_id]: Answer(spelled[row.job_id], JobState(row.to_state), new=row.context.get("rerun_as"))
        for row in mine
    }


# -- a wish about a job that runs -------------------------------------------------------------------------------------

_wished = rows("wished", job_id="id")
_flag = (
    update(jobs)
    .where(jobs.c.id == _wished.c.job_id)
    .values(
        cancel_requested=true(),
        cancel_mode=bindparam("mode"),
        cancel_reason=bindparam("reason"),
        cancel_actor=bindparam("actor"),
        cancel_requested_at=now(),
    )
)


def _wish(transaction: Transaction, order: Order, running: Sequence[Row[Any]], key: str | None) -> None:
    if not running:
        return
    stronger = [row for row in running if _outweighs(order.verb, row)]
    if stronger:
        given = encode({"job_id": row.id} for row in stronger)
        transaction.execute(_flag, rows=given, mode=order.verb.value, reason=order.reason, actor=order.actor)
    _note(transaction, order, [(row, {"wish": order.verb.value, **_standing(row)}) for row in running], key)


def _outweighs(verb: Verb, row: Row[Any]) -> bool:
    """Whether the wish is to stand in the row: the first does, and after that only a cancel in place of a stop."""
    return not row.cancel_requested or (verb is Verb.CANCEL and row.cancel_mode != Verb.CANCEL)


def _standing(row: Row[Any]) -> dict[str, Any]:
    """The wish that was there before, for the ledger."""
    return {"before": row.cancel_mode, "before_by": row.cancel_actor} if row.cancel_requested else {}


def _note(transaction: Transaction, order: Order, said: Sequence[tuple[Row[Any], Any]], key: str | None) -> None:
    """One ledger row for each, which moves nothing."""
    notes = [
        {
            "job_id": row.id,
            "attempt_id": _attempt(row),
            "level": "job",
            "state": row.state,
            "reason": order.reason,
            "context": _context(key, told),
        }
        for row, told in said
    ]
    note(transaction, notes, Actor.OPERATOR, order.actor)


def _attempt(row: Row[Any]) -> str | None:
    return row.current_attempt_id if row.state == JobState.RUNNING else None


def _context(key: str | None, told: Mapping[str, Any]) -> str:
    return json.dumps({**told, **({"order": key} if key else {})})


# -- a job that does not run ------------------------------------------------------------------------------------------

_renewed = rows("renewed", job_id="id", max_attempts="int")
_renew = (
    update(jobs)
    .where(jobs.c.id == _renewed.c.job_id)
    .values(
        max_attempts=_renewed.c.max_attempts,
        purpose=literal_column(f"'{Purpose.RUN.value}'"),
        cancel_requested=false(),
        **dict.fromkeys(("cancel_mode", "cancel_reason", "cancel_actor", "cancel_requested_at"), null()),
    )
)


def _move(transaction: Transaction, order: Order, resting: Sequence[Row[Any]], key: str | None) -> None:
    """Through the door. What is to run again begins anew: no wish, for the job itself, due now, with a try to spend."""
    renewed = [row for row in resting if order.target(JobState(row.state)) is JobState.QUEUED]
    if renewed:
        budgets = ({"job_id": row.id, "max_attempts": _budget(order, row)} for row in renewed)
        transaction.execute(_renew, rows=encode(budgets))
    move_jobs(transaction, [_step(order, row, key) for row in resting], Actor.OPERATOR, order.actor)


def _budget(order: Order, row: Row[Any]) -> int:
    if order.attempts is not None:
        return int(row.spent) + order.attempts
    return max(int(row.max_attempts), int(row.spent) + 1)


def _step(order: Order, row: Row[Any], key: str | None) -> dict[str, Any]:
    target = _target(order, row)
    if target is None:
        raise AssertionError("refused before")
    again = order.target(JobState(row.state)) is JobState.QUEUED
    return {
        "job_id": row.id,
        "origin": row.state,
        "target": target.value,
        "now_due": again,
        "reason": order.reason,
        "context": _context(key, _evidence(order, row, again)),
    }


def _evidence(order: Order, row: Row[Any], again: bool) -> dict[str, Any]:
    evidence: dict[str, Any] = {"verb": order.verb.value, "before": row.state}
    if order.verdict is not None:
        evidence["verdict"] = str(order.verdict)
    if order.force:
        evidence["force"] = True
    if order.attempts is not None:
        evidence["attempts"] = order.attempts
    if again and _budget(order, row) != row.max_attempts:
        evidence["max_attempts"] = [row.max_attempts, _budget(order, row)]
    return evidence


def _rerun(
    transaction: Transaction, order: Order, over: Sequence[Row[Any]], born: Mapping[str, str], key: str | None
) -> None:
    """The old job stays as it is; the ledgers of both name the other."""
    if not over:
        return
    known = {whole: new for job_id, new in born.items() if (whole := _whole(job_id)) is not None}
    fresh = [
        {
            "id": known[row.id],
            "old": row.id,
            "max_attempts": order.attempts,
            "context": _context(key, {**_evidence(order, row, False), "rerun_of": row.id}),
        }
        for row in over
    ]
    bear_again(transaction, fresh, order.actor, order.reason)
    _note(transaction, order, [(row, {"verb": order.verb.value, "rerun_as": known[row.id]}) for row in over], key)


# -- a worker ---------------------------------------------------------------------------------------------------------

_worker = (
    select(workers.c.id, workers.c.state, workers.c.wish)
    .where(workers.c.id == bindparam("worker", type_=Id))
    .with_for_update(of=[workers])
)
_ask_worker = (
    update(workers)
    .where(workers.c.id == bindparam("worker", type_=Id), func.coalesce(workers.c.wish, "") != DRAIN)
    .values(wish=DRAIN, wish_actor=bindparam("actor"), wish_reason=bindparam("reason"))
)


_supervisors_of = (
    select(workers.c.id)
    .where(
        workers.c.hostname == bindparam("host"),
        workers.c.role == "supervisor",
        workers.c.state.in_([state.value for state in sorted(LIVE_WORKER)]),
    )
    .order_by(workers.c.id)
)


def drain(
    transaction: Transaction,
    worker_id: str,
    reason: str | None,
    actor_id: str | None,
    address: str | None = None,
) -> WorkerState:
    """Ask a worker to take no more jobs and to end when those that it has are over; gives the state it is in now.

    It obeys with its next heartbeat. Who asked first stays in its row; every asking is in the ledger. Raises
    `WorkerNotFound` or `WorkerNotLive`.
    """
    order = Order(Verb.STOP, reason, actor_id)
    whole = _whole(worker_id)
    row = transaction.execute(_worker, worker=whole).one_or_none() if whole else None
    if row is None:
        raise WorkerNotFound(id=worker_id)
    if row.state not in LIVE_WORKER:
        raise WorkerNotLive(id=row.id, state=row.state)
    transaction.execute(_ask_worker, worker=row.id, actor=order.actor, reason=order.reason)
    context = {"wish": DRAIN, "worker": row.id, **({"before": row.wish} if row.wish else {})}
    said = {"level": "worker", "state": row.state, "reason": order.reason, "context": json.dumps(context)}
    note(transaction, [said], Actor.OPERATOR, order.actor)
    by, before = By(actor_id, reason, address=address), {"state": row.state, "wish": row.wish}
    record_act(transaction, Action.WORKER_DRAIN, row.id, by, before, {"state": row.state, "wish": DRAIN})
    return WorkerState(row.state)


def drain_host(
    transaction: Transaction, hostname: str, reason: str | None, actor_id: str | None, address: str | None = None
) -> list[str]:
    """Ask every supervisor of a host to drain; their ids. Raises `WorkerNotFound` if none there lives."""
    found = list(transaction.execute(_supervisors_of, host=hostname).scalars())
    if not found:
        raise WorkerNotFound(f"No supervisor lives on the host {hostname!r}: see `jobwarden workers`.")
    for worker_id in found:
        drain(transaction, worker_id, reason, actor_id, address)
    return found
