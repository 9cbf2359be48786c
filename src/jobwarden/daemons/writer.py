"""The writer: one thread that owns the supervisor's connection and commits whatever has gathered (group commit).

The event loop never waits for the database: it fills a `Batch`, offers it, and finds a `Result` later. The busier the
fleet, the more a batch holds. A batch is repeated until it is committed: every part of it is guarded, so a commit
whose answer was lost does no harm when it is repeated. A transient fault is outlasted without end; a mistake that
repeats ends the supervisor loudly after a few times; a value that the database refuses costs its own job only.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from jobwarden.config import Settings
from jobwarden.daemons.deadline import Deadline
from jobwarden.daemons.figures import Figures
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import Actor
from jobwarden.lifecycle.admit import admit
from jobwarden.lifecycle.advance import Advanced, advance
from jobwarden.lifecycle.claim import Catch, Owner, Vacancy, claim
from jobwarden.lifecycle.record import Record, record, record_exits
from jobwarden.lifecycle.settle import Settled, Settlement, settle
from jobwarden.lifecycle.start import Start, start
from jobwarden.process.kernel import boottime
from jobwarden.store import counters, history, workers
from jobwarden.store.database import Database, Fault, Transaction
from jobwarden.store.ids import new_ids

_STRIKES = 5
_SAMPLED = 60.0  # seconds between two looks at what is queued and busy
_RESTS = 10.0  # seconds between two tries, at the longest, and some slack


@dataclass(slots=True)
class Batch:
    """What the loop wants committed next; claims are only tried once, the rest until it is committed.

    ``settlements`` are what children reported, ``judgements`` what the supervisor proved of those who said nothing.
    ``acts`` are run first in the transaction, ``afterwards`` by the loop once it is committed.
    """

    records: list[Record] = field(default_factory=list)
    starts: list[Start] = field(default_factory=list)
    settlements: list[Settlement] = field(default_factory=list)
    judgements: list[Settlement] = field(default_factory=list)
    exits: list[dict[str, Any]] = field(default_factory=list)
    acts: list[Callable[[Transaction], None]] = field(default_factory=list)
    afterwards: list[Callable[[], None]] = field(default_factory=list)
    vacancies: Sequence[Vacancy] = ()
    lanes: Sequence[str] = ()
    admit: bool = False
    listen: bool = False
    load: int | None = None
    held: Sequence[str] = ()
    stats: Mapping[str, Any] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(
            self.settlements
            or self.judgements
            or self.starts
            or self.vacancies
            or self.records
            or self.exits
            or self.acts
            or self.admit
            or self.load is not None
        )

    def committed(self) -> None:
        """Do what was to be done once this is committed."""
        for act in self.afterwards:
            act()

    @property
    def size(self) -> int:
        """How many things it writes, beside what it claims."""
        parts = (self.settlements, self.judgements, self.starts, self.records, self.exits, self.acts)
        return sum(len(part) for part in parts)

    @property
    def tells(self) -> bool:
        """Whether it says anything of attempts that is said nowhere else."""
        return bool(self.settlements or self.judgements or self.starts or self.records or self.exits)

    @property
    def waits(self) -> bool:
        """Whether somebody waits for this batch; log lines and exit facts alone can gather longer."""
        return bool(
            self.settlements
            or self.judgements
            or self.starts
            or self.vacancies
            or self.acts
            or self.admit
            or self.load is not None
        )


@dataclass(slots=True)
class Result:
    """What a batch came to. ``owned`` is the database's list of our attempts in flight, ``ended`` those of
    ``Batch.held`` that are over by their own word, with their tokens; both where the batch asked. ``began`` is the
    host's time since boot, suspensions included, from which the database is known to have been reached."""

    batch: Batch
    started: set[str] = field(default_factory=set)
    settled: list[Settled] = field(default_factory=list)
    catch: Catch | None = None
    advanced: Advanced = Advanced()
    admitted: int = 0
    owned: list[Any] | None = None
    ended: dict[str, int] = field(default_factory=dict)
    listener: Any = None
    seconds: float = 0.0
    began: float = 0.0
    standing: workers.Standing | None = None


@dataclass(frozen=True, slots=True)
class Outage:
    """The database cannot be used now: since when (monotonic seconds), how often it was tried, and why."""

    since: float
    tries: int
    why: str


