"""The skeleton of the daemons that run no jobs themselves: a row that beats, a look at the database with each beat,
and a loop that never waits for either.

A duty says what is looked for and what is done about it; only this module knows how to register, to beat, to outlast
an outage, to drain and to stop. One round is `Daemon.tick`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from jobwarden.config import Settings
from jobwarden.daemons.loop import Loop
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.writer import Result, Writer
from jobwarden.domain.states import WorkerState
from jobwarden.lifecycle.claim import Owner
from jobwarden.store import workers
from jobwarden.store.database import Database, Transaction

_WATCH_INTERVAL = 0.25


class DeclaredDead(RuntimeError):
    """This daemon was declared dead by another: it must not go on as it is."""


class Duty(Protocol):
    """What a daemon does beside beating."""

    @property
    def held(self) -> Sequence[str]:
        """The attempts that it holds."""
        ...

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do, for good."""
        ...

    def look(self, transaction: Transaction) -> Any:
        """Read what is to be judged, in the transaction of a beat, on the writer's thread."""
        ...

    def heed(self, seen: Any) -> None:
        """Act on what `look` brought, once its transaction is committed."""
        ...

    def beaten(self, result: Result) -> None:
        """A beat is committed: the database was reached, and told what is ours."""
        ...

    def watch(self) -> None:
        """Look at processes and deadlines; called several times a second, database or not."""
        ...

    def interrupted(self) -> None:
        """The database could not be reached: what was observed so far must not be built upon."""
        ...

    def leave(self, transaction: Transaction) -> None:
        """The last transaction: give back what others may take over."""
        ...


class Daemon:
    """One daemon; ``register`` writes its row."""

    def __init__(
        self,
        database: Database,
        owner: Owner,
        settings: Settings,
        loop: Loop,
        outbox: Outbox,
        duty: Duty,
        register: Callable[[Transaction], None],
        narrator: Narrator,
    ) -> None:
        self._owner, self._settings, self._loop = owner, settings, loop
        self._outbox, self._duty, self._register, self._narrator = outbox, duty, register, narrator
        self._writer = Writer(database, owner, loop.ring, lambda job: 1, racing=False)
        self._beat_at = self._watch_at = 0.0
        self._outage_since: float | None = None
        self._stopping = False

    def start(self) -> None:
        """Start the writer; the first round does the rest."""
        self._writer.start()

    def tick(self) -> bool:
        """One round; False when the daemon may end."""
        self._loop.wait(self._patience())
        now = self._loop.clock()
        for result in self._writer.take():
            self._take(result)
        self._check_writer(now)
        if now >= self._watch_at:
            self._watch_at = now + _WATCH_INTERVAL
            self._duty.watch()
        self._offer(now)
        return not (self._stopping or self._duty.finished)

    @property
    def healthy(self) -> bool:
        """Whether the writer moves."""
        return self._writer.moves(self._settings)

    def stop(self) -> None:
        """End with this round."""
        self._stopping = True

    def close(self, signal_name: str | None) -> None:
        """Give back what others may take over, say that this daemon stopped, and let go of the database."""
        self._outbox.act(self._duty.leave)
        worker = self._owner.worker_id
        self._outbox.act(lambda transaction: workers.set_state(transaction, worker, WorkerState.STOPPED, signal_name))
        self._writer.close(self._outbox.take(), self._settings.silence)

    def _offer(self, now: float) -> None:
        if not self._writer.idle:
            return
        if now >= self._beat_at:
            self._beat_at = now + self._settings.beat_interval * (0.9 + random.random() * 0.2)
            held = self._duty.held
            self._outbox.batch.load, self._outbox.batch.held = len(held), held
            self._outbox.ask(self._duty.look, self._duty.heed)
        if self._outbox.batch:
            self._writer.offer(self._outbox.take())

    def _take(self, result: Result) -> None:
        if result.standing is not None:
            self._stand(result.standing)
        result.batch.committed()
        if result.standing is not None:
            self._duty.beaten(result)

    def _stand(self, standing: workers.Standing) -> None:
        if not standing.known:
            self._outbox.act(self._register)
        elif not standing.living:
            raise DeclaredDead
        if standing.wish == workers.DRAIN:
            self._narrator.told_to_drain(standing.wish_actor, standing.wish_reason)
            self.stop()

    def _check_writer(self, now: float) -> None:
        self._writer.press(now)
        if self._writer.failure is not None:
            raise self._writer.failure
        outage = self._writer.outage
        if outage is not None:
            self._duty.interrupted()
        if outage is not None and self._outage_since is None:
            self._outage_since = outage.since
            self._narrator.outage(outage.why)
        elif outage is None and self._outage_since is not None:
            self._narrator.recovered(now - self._outage_since)
            self._outage_since = None

    def _patience(self) -> float:
        now = self._loop.clock()
        if self._writer.idle and self._outbox.batch:
            return 0.0
        return max(0.0, min(self._beat_at if self._writer.idle else self._watch_at, self._watch_at) - now)
