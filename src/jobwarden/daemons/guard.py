"""The guard: limits, wishes and fences. It ends what may not go on, and proves again what is ours.

Ending is asking, then a grace, then SIGKILL to the whole tree until the kernel says that nothing is left; whoever is
over its memory, or no longer ours, is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.watch import AnyHold, Ending, Watched, Why
from jobwarden.domain.recovery import Wish
from jobwarden.domain.report import Outcome, Report

_AT_ONCE = (Why.MEMORY, Why.FENCED)


class Guard:
    """Watches attempts. All times are monotonic seconds.

    ``holds`` are the seats by nonce, ``where`` the seat of each attempt that is not settled; ``outcome`` reads what an
    attempt left. A fresh claim may be missing from the database's list for ``patience`` seconds.
    """

    def __init__(
        self,
        holds: Mapping[str, AnyHold],
        where: Mapping[str, AnyHold],
        outbox: Outbox,
        outcome: Callable[[str], Report | None],
        narrator: Narrator,
        patience: float,
        unkillable_after: float = 60.0,
    ) -> None:
        self._holds, self._where, self._outbox = holds, where, outbox
        self._outcome, self._narrator, self._patience = outcome, narrator, patience
        self._unkillable_after = unkillable_after

    def watch(self, now: float) -> None:
        """Look at every attempt once: limits, and endings under way."""
        for hold in list(self._holds.values()):
            for watched in list(hold.attempts.values()):
                if watched.report is not None:
                    continue
                if watched.started is not None:
                    self._check_limits(hold, watched, now)
                if watched.ending is not None:
                    self._press(hold, watched, now)

    def end(self, hold: AnyHold, watched: Watched, why: Why, words: str, now: float) -> None:
        """Begin to end an attempt, for a reason that is told to its log."""
        if watched.report is not None or (watched.ending is not None and watched.ending.why in _AT_ONCE):
            return
        watched.ending = Ending(why, words, now)
        self._narrator.ending(watched.claim.job, watched.id, words)
        if why in _AT_ONCE:
            watched.say("warning", f"ended at once: {words}", "stop")
            self._press(hold, watched, now)
        else:
            watched.say("warning", f"asked to stop: {words}; {watched.claim.grace:g} s of grace", "stop")
            hold.seat.stop(watched.id)

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
        elif row.cancel_requested and watched.ending is None:
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

    def _check_limits(self, hold: AnyHold, watched: Watched, now: float) -> None:
        claim, seconds = watched.claim, now - (watched.started or now)
        if watched.ending is None and claim.timeout is not None and seconds > claim.timeout:
            words = f"it has run for {seconds:.1f} s, its timeout is {claim.timeout:g} s"
            self.end(hold, watched, Why.TIMEOUT, words, now)
        if claim.memory is not None:
            self._check_memory(hold, watched, claim.memory, now)
        if claim.max_runtime is not None and seconds > claim.max_runtime and not watched.stuck_said:
            watched.stuck_said = True
            watched.say("warning", f"stuck: it runs longer than its max_runtime of {claim.max_runtime:g} s", "stuck")

    def _check_memory(self, hold: AnyHold, watched: Watched, limit: int, now: float) -> None:
        resident = hold.seat.body.rss()
        if resident is not None and resident > limit:
            words = f"it holds {resident} bytes of memory, its limit is {limit}"
            self.end(hold, watched, Why.MEMORY, words, now)

    def _press(self, hold: AnyHold, watched: Watched, now: float) -> None:
        ending = watched.ending
        if ending is None or (ending.why not in _AT_ONCE and now - ending.since < watched.claim.grace):
            return
        alive = hold.seat.body.kill()
        if not ending.killed:
            ending.killed = True
            names = ", ".join(str(member.process.pid) for member in alive)
            watched.say("warning", f"killed with everything below it ({names or 'nothing was left'})", "kill")
        elif alive and now - ending.since > watched.claim.grace + self._unkillable_after:
            self._narrator.unkillable(hold.seat.body.process.pid)
            ending.since = now
