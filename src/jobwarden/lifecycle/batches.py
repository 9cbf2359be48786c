"""Batches: checked members become rows with their edges, all or none; and what a person does to a batch as a whole."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

from jobwarden.domain.audit import Action
from jobwarden.domain.dag import Node, below
from jobwarden.domain.draft import Draft
from jobwarden.domain.orders import Answer, By, Order
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.states import Actor, BatchState, JobState
from jobwarden.domain.verdict import Policy
from jobwarden.errors import BatchNotFound, MemberNotFound, WrongBatchState
from jobwarden.lifecycle.advance import BITE, hold_on, sweep
from jobwarden.lifecycle.enqueue import enqueue, row_of
from jobwarden.lifecycle.operate import carry_out
from jobwarden.store import batches, edges, holds
from jobwarden.store.audit import record_act
from jobwarden.store.database import Database, Transaction, Writer
from jobwarden.store.ids import new_id

CHUNK = 5000
_HELD_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class Plan:
    """A batch to be: ``nodes`` in an order in which they can run, and a draft for each of them, under the ids given.

    ``params`` is JSON text, ``threshold`` as in `verdict.trips`; ``on_complete`` are enqueued when all of it is over.
    """

    id: str
    name: str
    nodes: Sequence[Node]
    drafts: Sequence[Draft]
    policy: Policy = Policy.CONTINUE
    threshold: float | None = None
    params: str | None = None
    created_by: str | None = None
    on_complete: Sequence[Draft] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    finalizers: frozenset[str] = field(default_factory=frozenset)


def enqueue_batch(writer: Writer, plan: Plan, again: bool = False) -> None:
    """Insert a batch with its members and edges, inside the caller's transaction.

    ``again``: it may be there already, from a commit whose answer was lost; then it is there whole.
    """
    if again and batches.is_there(writer, plan.id):
        return
    batches.bear(writer, _row(plan), plan.labels)
    ids = {node.key: draft.id for node, draft in zip(plan.nodes, plan.drafts, strict=True)}
    for begin in range(0, len(plan.nodes), CHUNK):
        stretch = range(begin, min(begin + CHUNK, len(plan.nodes)))
        members = [_member(plan, plan.nodes[n], plan.drafts[n]) for n in stretch]
        enqueue(writer, members)
        edges.link(writer, [each for n in stretch for each in edges.of_node(plan.nodes[n], ids)])


def _row(plan: Plan) -> dict[str, Any]:
    return {
        "id": plan.id,
        "name": plan.name,
        "policy": plan.policy.value,
        "threshold": plan.threshold,
        "params": plan.params,
        "on_complete": json.dumps([row_of(draft) for draft in plan.on_complete]) if plan.on_complete else None,
        "total": len(plan.nodes),
        "created_by": plan.created_by,
    }


def _member(plan: Plan, node: Node, draft: Draft) -> Draft:
    """The draft, made a member."""
    draft.batch_id, draft.batch_key = plan.id, node.key
    draft.blocked_by = len(set(node.upstream))
    draft.finalizer = node.key in plan.finalizers
    draft.created_by = draft.created_by or plan.created_by
    return draft


# -- what a person does -----------------------------------------------------------------------------------------------


def cancel_batch(
    database: Database,
    batch_id: str,
    reason: str | None,
    actor_id: str | None,
    told: Callable[[int], None] = lambda number: None,
    address: str | None = None,
) -> int:
    """Call a batch off with all of its members, finalizers included, in bites; gives how many were called off at once.

    Who runs is flagged and ended by its worker. ``told`` hears how many there are after each bite. Raises
    `BatchNotFound`, or `WrongBatchState` if all of it is over. Should this process die on the way, workers go on.
    """
    batch_id = _whole(batch_id)
    by = By(actor_id, reason, address=address)
    database.attempt(lambda transaction: _call_off(transaction, batch_id, by), pause=_pause)
    total = 0
    for wait in (False, True):  # whoever advances may be sweeping too: what it holds is waited for in the end
        swept = BITE
        while swept >= BITE:
            bite = partial(sweep, batch_id=batch_id, reason=reason, actor_id=actor_id, wait=wait)
            swept = database.attempt(bite, pause=_pause)
            total += swept
            told(total)
    return total


def _call_off(transaction: Transaction, batch_id: str, by: By) -> None:
    row = _locked(transaction, batch_id)
    if row.state == BatchState.CANCELED:
        return  # by this very call, if the answer of its commit was lost
    if row.finished_at is not None:
        raise WrongBatchState(id=batch_id, state=row.state, action="cancel", needed="running, or failed with members")
    after = BatchState(row.state)
    if after is BatchState.RUNNING:
        batches.move(transaction, batch_id, after, BatchState.CANCELED, Actor.OPERATOR, by.actor, by.reason)
        after = BatchState.CANCELED
    batches.leave_turn(transaction, batch_id)
    record_act(transaction, Action.BATCH_CANCEL, batch_id, by, {"state": row.state}, {"state": after.value})


def retry_batch(
    database: Database,
    batch_id: str,
    order: Order,
    sleep: Callable[[float], None] = time.sleep,
    start: str | None = None,
) -> list[Answer]:
    """Carry an order (retry or restart) out on every member that failed; the system's cascade is undone by that.

    With ``start``, the key of a member, on that one and on those that follow it only. One answer for each. Raises
    `BatchNotFound`, `MemberNotFound`, or `WrongBatchState` if it was called off.
    """
    batch_id = _whole(batch_id)
    with database.read() as transaction:
        [row] = batches.look(transaction, [batch_id]) or [None]
        if row is None:
            raise BatchNotFound(id=batch_id)
        if row.state == BatchState.CANCELED:
            raise WrongBatchState(id=batch_id, state=row.state, action="retry", needed="running, partial or failed")
        failed = batches.members_in(transaction, batch_id, JobState.FAILED)
        if start is not None:
            chosen = _from(transaction, batch_id, start)
            failed = [job_id for job_id in failed if job_id in chosen]
    return carry_out(database, order, failed, sleep, batch_id)


def hold_batch(
    database: Database,
    batch_id: str,
    reason: str | None,
    actor_id: str | None,
    told: Callable[[int], None] = lambda number: None,
    address: str | None = None,
) -> int:
    """Have no member of a batch start until it is released; gives how many it reached, those that run included.

    Who runs goes on; when this returns, no other will start. A batch that is held stays so, by whoever held it first.
    ``told`` hears how many there are after each bite. Raises `BatchNotFound`, or `WrongBatchState` if it is over or
    called off. Should this process die on the way, workers go on.
    """
    batch_id, hold_id = _whole(batch_id), new_id()
    by = By(actor_id, reason, address=address)
    hold_id = database.attempt(lambda t: _hold(t, batch_id, hold_id, by), pause=_pause)
    total, reached = 0, [holds.FIRST]
    while reached:
        bite = partial(_hold_more, batch_id=batch_id, hold_id=hold_id, last=reached[-1])
        reached = database.attempt(bite, pause=_pause)
        total += len(reached)
        told(total)
    return total


def _hold(transaction: Transaction, batch_id: str, hold_id: str, by: By) -> str:
    row = _locked(transaction, batch_id)
    state = BatchState(row.state)
    if row.finished_at is not None or state is BatchState.CANCELED:
        raise WrongBatchState(id=batch_id, state=state.value, action="hold", needed="running, or failed with members")
    if row.hold_id == hold_id:
        return hold_id  # by this very call, if the answer of its commit was lost
    told = {"wish": "hold", **({"before_by": row.held_by} if row.hold_id else {})}
    batches.note(transaction, batch_id, state, Actor.OPERATOR, by.actor, by.reason, told)
    held = {"state": state.value, "held": True, "held_by": row.held_by if row.hold_id else by.actor}
    if row.hold_id is None:
        holds.begin(transaction, batch_id, hold_id, by.actor, by.reason)
        batches.leave_turn(transaction, batch_id)
    record_act(transaction, Action.BATCH_HOLD, batch_id, by, _holding(row), held)
    return str(row.hold_id or hold_id)


def _holding(row: Any) -> dict[str, Any]:
    """Whether a batch is held, and by whom, for the audit."""
    return {"state": row.state, "held": row.hold_id is not None, "held_by": row.held_by}


def _hold_more(transaction: Transaction, batch_id: str, hold_id: str, last: str) -> list[str]:
    row = _locked(transaction, batch_id)
    return hold_on(transaction, row, last, _HELD_AT_ONCE) if row.hold_id == hold_id else []


def release_batch(
    database: Database, batch_id: str, reason: str | None, actor_id: str | None, address: str | None = None
) -> None:
    """Let the members of a held batch start again; workers free them, in bites.

    Raises `BatchNotFound`, or `WrongBatchState` if it is not held.
    """
    batch_id = _whole(batch_id)
    released: list[str] = []
    by = By(actor_id, reason, address=address)
    database.attempt(lambda transaction: _release(transaction, batch_id, by, released), pause=_pause)
    database.announce()


def _release(transaction: Transaction, batch_id: str, by: By, released: list[str]) -> None:
    """``released`` remembers what this call has released, should the answer of its commit be lost."""
    row = _locked(transaction, batch_id)
    if row.hold_id is None:
        if released:
            return
        raise WrongBatchState(id=batch_id, state=f"{row.state} and not held", action="release", needed="held")
    released[:] = [row.hold_id]
    holds.end(transaction, batch_id, row.hold_id)
    told = {"wish": "release", "before_by": row.held_by}
    batches.note(transaction, batch_id, BatchState(row.state), Actor.OPERATOR, by.actor, by.reason, told)
    after = {"state": row.state, "held": False, "held_by": None}
    record_act(transaction, Action.BATCH_RELEASE, batch_id, by, _holding(row), after)


def _from(transaction: Transaction, batch_id: str, key: str) -> set[str]:
    """The ids of a member and of all that follow it."""
    member = batches.members_named(transaction, batch_id, [key]).get(key)
    if member is None:
        raise MemberNotFound(id=batch_id, key=key)
    return below(member.id, edges.all_of(transaction, batch_id))


def _locked(transaction: Transaction, batch_id: str) -> Any:
    found = batches.lock(transaction, [batch_id])
    if not found:
        raise BatchNotFound(id=batch_id)
    return found[0]


def _whole(batch_id: str) -> str:
    try:
        return str(UUID(batch_id))
    except (ValueError, AttributeError, TypeError):
        raise BatchNotFound(id=batch_id) from None


def _pause(tries: int) -> None:
    time.sleep(Backoff(0.02, 4, 1.2).delay(tries, random.random()))
