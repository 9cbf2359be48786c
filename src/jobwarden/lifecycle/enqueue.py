"""Enqueue: checked drafts become rows, all or none, inside whatever transaction they are given."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jobwarden.domain.draft import Draft, Enqueued, own_columns
from jobwarden.errors import IdempotencyConflict
from jobwarden.store.database import Transaction, Writer, encode, instant
from jobwarden.store.jobs import by_id_statement, by_key_statement, insert_statements, pour, tag_statement


def enqueue(writer: Writer, drafts: Sequence[Draft], again: bool = False) -> list[Enqueued]:
    """Insert the drafts and say for each what became of it, in their order.

    A draft whose idempotency key is taken gives the job that holds it; raises `IdempotencyConflict` where that job is
    another one or has other params. ``again``: they may be there already, from a commit whose answer was lost.
    """
    keyed = [draft for draft in drafts if draft.idempotency_key is not None]
    fresh = _first_of_each_key(drafts) if keyed else drafts
    if again and not writer.chains_writes:
        there = {str(row["id"]) for row in writer.send(by_id_statement(), encode({"id": d.id} for d in fresh))}
        fresh = [draft for draft in fresh if draft.id not in there]
    given, asks = encode(map(row_of, fresh)), bool(keyed) or again
    told: list[Mapping[str, Any]] = []
    for statement in insert_statements(writer.chains_writes, asks):
        told = writer.send(statement, given)
    born = {str(row["id"]) for row in told} if asks else {draft.id for draft in fresh}
    _tag(writer, [draft for draft in fresh if draft.tags and draft.id in born])
    if not keyed:
        return [Enqueued(draft.id, True) for draft in drafts]
    return _matched(writer, drafts, keyed, born)


def enqueue_alike(transaction: Transaction, alike: Sequence[tuple[Draft, Sequence[tuple[str, str]]]]) -> None:
    """Insert many new jobs the quick way, where ``transaction.facts.pours_rows``: no keys, no tags, and never again.

    Each draft stands for the jobs that differ from it in id and params only.
    """
    pour(transaction, [({**row_of(draft), "due": draft.available_at}, jobs) for draft, jobs in alike])


def insert_rows(writer: Writer, given: Sequence[Mapping[str, Any]]) -> None:
    """Insert new jobs from the columns of drafts, without idempotency keys."""
    for statement in insert_statements(writer.chains_writes, False):
        writer.send(statement, encode(given))
    tagged = [
        {"job_id": row["id"], "name": name, "value": value}
        for row in given
        for name, value in json.loads(row.get("tags") or "{}").items()
    ]
    if tagged:
        writer.send(tag_statement(), encode(tagged))


def row_of(draft: Draft) -> dict[str, Any]:
    """The columns of a draft, as statements take them."""
    row: dict[str, Any] = {
        "id": draft.id,
        "job": draft.job,
        "lane": draft.lane,
        "params": draft.params,
        "priority": draft.priority,
        "idempotent": draft.idempotent,
        "max_attempts": draft.max_attempts,
        "idempotency_key": draft.idempotency_key,
        "delay": draft.delay,
        "due": draft.available_at and instant(draft.available_at),
        **own_columns(draft),
    }
    if draft.tags:
        row["tags"] = json.dumps(draft.tags)
    if draft.batch_id is not None:
        row |= {"batch_id": draft.batch_id, "batch_key": draft.batch_key, "blocked_by": draft.blocked_by or None}
        row["finalizer"] = draft.finalizer or None
    return row


def _first_of_each_key(drafts: Sequence[Draft]) -> list[Draft]:
    seen: set[str] = set()
    first = []
    for draft in drafts:
        if draft.idempotency_key is None or draft.idempotency_key not in seen:
            first.append(draft)
        if draft.idempotency_key is not None:
            seen.add(draft.idempotency_key)
    return first


def _tag(writer: Writer, drafts: Sequence[Draft]) -> None:
    tagged = [
        {"job_id": draft.id, "name": name, "value": value} for draft in drafts for name, value in draft.tags.items()
    ]
    if tagged:
        writer.send(tag_statement(), encode(tagged))


def _matched(writer: Writer, drafts: Sequence[Draft], keyed: Sequence[Draft], born: set[str]) -> list[Enqueued]:
    wanted = encode({"idempotency_key": key} for key in {draft.idempotency_key for draft in keyed})
    holders = {row["idempotency_key"]: row for row in writer.send(by_key_statement(), wanted)}
    results = []
    for draft in drafts:
        if draft.id in born or draft.idempotency_key is None:
            results.append(Enqueued(draft.id, True))
            continue
        holder = holders[draft.idempotency_key]
        _same(draft, holder)
        results.append(Enqueued(str(holder["id"]), str(holder["id"]) == draft.id))
    return results


def _same(draft: Draft, holder: Mapping[str, Any]) -> None:
    params = holder["params"]
    stored = json.loads(params) if isinstance(params, str | bytes) else params
    differs = "job" if holder["job"] != draft.job else "params" if stored != json.loads(draft.params) else None
    if differs:
        raise IdempotencyConflict(key=draft.idempotency_key, job_id=holder["id"], job=holder["job"], differs=differs)
