"""Edges between members of batches: who waits for whom, counted down and up, and who can no longer be reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    bindparam,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    update,
)

from jobwarden.domain.dag import Node
from jobwarden.domain.states import JobState
from jobwarden.store.database import Id, Transaction, Writer, encode, now, rows
from jobwarden.store.ledger import words
from jobwarden.store.schema import dependencies, jobs

#: Why the system called a member off that can no longer be reached: kept in ``jobs.cancel_mode``, to be undone.
UNREACHABLE = "unreachable"
_SUCCESS, _COMPLETION = "on_success", "on_completion"


def one_of(column: ColumnElement[Any], states: Sequence[str] | frozenset[Any]) -> ColumnElement[bool]:
    """The column is one of our own words, spelled out so that partial indexes are used."""
    return column.in_([words(state) for state in sorted(states)])


_edges = rows("edges", job_id="id", upstream="id", edge="text")
_link = insert(dependencies).from_select(["job_id", "depends_on_job_id", "edge_condition"], select(*_edges.c))


def link(writer: Writer, edges: Sequence[Mapping[str, Any]]) -> None:
    """Insert edges: job_id waits for upstream to succeed, or to end where ``edge`` is ``on_completion``."""
    if edges:
        writer.send(_link, encode(edges))


def edge(job_id: str, upstream: str, completion: bool) -> dict[str, str]:
    """One edge as `link` takes it."""
    return {"job_id": job_id, "upstream": upstream, "edge": _COMPLETION if completion else _SUCCESS}


def of_node(node: Node, ids: Mapping[str, str]) -> list[dict[str, str]]:
    """The edges of a member, by the ids of all keys."""
    found = [edge(ids[node.key], ids[key], False) for key in dict.fromkeys(node.after)]
    return found + [edge(ids[node.key], ids[key], True) for key in dict.fromkeys(node.after_completion)]


_all = (
    select(dependencies.c.job_id, dependencies.c.depends_on_job_id)
    .select_from(jobs.join(dependencies, dependencies.c.job_id == jobs.c.id))
    .where(jobs.c.batch_id == bindparam("batch", type_=Id))
)


def all_of(transaction: Transaction, batch_id: str) -> list[tuple[str, str]]:
    """Every edge of a batch: who waits, and for whom."""
    return [(row.job_id, row.depends_on_job_id) for row in transaction.execute(_all, batch=batch_id)]


_ended = rows("ended", job_id="id", succeeded="bool")
_dep = dependencies
_now_free = (
    select(_dep.c.job_id, _dep.c.depends_on_job_id.label("upstream"))
    .select_from(_ended.join(_dep, _dep.c.depends_on_job_id == _ended.c.job_id).join(jobs, jobs.c.id == _dep.c.job_id))
    .where(_dep.c.satisfied_at.is_(None), or_(_ended.c.succeeded, _dep.c.edge_condition == words(_COMPLETION)))
    .order_by(_dep.c.job_id)
    .limit(bindparam("most"))
    .with_for_update(of=[_dep, jobs])
)
_pairs = rows("pairs", job_id="id", upstream="id")
_of_pair = (_dep.c.job_id == _pairs.c.job_id, _dep.c.depends_on_job_id == _pairs.c.upstream)
_satisfy = update(_dep).where(*_of_pair).values(satisfied_at=now())
_unsatisfy = update(_dep).where(*_of_pair).values(satisfied_at=null())
_loosened = rows("loosened", job_id="id", number="int")
_loosen = update(jobs).where(jobs.c.id == _loosened.c.job_id).values(blocked_by=jobs.c.blocked_by - _loosened.c.number)
_members = rows("members", job_id="id")
_doomed = (
    select(_dep.c.job_id)
    .select_from(
        _members.join(_dep, _dep.c.depends_on_job_id == _members.c.job_id).join(jobs, jobs.c.id == _dep.c.job_id)
    )
    .where(_dep.c.edge_condition == words(_SUCCESS), func.coalesce(jobs.c.state, "") == words(JobState.PENDING))
    .order_by(_dep.c.job_id)
    .limit(bindparam("most"))
    .with_for_update(of=[jobs])
)
_undone = (
    select(_dep.c.job_id, _dep.c.depends_on_job_id.label("upstream"))
    .select_from(
        _members.join(_dep, _dep.c.depends_on_job_id == _members.c.job_id).join(jobs, jobs.c.id == _dep.c.job_id)
    )
    .where(
        _dep.c.satisfied_at.is_not(None),
        one_of(func.coalesce(jobs.c.state, ""), frozenset({JobState.PENDING, JobState.CANCELED})),
    )
    .order_by(_dep.c.job_id)
    .with_for_update(of=[_dep, jobs])
)
_other, _upstream = dependencies.alias("other"), jobs.alias("upstream")
_hopeless = (
    select(literal_column("1"))
    .select_from(_other.join(_upstream, _upstream.c.id == _other.c.depends_on_job_id))
    .where(
        _other.c.job_id == jobs.c.id,
        _other.c.edge_condition == words(_SUCCESS),
        one_of(_upstream.c.state, frozenset({JobState.FAILED, JobState.CANCELED, JobState.STOPPED})),
    )
    .correlate(jobs)
    .exists()
)
_revivable = (
    select(jobs.c.id)
    .select_from(
        _members.join(_dep, _dep.c.depends_on_job_id == _members.c.job_id).join(jobs, jobs.c.id == _dep.c.job_id)
    )
    .where(
        _dep.c.edge_condition == words(_SUCCESS),
        func.coalesce(jobs.c.state, "") == words(JobState.CANCELED),
        jobs.c.cancel_mode == words(UNREACHABLE),
        ~_hopeless,
    )
    .order_by(jobs.c.id)
    .with_for_update(of=[jobs])
)
_states = (
    select(jobs.c.id, jobs.c.state)
    .select_from(_members.join(jobs, jobs.c.id == _members.c.job_id))
    .order_by(jobs.c.id)
    .with_for_update(of=[jobs])
)


def lock_states(transaction: Transaction, job_ids: Sequence[str]) -> dict[str, JobState]:
    """The states these members are in, which stay so until the end of the transaction."""
    found = transaction.execute(_states, rows=_ids(job_ids)) if job_ids else ()
    return {row.id: JobState(row.state) for row in found}


def satisfy(transaction: Transaction, ended: Mapping[str, bool], most: int) -> int:
    """Count down what waited for these members (True: they succeeded); gives how many edges, at most ``most``."""
    given = encode({"job_id": job_id, "succeeded": succeeded} for job_id, succeeded in ended.items())
    pairs = list(transaction.execute(_now_free, rows=given, most=most)) if ended else []
    _count(transaction, _satisfy, pairs, 1)
    return len(pairs)


def unsatisfy(transaction: Transaction, job_ids: Sequence[str]) -> None:
    """What still waits counts these members again, which run once more."""
    _count(transaction, _unsatisfy, list(transaction.execute(_undone, rows=_ids(job_ids))), -1)


def doomed_by(transaction: Transaction, job_ids: Sequence[str], most: int) -> list[str]:
    """Members that wait for the success of these, which will not come."""
    found = transaction.execute(_doomed, rows=_ids(job_ids), most=most)
    return list(dict.fromkeys(row.job_id for row in found))


def revivable(transaction: Transaction, job_ids: Sequence[str]) -> list[str]:
    """Members that the system called off because of these, and that nothing else makes unreachable now."""
    found = transaction.execute(_revivable, rows=_ids(job_ids))
    return list(dict.fromkeys(row.id for row in found))


def _count(transaction: Transaction, mark: Any, pairs: Sequence[Any], sign: int) -> None:
    if not pairs:
        return
    transaction.execute(mark, rows=encode({"job_id": row.job_id, "upstream": row.upstream} for row in pairs))
    numbers: dict[str, int] = {}
    for row in pairs:
        numbers[row.job_id] = numbers.get(row.job_id, 0) + sign
    loosened = ({"job_id": job_id, "number": number} for job_id, number in sorted(numbers.items()))
    transaction.execute(_loosen, rows=encode(loosened))


def _ids(job_ids: Sequence[str]) -> str:
    return encode({"job_id": job_id} for job_id in sorted(job_ids))
