"""The burial of a seat: what it said last is heard, and every attempt it held is judged by what is proved."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from jobwarden.daemons.crew import Crew, Hold
from jobwarden.daemons.desk import Desk
from jobwarden.daemons.judge import judge, released
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.watch import Watched
from jobwarden.process.exits import Exit
from jobwarden.process.runtime_dir import RuntimeDir


class Burial:
    """Takes care of seats that have ended; ``unwatch`` takes a seat out of the loop."""

    def __init__(
        self,
        crew: Crew,
        desk: Desk,
        outbox: Outbox,
        runtime: RuntimeDir,
        narrator: Narrator,
        unwatch: Callable[[Any], None],
        clock: Callable[[], float],
    ) -> None:
        self._crew, self._desk, self._outbox = crew, desk, outbox
        self._runtime, self._narrator, self._unwatch, self._clock = runtime, narrator, unwatch, clock

    def bury(self, hold: Hold, end: Exit) -> None:
        """A seat was reaped."""
        while self._desk.hear(hold):
            pass
        self._unwatch(hold.seat)
        self._crew.closed(hold)
        hold.exit = end
        now = self._clock()
        for watched in list(hold.attempts.values()):
            if watched.report is None:
                self._judge(hold, watched, end, now)
        if hold.last is not None and not hold.pooled:
            self._note_exit(hold, hold.last, end)
        if not hold.attempts:
            self.clear(hold, [hold.last.id] if hold.last else [])

    def clear(self, hold: Hold, attempt_ids: Iterable[str]) -> None:
        """Attempts of a dead seat are settled: let go of their files, and of the seat's once nothing of it is left."""
        for attempt_id in attempt_ids:
            self._runtime.remove_outcome(attempt_id)
        if hold.attempts:
            return
        nonce = hold.seat.nonce
        self._crew.forget(nonce)
        self._outbox.batch.afterwards.append(lambda: self._runtime.remove_spool(nonce))

    def _judge(self, hold: Hold, watched: Watched, end: Exit, now: float) -> None:
        left = self._runtime.read_outcome(watched.id)
        if watched.started is not None:
            watched.listen(hold.seat.spool, final=True)
        if left is not None:
            report = self._desk.in_light_of_ending(watched, left)
        elif watched.started is None:
            report = released(watched, end)
        else:
            report = judge(watched, end, None, now, oom_killed=hold.seat.body.out_of_memory())
            watched.say("error", report.reason or "", "reaped")
            self._narrator.ended(watched.claim.job, watched.id, report.reason or "")
        report = replace(report, exit_code=end.code, signal=end.signal)
        self._desk.conclude(hold, watched, report, judged=left is None)

    def _note_exit(self, hold: Hold, watched: Watched, end: Exit) -> None:
        watched.out_end = watched.err_end = None
        if hold.seat.spool.sizes() != (watched.out, watched.err):
            watched.listen(hold.seat.spool, final=True)
        for left in end.leftovers:
            watched.say("warning", f"left a process behind: {left.pid} {left.command}; ended: {left.ended}", "reaped")
        self._outbox.record(watched, hold)
        self._outbox.batch.exits.append(
            {
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
        )
