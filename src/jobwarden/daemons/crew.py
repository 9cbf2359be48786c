"""The crew: the zygote and its seats, kept ready ahead of need, and what each seat holds.

The processes exist before the claim. A zygote that dies or breaks is replaced with growing pauses, and one that has
forked often enough is retired, without touching what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.watch import Watched
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.report import Report
from jobwarden.lifecycle.claim import Vacancy
from jobwarden.process.body import kill_all
from jobwarden.process.exits import Exit
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.seats import (
    Event,
    Seat,
    SeatBorn,
    SeatExited,
    SeatUnable,
    Zygote,
    ZygoteBroken,
    ZygoteGone,
    ZygoteReady,
)

_PATIENCE = Backoff(base=1.0, factor=2.0, cap=60.0, jitter=False)


@dataclass(slots=True)
class Hold:
    """A seat and its attempts in the order in which it runs them; ``last`` is the one that was settled last.

    ``pending`` of them have not reported; ``recalled`` says behind which of them what waits was asked back, and how
    many there were. A ``retired`` seat, whose zygote was replaced, runs what it has and gets nothing new.
    """

    seat: Seat
    attempts: dict[str, Watched] = field(default_factory=dict)
    pending: int = 0
    last: Watched | None = None
    pooled: bool = False
    ran: int = 0
    retired: bool = False
    dismissed: bool = False
    closed: bool = False
    exit: Exit | None = None
    recalled: tuple[str, int] | None = None

    @property
    def unreported(self) -> Iterator[Watched]:
        """Its attempts that have not reported: the one that runs, and those behind it."""
        return (watched for watched in self.attempts.values() if watched.report is None)

    @property
    def ready(self) -> bool:
        """Whether the seat can take a claim: it lives, and was neither used up, nor retired, nor sent away."""
        return not (self.closed or self.dismissed or self.retired or (self.ran and not self.pooled))


class Crew:
    """Zygotes and seats.

    ``holds`` are the seats by nonce, ``where`` the seat of each attempt that is not settled, ``busy`` the seats with an
    attempt that has not reported. ``watch`` and ``unwatch`` register descriptors with the loop's selector; ``tell`` is
    called for every birth and death of a seat; ``clock`` is monotonic.
    """

    def __init__(
        self,
        make_zygote: Callable[[], Zygote],
        runtime: RuntimeDir,
        capacity: int,
        pool_recycle: int,
        narrator: Narrator,
        watch: Callable[[Any, Callable[[], object]], None],
        unwatch: Callable[[Any], None],
        tell: Callable[[SeatBorn | SeatExited], None],
        clock: Callable[[], float],
    ) -> None:
        self.ready: ZygoteReady | None = None
        self.holds: dict[str, Hold] = {}
        self.where: dict[str, Hold] = {}
        self.busy = 0
        self.fallback: str | None = None
        self._make, self._runtime, self._narrator = make_zygote, runtime, narrator
        self._watch, self._unwatch, self._tell, self._clock = watch, unwatch, tell, clock
        self._capacity, self._pool_recycle = capacity, pool_recycle
        self._spare = max(1, capacity // 2)
        self._fresh: dict[str, Hold] = {}
        self._pool: dict[str, Hold] = {}
        self._zygote: Zygote | None = None
        self._old: list[Zygote] = []
        self._asked = 0
        self._forks = 0
        self._failures = 0
        self._retry_at = 0.0
        self._closing = False

    @property
    def empty(self) -> bool:
        """Whether no seat and no zygote is left."""
        return not (self.holds or self._zygotes())

    @property
    def lives(self) -> bool:
        """Whether the process of any seat has not ended."""
        return any(not hold.seat.ended for hold in self.holds.values())

    def adopt(self, zygote: Zygote, ready: ZygoteReady) -> None:
        """Go on with a zygote that is started already."""
        self._zygote, self.ready = zygote, ready
        self._watch(zygote, lambda: self._receive(zygote))

    def knows(self, job: str) -> bool:
        """Whether the application has that job; while a zygote is being replaced, the seat knows better than we."""
        if self.ready is None or job in self.ready.jobs:
            return True
        return any(job in options.get("aliases", ()) for options in self.ready.jobs.values())

    def keep(self, now: float, recycle: int) -> None:
        """Keep a zygote and enough seats; called on every round."""
        if self._closing:
            return
        if self._zygote is None:
            if now >= self._retry_at:
                self._start()
            return
        if self.ready is None:
            return
        if recycle and self._forks >= recycle:
            self.renew()
            return
        spare = min(self._spare, self._capacity)
        usable = len(self._fresh) + len(self._pool)
        missing = max(self._capacity + spare - usable, min(spare, 2) - len(self._fresh)) - self._asked
        room = 2 * (self._capacity + spare) - len(self.holds) - self._asked
        self._fork(min(missing, room))

    def vacancies(self, prefetch: int, brisk: Callable[[Hold], bool]) -> list[Vacancy]:
        """Where claims can go now: as many idle seats as capacity allows, and room on pool seats that are busy and
        ``brisk``."""
        free = self._capacity - self.busy
        offers: list[Vacancy] = []
        for hold in self._pool.values():
            if 0 < hold.pending <= prefetch // 2:
                if brisk(hold):
                    offers.append(self._offer(hold, prefetch))
            elif not hold.pending and free > 0:
                free -= 1
                offers.append(self._offer(hold, prefetch))
        offers.extend(self._offer(hold, prefetch) for hold in islice(self._fresh.values(), max(0, free)))
        return [offer for offer in offers if offer.room > offer.taken]

    def give(self, hold: Hold, watched: Watched, pooled: bool) -> None:
        """The seat holds an attempt now."""
        hold.attempts[watched.id] = watched
        self.where[watched.id] = hold
        self.busy += hold.pending == 0
        hold.pending += 1
        hold.ran += 1
        hold.pooled = pooled
        self._place(hold)

    def reported(self, hold: Hold, watched: Watched, report: Report) -> None:
        """An attempt's end is known; it is watched until that is settled."""
        watched.report = report
        hold.pending -= 1
        self.busy -= hold.pending == 0

    def take(self, hold: Hold, attempt_id: str) -> Watched:
        """The attempt is settled, or no longer ours to settle."""
        self.where.pop(attempt_id, None)
        return hold.attempts.pop(attempt_id)

    def retire_if_used_up(self, hold: Hold) -> None:
        """Send a seat away that has run its number, or is to get nothing new, once it holds nothing."""
        used_up = self._closing or hold.retired or (self._pool_recycle and hold.ran >= self._pool_recycle)
        if used_up and not hold.attempts:
            self.dismiss(hold)

    def closed(self, hold: Hold) -> None:
        """The seat's socket is closed."""
        hold.closed = True
        self._place(hold)

    def dismiss(self, hold: Hold, op: str = "bye") -> None:
        """Send an idle seat away; with ``leave`` one that is to go although nobody acknowledges what it told."""
        if not hold.dismissed and not hold.closed:
            hold.dismissed = True
            self._place(hold)
            hold.seat.send({"op": op})

    def make_room(self, wanted: int) -> None:
        """Send idle pool seats away so that fresh ones can take their places."""
        idle = [hold for hold in self._pool.values() if not hold.attempts]
        for hold in idle[:wanted]:
            self.dismiss(hold)

    def renew(self) -> None:
        """Start a new zygote with the code as it is now; the old one stays for its running seats only."""
        old, self._zygote, self.ready = self._zygote, None, None
        self._asked = self._forks = 0
        if old is not None:
            old.retire()
            self._old.append(old)
        for hold in self.holds.values():
            hold.retired = True
            self._place(hold)
            self.retire_if_used_up(hold)
        self._start()

    def close(self) -> None:
        """No more seats: idle ones are sent away and the zygotes go when their last seat is gone."""
        self._closing = True
        for hold in self.holds.values():
            self.retire_if_used_up(hold)
        if self._zygote is not None:
            self._zygote.retire()

    def abandon(self) -> None:
        """Close every socket: what still runs notices, and reports for itself."""
        for hold in self.holds.values():
            self._unwatch(hold.seat)
            hold.seat.close()
        for zygote in self._zygotes():
            zygote.close()

    def end_all(self) -> None:
        """SIGKILL every seat's tree."""
        kill_all([hold.seat.body for hold in self.holds.values()])

    def reap(self) -> None:
        """Reap what has ended of the seats whose zygote is gone; called on every round."""
        for zygote in self._old:
            for end in zygote.reap_orphans():
                self._tell(end)
        self._old = [zygote for zygote in self._old if not zygote.gone or zygote.seats]

    def forget(self, nonce: str) -> None:
        """A seat is gone and everything of it was taken care of."""
        hold = self.holds.pop(nonce)
        self._fresh.pop(nonce, None)
        self._pool.pop(nonce, None)
        hold.seat.close()

    def _start(self) -> None:
        self._zygote = self._make()
        self._asked = self._forks = 0
        try:
            self._zygote.start()
        except OSError as error:
            self._zygote = None
            self._fail(f"the zygote could not be started ({error})", "", self._clock())
            return
        zygote = self._zygote
        self._watch(zygote, lambda: self._receive(zygote))

    def _receive(self, zygote: Zygote) -> None:
        for event in zygote.receive():
            if isinstance(event, SeatBorn):
                self._born(zygote, event)
            if isinstance(event, SeatBorn | SeatExited):
                self._tell(event)
            else:
                self._zygote_said(zygote, event, self._clock())

    def _fork(self, count: int) -> None:
        if count > 0 and self._zygote is not None:
            self._zygote.fork(count)
            self._asked += count
            self._forks += count

    def _born(self, zygote: Zygote, event: SeatBorn) -> None:
        hold = self.holds[event.seat.nonce] = Hold(event.seat, retired=zygote is not self._zygote)
        if hold.retired or self._closing:
            self.dismiss(hold)
            return
        self._place(hold)
        self._asked = max(0, self._asked - 1)
        if event.seat.fallback and event.seat.fallback != self.fallback:
            self._narrator.fallback(event.seat.fallback)
        self.fallback = event.seat.fallback

    def _zygote_said(self, zygote: Zygote, event: Event, now: float) -> None:
        match event:
            case ZygoteReady():
                if zygote is self._zygote:
                    self.ready, self._failures = event, 0
                    self._narrator.ready(len(event.jobs), event.python)
            case ZygoteBroken():
                self._fail(event.error, event.trace, now)
            case ZygoteGone():
                self._gone(zygote, event, now)
            case SeatUnable():
                self._asked = max(0, self._asked - 1)
                self._narrator.unable(event.error)

    def _fail(self, error: str, trace: str, now: float) -> None:
        self._failures += 1
        delay = _PATIENCE.delay(self._failures, 0.0)
        self._retry_at = now + delay
        self._narrator.broken(error, trace, delay)

    def _gone(self, zygote: Zygote, event: ZygoteGone, now: float) -> None:
        self._unwatch(zygote)
        if zygote in self._old:
            return
        self._old.append(zygote)
        if zygote is self._zygote:
            healthy = self.ready is not None
            self._zygote, self.ready, self._asked = None, None, 0
            if healthy and not self._closing:
                self._narrator.zygote_gone(event.status)
                self._retry_at = now

    def _offer(self, hold: Hold, prefetch: int) -> Vacancy:
        """Room on a seat: ``prefetch`` at most, and no more than it may still run."""
        room = prefetch
        if self._pool_recycle:
            room = min(prefetch, max(1, self._pool_recycle - hold.ran) + hold.pending)
        seat = hold.seat
        return Vacancy(seat.nonce, seat.process, hold.pooled, room, seat.fallback, hold.pending)

    def _place(self, hold: Hold) -> None:
        """Keep a seat among the fresh ones, among the pool, or among neither."""
        nonce, ready = hold.seat.nonce, hold.ready
        _keep(self._fresh, nonce, hold, ready and not hold.ran)
        _keep(self._pool, nonce, hold, ready and hold.ran > 0)

    def _zygotes(self) -> list[Zygote]:
        return [*self._old, *([self._zygote] if self._zygote else [])]


def _keep(among: dict[str, Hold], nonce: str, hold: Hold, wanted: bool) -> None:
    if wanted:
        among[nonce] = hold
    else:
        among.pop(nonce, None)
