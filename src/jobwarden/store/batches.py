"""Rows of batches: their birth, their edges, the turns that their members leave, and how many are where.

States of batches are moved by `move` alone, guarded by the state they are in, with a ledger row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    Text,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal_column,
    null,
    select,
    update,
)

from jobwarden.domain.states import LIVE, Actor, BatchState, JobState
from jobwarden.domain.verdict import BATCH, BUCKETS, Policy
from jobwarden.errors import IllegalTransition
from jobwarden.store.database import Id, Transaction, Writer, age, encode, now, rows
from jobwarden.store.edges import one_of
from jobwarden.store.ledger import words
from jobwarden.store.schema import LOOK_AGAIN, attempts, batch_labels, batches, counters, events, jobs, turns

_STRETCH = 500  # keys that one statement asks for


# -- birth ------------------------------------------------------------------------------------------------------------

_new = rows(
    "new_batch",
    id="id",
    name="text",
    policy="text",
    threshold="float",
    params="json",
    on_complete="json",
    labels="json",
    total="int",
    created_by="text",
)
_birth = {
    **{name: _new.c[name] for name in ("id", "name", "params", "on_complete", "labels", "created_by")},
    "state": words(BatchState.RUNNING),
    "failure_policy": _new.c.policy,
    "failure_threshold": _new.c.threshold,
    "total_jobs": _new.c.total,
    "pending_count": _new.c.total,
    **dict.fromkeys(("created_at", "started_at", "updated_at"), now()),
}
_noted = {
    "batch_id": _new.c.id,
    "level": words("batch"),
    "to_state": words(BatchState.RUNNING),
    "actor_type": words(Actor.CLIENT),
    "actor_id": _new.c.created_by,
    "created_at": now(),
}
_insert = insert(batches).from_select(list(_birth), select(*_birth.values()))
_note_born = insert(events).from_select(list(_noted), select(*_noted.values()))
_turn_born = insert(turns).from_select(["batch_id", "state"], select(_new.c.id, words(LOOK_AGAIN)))
_labelled = rows("labelled", batch_id="id", name="text", value="text")
_label = insert(batch_labels).from_select(["batch_id", "name", "value"], select(*_labelled.c))
_asked = rows("asked", id="id")
_there = select(batches.c.id).select_from(_asked.join(batches, batches.c.id == _asked.c.id))


def is_there(writer: Writer, batch_id: str) -> bool:
    """Whether the batch has a row."""
    return bool(writer.send(_there, encode([{"id": batch_id}])))


def bear(writer: Writer, batch: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    """Insert a batch's row, its first ledger row, its labels, and a turn, so that one without members ends too."""
    whole = {**batch, "labels": json.dumps(labels) if labels else None}
    for statement in (_insert, _note_born, _turn_born):
        writer.send(statement, encode([whole]))
    if labels:
        given = ({"batch_id": batch["id"], "name": name, "value": value} for name, value in labels.items())
        writer.send(_label, encode(given))


# -- turns ------------------------------------------------------------------------------------------------------------

_take = (
    select(turns.c.id, turns.c.batch_id, turns.c.job_id, turns.c.state)
    .order_by(turns.c.id)
    .limit(bindparam("most"))
    .with_for_update(of=[turns], skip_locked=True)
)
_drop = delete(turns).where(turns.c.id == bindparam("turn"))
_leave = insert(turns).values(batch_id=bindparam("batch", type_=Id), state=words(LOOK_AGAIN))


def take_turns(transaction: Transaction, most: int) -> list[Any]:
    """The oldest turns that nobody else holds; those that stay are taken again."""
    return list(transaction.execute(_take, most=most))


def drop_turns(transaction: Transaction, ids: Sequence[int]) -> None:
    """They are followed up. Each by its key: a search for many might read, and wait for, those that others write."""
    if ids:
        transaction.connection.execute(_drop, [{"turn": turn} for turn in ids])


def leave_turn(transaction: Transaction, batch_id: str) -> None:
    """Have the batch looked at again in another transaction."""
    transaction.execute(_leave, batch=batch_id)


