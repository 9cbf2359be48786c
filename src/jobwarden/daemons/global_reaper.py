"""The global reaper: recovers what hosts left behind that nobody on them can answer for any more.

One leads (a lease). It beats before it looks, and judges nobody until it has itself watched for the whole time that it
holds against them: an outage for everyone, or a sleep of its own, begins the watch anew. Where the local reaper of a
pid scope beats, that one looks at processes and this one keeps its hands off. Daemons that hold nothing are declared
dead once they are silent; attempts are taken only from a dark scope, in which neither their owner nor any local reaper
was seen for ``death_budget``, when the host must have ended them itself. In a dark scope that happens to be our own,
`/proc` is asked too, and what the dead left is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jobwarden.config import Settings
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.pruning import Pruning
from jobwarden.daemons.vigil import Vigil
from jobwarden.daemons.writer import Result
from jobwarden.domain.report import Report
from jobwarden.domain.states import LIVE_WORKER, JobState
from jobwarden.lifecycle.advance import advance
from jobwarden.lifecycle.backstop import restart_stalled
from jobwarden.lifecycle.claim import Owner
from jobwarden.lifecycle.recover import (
    Charge,
    Daemon,
    charges_of,
    declare_dead,
    fleet,
    in_flight_count,
    orphan,
    stranded,
    unstrand,
)
from jobwarden.process import probe
from jobwarden.process.body import Body
from jobwarden.process.kernel import boottime
from jobwarden.process.runtime_dir import of_seat
from jobwarden.store import counters, leases
from jobwarden.store.database import Transaction

_LEASE = "global_reaper"
_BACKSTOP_EVERY = 15  # looks
_STRANDED_GRACE = 30.0  # seconds that a job may seem to run without an attempt, before that is believed
_FORGET_LEASES_AFTER = 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: whether we lead, and if so every daemon that lives or holds attempts."""

    leads: bool
    fleet: Sequence[Daemon] = field(default_factory=list)


