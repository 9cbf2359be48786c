"""Ends of process trees, one step a round and never waiting: killed again until a search finds nothing.

What does not die by SIGKILL for a time is shown as unkillable. It keeps its seat and its attempt stays open, it is
killed again on every round, and once it is dead its attempt is settled like any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.watch import AnyHold, Watched
from jobwarden.domain.states import Actor
from jobwarden.lifecycle.unkillable import clear_unkillable, mark_unkillable
from jobwarden.process import probe
from jobwarden.process.body import kill_all
from jobwarden.process.tree import Look, Member

H = TypeVar("H", bound=AnyHold)
_NAMED = 20


class Ends:
    """Kills and proves; ``by`` is who writes it down, ``unkillable_after`` the seconds that SIGKILL may take."""

    def __init__(
        self, outbox: Outbox, narrator: Narrator, by: tuple[Actor, str | None], unkillable_after: float
    ) -> None:
        self._outbox, self._narrator, self._by, self._after = outbox, narrator, by, unkillable_after

    def kill(self, doomed: Sequence[tuple[AnyHold, Watched]], now: float) -> None:
        """SIGKILL these attempts' seats with everything below them."""
        killed = kill_all([hold.seat.body for hold, _ in doomed])
        for (_, watched), alive in zip(doomed, killed, strict=True):
            self._killed(watched, alive, now)

    def prove(self, holds: Sequence[H], now: float) -> list[H]:
        """Of seats whose process has ended, those of which nothing is alive; what is left of the others is killed."""
        look = Look()
        left = [hold for hold in holds if hold.seat.body.members(look) or hold.seat.body.populated]
        for hold, alive in zip(left, kill_all([hold.seat.body for hold in left]), strict=True):
            for watched in _open(hold):
                self._killed(watched, alive, now)
        gone = [hold for hold in holds if hold not in left]
        for hold in gone:
            for watched in _open(hold):
                self._confirm(watched)
        return gone

    def _killed(self, watched: Watched, alive: Sequence[Member], now: float) -> None:
        if watched.ending is not None:
            watched.ending.killed = True
        if watched.killed_at is None:
            watched.killed_at = now
            watched.say("warning", f"killed with everything below it ({_names(alive)})", "kill")
        elif not watched.unkillable and now - watched.killed_at > self._after and alive:
            self._give_up(watched, alive)

    def _give_up(self, watched: Watched, alive: Sequence[Member]) -> None:
        watched.unkillable = True
        claim, (actor, actor_id) = watched.claim, self._by
        self._narrator.unkillable(claim.job, watched.id, _names(alive))
        watched.say("error", f"unkillable: SIGKILL does not end {_names(alive)}", "kill")
        left = [_described(member) for member in alive[:_NAMED]]
        self._outbox.act(
            lambda transaction: mark_unkillable(
                transaction, claim.job_id, claim.attempt_id, claim.token, left, actor, actor_id
            )
        )

    def _confirm(self, watched: Watched) -> None:
        claim = watched.claim
        if watched.unkillable:
            watched.unkillable = False
            self._outbox.act(lambda transaction: clear_unkillable(transaction, claim.attempt_id, claim.token))
        if not watched.confirmed and (watched.ending is not None or watched.killed_at is not None):
            watched.confirmed = True
            watched.say("info", "confirmed: nothing of it is alive", "confirm")


def _open(hold: AnyHold) -> list[Watched]:
    return [watched for watched in hold.attempts.values() if watched.report is None]


def _names(alive: Sequence[Member]) -> str:
    named = ", ".join(f"{member.process.pid} {member.command}"[:60] for member in alive[:5])
    more = f" and {len(alive) - 5} more" if len(alive) > 5 else ""
    return f"{named}{more}" if alive else "nothing was left"


def _described(member: Member) -> dict[str, Any]:
    found = probe.stat(member.process.pid)
    return {"pid": member.process.pid, "command": member.command, "state": found.state if found else None}