# -- growth -----------------------------------------------------------------------------------------------------------

_held = (
    select(jobs.c.id)
    .select_from(jobs.join(attempts, attempts.c.id == jobs.c.current_attempt_id))
    .where(
        jobs.c.id == bindparam("job", type_=Id),
        jobs.c.state == words(JobState.RUNNING),
        attempts.c.id == bindparam("attempt", type_=Id),
        attempts.c.fencing_token == bindparam("token"),
    )
    .with_for_update(of=[jobs])
)
_named = select(
    jobs.c.id, jobs.c.batch_key, jobs.c.job, cast(jobs.c.params, Text).label("params"), jobs.c.finalizer
).where(jobs.c.batch_id == bindparam("batch", type_=Id), jobs.c.batch_key.in_(bindparam("keys", expanding=True)))
_extend = (
    update(batches)
    .where(batches.c.id == bindparam("batch", type_=Id))
    .values(
        total_jobs=batches.c.total_jobs + bindparam("number"),
        pending_count=batches.c.pending_count + bindparam("number"),
        updated_at=now(),
    )
)
_turn = rows("turn", job_id="id")
_leave_each = insert(turns).from_select(
    ["batch_id", "job_id", "state"], select(bindparam("batch", type_=Id), _turn.c.job_id, words(LOOK_AGAIN))
)


def holds(transaction: Transaction, job_id: str, attempt_id: str, token: int) -> bool:
    """Whether the job runs under this very attempt, and does so until the end of the transaction."""
    return bool(transaction.execute(_held, job=job_id, attempt=attempt_id, token=token).all())


def members_named(transaction: Transaction, batch_id: str, keys: Sequence[str]) -> dict[str, Any]:
    """The members that have these keys: id, job, params as text, and whether it is a finalizer."""
    found = (
        transaction.execute(_named, batch=batch_id, keys=list(keys[begin : begin + _STRETCH]))
        for begin in range(0, len(keys), _STRETCH)
    )
    return {row.batch_key: row for some in found for row in some}


def extend(transaction: Transaction, batch_id: str, number: int) -> None:
    """The batch, which must be locked, has so many members more."""
    transaction.execute(_extend, batch=batch_id, number=number)


def leave_turns(transaction: Transaction, batch_id: str, job_ids: Sequence[str]) -> None:
    """Have these members followed up by what they are then: somebody may wait for them who did not before."""
    if job_ids:
        transaction.execute(_leave_each, rows=_ids(job_ids), batch=batch_id)


# -- the batch itself -------------------------------------------------------------------------------------------------

