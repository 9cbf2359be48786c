"""Advance: what follows from members that ended, or that run again, for those that wait for them and for their batch.

The door leaves a turn for each such member in the transaction that moved it. Whoever advances takes turns of committed
transactions, follows them up as a set, and drops them in the same transaction: nothing is lost with a process, and
whoever takes the last turn of a batch sees all that became of it. Long work is done in bites: a turn that is not
followed up to its end stays, and the next transaction goes on. Nothing here recurses; all of it can be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobwarden.domain.states import LIVE, Actor, BatchState, JobState
from jobwarden.domain.verdict import Policy, trips, verdict
from jobwarden.lifecycle.enqueue import insert_rows
from jobwarden.store import batches, edges, holds, sweeps
from jobwarden.store.database import Transaction
from jobwarden.store.ids import new_id
from jobwarden.store.transition import move_jobs

BITE = 500
UNREACHABLE = "unreachable: something that it waits for did not succeed"
TRIPPED = "the failure policy of its batch tripped"
HELD = "its batch is held"


@dataclass(frozen=True, slots=True)
class Advanced:
    """How many turns were taken, and how many of them named a member, so that others may move because of it."""

    turns: int = 0
    named: int = 0


@dataclass(slots=True)
class _Turned:
    """The members of some turns, by what they are now."""

    succeeded: set[str] = field(default_factory=set)
    over: set[str] = field(default_factory=set)  # ended, but not succeeded
    live: set[str] = field(default_factory=set)  # ended before, and are to run again
    returned: set[str] = field(default_factory=set)  # those, and those that did and ended since
    returned_in: set[str] = field(default_factory=set)  # their batches


def advance(transaction: Transaction, worker_id: str, most: int = BITE) -> Advanced:
    """Follow up at most ``most`` turns and say how many there were; the caller goes on while there are any.

    Call it before anything else that moves members in the same transaction.
    """
    taken = batches.take_turns(transaction, most)
    if not taken:
        return Advanced()
    turned = _sort(transaction, taken)
    ended = {**dict.fromkeys(turned.succeeded, True), **dict.fromkeys(turned.over, False)}
    whole = edges.satisfy(transaction, ended, BITE) < BITE
    if turned.live:
        edges.unsatisfy(transaction, sorted(turned.live))
    whole = _cascade(transaction, turned.over, worker_id) and whole
    whole = _conclude(transaction, {turn.batch_id for turn in taken}, turned, worker_id) and whole
    if whole:
        batches.drop_turns(transaction, [turn.id for turn in taken])
    return Advanced(len(taken), sum(turn.job_id is not None for turn in taken))


def _sort(transaction: Transaction, taken: Sequence[Any]) -> _Turned:
    """A success stands for ever; what else was said of a member may be out of date, so it is asked again."""
    said = [turn for turn in taken if turn.job_id is not None]
    turned = _Turned({turn.job_id for turn in said if turn.state == JobState.SUCCEEDED})
    back = [turn for turn in said if turn.state in LIVE]
    turned.returned, turned.returned_in = {turn.job_id for turn in back}, {turn.batch_id for turn in back}
    others = {turn.job_id for turn in said} - turned.succeeded
    for job_id, state in edges.lock_states(transaction, sorted(others)).items():
        kind = turned.live if state in LIVE else turned.succeeded if state is JobState.SUCCEEDED else turned.over
        kind.add(job_id)
    return turned


def _cascade(transaction: Transaction, over: set[str], worker_id: str) -> bool:
    """Call off what can no longer be reached, level by level; False if a bite was not enough for the first.

    Levels below those done here follow from the turns of what was called off.
    """
    frontier, left = sorted(over), BITE
    whole = True
    while frontier and left > 0:
        doomed = edges.doomed_by(transaction, frontier, left + 1)
        if len(doomed) > left:
            whole = left < BITE
            doomed = doomed[:left]
        _call_off(transaction, doomed, worker_id)
        left -= len(doomed)
        frontier = doomed
    return whole


def _call_off(transaction: Transaction, doomed: Sequence[str], worker_id: str) -> None:
    moves = [_move(job_id, JobState.PENDING, JobState.CANCELED, UNREACHABLE) for job_id in doomed]
    won = move_jobs(transaction, moves, Actor.SYSTEM, worker_id)
    sweeps.blame(transaction, [move["job_id"] for move in won], edges.UNREACHABLE, UNREACHABLE, None)


def _move(job_id: str, origin: str, target: JobState, reason: str | None) -> dict[str, Any]:
    return {"job_id": job_id, "origin": str(origin), "target": target.value, "reason": reason}


# -- the batches themselves -------------------------------------------------------------------------------------------


def _conclude(transaction: Transaction, ids: set[str], turned: _Turned, worker_id: str) -> bool:
    """What the turns mean for their batches. Only those for which something may follow are locked, and asked again."""
    seen = batches.look(transaction, sorted(ids))
    found = [row.id for row in seen if _matters(row, turned)]
    whole = True
    for row in batches.lock(transaction, found):
        whole = _follow(transaction, row, turned, worker_id) and whole
    return whole


def _matters(row: Any, turned: _Turned) -> bool:
    ongoing = row.state == BatchState.RUNNING and not _tripped(row)
    return not ongoing or not row.live or row.id in turned.returned_in or row.hold_id is not None


def _tripped(row: Any) -> bool:
    return trips(Policy(row.failure_policy), row.failure_threshold, row.failed, row.total_jobs)


def _follow(transaction: Transaction, row: Any, turned: _Turned, worker_id: str) -> bool:
    """Reopen, fail, revive, sweep, hold, finish: what of it applies to this batch; False if a sweep goes on."""
    state, again = BatchState(row.state), row.id in turned.returned_in
    if again:
        state = _reopen(transaction, row, state, worker_id)
    if state is BatchState.RUNNING and _tripped(row):
        batches.move(transaction, row.id, state, BatchState.FAILED, Actor.SYSTEM, worker_id, _why(row))
        state = BatchState.FAILED
    if again and state in (BatchState.RUNNING, BatchState.FAILED):
        _revive(transaction, turned.returned, worker_id)
    swept = _sweep(transaction, row, state, worker_id)
    if row.hold_id is not None:
        swept = len(hold_on(transaction, row)) < BITE and swept
    [now] = batches.look(transaction, [row.id])
    if not now.live:
        _finish(transaction, now, worker_id)
    return swept


def _why(row: Any) -> str:
    return f"{row.failed} of {row.total_jobs} members failed: its policy is {row.failure_policy}"


def _reopen(transaction: Transaction, row: Any, state: BatchState, worker_id: str) -> BatchState:
    """A member runs again: so does the batch, unless its policy still trips or a person called it off."""
    if state not in (BatchState.PARTIAL, BatchState.FAILED) or _tripped(row):
        return state
    batches.move(transaction, row.id, state, BatchState.RUNNING, Actor.SYSTEM, worker_id, "a member runs again")
    sweeps.disarm(transaction, row.id)
    return BatchState.RUNNING


def _revive(transaction: Transaction, returned: set[str], worker_id: str) -> None:
    """Undo exactly what the system called off because of these; their turns revive what follows them."""
    found = edges.revivable(transaction, sorted(returned))
    reason = "what it waits for runs again"
    moves = [_move(job_id, JobState.CANCELED, JobState.PENDING, reason) for job_id in found]
    won = move_jobs(transaction, moves, Actor.SYSTEM, worker_id)
    sweeps.absolve(transaction, [move["job_id"] for move in won])


def _sweep(transaction: Transaction, row: Any, state: BatchState, worker_id: str) -> bool:
    """Call off what still waits in a batch that failed or was called off; False if a bite was not enough."""
    if row.finished_at is not None or state not in (BatchState.FAILED, BatchState.CANCELED):
        return True
    if state is BatchState.CANCELED:
        swept = sweep(transaction, row.id, row.cancel_reason, row.cancel_actor)
    else:
        swept = _called_off(transaction, row.id, False, sweeps.POLICY, TRIPPED, Actor.SYSTEM, worker_id)
        sweeps.flag_running(transaction, row.id, False, TRIPPED, sweeps.POLICY_ACTOR)
    return swept < BITE


def sweep(transaction: Transaction, batch_id: str, reason: str | None, actor_id: str | None, wait: bool = False) -> int:
    """Call off the members of a canceled batch: who waits at once, at most a bite; who runs is flagged.

    Members that others hold are left out unless they are to be waited for. Gives how many were called off.
    """
    swept = _called_off(transaction, batch_id, True, "cancel", reason, Actor.OPERATOR, actor_id, wait)
    sweeps.flag_running(transaction, batch_id, True, reason, actor_id)
    return swept


def _called_off(
    transaction: Transaction,
    batch_id: str,
    everyone: bool,
    mode: str,
    reason: str | None,
    actor: Actor,
    actor_id: str | None,
    wait: bool = False,
) -> int:
    found = sweeps.sweepable(transaction, batch_id, everyone, BITE, wait)
    moves = [_move(row.id, row.state, JobState.CANCELED, reason) for row in found]
    won = move_jobs(transaction, moves, actor, actor_id)
    sweeps.blame(transaction, [move["job_id"] for move in won], mode, reason, actor_id)
    return len(won)


def hold_on(transaction: Transaction, row: Any, last: str = holds.FIRST, most: int = BITE) -> list[str]:
    """Have members of a held batch, which must be locked, wait for its release: ``most`` of those after ``last``.

    Who is queued waits again; who runs goes on, and waits when it is to run again. Gives their ids.
    """
    found = holds.free(transaction, row.id, row.hold_id, last, most)
    holds.tie(transaction, row.hold_id, [member.id for member in found])
    queued = [member.id for member in found if member.state == JobState.QUEUED]
    moves = [_move(job_id, JobState.QUEUED, JobState.PENDING, HELD) for job_id in queued]
    move_jobs(transaction, moves, Actor.OPERATOR, row.held_by)
    return [member.id for member in found]


def _finish(transaction: Transaction, row: Any, worker_id: str) -> None:
    """Write the verdict, and enqueue the jobs that follow the whole; or count anew what stood already."""
    if row.finished_at is not None:
        batches.amend(transaction, row, worker_id)
        return
    target = BatchState(row.state)
    if target is BatchState.RUNNING:
        counts = batches.exact_counts(transaction, row.id)
        target = verdict(counts.get("failed", 0), counts.get("canceled", 0))
    if batches.finish(transaction, row, target, worker_id) is None:
        return
    following = [_born(each) for each in batches.on_complete_of(transaction, row.id)]
    if following:
        insert_rows(transaction, following)
        batches.follow(transaction, row.id, [each["id"] for each in following])


def _born(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "id": new_id()}