class GlobalReaper:
    """A `daemon.Duty` that does all its work in the database."""

    role = _LEASE
    finished = False

    def __init__(self, owner: Owner, settings: Settings, base: Path, outbox: Outbox, narrator: Narrator) -> None:
        self._me, self._scope, self._base = owner.worker_id, owner.host.pid_scope, base
        self._settings, self._outbox, self._narrator = settings, outbox, narrator
        self._vigil = Vigil(gap=settings.silence / 2)
        self._leads = False
        self._looks = 0
        self._said: set[str] = set()
        self._lit: dict[str, float] = {}
        self._pruning = Pruning(settings, self._me, outbox, narrator, boottime)

    @property
    def held(self) -> list[str]:
        """It never holds an attempt."""
        return []

    def look(self, transaction: Transaction) -> Seen:
        """Take or renew the lease, and look at the whole fleet if it is ours."""
        if not leases.acquire(transaction, _LEASE, self._me, self._settings.silence):
            return Seen(leads=False)
        return Seen(True, fleet(transaction))

    def heed(self, seen: Seen) -> None:
        """Judge those who are silent."""
        if seen.leads and not self._leads:
            self._narrator.leads(_LEASE)
        if not seen.leads:
            self._vigil.begin_anew()
        self._leads = seen.leads
        self._pruning.lead(seen.leads)
        self._vigil.look({daemon.id: (daemon.state, daemon.beat) for daemon in seen.fleet}, boottime())
        self._note_lights(seen.fleet)
        for daemon in seen.fleet:
            if daemon.id != self._me and not self._answers(daemon):
                self._judge(daemon)
        self._backstop(seen)

    def beaten(self, result: Result) -> None:
        """Nothing is ours, so nothing is proved again."""

    def watch(self) -> None:
        """There are no processes to look at: go on with what need not be kept."""
        self._pruning.watch()

    def interrupted(self) -> None:
        """What was watched before an outage does not count."""
        self._vigil.begin_anew()

    def leave(self, transaction: Transaction) -> None:
        """Let the next one lead at once."""
        leases.release(transaction, _LEASE, self._me)

    # -- judging ------------------------------------------------------------------------------------------------------

    def _answers(self, daemon: Daemon) -> bool:
        """Whether it counts as living and is not known to be silent."""
        return daemon.state in LIVE_WORKER and self._vigil.silent(daemon.id) <= self._settings.silence

    def _note_lights(self, seen: Sequence[Daemon]) -> None:
        """When the local reaper of each pid scope was last known to be there (seconds since boot)."""
        now = boottime()
        for daemon in seen:
            if daemon.role == "local_reaper" and daemon.state in LIVE_WORKER:
                last = now - self._vigil.silent(daemon.id)
                self._lit[daemon.pid_scope] = max(last, self._lit.get(daemon.pid_scope, last))
        self._lit = {scope: last for scope, last in self._lit.items() if now - last <= self._settings.death_budget}

    def _judge(self, daemon: Daemon) -> None:
        silent = self._vigil.silent(daemon.id)
        if not daemon.holds:
            if silent > self._settings.silence:
                self._declare(daemon, silent)
        elif daemon.pid_scope in self._lit:
            self._leave_to_its_host(daemon)
        elif silent > self._settings.death_budget:
            self._declare(daemon, silent)

    def _leave_to_its_host(self, daemon: Daemon) -> None:
        if daemon.id not in self._said:
            self._said.add(daemon.id)
            self._narrator.left_to_its_host(daemon.id, daemon.hostname or daemon.pid_scope)

    def _declare(self, daemon: Daemon, silent: float) -> None:
        self._outbox.ask(
            lambda transaction: self._end(transaction, daemon, silent),
            lambda taken: self._told(daemon, silent, taken),
        )

    def _end(self, transaction: Transaction, daemon: Daemon, silent: float) -> int | None:
        """Declare it dead and take what it holds; None if it has answered meanwhile."""
        charges = [charge for charge in charges_of(transaction, daemon.id) if not self._breathes(charge)]
        live = daemon.state in LIVE_WORKER and daemon.beat is not None
        if live and daemon.beat and not declare_dead(transaction, daemon.id, daemon.beat):
            return None
        where = daemon.hostname or daemon.pid_scope
        words = f"its host {where} has been dark for {silent:.1f} s: nobody there reached the database"
        evidence = {"tier": "global", "silent": round(silent, 3), "pid_scope": daemon.pid_scope}
        return orphan(transaction, charges, self._me, words, evidence, self._left_by)

    def _breathes(self, charge: Charge) -> bool:
        """Whether we can see that something of it lives: only in our own scope."""
        here = charge.pid_scope == self._scope
        return here and (probe.alive(charge.child) or bool(Body(charge.nonce, charge.child).members()))

    def _left_by(self, charge: Charge) -> Report | None:
        """The outcome that the attempt left, where we can see what it leaves."""
        here = of_seat(self._base, charge.nonce) if charge.pid_scope == self._scope else None
        return here.read_outcome(charge.attempt_id) if here is not None else None

    def _told(self, daemon: Daemon, silent: float, taken: int | None) -> None:
        where = daemon.hostname or daemon.pid_scope
        if taken is None:
            return
        if daemon.state in LIVE_WORKER:
            self._narrator.declares_dead(daemon.role, daemon.id, where, silent, daemon.holds)
        if taken:
            self._narrator.given_up(taken, where, silent)

    # -- the backstop -------------------------------------------------------------------------------------------------

    def _backstop(self, seen: Seen) -> None:
        self._looks += 1
        if seen.leads and self._looks % _BACKSTOP_EVERY == 0:
            self._outbox.ask(self._advance, self._restarted)
            self._outbox.ask(self._sweep, self._swept)

    def _advance(self, transaction: Transaction) -> list[str]:
        """Go on with batches, and look for those with which nothing goes on: there should be none."""
        advance(transaction, self._me)
        return restart_stalled(transaction, self._me)

    def _restarted(self, batch_ids: Sequence[str]) -> None:
        for batch_id in batch_ids:
            self._narrator.stalled(batch_id)

    def _sweep(self, transaction: Transaction) -> list[tuple[str, str]]:
        """Jobs that run without an attempt are searched only when the counts, which are cheap, do not agree."""
        leases.forget(transaction, "local_reaper:", _FORGET_LEASES_AFTER)
        running: Counter[str] = Counter()
        for states in counters.totals(transaction).values():
            running.update(states)
        if running[JobState.RUNNING] == in_flight_count(transaction):
            return []
        return unstrand(transaction, stranded(transaction, _STRANDED_GRACE), self._me)

    def _swept(self, moved: Sequence[tuple[str, str]]) -> None:
        for job_id, state in moved:
            self._narrator.stranded(job_id, state)
