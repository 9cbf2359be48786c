"""THE DOOR: the only module that writes a ``state`` column.

A step takes rows and moves them as a set, inside the caller's transaction: it locks those that are still where the
row says they are (state, token, current attempt), writes the new states, one ledger event each and the counters'
deltas, and returns the rows that were ours. Rows that lost their race come back by their absence and have changed
nothing. On engines that can, a step is one statement; elsewhere it is a locking read followed by the same writes.

The edges are checked against ``domain.transitions`` before anything is sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    bindparam,
    case,
    cast,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.sql.dml import UpdateBase

from jobwarden.domain.claims import Purpose
from jobwarden.domain.states import ENDED, IN_FLIGHT, Actor, AttemptState, JobState
from jobwarden.domain.transitions import check_attempt, check_job
from jobwarden.domain.verdict import BUCKETS
from jobwarden.store import history
from jobwarden.store.database import Transaction, Writer, after, age, now
from jobwarden.store.ledger import Row, event, words
from jobwarden.store.schema import LOOK_AGAIN, NAME, attempts, counters, dependencies, jobs, turns
from jobwarden.store.step import Step

_ENDED = frozenset(state.value for state in ENDED)


# -- what every step writes -------------------------------------------------------------------------------------------


def _counted(won: FromClause, origin: Any, target: Any) -> UpdateBase:
    """The deltas of the counters of lanes and batches: one less where a job was, one more where it is."""
    of_lanes = [(words("lane"), won.c.lane, state, delta) for state, delta in ((origin, "-1"), (target, "1"))]
    of_batches = [
        (words("batch"), cast(won.c.batch_id, NAME), _bucket(state), delta)
        for state, delta in ((origin, "-1"), (target, "1"))
    ]
    parts = [_delta(*part) for part in of_lanes]
    parts += [_delta(*part).where(won.c.batch_id.is_not(None)) for part in of_batches]
    moved = union_all(*parts).subquery("moved")
    total = func.sum(moved.c.delta)
    sums = (
        select(moved.c.scope, moved.c.name, moved.c.state, total)
        .group_by(moved.c.scope, moved.c.name, moved.c.state)
        .having(total != literal_column("0"))
    )
    return insert(counters).from_select(["scope", "name", "state", "delta"], sums)


def _delta(scope: Any, name: Any, state: Any, delta: str) -> Select[Any]:
    return select(scope.label("scope"), name.label("name"), state.label("state"), literal_column(delta).label("delta"))


def _bucket(state: ColumnElement[str]) -> ColumnElement[str]:
    """Where a batch counts a member in this state."""
    return case(*((state == words(known), words(bucket)) for known, bucket in sorted(BUCKETS.items())))


def _turned(won: FromClause, origin: ColumnElement[str], target: ColumnElement[str]) -> UpdateBase:
    """A turn for each member of a batch that ended, or that ended before and runs again.

    Those that ended and that nobody waits for share one, which names none of them.
    """
    turned = or_(_one_of(origin, ENDED), _one_of(target, ENDED))
    waited_for = select(literal_column("1")).where(dependencies.c.depends_on_job_id == won.c.job_id).exists()
    alone = and_(_one_of(target, ENDED), ~waited_for)
    said = (case((alone, null()), else_=won.c.job_id), case((alone, words(LOOK_AGAIN)), else_=target))
    left = select(won.c.batch_id, *said).where(won.c.batch_id.is_not(None), turned).distinct()
    return insert(turns).from_select(["batch_id", "job_id", "state"], left)


def _still(state: ColumnElement[str]) -> ColumnElement[str]:
    """The state as a guard, never as a way to find rows: rows are found by key, however many others are in a state."""
    return func.coalesce(state, words(""))


def _one_of(column: ColumnElement[Any], states: Iterable[str]) -> ColumnElement[bool]:
    return column.in_([words(state) for state in sorted(states)])


# -- open: a job is claimed, and its attempt is born with the complete stamp ------------------------------------------

_OPEN_SPEC = {
    "job_id": "id",
    "attempt_id": "id",
    "child_pid": "int",
    "child_start_time": "int",
    "child_inode": "int",
    "proc_nonce": "text",
    "isolation": "text",
    "isolation_reason": "text",
    "context": "json",
}
_OPEN_MORE = {
    "lane": "text",
    "job": "text",
    "batch_id": "id",
    "number": "int",
    "purpose": "text",
    "waited": "float",
}
_STAMP = ("worker_id", "host_id", "pid_scope", "hostname", "supervisor_pid", "supervisor_start_time")


def _open_found(given: FromClause) -> Select[Any]:
    return (
        select(
            *given.c,
            jobs.c.lane,
            jobs.c.job,
            jobs.c.batch_id,
            age(func.coalesce(jobs.c.queued_at, jobs.c.created_at)).label("waited"),
            (jobs.c.attempt_count + literal_column("1")).label("number"),
            jobs.c.purpose,
        )
        .select_from(given.join(jobs, jobs.c.id == given.c.job_id))
        .where(_still(jobs.c.state) == words(JobState.QUEUED))
        .order_by(jobs.c.id)
        .with_for_update(of=[jobs])
    )


def _open_writes(won: FromClause) -> list[UpdateBase]:
    running = (
        update(jobs)
        .where(jobs.c.id == won.c.job_id)
        .values(
            state=words(JobState.RUNNING),
            attempt_count=won.c.number,
            current_attempt_id=won.c.attempt_id,
            started_at=func.coalesce(jobs.c.started_at, now()),
            wait_reason=null(),
            updated_at=now(),
        )
    )
    born = {
        "id": won.c.attempt_id,
        "attempt_number": won.c.number,
        "fencing_token": won.c.number,
        "state": words(AttemptState.DISPATCHED),
        "purpose": won.c.purpose,
        **{name: won.c[name] for name in _OPEN_SPEC if name not in ("attempt_id", "context")},
        **{name: bindparam(name, type_=attempts.c[name].type) for name in _STAMP},
        "created_at": now(),
        "updated_at": now(),
    }
    return [
        running,
        insert(attempts).from_select(list(born), select(*born.values())),
        event(
            won,
            attempt_id=won.c.attempt_id,
            level=words("job"),
            from_state=words(JobState.QUEUED),
            to_state=words(JobState.RUNNING),
            attempt_to=words(AttemptState.DISPATCHED),
            context=won.c.context,
        ),
        _counted(won, words(JobState.QUEUED), words(JobState.RUNNING)),
        history.began(won),
    ]


_open = Step("open", _OPEN_SPEC, _OPEN_MORE, _open_found, _open_writes)


def open_attempts(transaction: Transaction, moves: Sequence[Row], actor: Actor, **stamp: Any) -> list[Row]:
    """Take queued jobs to running, each with a new dispatched attempt; ``stamp`` is the part that all share.

    Rows: job_id, attempt_id and the columns of the child's stamp. Gives back the winners with lane and number.
    """
    check_job(JobState.QUEUED, JobState.RUNNING, actor)
    return _open.apply(transaction, moves, actor_type=actor.value, actor_id=stamp["worker_id"], **stamp)


# -- start: a dispatched attempt is about to enter its handler --------------------------------------------------------

_START_SPEC = {"job_id": "id", "attempt_id": "id", "token": "int", "ago": "float"}


def _held(given: FromClause, states: Iterable[AttemptState]) -> Select[Any]:
    """The rows whose job runs under exactly this attempt and token, locked."""
    return (
        select(
            *given.c,
            jobs.c.lane,
            jobs.c.job,
            jobs.c.batch_id,
            attempts.c.state.label("attempt_from"),
            age(func.coalesce(attempts.c.started_at, attempts.c.created_at)).label("lived"),
        )
        .select_from(given.join(jobs, jobs.c.id == given.c.job_id).join(attempts, attempts.c.id == given.c.attempt_id))
        .where(
            _still(jobs.c.state) == words(JobState.RUNNING),
            jobs.c.current_attempt_id == attempts.c.id,
            attempts.c.fencing_token == given.c.token,
            _one_of(_still(attempts.c.state), states),
        )
        .order_by(jobs.c.id)
        .with_for_update(of=[jobs, attempts])
    )


def _start_writes(won: FromClause) -> list[UpdateBase]:
    entered = (
        update(attempts)
        .where(attempts.c.id == won.c.attempt_id)
        .values(
            state=words(AttemptState.RUNNING),
            started_at=after(literal_column("0") - func.coalesce(won.c.ago, literal_column("0"))),
            updated_at=now(),
        )
    )
    noted = event(
        won,
        attempt_id=won.c.attempt_id,
        level=words("attempt"),
        from_state=words(JobState.RUNNING),
        to_state=words(JobState.RUNNING),
        attempt_from=words(AttemptState.DISPATCHED),
        attempt_to=words(AttemptState.RUNNING),
    )
    return [entered, noted]


_start = Step(
    "start",
    _START_SPEC,
    {"lane": "text", "batch_id": "id", "attempt_from": "text"},
    lambda given: _held(given, [AttemptState.DISPATCHED]),
    _start_writes,
)


def start_attempts(transaction: Transaction, moves: Sequence[Row], actor: Actor, actor_id: str | None) -> list[Row]:
    """Take dispatched attempts to running. Rows: job_id, attempt_id, token, ago (seconds since the start was said)."""
    check_attempt(AttemptState.DISPATCHED, AttemptState.RUNNING, actor)
    return _start.apply(transaction, moves, actor_type=actor.value, actor_id=actor_id)


# -- close: an attempt is over, and its job goes where the rules say ---------------------------------------------------

_CLOSE_SPEC = {
    "job_id": "id",
    "attempt_id": "id",
    "token": "int",
    "bump": "int",
    "job_to": "text",
    "attempt_to": "text",
    "next": "text",
    "ended": "bool",
    "delay": "float",
    "unspent": "int",
    "wait_reason": "text",
    "ago": "float",
    "result": "json",
    "error": "json",
    "error_print": "text",
    "cause": "text",
    "exit_code": "int",
    "term_signal": "int",
    "duration_ms": "int",
    "user_ms": "int",
    "system_ms": "int",
    "peak_rss_bytes": "int",
    "reason": "text",
    "context": "json",
}
_FACTS = ("cause", "exit_code", "term_signal", "duration_ms", "user_ms", "system_ms", "peak_rss_bytes", "error")


def _attempt_over(won: FromClause) -> UpdateBase:
    zero: ColumnElement[int] = literal_column("0")
    return (
        update(attempts)
        .where(attempts.c.id == won.c.attempt_id)
        .values(
            state=won.c.attempt_to,
            fencing_token=won.c.token + func.coalesce(won.c.bump, zero),
            started_at=func.coalesce(attempts.c.started_at, after(zero - won.c.ago)),
            finished_at=now(),
            updated_at=now(),
            **{name: won.c[name] for name in _FACTS},
        )
    )


def _close_writes(won: FromClause) -> list[UpdateBase]:
    run = words(Purpose.RUN)
    moved = (
        update(jobs)
        .where(jobs.c.id == won.c.job_id)
        .values(
            state=won.c.job_to,
            result=won.c.result,
            last_error=func.coalesce(won.c.error, jobs.c.last_error),
            error_print=func.coalesce(won.c.error_print, jobs.c.error_print),
            available_at=func.coalesce(after(won.c.delay), jobs.c.available_at),
            unspent_count=jobs.c.unspent_count + func.coalesce(won.c.unspent, literal_column("0")),
            wait_reason=won.c.wait_reason,
            purpose=func.coalesce(won.c.next, run),
            finished_at=case((won.c.ended, now()), else_=null()),
            updated_at=now(),
        )
    )
    copied = ("attempt_id", "attempt_from", "attempt_to", "reason", "context")
    noted = event(
        won,
        level=words("job"),
        from_state=words(JobState.RUNNING),
        to_state=won.c.job_to,
        **{name: won.c[name] for name in copied},
    )
    running = words(JobState.RUNNING)
    counted = (_counted(won, running, won.c.job_to), history.ended(won))
    return [_attempt_over(won), moved, noted, *counted, _turned(won, running, won.c.job_to)]


def _close_found(given: FromClause) -> Select[Any]:
    """Those rows; a job that goes back to the queue while something blocks it, as the hold of its batch, waits."""
    held = _held(given, IN_FLIGHT)
    blocked = and_(given.c.job_to == words(JobState.QUEUED), jobs.c.blocked_by > literal_column("0"))
    job_to = case((blocked, words(JobState.PENDING)), else_=given.c.job_to).label("job_to")
    named = (job_to if column.name == "job_to" else column for column in held.selected_columns)
    return held.with_only_columns(*named, maintain_column_froms=True)


_CLOSE_MORE = {
    "lane": "text",
    "job": "text",
    "batch_id": "id",
    "attempt_from": "text",
    "lived": "float",
    "job_to": "text",
}
_close = Step("close", _CLOSE_SPEC, _CLOSE_MORE, _close_found, _close_writes)


_NAMED = {"actor_type": "text", "actor_id": "text"}
_complete = Step("complete", _CLOSE_SPEC | _NAMED, _close.more, _close_found, _close_writes)


def complete_attempt(writer: Writer, move: Row, actor_id: str) -> bool:
    """End one attempt as succeeded inside a caller's transaction; False if it is no longer this attempt's to end."""
    succeeded = {"job_to": JobState.SUCCEEDED.value, "attempt_to": AttemptState.SUCCEEDED.value, "ended": True}
    return bool(_complete.send(writer, [{**move, **succeeded, "actor_type": Actor.WORKER.value, "actor_id": actor_id}]))


def close_attempts(transaction: Transaction, moves: Sequence[Row], actor: Actor, actor_id: str | None) -> list[Row]:
    """End attempts in flight and move their jobs on. Rows: the columns of an outcome; see `lifecycle.settle`."""
    for job_to, attempt_to in {(move["job_to"], move["attempt_to"]) for move in moves}:
        check_job(JobState.RUNNING, JobState(job_to), actor)
        check_attempt(AttemptState.RUNNING, AttemptState(attempt_to), actor)
    for move in moves:
        move["ended"] = move["job_to"] in _ENDED
    return _close.apply(transaction, moves, actor_type=actor.value, actor_id=actor_id)


# -- move: a job that has no attempt in flight ------------------------------------------------------------------------

_MOVE_SPEC = {
    "job_id": "id",
    "origin": "text",
    "target": "text",
    "ended": "bool",
    "now_due": "bool",
    "reason": "text",
    "context": "json",
}


def _move_found(given: FromClause) -> Select[Any]:
    return (
        select(*given.c, jobs.c.lane, jobs.c.batch_id)
        .select_from(given.join(jobs, jobs.c.id == given.c.job_id))
        .where(_still(jobs.c.state) == given.c.origin)
        .order_by(jobs.c.id)
        .with_for_update(of=[jobs])
    )


def _move_writes(won: FromClause) -> list[UpdateBase]:
    queued = won.c.target == words(JobState.QUEUED)
    moved = (
        update(jobs)
        .where(jobs.c.id == won.c.job_id)
        .values(
            state=won.c.target,
            queued_at=case((queued, now()), else_=jobs.c.queued_at),
            available_at=case((won.c.now_due, now()), else_=jobs.c.available_at),
            finished_at=case((won.c.ended, now()), else_=null()),
            wait_reason=null(),
            updated_at=now(),
        )
    )
    noted = event(
        won,
        level=words("job"),
        from_state=won.c.origin,
        to_state=won.c.target,
        reason=won.c.reason,
        context=won.c.context,
    )
    return [moved, noted, _counted(won, won.c.origin, won.c.target), _turned(won, won.c.origin, won.c.target)]


_move = Step("move", _MOVE_SPEC, {"lane": "text", "batch_id": "id"}, _move_found, _move_writes)


def move_jobs(transaction: Transaction, moves: Sequence[Row], actor: Actor, actor_id: str | None) -> list[Row]:
    """Move jobs without an attempt in flight. Rows: job_id, origin, target, and optionally now_due, reason, context."""
    for origin, target in {(move["origin"], move["target"]) for move in moves}:
        check_job(JobState(origin), JobState(target), actor)
    for move in moves:
        move["ended"], move["now_due"] = move["target"] in _ENDED, move.get("now_due", False)
    return _move.apply(transaction, moves, actor_type=actor.value, actor_id=actor_id)
