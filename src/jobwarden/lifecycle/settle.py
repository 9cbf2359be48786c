"""Settle: what was said of an attempt becomes its state and its job's, with the decision about what comes next.

Attempt and job move in one transaction, guarded by state and token. A report that comes too late changes nothing and
leaves one ledger row; a report that was already settled (its acknowledgement was lost) is accepted again in silence.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Row, bindparam, select
from sqlalchemy.exc import DBAPIError

from jobwarden.domain.claims import Purpose
from jobwarden.domain.errorprint import print_of
from jobwarden.domain.recovery import Backoff, Decision, JobFacts, OnLost, Wish, decide
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import Actor, AttemptState, JobState
from jobwarden.errors import FencedOut
from jobwarden.store import errors, history
from jobwarden.store.database import Database, Transaction, Writer, encode, rows
from jobwarden.store.ledger import reject
from jobwarden.store.schema import attempts, jobs
from jobwarden.store.transition import close_attempts, complete_attempt

_FINDERS = {Actor.REAPER, Actor.SYSTEM}
_WAITS = {JobState.PENDING, JobState.QUEUED, JobState.RETRYING, JobState.ORPHANED}


@dataclass(frozen=True, slots=True)
class Settlement:
    """A report with what proves that it may be heard: the attempt's job and its token.

    ``evidence`` is what else its judge saw, for the ledger.
    """

    job_id: str
    token: int
    report: Report
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a settlement: the decision that was committed, or None where the report came too late.

    ``of_batch``: its job is a member of one, and others may wait for its end.
    """

    attempt_id: str
    decision: Decision | None
    of_batch: bool = False