class Writer(threading.Thread):
    """Start it, `offer` batches, `take` results. ``wake`` is called from the thread when there is something to take."""

    def __init__(
        self,
        database: Database,
        owner: Owner,
        wake: Callable[[], None],
        depth: Callable[[str], int],
        racing: bool,
    ) -> None:
        super().__init__(name="jobwarden-writer", daemon=True)
        self.outage: Outage | None = None
        self.failure: BaseException | None = None
        self.last_success = time.monotonic()
        self.figures = Figures()
        self._database, self._owner, self._wake, self._depth = database, owner, wake, depth
        self._shuffle = random.shuffle if racing else None
        self._ready = threading.Condition()
        self._next: Batch | None = None
        self._current: Batch | None = None
        self._busy = False
        self._closing = False
        self._results: deque[Result] = deque()
        self._turn = 0
        self._sample_at = 0.0
        self._deadline = Deadline(database.options.silence, database.options.statement_timeout)
        self._since: float | None = None
        self._began = self.last_success
        database.hasten(self._deadline.shortest)

    @property
    def idle(self) -> bool:
        """Whether an offer would be taken up at once, and rests on all that is committed: no result waits."""
        return not self._busy and self._next is None and not self._results

    @property
    def unsettled(self) -> bool:
        """Whether anything about attempts waits here to be committed."""
        return any(batch is not None and batch.tells for batch in (self._next, self._current))

    @property
    def quiet_for(self) -> float:
        """Seconds since the thread began or committed a transaction: many if it hangs, few if the database is down."""
        return time.monotonic() - max(self.last_success, self._began)

    def moves(self, settings: Settings) -> bool:
        """Whether it commits, or tries again through a known outage, and does not merely hang."""
        return self.quiet_for < settings.beat_interval + 2 * settings.statement_timeout + _RESTS

    def offer(self, batch: Batch) -> None:
        """Hand a batch over; only when `idle`."""
        with self._ready:
            self._next = batch
            self._ready.notify()

    def take(self) -> list[Result]:
        """The results since the last call."""
        taken = []
        while self._results:
            taken.append(self._results.popleft())
        return taken

    def press(self, now: float) -> None:
        """Break off a call that takes too long, so that its batch is tried anew; called by the loop in every round.

        Whatever holds the connection open and swallows what is said, the thread never waits longer than that. What
        was broken off may have been committed: every part of a batch can be repeated.
        """
        since = self._since
        if since is None or now - max(since, self._database.heard) < self._deadline.seconds:
            return
        if self._database.break_off(now - self._deadline.seconds):
            self._deadline.missed()

    def close(self, last: Batch, seconds: float) -> bool:
        """Finish what was offered, then ``last``, and end; whether it ended within ``seconds``."""
        with self._ready:
            self._ready.wait_for(lambda: self._next is None, seconds)
            self._next, self._closing = last or None, True
            self._ready.notify_all()
        self.join(seconds)
        return not self.is_alive()

    def run(self) -> None:
        """The thread: commit batch after batch."""
        try:
            while (batch := self._await()) is not None:
                result = self._commit(batch)
                self._results.append(result)
                self._current = None
                self._busy = False
                self._wake()
        except BaseException as error:  # the loop must see it and end the process
            self.failure = error
            self._wake()
        finally:
            self._database.dispose()

    def _await(self) -> Batch | None:
        with self._ready:
            while self._next is None and not self._closing:
                self._ready.wait()
            batch = self._current = self._next
            self._next = None
            self._busy = batch is not None
            self._ready.notify_all()
            return batch

    def _commit(self, batch: Batch) -> Result:
        strikes = tries = 0
        while True:
            try:
                result = self._transact(batch)
            except (SQLAlchemyError, OSError) as error:
                fault = self._database.fault(error)
                if fault is Fault.DATA:
                    batch = self._without_poison(batch)
                    continue
                tries += 1
                strikes = 0 if fault.transient else strikes + 1
                if strikes >= _STRIKES:
                    raise
                self._suffer(fault, error, tries)
                batch = replace(batch, vacancies=())
            else:
                self.outage = None
                self.last_success = time.monotonic()
                return result

    def _suffer(self, fault: Fault, error: BaseException, tries: int) -> None:
        at_once = time.monotonic() - self._began < self._deadline.statement
        if fault is Fault.CONFLICT and tries < 20 and at_once:
            self.figures.conflicts += 1
            time.sleep(random.random() * 0.01 * tries)
            return
        self.figures.faults += 1
        since = self.outage.since if self.outage else time.monotonic()
        cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        self.outage = Outage(since, tries, " ".join(str(cause).split()))
        self._wake()
        self._database.reconnect()
        time.sleep(self._deadline.pause.delay(tries, random.random()))

    def _transact(self, batch: Batch) -> Result:
        result, begin = Result(batch, began=boottime()), time.monotonic()
        with self._pressed(), self._database.write() as transaction:
            self._write(transaction, batch, result)
        result.seconds = time.monotonic() - begin
        self._deadline.met(result.seconds)
        self.figures.committed(batch.size + len(result.catch.seated if result.catch else ()), result.seconds)
        if batch.listen:
            result.listener = self._listen()
        return result

    @contextmanager
    def _pressed(self) -> Iterator[None]:
        """What is done in it can be broken off."""
        self._since = self._began = time.monotonic()
        try:
            yield
        finally:
            self._since = None

    def _listen(self) -> Any:
        try:
            with self._pressed():
                return self._database.listen()
        except (SQLAlchemyError, OSError):
            return None

    def _write(self, transaction: Transaction, batch: Batch, result: Result) -> None:
        worker = self._owner.worker_id
        for act in batch.acts:
            act(transaction)
        if batch.admit:
            result.advanced = advance(transaction, worker)
        if batch.records:
            record(transaction, batch.records)
        if batch.starts:
            result.started = start(transaction, batch.starts, worker)
        result.settled = settle(transaction, batch.settlements, Actor.WORKER, worker)
        result.settled += settle(transaction, batch.judgements, Actor.SUPERVISOR, worker)
        record_exits(transaction, batch.exits)
        if batch.admit:
            result.admitted = admit(transaction, worker)
        if batch.vacancies:
            result.catch = self._claim(transaction, batch)
        if batch.load is not None:
            self._beat(transaction, batch, batch.load, result)

    def _beat(self, transaction: Transaction, batch: Batch, load: int, result: Result) -> None:
        worker = self._owner.worker_id
        result.standing = workers.beat(transaction, worker, load, {**self.figures.data(), **batch.stats})
        result.owned = workers.owned(transaction, worker)
        missing = set(batch.held) - {row.id for row in result.owned}
        result.ended = workers.ended(transaction, sorted(missing))
        counters.fold(transaction)
        history.fold(transaction)
        if time.monotonic() >= self._sample_at:
            self._sample_at = time.monotonic() + _SAMPLED
            history.sample(transaction)

    def _claim(self, transaction: Transaction, batch: Batch) -> Catch:
        self._turn += 1
        first = self._turn % len(batch.lanes)
        lanes = [*batch.lanes[first:], *batch.lanes[:first]]
        return claim(transaction, lanes, batch.vacancies, self._owner, new_ids, self._depth, self._shuffle)

    # -- a value that the database refuses ----------------------------------------------------------------------------

    def _without_poison(self, batch: Batch) -> Batch:
        """The batch without the rows that the database refuses: each part is tried alone in a transaction undone."""
        settlements = [given if self._accepted(settle_one(given)) else _refused(given) for given in batch.settlements]
        judgements = [given if self._accepted(settle_one(given)) else _refused(given) for given in batch.judgements]
        records = [said for said in batch.records if self._accepted(record_one(said))]
        clean = replace(batch, settlements=settlements, judgements=judgements, records=records, vacancies=(), load=None)
        if clean == replace(batch, vacancies=(), load=None):
            raise RuntimeError("the database refuses a value that no single row brings")
        return clean

    def _accepted(self, work: Callable[[Transaction], object]) -> bool:
        try:
            with self._pressed(), self._database.write() as transaction:
                work(transaction)
                raise _UndoneError
        except _UndoneError:
            return True
        except DBAPIError as error:
            if self._database.fault(error) is Fault.DATA:
                return False
            raise


class _UndoneError(Exception):
    """Rolls a trial back."""


def settle_one(given: Settlement) -> Callable[[Transaction], object]:
    """The settling of one report, to be tried."""
    return lambda transaction: settle(transaction, [given], Actor.WORKER, None)


def record_one(said: Record) -> Callable[[Transaction], object]:
    """The recording of one attempt's lines, to be tried."""
    return lambda transaction: record(transaction, [said])


def _refused(given: Settlement) -> Settlement:
    """What is settled in place of a report that the database will not keep: a failure that says so."""
    message = "the database refused to keep what this attempt reported; the handler had ended"
    error = {"class": "OutcomeRefused", "message": message, "reported": given.report.outcome.value}
    report = Report(
        given.report.attempt_id, Outcome.FAILED, error=error, reason=message, retryable=False, usage=given.report.usage
    )
    return replace(given, report=report)
