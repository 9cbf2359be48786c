"""The guard: limits, wishes and fences. It ends what may not go on, and proves again what is ours.

Ending is asking, then a grace, then SIGKILL to the whole tree until the kernel says that nothing is left; whoever is
over its memory, or no longer ours, is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from jobwarden.daemons.ends import Ends
from jobwarden.daemons.looks import Looks
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.watch import AnyHold, Ending, Watched, Why
from jobwarden.domain.recovery import Wish
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import Actor
from jobwarden.process.tree import Look

_AT_ONCE = (Why.MEMORY, Why.FENCED, Why.ISOLATED)
H = TypeVar("H", bound=AnyHold)
_LEAVING = 2.0  # seconds in which a seat that has told its outcome must have left
_WEIGHING = 1.0  # seconds between two weighings of whole trees, which take a reading of all processes


class Guard:
    """Watches attempts. All times are monotonic seconds.

    ``holds`` are the seats by nonce, ``where`` the seat of each attempt that is not settled; ``outcome`` reads what an
    attempt left. A fresh claim may be missing from the database's list for ``patience`` seconds. ``by`` is who writes
    down what cannot be ended in ``unkillable_after`` seconds, ``here`` how it names itself to people.
    """

    def __init__(
        self,
        holds: Mapping[str, AnyHold],
        where: Mapping[str, AnyHold],
        outbox: Outbox,
        outcome: Callable[[str], Report | None],
        narrator: Narrator,
        patience: float,
        *,
        by: tuple[Actor, str | None] = (Actor.SUPERVISOR, None),
        unkillable_after: float = 60.0,
        here: str = "",
    ) -> None:
        self._holds, self._where, self._outbox = holds, where, outbox
        self._outcome, self._narrator, self._patience = outcome, narrator, patience
        self._ends = Ends(outbox, narrator, by, unkillable_after)
        self._looks = Looks(outbox, here)
        self._weigh_at = 0.0

    def watch(self, now: float) -> None:
        """Look at every attempt once: limits, and endings under way."""
        look = None
        if now >= self._weigh_at and any(_weighed(watched) for _, watched in self._open()):
            self._weigh_at, look = now + _WEIGHING, Look()
        due = []
        for hold, watched in self._open():
            if watched.started is not None and watched.told is None:
                self._check_limits(hold, watched, now, look)
            if _due(hold, watched, now):
                due.append((hold, watched))
        if due:
            self._ends.kill(due, now)
        self._looks.answer(now)

    def end(self, hold: AnyHold, watched: Watched, why: Why, words: str, now: float, *, at_once: bool = False) -> None:
        """Begin to end an attempt, for a reason that is told to its log; ``at_once`` leaves it no grace."""
        if self._begin(hold, watched, why, words, now, at_once=at_once or why in _AT_ONCE):
            self._ends.kill([(hold, watched)], now)

    def end_all(self, why: Why, words: str, now: float, *, at_once: bool = False) -> int:
        """Begin to end everything; how many are killed now that were not before."""
        at_once = at_once or why in _AT_ONCE
        begun = [
            (hold, watched)
            for hold, watched in self._open()
            if self._begin(hold, watched, why, words, now, at_once=at_once)
        ]
        if begun:
            self._ends.kill(begun, now)
        return len(begun)

    def gone(self, holds: Sequence[H], now: float) -> list[H]:
        """Of seats whose process has ended, those of which nothing is alive any more; what is left is killed."""
        return self._ends.prove(holds, now) if holds else []

    def fence(self, hold: AnyHold, watched: Watched, now: float) -> None:
        """An attempt is no longer ours: its process is ended and nothing of it is settled here."""
        if watched.ending is None or watched.ending.why is not Why.FENCED:
            self._narrator.fenced(watched.id)
            watched.ending = None
            self.end(hold, watched, Why.FENCED, "another owner has it now", now)

    def compare(self, owned: Iterable[Any], ended: Mapping[str, int], now: float) -> None:
        """What the database says is ours against what is: ownership is proved again once per beat.

        ``ended`` are attempts of ours that are over already, with their tokens: under our own token they completed in
        a transaction of the handler's, and their process may finish what it is at.
        """
        seen = set()
        for row in owned:
            seen.add(row.id)
            hold = self._where.get(row.id)
            if hold is None:
                self._resolve_stray(row)
            else:
                self._heed(hold, hold.attempts[row.id], row, now)
        for attempt_id, hold in list(self._where.items()):
            watched = hold.attempts[attempt_id]
            gone = attempt_id not in seen and ended.get(attempt_id) != watched.claim.token
            if gone and watched.report is None and watched.claimed < now - self._patience:
                self.fence(hold, watched, now)

    def _heed(self, hold: AnyHold, watched: Watched, row: Any, now: float) -> None:
        if row.fencing_token != watched.claim.token:
            self.fence(hold, watched, now)
            return
        if row.look_asked_at is not None:
            self._looks.asked(hold, watched, row.look_asked_at, now)
        if row.cancel_requested and watched.ending is None:
            why = Why.CANCEL if row.cancel_mode == Wish.CANCEL else Why.STOP
            self.end(hold, watched, why, f"{why.value}: {row.cancel_reason or 'no reason given'}", now)

    def _resolve_stray(self, row: Any) -> None:
        """Ours in the database, but no seat here has it: a claim whose commit was not answered, or a lost report."""
        if self._outbox.settles(row.id):
            return
        self._narrator.stray(row.id)
        report = self._outcome(row.id)
        if report is None and row.state == "dispatched":
            report = Report(row.id, Outcome.UNSTARTED, reason="its claim never reached a seat")
        if report is None:
            words = "its supervisor holds no process for it and it left no outcome"
            error = {"class": "ProcessDied", "message": words}
            report = Report(row.id, Outcome.LOST, error=error, reason=words)
        self._outbox.settle(row.job_id, row.fencing_token, report, judged=True)

    def _open(self) -> list[tuple[AnyHold, Watched]]:
        return [
            (hold, watched)
            for hold in self._holds.values()
            for watched in hold.attempts.values()
            if watched.report is None
        ]

    def _begin(self, hold: AnyHold, watched: Watched, why: Why, words: str, now: float, *, at_once: bool) -> bool:
        """Note an end and ask for it; whether it is to be killed now. An end under way is only ever made quicker."""
        current = watched.ending
        if watched.report is not None or (current is not None and (current.at_once or not at_once)):
            return False
        watched.ending = Ending(why, words, now, at_once, current is not None and current.killed)
        self._narrator.ending(watched.claim.job, watched.id, words)
        if at_once:
            watched.say("warning", f"ended at once: {words}", "stop")
        else:
            watched.say("warning", f"asked to stop: {words}; {watched.claim.grace:g} s of grace", "stop")
            hold.seat.stop(watched.id)
        return at_once

    def _check_limits(self, hold: AnyHold, watched: Watched, now: float, look: Look | None) -> None:
        claim, seconds = watched.claim, now - (watched.started or now)
        if watched.ending is None and claim.timeout is not None and seconds > claim.timeout:
            words = f"it has run for {seconds:.1f} s, its timeout is {claim.timeout:g} s"
            self.end(hold, watched, Why.TIMEOUT, words, now)
        if claim.memory is not None:
            self._check_memory(hold, watched, claim.memory, now, look)
        if claim.max_runtime is not None and seconds > claim.max_runtime and not watched.stuck_said:
            watched.stuck_said = True
            watched.say("warning", f"stuck: it runs longer than its max_runtime of {claim.max_runtime:g} s", "stuck")

    def _check_memory(self, hold: AnyHold, watched: Watched, limit: int, now: float, look: Look | None) -> None:
        body = hold.seat.body
        resident = body.rss(look)
        below = 0
        if look is not None and resident is not None and resident > limit:
            resident, below = body.weight(look)
        if resident is not None and resident > limit:
            whole = f" with the {below} processes below it" if below > 0 else ""
            words = f"it holds {resident} bytes of memory{whole}, its limit is {limit}"
            self.end(hold, watched, Why.MEMORY, words, now)


def _weighed(watched: Watched) -> bool:
    return watched.claim.memory is not None and watched.started is not None and watched.told is None


def _due(hold: AnyHold, watched: Watched, now: float) -> bool:
    """Whether an attempt is to be killed on this round: its grace is over, or it told its outcome and did not leave.

    The grace of one that waits on its seat behind another begins with its turn.
    """
    if watched.told is not None and now - watched.told_at > _LEAVING:
        return True
    ending = watched.ending
    if ending is None or ending.at_once:
        return ending is not None
    if watched.started is None and next(iter(hold.attempts)) != watched.id:
        return False
    return now - max(ending.since, watched.started or 0.0) >= watched.claim.grace