_asked = rows("asked", job_id="id")
_facts = (
    select(
        jobs.c.id,
        jobs.c.idempotent,
        jobs.c.max_attempts,
        jobs.c.attempt_count,
        jobs.c.unspent_count,
        jobs.c.backoff,
        jobs.c.on_lost,
        jobs.c.reconciles,
        jobs.c.purpose,
        jobs.c.cancel_requested,
        jobs.c.cancel_mode,
        jobs.c.cancel_reason,
    )
    .select_from(_asked.join(jobs, jobs.c.id == _asked.c.job_id))
    .order_by(jobs.c.id)
    .with_for_update(of=[jobs])
)
_standing = (
    select(attempts.c.id, attempts.c.job_id, attempts.c.state, attempts.c.fencing_token, attempts.c.worker_id)
    .where(attempts.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(attempts.c.id)
    .with_for_update(of=[attempts])  # who repeats a refusal waits for the first, and then sees it
)


def settle(
    transaction: Transaction,
    settlements: Sequence[Settlement],
    actor: Actor,
    actor_id: str | None,
    chance: Callable[[], float] = random.random,
) -> list[Settled]:
    """Settle reports as one set, inside the caller's transaction; one answer for each, in their order.

    What a reaper or the system finds lost is `orphaned`, and its token moves on: whoever held it is fenced out. Where
    one of them finds that somebody else was first, nothing was refused to anybody, and nothing is noted.
    """
    decisions = _decisions(transaction, settlements, chance)
    if actor in _FINDERS:
        gone = [given.report.attempt_id for given in settlements if given.report.outcome is Outcome.LOST]
        decisions |= {key: _orphaned(decisions[key]) for key in gone}
    moves = [_move(given, decisions[given.report.attempt_id]) for given in settlements]
    closed = close_attempts(transaction, moves, actor, actor_id)
    errors.seen(transaction, (print_of(given.report.error) for given in settlements if given.report.error))
    won = {move["attempt_id"] for move in closed}
    members = {move["attempt_id"] for move in closed if move["batch_id"]}
    lost = [given for given in settlements if given.report.attempt_id not in won]
    if lost:
        won |= _sort_out(transaction, lost, decisions, actor_id, note_late=actor not in _FINDERS)
    told = (given.report.attempt_id for given in settlements)
    return [Settled(key, decisions[key] if key in won else None, key in members) for key in told]


def settle_alone(
    database: Database,
    settlement: Settlement,
    actor_id: str,
    also: Callable[[Transaction], None] = lambda transaction: None,
    pause: Callable[[float], None] = time.sleep,
) -> Settled:
    """Settle one report over a connection of one's own, for as long as it takes: until it is accepted or fenced out.

    ``also`` runs first in the same transaction (the last log lines). Raises what is no transient fault of the database.
    """
    failures = 0
    while True:
        try:
            with database.write() as transaction:
                also(transaction)
                return settle(transaction, [settlement], Actor.WORKER, actor_id)[0]
        except DBAPIError as error:
            if not database.fault(error).transient:
                raise
            failures += 1
            pause(Backoff(base=0.1, cap=10.0).delay(failures, random.random()))


def complete(writer: Writer, settlement: Settlement, actor_id: str) -> None:
    """Settle a success inside the caller's own transaction; raises `FencedOut` if the attempt is no longer ours.

    The report that follows finds it settled and is accepted in silence.
    """
    if not complete_attempt(writer, _move(settlement, _SUCCESS), actor_id):
        raise FencedOut(attempt=settlement.report.attempt_id)


def _orphaned(decision: Decision) -> Decision:
    """The same for an attempt that was found lost; one that was ended because somebody wished it keeps that name."""
    wished = decision.attempt is not AttemptState.FAILED
    return decision if wished else replace(decision, attempt=AttemptState.ORPHANED)


def _decisions(
    transaction: Transaction, settlements: Sequence[Settlement], chance: Callable[[], float]
) -> dict[str, Decision]:
    decisions: dict[str, Decision] = {}
    questions = []
    for given in settlements:
        if given.report.outcome is Outcome.SUCCEEDED:
            decisions[given.report.attempt_id] = _SUCCESS
        else:
            questions.append(given)
    if questions:
        asked = encode({"job_id": given.job_id} for given in questions)
        facts = {row.id: row for row in transaction.execute(_facts, rows=asked)}
        for given in questions:
            row = facts.get(given.job_id)
            decisions[given.report.attempt_id] = decide(_job_facts(row), given.report, chance()) if row else _GONE
    return decisions


_SUCCESS = Decision(JobState.SUCCEEDED, AttemptState.SUCCEEDED)
_GONE = Decision(JobState.FAILED, AttemptState.FAILED)


def _job_facts(row: Row[Any]) -> JobFacts:
    return JobFacts(
        idempotent=bool(row.idempotent),
        max_attempts=row.max_attempts,
        spent=row.attempt_count - row.unspent_count,
        unspent=row.unspent_count,
        backoff=Backoff(**row.backoff) if row.backoff else Backoff(),
        on_lost=OnLost(row.on_lost) if row.on_lost else OnLost.AUTO,
        reconciles=bool(row.reconciles),
        purpose=Purpose(row.purpose),
        wish=Wish(row.cancel_mode) if row.cancel_requested and row.cancel_mode else None,
    )


def _move(given: Settlement, decision: Decision) -> dict[str, Any]:
    report, usage = given.report, given.report.usage
    return {
        "job_id": given.job_id,
        "attempt_id": report.attempt_id,
        "token": given.token,
        "job_to": decision.job.value,
        "attempt_to": decision.attempt.value,
        "bump": 1 if decision.attempt is AttemptState.ORPHANED else None,
        "next": None if decision.next is Purpose.RUN else decision.next.value,
        "delay": decision.delay,
        "unspent": 1 if decision.unspent else None,
        "wait_reason": decision.reason if decision.job in _WAITS else None,
        "ago": None if report.outcome is Outcome.UNSTARTED or usage.wall_ms is None else usage.wall_ms / 1000,
        "result": report.result,
        "error": json.dumps(report.error) if report.error else None,
        "error_print": print_of(report.error).print if report.error else None,
        "cause": report.cause.value if report.cause else None,
        "exit_code": report.exit_code,
        "term_signal": report.signal,
        "duration_ms": usage.wall_ms,
        "user_ms": usage.user_ms,
        "system_ms": usage.system_ms,
        "peak_rss_bytes": usage.peak_rss,
        "reason": decision.reason,
        "context": _evidence(given, decision),
    }


def _evidence(given: Settlement, decision: Decision) -> str:
    report = given.report
    if decision is _SUCCESS and report.cause is None and not given.evidence:
        return f'{{"token":{given.token}}}'
    evidence: dict[str, Any] = {"token": given.token, **given.evidence}
    if report.outcome is not Outcome.SUCCEEDED:
        evidence["outcome"] = report.outcome.value
    if report.cause is not None:
        evidence |= {"cause": report.cause.value, "exit_code": report.exit_code, "signal": report.signal}
    if decision.delay is not None:
        evidence["delay"] = round(decision.delay, 3)
    if decision.unspent:
        evidence["unspent"] = True
    return json.dumps(evidence, separators=(",", ":"))


def _sort_out(
    transaction: Transaction,
    lost: Sequence[Settlement],
    decisions: dict[str, Decision],
    actor_id: str | None,
    note_late: bool,
) -> set[str]:
    """Of the reports that moved nothing: those settled before are accepted, the others are written down as late."""
    found = {row.id: row for row in transaction.execute(_standing, ids=[given.report.attempt_id for given in lost])}
    accepted, late = set(), []
    for given in lost:
        attempt_id = given.report.attempt_id
        row = found.get(attempt_id)
        if row is None:
            continue
        if row.fencing_token == given.token and row.state == decisions[attempt_id].attempt.value:
            accepted.add(attempt_id)
            continue
        evidence = {
            "attempted_to": decisions[attempt_id].attempt.value,
            "token": given.token,
            "current_token": row.fencing_token,
        }
        late.append(
            {"job_id": given.job_id, "attempt_id": attempt_id, "state": row.state, "context": json.dumps(evidence)}
        )
    if note_late:
        history.refused(transaction, reject(transaction, late, actor_id), Actor.WORKER)
    return accepted