_any_live = (
    select(literal_column("1"))
    .where(jobs.c.batch_id == batches.c.id, one_of(jobs.c.state, LIVE))
    .correlate(batches)
    .exists()
)
_failed = (
    select(func.count())
    .where(jobs.c.batch_id == batches.c.id, jobs.c.state == words(JobState.FAILED))
    .correlate(batches)
    .scalar_subquery()
)
_LOOKED = (
    batches.c.id,
    batches.c.name,
    batches.c.state,
    batches.c.failure_policy,
    batches.c.failure_threshold,
    batches.c.total_jobs,
    batches.c.summary,
    batches.c.finished_at,
    batches.c.cancel_reason,
    batches.c.cancel_actor,
    batches.c.hold_id,
    batches.c.held_by,
)
_counted_failures = case((batches.c.failure_policy != words(Policy.CONTINUE), _failed), else_=literal_column("0"))
_look = (
    select(*_LOOKED, _any_live.label("live"), _counted_failures.label("failed"))
    .select_from(_asked.join(batches, batches.c.id == _asked.c.id))
    .order_by(batches.c.id)
)
_lock = (
    select(batches.c.id)
    .select_from(_asked.join(batches, batches.c.id == _asked.c.id))
    .order_by(batches.c.id)
    .with_for_update(of=[batches])
)
_move = (
    update(batches)
    .where(batches.c.id == bindparam("batch", type_=Id), batches.c.state == bindparam("origin"))
    .values(
        state=bindparam("target"),
        cancel_reason=case((bindparam("target") == words(BatchState.CANCELED), bindparam("why")), else_=null()),
        cancel_actor=case((bindparam("target") == words(BatchState.CANCELED), bindparam("actor")), else_=null()),
        summary=null(),
        finished_at=null(),
        updated_at=now(),
    )
)
_finish = (
    update(batches)
    .where(batches.c.id == bindparam("batch", type_=Id), batches.c.finished_at.is_(None))
    .values(
        state=bindparam("target"),
        summary=bindparam("told", type_=batches.c.summary.type),
        finished_at=now(),
        updated_at=now(),
    )
)
_amend = (
    update(batches)
    .where(batches.c.id == bindparam("batch", type_=Id), batches.c.finished_at.is_not(None))
    .values(summary=bindparam("told", type_=batches.c.summary.type), finished_at=now(), updated_at=now())
)
_event = insert(events).values(
    batch_id=bindparam("batch", type_=Id),
    level=words("batch"),
    from_state=bindparam("origin"),
    to_state=bindparam("target"),
    actor_type=bindparam("by"),
    actor_id=bindparam("actor"),
    reason=bindparam("why"),
    context=bindparam("told", type_=events.c.context.type),
    created_at=now(),
)
_exact = (
    select(jobs.c.state, func.count().label("number"))
    .where(jobs.c.batch_id == bindparam("batch", type_=Id))
    .group_by(jobs.c.state)
)
_rest = select(batches.c.on_complete, batches.c.name).where(batches.c.id == bindparam("batch", type_=Id))
_following = rows("following", job_id="id")
_follow = update(jobs).where(jobs.c.id == _following.c.job_id).values(follows_batch_id=bindparam("batch", type_=Id))
_lasted = select(age(batches.c.started_at)).where(batches.c.id == bindparam("batch", type_=Id))
_deltas = (
    select(counters.c.id, counters.c.state, counters.c.delta)
    .where(counters.c.scope == words("batch"), counters.c.name == bindparam("batch"))
    .with_for_update(of=[counters], skip_locked=True)
)
_drop_deltas = delete(counters).where(counters.c.id.in_(bindparam("ids", expanding=True)))
_SUMMED = ("succeeded", "failed", "canceled")
_BUCKETS = ("pending", "running", *_SUMMED)
_COUNTS = {bucket: batches.c[f"{bucket}_count"] for bucket in _BUCKETS}
_settle_counts = (
    update(batches)
    .where(batches.c.id == bindparam("batch", type_=Id))
    .values({column: column + bindparam(bucket) for bucket, column in _COUNTS.items()})
)


def look(transaction: Transaction, batch_ids: Sequence[str]) -> list[Any]:
    """The batches as they are, without a lock: with whether any member is ``live``, and how many ``failed``, which is
    counted where the failure policy asks for it."""
    return list(transaction.execute(_look, rows=encode({"id": batch_id} for batch_id in batch_ids)))


def note(
    transaction: Transaction,
    batch_id: str,
    state: BatchState,
    actor: Actor,
    actor_id: str | None,
    why: str | None,
    told: Mapping[str, Any] | None = None,
) -> None:
    """A ledger row that moves nothing."""
    named = {"batch": batch_id, "origin": state.value, "target": state.value, "why": why, "actor": actor_id}
    transaction.execute(_event, **named, by=actor.value, told=told)


def lock(transaction: Transaction, batch_ids: Sequence[str]) -> list[Any]:
    """`look`, at rows that nobody else moves until the end of the transaction."""
    if not batch_ids:
        return []
    transaction.execute(_lock, rows=encode({"id": batch_id} for batch_id in sorted(batch_ids))).all()
    return look(transaction, sorted(batch_ids))


def move(
    transaction: Transaction,
    batch_id: str,
    origin: BatchState,
    target: BatchState,
    actor: Actor,
    actor_id: str | None,
    why: str | None,
) -> bool:
    """Move a batch that is not over to another state; False if it is no longer in ``origin``."""
    if (origin, target) not in BATCH:
        raise IllegalTransition(entity="a batch", origin=origin.value, target=target.value, actor=actor.value)
    named = {"batch": batch_id, "origin": origin.value, "target": target.value, "why": why, "actor": actor_id}
    if not transaction.execute(_move, **named).rowcount:
        return False
    transaction.execute(_event, **named, by=actor.value, told=None)
    return True


