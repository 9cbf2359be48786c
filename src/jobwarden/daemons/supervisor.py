"""The supervisor: claims jobs onto seats, watches every attempt to its proven end, and never waits for the database.

One round is `Supervisor.tick`: events come in (frames of seats, births and deaths, results of the writer, wake-ups),
deadlines are looked at, and whatever gathered is offered to the writer. Every verdict about an attempt has one of
three proofs: the child's own report, its outcome file, or its exit as the kernel told it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from jobwarden.config import Settings
from jobwarden.daemons.crew import Crew, Hold
from jobwarden.daemons.judge import judge, released
from jobwarden.daemons.loop import Loop
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.pace import Pace
from jobwarden.daemons.watch import Ending, Watched, Why
from jobwarden.daemons.writer import Batch, Result, Writer
from jobwarden.domain.claims import Claim, Isolation
from jobwarden.domain.recovery import Wish
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import WorkerState
from jobwarden.lifecycle.claim import Owner, Seated
from jobwarden.lifecycle.settle import Settlement
from jobwarden.process.exits import Exit
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.seats import SeatBorn, SeatClosed, SeatExited, Zygote
from jobwarden.store import workers
from jobwarden.store.database import Database

_START_PATIENCE = 0.03  # a start is committed alone only if no outcome follows within this many seconds
_WATCH_INTERVAL = 0.25
_RELISTEN = 5.0
_GOODBYE = 5.0  # how long seats that have nothing to do may take to go
_SPOOL_SLACK = 1 << 20
_QUICK_SECONDS = 0.05  # what may wait on a pool seat behind the job that runs there
_CLAIM_FIELDS = tuple(Claim.__slots__)


class DeclaredDead(RuntimeError):
    """This worker was declared dead by another: it must not go on."""


class Supervisor:
    """One worker. ``finish`` says when it may end by itself (burst)."""

    def __init__(
        self,
        database: Database,
        owner: Owner,
        settings: Settings,
        runtime: RuntimeDir,
        make_zygote: Callable[[], Zygote],
        loop: Loop,
        *,
        burst: bool = False,
        narrator: Narrator | None = None,
    ) -> None:
        self.draining = False
        self.crew = Crew(
            make_zygote,
            runtime,
            settings.capacity,
            narrator or Narrator(),
            loop.watch,
            loop.unwatch,
            self._told,
            loop.clock,
        )
        self._database, self._owner, self._settings, self._runtime = database, owner, settings, runtime
        self._loop, self._burst, self._narrator = loop, burst, narrator or Narrator()
        racing = settings.claim_driver == "racing" or (
            settings.claim_driver == "auto" and not (database.facts.skips_locked or database.facts.one_machine)
        )
        self._writer = Writer(database, owner, loop.ring, self._depth, racing)
        self._pace = Pace(settings.poll_min, settings.poll_interval, settings.poll_idle, random.random)
        self._batch = Batch()
        self._starting: dict[str, Watched] = {}
        self._quick: dict[str, float] = {}
        self._listener: Any = None
        self._listen_at = self._beat_at = self._admit_at = self._flush_at = self._watch_at = 0.0
        self._drain_since: float | None = None
        self._outage_since: float | None = None
        self._quiet_since = 0.0
        self._empty_looks = 0

    # -- the story ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the writer; the first round does the rest."""
        self._writer.start()

    def tick(self) -> bool:
        """One round; False when there is nothing left to do and the supervisor may end."""
        self._loop.wait(self._patience())
        now = self._loop.clock()
        for result in self._writer.take():
            self._take(result, now)
        self._check_writer(now)
        if not self.draining or self.crew.attempts:
            self.crew.keep(now, self._settings.zygote_recycle)
        self.crew.reap()
        if now >= self._watch_at:
            self._watch_at = now + _WATCH_INTERVAL
            self._watch_all(now)
        self._offer(now)
        return not self._done(now)

    def drain(self) -> None:
        """Claim no more, and end when the last attempt has."""
        if self.draining:
            return
        self.draining = True
        self._drain_since = self._quiet_since = self._loop.clock()
        self._narrator.draining(len(self.crew.attempts))
        self._act(lambda transaction: workers.set_state(transaction, self._owner.worker_id, WorkerState.DRAINING))
        self.crew.close()

    def end_attempts(self, *, at_once: bool) -> None:
        """End everything that runs: after its grace, or at once."""
        now = self._loop.clock()
        for watched in self.crew.attempts:
            self._end(watched, Why.SHUTDOWN, "the supervisor was told to end its attempts", now)
        if at_once:
            self.crew.end_all()

    def renew(self) -> None:
        """Replace the zygote: new code for new attempts, and nothing happens to those that run."""
        self.crew.renew()

    def nudged(self) -> None:
        """There may be work."""
        self._pace.woken(self._loop.clock())

    def close(self, signal_name: str | None) -> None:
        """Say that this worker stopped, and let go of everything."""
        self._act(
            lambda transaction: workers.set_state(transaction, self._owner.worker_id, WorkerState.STOPPED, signal_name)
        )
        self._writer.close(self._batch, self._settings.statement_timeout)
        for afterwards in [act for result in self._writer.take() for act in result.batch.afterwards]:
            afterwards()
        if self._listener is not None:
            self._listener.close()
        self.crew.abandon()

    # -- the writer ---------------------------------------------------------------------------------------------------

    def _offer(self, now: float) -> None:
        if not self._writer.idle:
            return
        batch = self._batch
        self._commit_starts(batch, now)
        if now >= self._flush_at:
            self._flush_at = now + self._settings.log_flush_interval
            self._gather(batch)
        if now >= self._admit_at:
            self._admit_at = now + self._settings.beat_interval * (0.4 + random.random() * 0.2)
            batch.admit = not self.draining
        if now >= self._beat_at:
            self._beat_at = now + self._settings.beat_interval
            batch.load = len(self.crew.attempts)
            batch.listen = self._listener is None and now >= self._listen_at
        if now >= self._pace.due and not self.draining and self.crew.ready is not None:
            batch.vacancies = self.crew.vacancies(self._settings.prefetch, self._settings.pool_recycle)
            batch.lanes = self._settings.lanes
        if batch:
            self._batch = Batch()
            self._writer.offer(batch)

    def _commit_starts(self, batch: Batch, now: float) -> None:
        """Barriers at once, the other starts only if no outcome came soon: then start and end are one write."""
        for attempt_id, watched in list(self._starting.items()):
            started = watched.started or now
            if not watched.claim.idempotent or now - started >= _START_PATIENCE:
                del self._starting[attempt_id]
                watched.start_said = True
                batch.starts.append(watched.start(now))

    def _gather(self, batch: Batch) -> None:
        for hold in self.crew.holds.values():
            for watched in hold.attempts.values():
                if watched.started is not None and watched.report is None:
                    watched.listen(hold.seat.spool)
                    self._record(batch, watched, hold)

    def _record(self, batch: Batch, watched: Watched, hold: Hold) -> None:
        said = watched.record()
        if said is None:
            return
        batch.records.append(said)
        out, err = watched.out, watched.err
        if out + err > _SPOOL_SLACK:
            batch.afterwards.append(lambda: hold.seat.spool.forget(out, err))

    def _act(self, act: Callable[[Any], None]) -> None:
        self._batch.acts.append(act)

    def _take(self, result: Result, now: float) -> None:
        for afterwards in result.batch.afterwards:
            afterwards()
        self._open_barriers(result)
        self._acknowledge(result)
        if result.admitted:
            self._pace.woken(now)
        if result.catch is not None:
            self._seat(result.catch.seated, now)
            self._pace.looked(now, len(result.catch.seated), result.catch.more)
            self._empty_looks = 0 if result.catch.seated else self._empty_looks + 1
            if result.catch.unseated:
                self.crew.make_room(result.catch.unseated)
        if not result.alive:
            raise DeclaredDead
        if result.owned is not None:
            self._compare(result.owned, now)
        if result.batch.listen:
            self._hear_from(result.listener, now)

    def _check_writer(self, now: float) -> None:
        if self._writer.failure is not None:
            raise self._writer.failure
        outage = self._writer.outage
        if outage is not None and self._outage_since is None:
            self._outage_since = outage.since
            self._narrator.outage(outage.why)
        elif outage is None and self._outage_since is not None:
            self._narrator.recovered(now - self._outage_since)
            self._outage_since = None

    # -- claims go to seats -------------------------------------------------------------------------------------------

    def _seat(self, seated: Iterable[Seated], now: float) -> None:
        frames: dict[str, list[dict[str, Any]]] = {}
        for given in seated:
            claim, hold = given.claim, self.crew.holds.get(given.nonce)
            if not self.crew.knows(claim.job):
                self._release_unknown(claim)
            elif hold is None or hold.closed or hold.dismissed:
                self._release(claim, "its seat ended before the claim reached it")
            else:
                self.crew.give(hold, Watched(claim, given.nonce, now), claim.isolation is Isolation.POOL)
                frames.setdefault(given.nonce, []).append(self._frame(claim))
        for nonce, claims in frames.items():
            self.crew.holds[nonce].seat.send(*claims)

    def _frame(self, claim: Claim) -> dict[str, Any]:
        frame = {name: getattr(claim, name) for name in _CLAIM_FIELDS}
        return {"op": "claim", **frame, "results_max_bytes": self._settings.results_max_bytes}

    def _release_unknown(self, claim: Claim) -> None:
        delay = min(60.0, 0.5 * 2 ** min(claim.unspent, 10)) * (0.75 + random.random() / 2)
        self._narrator.unknown_job(claim.job, delay)
        reason = (
            f"the job {claim.job!r} is not registered on worker {self._owner.worker_id[-8:]}"
            f" ({self.crew.ready.app if self.crew.ready else '?'} on {self._owner.host.hostname})"
        )
        self._release(claim, reason, delay)

    def _release(self, claim: Claim, reason: str, delay: float | None = None) -> None:
        report = Report(claim.attempt_id, Outcome.UNSTARTED, reason=reason, delay=delay)
        self._batch.settlements.append(Settlement(claim.job_id, claim.token, report))

    def _depth(self, job: str) -> int:
        """How many of these may wait on one pool seat: as many as are over in a moment, by what they took so far."""
        seconds = self._quick.get(job)
        if seconds is None:
            return 1
        return max(1, min(self._settings.prefetch, int(_QUICK_SECONDS / max(seconds, 1e-4))))

    # -- frames of seats ----------------------------------------------------------------------------------------------

    def _told(self, event: SeatBorn | SeatExited) -> None:
        if isinstance(event, SeatBorn):
            hold = self.crew.holds[event.seat.nonce]
            self._loop.watch(event.seat, lambda: self._hear(hold))
            self._pace.due = min(self._pace.due, self._loop.clock())
        elif hold_or_none := self.crew.holds.get(event.nonce):
            self._bury(hold_or_none, event.exit)

    def _hear(self, hold: Hold) -> bool:
        """Take up what a seat says; whether there was anything."""
        now = self._loop.clock()
        try:
            frames = hold.seat.receive()
        except SeatClosed:
            hold.closed = True
            self._loop.unwatch(hold.seat)
            return False
        for frame in frames:
            watched = hold.attempts.get(frame.get("attempt_id") or frame["report"]["attempt_id"])
            if watched is None:
                continue
            if frame["op"] == "start":
                watched.begin(now, frame["out"], frame["err"])
                self._starting[watched.id] = watched
            elif frame["op"] == "outcome":
                self._reported(hold, watched, frame, now)
        return bool(frames)

    def _reported(self, hold: Hold, watched: Watched, frame: dict[str, Any], now: float) -> None:
        report = Report.load(frame["report"])
        watched.out_end, watched.err_end = frame["out"], frame["err"]
        if watched.started is not None and (watched.out_end > watched.out or watched.err_end > watched.err):
            watched.listen(hold.seat.spool, final=True)
        self._conclude(hold, watched, self._in_light_of_ending(watched, report))
        if report.usage.wall_ms is not None and watched.claim.isolation is Isolation.POOL:
            before = self._quick.get(watched.claim.job, report.usage.wall_ms / 1000)
            self._quick[watched.claim.job] = before * 0.8 + report.usage.wall_ms / 1000 * 0.2
        if self._pace.due > now and not self.draining and self._empty_looks == 0:
            self._pace.due = now

    def _in_light_of_ending(self, watched: Watched, report: Report) -> Report:
        """A limit that ended the attempt is its outcome, unless it succeeded after all."""
        ending = watched.ending
        if ending is None or ending.why is not Why.TIMEOUT or report.outcome is Outcome.SUCCEEDED:
            return report
        return judge(watched, None, report, self._loop.clock())

    def _conclude(self, hold: Hold, watched: Watched, report: Report) -> None:
        watched.report = report
        self._starting.pop(watched.id, None)
        self._record(self._batch, watched, hold)
        if watched.ending is None or watched.ending.why is not Why.FENCED:
            self._batch.settlements.append(watched.settlement())
        else:
            self.crew.take(hold, watched.id)

    def _open_barriers(self, result: Result) -> None:
        for given in result.batch.starts:
            hold = self.crew.where.get(given.attempt_id)
            if hold is None:
                continue
            watched = hold.attempts[given.attempt_id]
            if given.attempt_id in result.started:
                watched.start_known = True
                if not watched.claim.idempotent:
                    hold.seat.send({"op": "go", "attempt_id": watched.id})
            elif watched.report is None:
                hold.seat.send({"op": "refuse", "attempt_id": watched.id})
                self._fence(hold, watched)

    def _acknowledge(self, result: Result) -> None:
        acks: dict[str, list[str]] = {}
        for settled in result.settled:
            hold = self.crew.where.get(settled.attempt_id)
            if hold is None:
                continue
            hold.last = self.crew.take(hold, settled.attempt_id)
            acks.setdefault(hold.seat.nonce, []).append(settled.attempt_id)
        for nonce, attempt_ids in acks.items():
            hold = self.crew.holds[nonce]
            if hold.exit is not None:
                self._clear(hold, attempt_ids)
            elif not hold.closed:
                hold.seat.send({"op": "ack", "attempt_ids": attempt_ids})
        self.crew.retire_used_up(self._settings.pool_recycle)

    # -- the dead -----------------------------------------------------------------------------------------------------

    def _bury(self, hold: Hold, end: Exit) -> None:
        """A seat is reaped: what it said last is heard, and every attempt it held is judged by what is proved."""
        while self._hear(hold):
            pass
        self._loop.unwatch(hold.seat)
        hold.closed, hold.exit = True, end
        now = self._loop.clock()
        for watched in list(hold.attempts.values()):
            if watched.report is None:
                self._judge(hold, watched, end, now)
        if hold.last is not None and not hold.pooled:
            self._note_exit(hold, hold.last, end)
        if not hold.attempts:
            self._clear(hold, [hold.last.id] if hold.last else [])

    def _judge(self, hold: Hold, watched: Watched, end: Exit, now: float) -> None:
        left = self._runtime.read_outcome(watched.id)
        if watched.started is not None:
            watched.listen(hold.seat.spool, final=True)
        if left is not None:
            report = self._in_light_of_ending(watched, left)
        elif watched.started is None:
            report = released(watched, end)
        else:
            report = judge(watched, end, None, now, oom_killed=hold.seat.out_of_memory())
            watched.say("error", report.reason or "", "reaped")
            self._narrator.ended(watched.claim.job, watched.id, report.reason or "")
        self._conclude(hold, watched, replace(report, exit_code=end.code, signal=end.signal))

    def _note_exit(self, hold: Hold, watched: Watched, end: Exit) -> None:
        watched.out_end = watched.err_end = None
        watched.listen(hold.seat.spool, final=True)
        for left in end.leftovers:
            watched.say("warning", f"left a process behind: {left.pid} {left.command}; ended: {left.ended}", "reaped")
        self._record(self._batch, watched, hold)
        self._batch.exits.append(
            {
                "attempt_id": watched.id,
                "token": watched.claim.token,
                "cause": watched.report.cause.value if watched.report and watched.report.cause else "exited",
                "exit_code": end.code,
                "term_signal": end.signal,
                "user_ms": end.user_ms,
                "system_ms": end.system_ms,
                "peak_rss_bytes": end.peak_rss,
            }
        )

    def _clear(self, hold: Hold, attempt_ids: Iterable[str]) -> None:
        """Everything of a dead seat is committed or about to be: let go of its files once it is."""
        nonce, ids = hold.seat.nonce, list(attempt_ids)
        for attempt_id in ids:
            self._runtime.remove_outcome(attempt_id)
        if hold.attempts:
            return
        self.crew.forget(nonce)
        self._batch.afterwards.append(lambda: self._runtime.remove_spool(nonce))

    # -- deadlines, wishes and fences ---------------------------------------------------------------------------------

    def _watch_all(self, now: float) -> None:
        for hold in list(self.crew.holds.values()):
            for watched in list(hold.attempts.values()):
                if watched.report is None and watched.started is not None:
                    self._check_limits(hold, watched, now)
                if watched.ending is not None and watched.report is None:
                    self._press(hold, watched, now)

    def _check_limits(self, hold: Hold, watched: Watched, now: float) -> None:
        claim, seconds = watched.claim, now - (watched.started or now)
        if watched.ending is None and claim.timeout is not None and seconds > claim.timeout:
            self._end(watched, Why.TIMEOUT, f"it has run for {seconds:.1f} s, its timeout is {claim.timeout:g} s", now)
        if claim.memory is not None and (watched.ending is None or watched.ending.why is not Why.MEMORY):
            resident = hold.seat.rss()
            if resident is not None and resident > claim.memory:
                words = f"it holds {resident} bytes of memory, its limit is {claim.memory}"
                self._end(watched, Why.MEMORY, words, now)
        if claim.max_runtime is not None and seconds > claim.max_runtime and not watched.stuck_said:
            watched.stuck_said = True
            watched.say("warning", f"stuck: it runs longer than its max_runtime of {claim.max_runtime:g} s", "stuck")

    def _end(self, watched: Watched, why: Why, words: str, now: float) -> None:
        if watched.ending is not None and watched.ending.why in (Why.MEMORY, Why.FENCED):
            return
        hold = self.crew.holds.get(watched.nonce)
        if hold is None or watched.report is not None:
            return
        watched.ending = Ending(why, words, now)
        self._narrator.ending(watched.claim.job, watched.id, words)
        if why in (Why.MEMORY, Why.FENCED):
            watched.say("warning", f"ended at once: {words}", "stop")
            self._press(hold, watched, now)
        else:
            watched.say("warning", f"asked to stop: {words}; {watched.claim.grace:g} s of grace", "stop")
            hold.seat.stop(watched.id)

    def _press(self, hold: Hold, watched: Watched, now: float) -> None:
        ending = watched.ending
        if ending is None:
            return
        no_grace = ending.why in (Why.MEMORY, Why.FENCED)
        if not no_grace and now - ending.since < watched.claim.grace:
            return
        alive = hold.seat.kill_tree()
        if not ending.killed:
            ending.killed = True
            names = ", ".join(str(member.process.pid) for member in alive)
            watched.say("warning", f"killed with everything below it ({names or 'nothing was left'})", "kill")
        elif alive and now - ending.since > watched.claim.grace + 60:
            self._narrator.unkillable(hold.seat.process.pid)
            ending.since = now

    def _compare(self, owned: Iterable[Any], now: float) -> None:
        """What the database says is ours against what is: the one query per beat that proves ownership again."""
        ours = {watched.id: watched for watched in self.crew.attempts}
        seen = set()
        for row in owned:
            seen.add(row.id)
            watched = ours.get(row.id)
            if watched is None:
                self._resolve_stray(row)
            elif row.fencing_token != watched.claim.token:
                self._fence(self.crew.holds[watched.nonce], watched)
            elif row.cancel_requested:
                why = Why.CANCEL if row.cancel_mode == Wish.CANCEL else Why.STOP
                if watched.ending is None:
                    self._end(watched, why, f"{why.value}: {row.cancel_reason or 'no reason given'}", now)
        for attempt_id, watched in ours.items():
            settling = watched.report is not None
            if attempt_id not in seen and not settling and watched.claimed < now - self._settings.beat_interval:
                self._fence(self.crew.holds[watched.nonce], watched)

    def _fence(self, hold: Hold, watched: Watched) -> None:
        if watched.ending is None or watched.ending.why is not Why.FENCED:
            self._narrator.fenced(watched.id)
            watched.ending = None
            self._end(watched, Why.FENCED, "another owner has it now", self._loop.clock())

    def _resolve_stray(self, row: Any) -> None:
        """Ours in the database, but no seat here has it: a claim whose commit was not answered, or a lost report."""
        if any(given.report.attempt_id == row.id for given in self._batch.settlements):
            return
        self._narrator.stray(row.id)
        report = self._runtime.read_outcome(row.id)
        if report is None and row.state == "dispatched":
            report = Report(row.id, Outcome.UNSTARTED, reason="its claim never reached a seat")
        if report is None:
            words = "its supervisor holds no process for it and it left no outcome"
            error = {"class": "ProcessDied", "message": words}
            report = Report(row.id, Outcome.LOST, error=error, reason=words)
        self._batch.settlements.append(Settlement(row.job_id, row.fencing_token, report))

    # -- waiting ------------------------------------------------------------------------------------------------------

    def _patience(self) -> float:
        now = self._loop.clock()
        if self._batch.waits and self._writer.idle:
            return 0.0
        times = [self._beat_at, self._watch_at, self._admit_at]
        if any(watched.started is not None for watched in self.crew.attempts):
            times.append(self._flush_at)
        if self._starting:
            times.append(now if any(not w.claim.idempotent for w in self._starting.values()) else now + _START_PATIENCE)
        if not self.draining and self.crew.ready is not None and self._writer.idle:
            times.append(self._pace.due)
        return max(0.0, min(times) - now)

    def _hear_from(self, listener: Any, now: float) -> None:
        """Keep a listening connection where the engine has one; without it, polling does."""
        self._listen_at = now + _RELISTEN
        self._listener = listener
        if listener is not None:
            self._loop.watch(listener, self._notified)
            self.nudged()

    def _notified(self) -> None:
        try:
            if self._listener.heard():
                self.nudged()
        except OSError:
            self._loop.unwatch(self._listener)
            self._listener = None

    def _done(self, now: float) -> bool:
        if self._burst and self._empty_looks >= 2 and not self.crew.attempts and not self._batch and self._writer.idle:
            self.drain()
        if not self.draining:
            return False
        window = self._settings.drain_timeout
        if window and self._drain_since is not None and now - self._drain_since > window and self.crew.attempts:
            self._narrator.abandoned(len(self.crew.attempts))
            return True
        if self.crew.attempts or self._batch.waits:
            self._quiet_since = now
        return self._writer.idle and (self.crew.empty or now - self._quiet_since > _GOODBYE)
