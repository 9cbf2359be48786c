"""The burial of a seat: what it said last is heard, and every attempt it held is judged by what is proved.

Nothing of an attempt that had not told its end, or had been asked to end, is settled while anything of its process tree
is alive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from jobwarden.daemons.crew import Crew, Hold
from jobwarden.daemons.desk import Desk
from jobwarden.daemons.guard import Guard
from jobwarden.daemons.judge import in_light_of_ending, judge, released
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.watch import Watched
from jobwarden.domain.report import Report
from jobwarden.domain.stamp import ProcessId
from jobwarden.process import probe
from jobwarden.process.exits import Exit
from jobwarden.process.forensics import OomWatch
from jobwarden.process.runtime_dir import RuntimeDir

_PAUSES = (0.02, 0.25)  # between two searches for what is left: at first, and at most


class Burial:
    """Takes care of seats that have ended; ``unwatch`` takes a seat out of the loop."""

    def __init__(
        self,
        crew: Crew,
        desk: Desk,
        guard: Guard,
        outbox: Outbox,
        runtime: RuntimeDir,
        narrator: Narrator,
        unwatch: Callable[[Any], None],
        clock: Callable[[], float],
    ) -> None:
        self._crew, self._desk, self._guard, self._outbox = crew, desk, guard, outbox
        self._runtime, self._narrator, self._unwatch, self._clock = runtime, narrator, unwatch, clock
        self._ooms = OomWatch(probe.oom_kills)
        self._unproven: dict[str, Hold] = {}
        self._pause = _PAUSES[0]
        self._prove_at = 0.0

    def bury(self, hold: Hold, end: Exit) -> None:
        """A seat was reaped."""
        while self._desk.hear(hold):
            pass
        self._unwatch(hold.seat)
        self._crew.closed(hold)
        hold.exit = end
        if hold.last is not None and not hold.pooled:
            self._note_exit(hold, hold.last, end)
        if any(watched.report is None for watched in hold.attempts.values()):
            hold.seat.body.remember(ProcessId(left.pid, left.start_time) for left in end.leftovers if not left.ended)
            self._unproven[hold.seat.nonce] = hold
            self._pause, self._prove_at = _PAUSES[0], 0.0
        elif not hold.attempts:
            self.clear(hold, [hold.last.id] if hold.last else [])

    def prove(self, now: float) -> None:
        """Judge the attempts of dead seats of which nothing is alive any more; called on every round."""
        self._ooms.look(now)
        if not self._unproven or now < self._prove_at:
            return
        for hold in self._guard.gone(list(self._unproven.values()), now):
            self._conclude(self._unproven.pop(hold.seat.body.nonce), now)
        self._prove_at = now + self._pause
        self._pause = min(2 * self._pause, _PAUSES[1])

    @property
    def next_proof(self) -> float | None:
        """When to search again for what is left of dead seats."""
        return self._prove_at if self._unproven else None

    def clear(self, hold: Hold, attempt_ids: Iterable[str]) -> None:
        """Attempts of a dead seat are settled: let go of their files, and of the seat's once nothing of it is left."""
        for attempt_id in attempt_ids:
            self._runtime.remove_outcome(attempt_id)
        if hold.attempts:
            return
        nonce = hold.seat.nonce
        self._crew.forget(nonce)
        self._outbox.batch.afterwards.append(lambda: self._runtime.remove_spool(nonce))

    def _conclude(self, hold: Hold, now: float) -> None:
        end = hold.exit
        assert end is not None
        for watched in list(hold.attempts.values()):
            if watched.report is None:
                self._judge(hold, watched, end, now)
        if not hold.attempts:
            self.clear(hold, [])

    def _judge(self, hold: Hold, watched: Watched, end: Exit, now: float) -> None:
        told = watched.told or self._left(watched, now)
        if watched.started is not None:
            if not hold.pooled:
                watched.out_end = watched.err_end = None
            watched.listen(hold.seat.spool, final=True)
        if told is not None:
            report = told
            self._name_leftovers(watched, end)
        elif watched.started is None and not hold.seat.spool.began(watched.id):
            report = released(watched, end)
        else:
            oom_killed = hold.seat.body.out_of_memory()
            report = judge(watched, end, None, now, oom_killed=oom_killed, oom_near=self._ooms.near(now))
            watched.say("error", report.reason or "", "reaped")
            self._narrator.ended(watched.claim.job, watched.id, report.reason or "")
        report = replace(report, exit_code=end.code, signal=end.signal)
        self._desk.conclude(hold, watched, report, judged=told is None)
        if told is not None and not hold.pooled:
            self._outbox.batch.exits.append(_facts(watched, end))

    def _left(self, watched: Watched, now: float) -> Report | None:
        left = self._runtime.read_outcome(watched.id)
        return in_light_of_ending(watched, left, now) if left is not None else None

    def _note_exit(self, hold: Hold, watched: Watched, end: Exit) -> None:
        watched.out_end = watched.err_end = None
        if hold.seat.spool.sizes() != (watched.out, watched.err):
            watched.listen(hold.seat.spool, final=True)
        self._name_leftovers(watched, end)
        self._outbox.record(watched, hold)
        self._outbox.batch.exits.append(_facts(watched, end))

    def _name_leftovers(self, watched: Watched, end: Exit) -> None:
        for left in end.leftovers:
            watched.say("warning", f"left a process behind: {left.pid} {left.command}; ended: {left.ended}", "reaped")


def _facts(watched: Watched, end: Exit) -> dict[str, Any]:
    return {
        "attempt_id": watched.id,
        "token": watched.claim.token,
        "cause": watched.report.cause.value if watched.report and watched.report.cause else "exited",
        "exit_code": end.code,
        "term_signal": end.signal,
        "duration_ms": watched.report.usage.wall_ms if watched.report else None,
        "user_ms": end.user_ms,
        "system_ms": end.system_ms,
        "peak_rss_bytes": end.peak_rss,
    }