def finish(transaction: Transaction, row: Any, target: BatchState, actor_id: str | None) -> dict[str, Any] | None:
    """Every member ended: write what the batch has come to, and give it; None if that was done before."""
    if row.state != target and (BatchState(row.state), target) not in BATCH:
        raise IllegalTransition(entity="a batch", origin=row.state, target=target.value, actor=Actor.SYSTEM.value)
    summary = _summary(transaction, row, target)
    if not transaction.execute(_finish, batch=row.id, target=target.value, told=summary).rowcount:
        return None
    _note_summary(transaction, row, target, actor_id, f"every member ended: {target.value}", summary)
    return summary


def amend(transaction: Transaction, row: Any, actor_id: str | None) -> None:
    """Every member of a finished batch ended again: count anew what it has come to. Its verdict stands."""
    summary = _summary(transaction, row, BatchState(row.state))
    if all((row.summary or {}).get(bucket) == summary[bucket] for bucket in _SUMMED):
        return
    transaction.execute(_amend, batch=row.id, told=summary)
    why = f"members ran again and ended; it stays {row.state}"
    _note_summary(transaction, row, BatchState(row.state), actor_id, why, summary)


def _summary(transaction: Transaction, row: Any, target: BatchState) -> dict[str, Any]:
    counts = exact_counts(transaction, row.id)
    seconds = float(transaction.execute(_lasted, batch=row.id).scalar_one())
    return {
        "outcome": target.value,
        "total": sum(counts.values()),
        **{bucket: counts.get(bucket, 0) for bucket in _SUMMED},
        "failure_policy": row.failure_policy,
        "duration_ms": round(seconds * 1000),
    }


def _note_summary(
    transaction: Transaction, row: Any, target: BatchState, actor_id: str | None, why: str, summary: dict[str, Any]
) -> None:
    fold_counts(transaction, row.id)
    named = {"batch": row.id, "origin": row.state, "target": target.value, "why": why, "actor": actor_id}
    transaction.execute(_event, **named, by=Actor.SYSTEM.value, told=summary)


def on_complete_of(transaction: Transaction, batch_id: str) -> list[dict[str, Any]]:
    """The jobs that follow the whole, as drafts' columns."""
    found = transaction.execute(_rest, batch=batch_id).one().on_complete or []
    return [found] if isinstance(found, dict) else list(found)


def follow(transaction: Transaction, batch_id: str, job_ids: Sequence[str]) -> None:
    """These jobs were enqueued because the batch is over."""
    transaction.execute(_follow, batch=batch_id, rows=_ids(job_ids))


def exact_counts(transaction: Transaction, batch_id: str) -> dict[str, int]:
    """Members by bucket, counted one by one through their index."""
    found: dict[str, int] = {}
    for row in transaction.execute(_exact, batch=batch_id):
        bucket = BUCKETS[JobState(row.state)]
        found[bucket] = found.get(bucket, 0) + int(row.number)
    return found


def members_in(transaction: Transaction, batch_id: str, state: JobState) -> list[str]:
    """The ids of the members that are in a state, oldest first."""
    found = select(jobs.c.id).where(jobs.c.batch_id == batch_id, jobs.c.state == words(state)).order_by(jobs.c.id)
    return list(transaction.execute(found).scalars())


def fold_counts(transaction: Transaction, batch_id: str) -> None:
    """Add the deltas that moves left to the batch's own row, which must be locked."""
    found = transaction.execute(_deltas, batch=batch_id).all()
    if not found:
        return
    sums = dict.fromkeys(_BUCKETS, 0)
    for row in found:
        sums[row.state] += int(row.delta)
    transaction.execute(_drop_deltas, ids=[row.id for row in found])
    transaction.execute(_settle_counts, batch=batch_id, **sums)


def _ids(job_ids: Sequence[str]) -> str:
    return encode({"job_id": job_id} for job_id in sorted(job_ids))
