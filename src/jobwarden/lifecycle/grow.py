"""Growth: a member that runs adds members to its own batch, at once or in one transaction with its own success.

Only whoever holds the attempt may, and only while the batch runs: the batch's row is locked first, so that growing and
calling off see each other. A batch cannot be over while a member runs that might still grow it. Members that are there
already, by key, job and params, are taken for the same: an attempt that runs again adds nothing twice. What the new
ones wait for may have ended long ago, so each of those upstreams gets a turn, which is followed up like any other.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobwarden.domain.dag import Node, finalizers, ordered
from jobwarden.domain.draft import Draft
from jobwarden.domain.states import Actor, BatchState
from jobwarden.errors import BatchRefused, DuplicateKey, FencedOut
from jobwarden.lifecycle.batches import CHUNK
from jobwarden.lifecycle.enqueue import enqueue
from jobwarden.store import batches, edges
from jobwarden.store.database import Transaction


@dataclass(frozen=True, slots=True)
class Grower:
    """The attempt that grows a batch."""

    job_id: str
    attempt_id: str
    token: int
    batch_id: str


@dataclass(frozen=True, slots=True)
class Growth:
    """Members to be: a draft for each node, under the ids given."""

    nodes: Sequence[Node]
    drafts: Sequence[Draft]


def grow(transaction: Transaction, grower: Grower, growth: Growth) -> int:
    """Add the members that are not there yet; gives how many.

    Raises `BatchRefused`, `DuplicateKey`, `UnknownDependency`, `DoubledDependency`, `DependencyCycle`, or `FencedOut`
    where the attempt is no longer the job's own.
    """
    [row] = batches.lock(transaction, [grower.batch_id]) or [None]
    if row is None or row.state != BatchState.RUNNING:
        rule = f"it is {row.state if row else 'gone'}, and only a batch that runs can grow"
        raise BatchRefused(name=grower.batch_id, rule=rule, way_out="stop here, or retry what failed in it first")
    if not batches.holds(transaction, grower.job_id, grower.attempt_id, grower.token):
        raise FencedOut(attempt=grower.attempt_id)
    wanted = {node.key: (node, draft) for node, draft in zip(growth.nodes, growth.drafts, strict=True)}
    named = wanted.keys() | {key for node in growth.nodes for key in node.upstream}
    known = batches.members_named(transaction, grower.batch_id, sorted(named))
    fresh = [node for node in growth.nodes if not _is_there(row.name or row.id, node, wanted, known)]
    nodes = ordered(row.name or row.id, fresh, known)
    _insert(transaction, grower, nodes, {node.key: wanted[node.key][1] for node in nodes}, known, row.hold_id)
    return len(nodes)


def _is_there(batch: str, node: Node, wanted: Mapping[str, tuple[Node, Draft]], known: Mapping[str, Any]) -> bool:
    """Whether it is a member already; raises `DuplicateKey` if another one has its key."""
    if node.key not in known:
        return False
    draft, found = wanted[node.key][1], known[node.key]
    if (found.job, json.loads(found.params or "{}")) != (draft.job, json.loads(draft.params)):
        raise DuplicateKey(name=batch, key=node.key)
    return True


def _insert(
    transaction: Transaction,
    grower: Grower,
    nodes: Sequence[Node],
    drafts: Mapping[str, Draft],
    known: Mapping[str, Any],
    hold_id: str | None,
) -> None:
    if not nodes:
        return
    spared = finalizers(nodes, {key for key, row in known.items() if row.finalizer})
    ids = {key: row.id for key, row in known.items()} | {key: draft.id for key, draft in drafts.items()}
    for node in nodes:
        draft = drafts[node.key]
        draft.batch_id, draft.batch_key = grower.batch_id, node.key
        draft.blocked_by = len(set(node.upstream)) + (hold_id is not None)
        draft.finalizer = node.key in spared
        draft.created_by = draft.created_by or f"job:{grower.job_id}"
    batches.extend(transaction, grower.batch_id, len(nodes))
    for begin in range(0, len(nodes), CHUNK):
        stretch = nodes[begin : begin + CHUNK]
        enqueue(transaction, [drafts[node.key] for node in stretch])
        edges.link(transaction, [each for node in stretch for each in edges.of_node(node, ids)])
        if hold_id is not None:
            edges.link(transaction, [edges.edge(ids[node.key], hold_id, False) for node in stretch])
    waited_for = sorted({known[key].id for node in nodes for key in node.upstream if key in known})
    edges.lock_states(transaction, waited_for)  # who ends now sees the edges, or is seen to have ended
    batches.leave_turns(transaction, grower.batch_id, waited_for)
    why = f"it grew by {len(nodes)} members"
    batches.note(transaction, grower.batch_id, BatchState.RUNNING, Actor.WORKER, grower.job_id, why)
