"""The desk: claims go to seats, and what seats say comes back; starts pass the barrier, outcomes are acknowledged."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

from jobwarden.config import Settings
from jobwarden.daemons.crew import Crew, Hold
from jobwarden.daemons.judge import in_light_of_ending
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.watch import Watched, Why
from jobwarden.daemons.writer import Result
from jobwarden.domain.claims import Claim, Isolation
from jobwarden.domain.report import Report
from jobwarden.lifecycle.claim import Seated
from jobwarden.process.seats import SeatClosed
from jobwarden.process.zygote import LOOK_UP

_START_PATIENCE = 0.03  # a start is committed alone only if no outcome follows within this many seconds
_QUICK_SECONDS = 0.05  # how much work may wait on a pool seat behind the job that runs there
_RECALL_SECONDS = 0.5  # what waits there is asked back once the job before it has run for so long
_CLAIM_FIELDS = tuple(Claim.__slots__)


class Desk:
    """Talks to seats. ``fence`` ends an attempt that is no longer ours; ``clock`` is monotonic."""

    def __init__(
        self,
        crew: Crew,
        outbox: Outbox,
        settings: Settings,
        narrator: Narrator,
        here: str,
        unwatch: Callable[[Any], None],
        clock: Callable[[], float],
    ) -> None:
        self.running = 0
        self._crew, self._outbox, self._settings, self._narrator = crew, outbox, settings, narrator
        self._here, self._unwatch, self._clock = here, unwatch, clock
        self._starting: dict[str, Watched] = {}
        self._seconds: dict[str, float] = {}

    # -- to the seats -------------------------------------------------------------------------------------------------

    def seat(self, seated: Iterable[Seated], now: float) -> None:
        """Send claims to the seats that they were made for; what cannot be seated is given back."""
        frames: dict[str, list[dict[str, Any]]] = {}
        for given in seated:
            claim, hold = given.claim, self._crew.holds.get(given.nonce)
            if not self._crew.knows(claim.job):
                self._release_unknown(claim)
            elif hold is None or hold.closed or hold.dismissed:
                self._outbox.release(claim, "its seat ended before the claim reached it")
            else:
                pooled = claim.isolation is Isolation.POOL
                if claim.memory is not None and not pooled:
                    hold.seat.limit_memory(claim.memory)
                self._crew.give(hold, Watched(claim, given.nonce, now), pooled)
                frames.setdefault(given.nonce, []).append(self._frame(claim))
        for nonce, claims in frames.items():
            self._crew.holds[nonce].seat.send(*claims)

    def depth(self, job: str) -> int:
        """How many jobs of a name may wait on one pool seat: as many as are over in a moment, by their pace so far."""
        seconds = self._seconds.get(job)
        if seconds is None:
            return 1
        return max(1, min(self._settings.prefetch, int(_QUICK_SECONDS / max(seconds, 1e-4))))

    def brisk(self, hold: Hold) -> bool:
        """Whether what a pool seat holds should be over in a moment, so that more may wait behind it."""
        return not self._lingers(hold, _QUICK_SECONDS) and all(self.depth(w.claim.job) > 1 for w in hold.unreported)

    def recall(self) -> None:
        """Ask for what waits on a pool seat behind an attempt that takes longer than its kind did, to run elsewhere.

        Only the seat knows what has not begun there: it says so of each by an outcome of its own.
        """
        for hold in self._crew.holds.values():
            if hold.pending > 1 and hold.pooled and self._lingers(hold, _RECALL_SECONDS):
                head = next(hold.unreported).id
                if hold.recalled != (head, hold.pending):
                    hold.recalled = (head, hold.pending)
                    hold.seat.send({"op": "recall", "behind": head})
                    hold.seat.signal(LOOK_UP)

    def _lingers(self, hold: Hold, seconds: float) -> bool:
        head = next(hold.unreported, None)
        return head is not None and head.started is not None and self._clock() - head.started > seconds

    def open_barriers(self, result: Result) -> list[tuple[Hold, Watched]]:
        """Let the attempts go whose start is committed; gives those that turned out not to be ours."""
        lost = []
        for given in result.batch.starts:
            hold = self._crew.where.get(given.attempt_id)
            if hold is None:
                continue
            watched = hold.attempts[given.attempt_id]
            if given.attempt_id not in result.started and watched.report is None:
                hold.seat.send({"op": "refuse", "attempt_id": watched.id})
                lost.append((hold, watched))
            elif not watched.claim.idempotent:
                hold.seat.send({"op": "go", "attempt_id": watched.id})
        return lost

    def acknowledge(self, result: Result) -> list[tuple[Hold, list[str]]]:
        """Tell seats what is settled; gives the attempts of seats that are dead already."""
        settled: dict[str, list[str]] = {}
        for answer in result.settled:
            hold = self._crew.where.get(answer.attempt_id)
            if hold is None:
                continue
            hold.last = self._crew.take(hold, answer.attempt_id)
            settled.setdefault(hold.seat.nonce, []).append(answer.attempt_id)
        dead = []
        for nonce, attempt_ids in settled.items():
            hold = self._crew.holds[nonce]
            if hold.exit is not None:
                dead.append((hold, attempt_ids))
            elif not hold.closed:
                hold.seat.send({"op": "ack", "attempt_ids": attempt_ids})
                self._crew.retire_if_used_up(hold)
        return dead

    # -- from the seats -----------------------------------------------------------------------------------------------

    def hear(self, hold: Hold) -> bool:
        """Take up what a seat says; whether there was anything."""
        now = self._clock()
        try:
            frames = hold.seat.receive()
        except SeatClosed:
            self._crew.closed(hold)
            self._unwatch(hold.seat)
            return False
        for frame in frames:
            if frame["op"] == "start":
                self._started(hold, frame, now)
            elif frame["op"] == "outcome":
                self._reported(hold, frame, now)
        return bool(frames)

    def conclude(self, hold: Hold, watched: Watched, report: Report, *, judged: bool = False) -> None:
        """An attempt is over, as far as this worker can tell: settle it, unless it is no longer ours to settle."""
        if watched.started is not None:
            self.running -= 1
        self._starting.pop(watched.id, None)
        self._crew.reported(hold, watched, report)
        self._outbox.record(watched, hold)
        if watched.ending is None or watched.ending.why is not Why.FENCED:
            self._outbox.settle(watched.claim.job_id, watched.claim.token, report, judged=judged)
        else:
            self._crew.take(hold, watched.id)

    def commit_starts(self, now: float) -> None:
        """Commit the starts after which no outcome came soon; otherwise start and end are one write."""
        for attempt_id, watched in list(self._starting.items()):
            if now - (watched.started or now) < _START_PATIENCE:
                return
            del self._starting[attempt_id]
            self._outbox.batch.starts.append(watched.start(now))

    @property
    def next_start(self) -> float | None:
        """When the oldest start is to be committed."""
        for watched in self._starting.values():
            return (watched.started or 0.0) + _START_PATIENCE
        return None

    def _started(self, hold: Hold, frame: dict[str, Any], now: float) -> None:
        watched = hold.attempts.get(frame["attempt_id"])
        if watched is None:
            return
        watched.begin(now, frame["out"], frame["err"])
        self.running += 1
        if watched.claim.idempotent:
            self._starting[watched.id] = watched
        else:
            self._outbox.batch.starts.append(watched.start(now))

    def _reported(self, hold: Hold, frame: dict[str, Any], now: float) -> None:
        report = Report.load(frame["report"])
        watched = hold.attempts.get(report.attempt_id)
        if watched is None or watched.report is not None:
            return
        out, err = watched.out_end, watched.err_end = frame["out"], frame["err"]
        if watched.started is not None and (out > watched.out or err > watched.err):
            watched.listen(hold.seat.spool, final=True)
        report = in_light_of_ending(watched, report, now)
        if frame.get("left") or _ends_with_its_process(hold, watched):
            self._withhold(hold, watched, report, now)
            return
        self.conclude(hold, watched, report)
        if hold.pooled and report.usage.wall_ms is not None:
            seconds = report.usage.wall_ms / 1000
            self._seconds[watched.claim.job] = self._seconds.get(watched.claim.job, seconds) * 0.8 + seconds * 0.2

    def _withhold(self, hold: Hold, watched: Watched, report: Report, now: float) -> None:
        """It counts when nothing of the attempt is alive: until then it is in its outcome file, and the seat leaves."""
        watched.told, watched.told_at = report, now
        watched.say("info", f"told its outcome ({report.outcome.value}); it counts once nothing of it is alive", "stop")
        self._crew.dismiss(hold, "leave")

    def _frame(self, claim: Claim) -> dict[str, Any]:
        fields = ((name, getattr(claim, name)) for name in _CLAIM_FIELDS)
        frame = {name: value for name, value in fields if value is not None}
        return {"op": "claim", **frame, "results_max_bytes": self._settings.results_max_bytes}

    def _release_unknown(self, claim: Claim) -> None:
        delay = min(60.0, 0.5 * 2 ** min(claim.unspent, 10)) * (0.75 + random.random() / 2)
        self._narrator.unknown_job(claim.job, delay)
        self._outbox.release(claim, f"the job {claim.job!r} is not registered on {self._here}", delay)


def _ends_with_its_process(hold: Hold, watched: Watched) -> bool:
    """Whether an end that we began is over only with the process; a pool seat that heeded it serves others."""
    return watched.ending is not None and (not hold.pooled or watched.ending.killed)
