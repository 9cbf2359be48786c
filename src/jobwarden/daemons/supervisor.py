"""The supervisor: claims jobs onto seats, watches every attempt to its proven end, and never waits for the database.

One round is `Supervisor.tick`: events come in (frames of seats, births and deaths, results of the writer, wake-ups),
deadlines are looked at, and whatever gathered is offered to the writer. Every verdict about an attempt has one of
three proofs: the child's own report, its outcome file, or its exit as the kernel told it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from jobwarden.config import ClaimDriver, Settings
from jobwarden.daemons.burial import Burial
from jobwarden.daemons.crew import Crew
from jobwarden.daemons.daemon import DeclaredDead
from jobwarden.daemons.desk import Desk
from jobwarden.daemons.fence import Fence
from jobwarden.daemons.guard import Guard
from jobwarden.daemons.loop import Loop
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.pace import Pace
from jobwarden.daemons.watch import Why
from jobwarden.daemons.writer import Result, Writer
from jobwarden.domain.states import Actor, WorkerState
from jobwarden.lifecycle.admit import WINDOW
from jobwarden.lifecycle.advance import BITE
from jobwarden.lifecycle.claim import Catch, Owner
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.seats import SeatBorn, SeatExited, Zygote
from jobwarden.store import workers
from jobwarden.store.database import Database, Transaction

_WATCH_INTERVAL = 0.25
_RELISTEN = 5.0
_LISTEN_ANEW = 300.0
_MOMENT = 2.0  # how long a worker that is told to end and has nothing to tell waits for a database that is away
_GOODBYE = 5.0  # how long seats that have nothing to do may take to go
_GATHERING = 0.05  # how long ends of members for which nobody waits gather before they are followed up
_BREATH = 0.005  # under load the writer rests at most this long between batches, so that more gathers


class Supervisor:
    """One worker. ``register`` writes its row; with ``burst`` it drains by itself when nothing is left to claim."""

    def __init__(
        self,
        database: Database,
        owner: Owner,
        settings: Settings,
        runtime: RuntimeDir,
        make_zygote: Callable[[], Zygote],
        loop: Loop,
        register: Callable[[Transaction], None],
        *,
        burst: bool = False,
        narrator: Narrator | None = None,
    ) -> None:
        self.draining = False
        self._runtime, self._register = runtime, register
        self._fence = Fence(owner.supervisor, owner.host.pid_scope, settings.self_fence_ttl)
        self._owner, self._settings, self._loop, self._burst = owner, settings, loop, burst
        self._narrator = narrator = narrator or Narrator()
        self._outbox = Outbox()
        self.crew = self._hire(make_zygote)
        here = f"worker {owner.worker_id[-8:]} on {owner.host.hostname}"
        self._desk = Desk(self.crew, self._outbox, settings, narrator, here, loop.unwatch, loop.clock)
        self._guard = self._post_guard(here)
        self._burial = Burial(
            self.crew, self._desk, self._guard, self._outbox, runtime, narrator, loop.unwatch, loop.clock
        )
        self._writer = Writer(database, owner, loop.ring, self._desk.depth, _races(settings, database))
        self._pace = Pace(settings.poll_min, settings.poll_idle, random.random)
        self._listener: Any = None
        self._listen_at = self._beat_at = self._admit_at = self._flush_at = self._watch_at = self._offer_at = 0.0
        self._drain_since: float | None = None
        self._window_over = False
        self._outage_since: float | None = None
        self._quiet_since = 0.0
        self._empty_looks = 0
        self._turns_gather = 0.0

    def _hire(self, make_zygote: Callable[[], Zygote]) -> Crew:
        settings, loop = self._settings, self._loop
        return Crew(
            make_zygote,
            self._runtime,
            settings.capacity,
            settings.pool_recycle,
            self._narrator,
            loop.watch,
            loop.unwatch,
            self._told,
            loop.clock,
        )

    def _post_guard(self, here: str) -> Guard:
        return Guard(
            self.crew.holds,
            self.crew.where,
            self._outbox,
            self._runtime.read_outcome,
            self._narrator,
            self._settings.beat_interval,
            by=(Actor.SUPERVISOR, self._owner.worker_id),
            unkillable_after=self._settings.unkillable_after,
            here=here,
        )

    # -- the story ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the writer; the first round does the rest."""
        self._fence.renew(self._fence.renewed, [self._runtime])
        self._writer.start()

    def tick(self) -> bool:
        """One round; False when there is nothing left to do and the supervisor may end."""
        self._loop.wait(self._patience())
        now = self._loop.clock()
        if (seconds := self._fence.overdue) is not None:
            self._isolate(seconds, now)
        for result in self._writer.take():
            self._take(result, now)
        self._check_writer(now)
        if not self.draining or self.crew.where:
            self.crew.keep(now, self._settings.zygote_recycle)
        self.crew.reap()
        self._burial.prove(now)
        if now >= self._watch_at:
            self._watch_at = now + _WATCH_INTERVAL
            self._guard.watch(now)
            self._desk.recall()
        self._offer(now)
        return not self._done(now)

    def drain(self) -> None:
        """Claim no more, and end when the last attempt has."""
        if self.draining:
            return
        self.draining = True
        self._drain_since = self._quiet_since = self._loop.clock()
        self._narrator.draining(len(self.crew.where))
        self._outbox.act(
            lambda transaction: workers.set_state(transaction, self._owner.worker_id, WorkerState.DRAINING)
        )
        self.crew.close()

    def end_attempts(self, *, at_once: bool) -> None:
        """End everything that runs: after its grace, or at once."""
        words = "the supervisor was told to end its attempts"
        self._guard.end_all(Why.SHUTDOWN, words, self._loop.clock(), at_once=at_once)
        if at_once:
            self.crew.end_all()

    def perish(self) -> None:
        """Others have taken what was ours: end every process of it, and settle nothing."""
        until = self._loop.clock() + _GOODBYE
        while self.crew.lives and self._loop.clock() < until:
            self.crew.end_all()
            self._loop.wait(_BREATH)
            self.crew.reap()
        self._outbox.take()

    def renew(self) -> None:
        """Replace the zygote: new code for new attempts, and nothing happens to those that run."""
        self.crew.renew()

    @property
    def healthy(self) -> bool:
        """Whether the writer moves."""
        return self._writer.moves(self._settings)

    def nudged(self) -> None:
        """There may be work."""
        self._pace.woken(self._loop.clock())

    def close(self, signal_name: str | None) -> None:
        """Say that this worker stopped, and let go of everything."""
        worker = self._owner.worker_id
        self._outbox.act(lambda transaction: workers.set_state(transaction, worker, WorkerState.STOPPED, signal_name))
        self._writer.close(self._outbox.take(), self._patience_with_the_last_word)
        for result in self._writer.take():
            result.batch.committed()
        if self._listener is not None:
            self._listener.close()
        self.crew.abandon()

    @property
    def _patience_with_the_last_word(self) -> float:
        return _MOMENT if self._outage_since is not None else self._settings.statement_timeout

    # -- the writer ---------------------------------------------------------------------------------------------------

    def _offer(self, now: float) -> None:
        if not self._writer.idle or now < self._offer_at:
            return
        batch, settings = self._outbox.batch, self._settings
        self._desk.commit_starts(now)
        ripe = now >= self._flush_at
        if ripe:
            self._flush_at = now + settings.log_flush_interval
            self._gather()
        if now >= self._admit_at:
            self._admit_at = now + settings.beat_interval * (0.4 + random.random() * 0.2)
            batch.admit = not self.draining
        if now >= self._beat_at:
            self._beat_at = now + settings.beat_interval
            if not (self.draining and self.crew.empty):  # else a slow database keeps the writer from ever being idle
                batch.load, batch.held = len(self.crew.where), list(self.crew.where)
                batch.stats = {"seats": {"busy": self.crew.busy, "idle": len(self.crew.holds) - self.crew.busy}}
                batch.listen = now >= self._listen_at
        if now >= self._pace.due and not self.draining and self.crew.ready is not None:
            batch.vacancies = self.crew.vacancies(settings.prefetch, self._desk.brisk)
            batch.lanes = settings.lanes
        if batch.waits or (ripe and batch):
            self._writer.offer(self._outbox.take())

    def _gather(self) -> None:
        """Take up what running attempts have said.

        A pool seat may have gone on to its next attempt. It tells the end of one before the next can say anything, so
        what its spool held before we heard it out is of the attempt that we then know to run.
        """
        for hold in [hold for hold in self.crew.holds.values() if hold.pending and not hold.closed]:
            held = hold.seat.spool.sizes()
            self._desk.hear(hold)
            for watched in list(hold.attempts.values()):
                if watched.started is not None and watched.report is None:
                    watched.listen(hold.seat.spool, held)
                    self._outbox.record(watched, hold)

    def _take(self, result: Result, now: float) -> None:
        """A batch is committed: tell those who wait for it, and act on what it brought."""
        busy = self.crew.busy > 1
        self._offer_at = now + min(result.seconds, _BREATH) if busy else 0.0
        result.batch.committed()
        for hold, watched in self._desk.open_barriers(result):
            self._guard.fence(hold, watched, now)
        for hold, attempt_ids in self._desk.acknowledge(result):
            self._burial.clear(hold, attempt_ids)
        if result.admitted:
            self._pace.woken(now)
        self._follow_up(result, now)
        if result.catch is not None:
            self._caught(result.catch, now)
        elif result.settled and self._empty_looks == 0:
            self._pace.soon(now)
        if result.owned is not None:
            self._prove_again(result, now)

    def _follow_up(self, result: Result, now: float) -> None:
        """When to advance batches and to admit next: soon, if somebody may wait for what ended; at once for more."""
        if result.advanced.turns:
            self._turns_gather = 0.0 if result.advanced.named else _GATHERING
        if result.advanced.named or any(settled.of_batch for settled in result.settled):
            self._admit_at = min(self._admit_at, now + self._turns_gather)
        if result.advanced.turns >= BITE or result.admitted >= WINDOW:
            self._admit_at = now

    def _prove_again(self, result: Result, now: float) -> None:
        """The beat's answer: whether we are still held for alive, what is asked of us, and what is still ours."""
        self._fence.renew(result.began, [self._runtime])
        standing = result.standing
        if standing is not None and not standing.known:
            self._outbox.act(self._register)
        elif standing is not None and not standing.living:
            raise DeclaredDead
        if standing is not None and standing.wish == workers.DRAIN and not self.draining:
            self._narrator.told_to_drain(standing.wish_actor, standing.wish_reason)
            self.drain()
        self._guard.compare(result.owned or (), result.ended, now)
        if result.batch.listen:
            self._hear_from(result.listener, now)

    def _isolate(self, seconds: float, now: float) -> None:
        """The database was not reached for too long: end what runs before another host may take it."""
        if ended := self._guard.end_all(Why.ISOLATED, f"the database was not reached for {seconds:.1f} s", now):
            self._narrator.isolated(seconds, ended)

    def _caught(self, catch: Catch, now: float) -> None:
        self._desk.seat(catch.seated, now)
        self._pace.looked(now, len(catch.seated), catch.more)
        self._empty_looks = 0 if catch.seated or catch.capped else self._empty_looks + 1
        if catch.unseated:
            self.crew.make_room(catch.unseated)

    def _check_writer(self, now: float) -> None:
        self._writer.press(now)
        if self._writer.failure is not None:
            raise self._writer.failure
        outage = self._writer.outage
        if outage is not None and self._outage_since is None:
            self._outage_since = outage.since
            self._deafen()
            self._narrator.outage(outage.why)
        elif outage is None and self._outage_since is not None:
            self._narrator.recovered(now - self._outage_since)
            self._outage_since = None

    # -- events and waiting -------------------------------------------------------------------------------------------

    def _told(self, event: SeatBorn | SeatExited) -> None:
        if isinstance(event, SeatBorn):
            hold = self.crew.holds[event.seat.nonce]
            self._loop.watch(event.seat, lambda: self._desk.hear(hold))
            if self._empty_looks == 0:
                self._pace.soon(self._loop.clock())
        elif event.nonce in self.crew.holds:
            self._burial.bury(self.crew.holds[event.nonce], event.exit)

    def _patience(self) -> float:
        """Seconds until there is something to do without an event."""
        now = self._loop.clock()
        times = [self._beat_at, self._watch_at, self._admit_at]
        if (proof := self._burial.next_proof) is not None:
            times.append(proof)
        if self._writer.idle:
            if self._outbox.batch.waits:
                return max(0.0, self._offer_at - now)
            if self._desk.running or self._outbox.batch:
                times.append(self._flush_at)
            if (start := self._desk.next_start) is not None:
                times.append(start)
            if not self.draining and self.crew.ready is not None and self.crew.busy < self._settings.capacity:
                times.append(self._pace.due)
        return max(0.0, max(min(times), self._offer_at) - now)

    def _hear_from(self, listener: Any, now: float) -> None:
        """Keep a listening connection where the engine has one; without it, polling does.

        It is replaced once in a while: one that only listens cannot tell silence from a line that is dead.
        """
        self._deafen()
        self._listen_at = now + (_RELISTEN if listener is None else _LISTEN_ANEW)
        self._listener = listener
        if listener is not None:
            self._loop.watch(listener, self._notified)
            self.nudged()

    def _notified(self) -> None:
        try:
            if self._listener.heard():
                self.nudged()
        except OSError:
            self._deafen()

    def _deafen(self) -> None:
        """Let go of the listening connection, if there is one; another is opened soon."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self._listen_at = self._loop.clock() + _RELISTEN
            self._loop.unwatch(listener)
            listener.close()

    def _done(self, now: float) -> bool:
        if self._burst and self._empty_looks >= 2 and not self.crew.where and not self._outbox.batch:
            self.drain()
        if not self.draining:
            return False
        self._mind_the_window(now)
        if self.crew.where or self._outbox.batch.tells or self._writer.unsettled:
            self._quiet_since = now
        if self._outage_since is not None and now - self._quiet_since > _MOMENT:
            self._narrator.unheard()
            return True
        return self._writer.idle and (self.crew.empty or now - self._quiet_since > _GOODBYE)

    def _mind_the_window(self, now: float) -> None:
        """Attempts for which the drain window is over are ended; the supervisor stays until that is proved."""
        window = self._settings.drain_timeout
        if self._window_over or not window or self._drain_since is None or now - self._drain_since <= window:
            return
        self._window_over = True
        if self.crew.where:
            self._narrator.window_over(len(self.crew.where), window)
            words = f"the drain window of {window:g} s is over"
            self._guard.end_all(Why.SHUTDOWN, words, now)


def _races(settings: Settings, database: Database) -> bool:
    if settings.claim_driver is not ClaimDriver.AUTO:
        return settings.claim_driver is ClaimDriver.RACING
    return not (database.facts.skips_locked or database.facts.one_machine)
