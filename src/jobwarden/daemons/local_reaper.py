"""The local reaper: recovers what supervisors of its own pid scope left behind, by proof alone.

It looks at every attempt in flight of the scope and asks `/proc` about owner and child. An owner that lives and beats
is left alone. One that lives and is silent, for longer than a daemon may be and while we ourselves were watching all
the time, hangs: it is ended, and nothing of its children. A child whose owner is gone is adopted if it lives, and
settled from what it left if it does not. Nothing that cannot be verified is ever signalled, and nothing is given up
while something of it breathes. One reaper of a scope acts (a lease); the others are spares. It goes when its own
supervisor is gone and there is nothing left to watch.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jobwarden.config import OrphanChildren, Settings
from jobwarden.daemons.blockade import Blockade
from jobwarden.daemons.fence import Fence
from jobwarden.daemons.guard import Guard
from jobwarden.daemons.inquest import Inquest
from jobwarden.daemons.loop import Loop
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.vigil import Vigil
from jobwarden.daemons.wards import AdoptedSeat, Ward, Wards
from jobwarden.daemons.watch import Why
from jobwarden.daemons.writer import Result
from jobwarden.domain.states import LIVE_WORKER, Actor
from jobwarden.lifecycle.claim import Owner
from jobwarden.lifecycle.recover import Charge, adopt, charges_in
from jobwarden.process import pidfd, probe
from jobwarden.process.body import Body
from jobwarden.process.cgroup import Cgroups, find_delegated
from jobwarden.process.kernel import boottime
from jobwarden.process.runtime_dir import Keeper, RuntimeDir, all_in
from jobwarden.runner.shipping import ship
from jobwarden.store import leases, workers
from jobwarden.store.database import Transaction

_OTHERS_SLACK = 1.0  # whoever is responsible fences first; this much later, whoever sees it does
_SWEEP_EVERY = 10
_FOREIGN_KEPT = 7 * 86400.0  # seconds for which a directory of another pid scope is kept, silent as it may be


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: whether we hold the scope's lease, and if so its attempts in flight.

    Before they were read it was known of ``alone`` that our supervisor is gone, and of ``spent`` directories that their
    keepers are: what those claimed last is among the attempts.
    """

    leads: bool
    charges: Sequence[Charge] = field(default_factory=list)
    alone: bool = False
    spent: Sequence[RuntimeDir] = ()


class LocalReaper:
    """A `daemon.Duty`. ``parent_gone`` says whether the supervisor that it was started beside has ended."""

    role = "local_reaper"

    def __init__(
        self,
        owner: Owner,
        settings: Settings,
        base: Path,
        loop: Loop,
        outbox: Outbox,
        narrator: Narrator,
        parent_gone: Callable[[], bool],
        blockade: Blockade,
    ) -> None:
        self._me, self._scope = owner.worker_id, owner.host.pid_scope
        self._settings, self._base, self._loop = settings, base, loop
        self._outbox, self._narrator, self._parent_gone = outbox, narrator, parent_gone
        self._blockade = blockade
        self._lease = f"{self.role}:{self._scope}"
        self._vigil = Vigil(gap=settings.silence / 2)
        self._fence = Fence(owner.supervisor, self._scope, settings.self_fence_ttl)
        delegated, _ = find_delegated()
        cgroups = Cgroups(delegated) if delegated is not None else None
        self._wards = Wards(base, cgroups)
        self._guard = Guard(
            self._wards.holds,
            self._wards.where,
            outbox,
            lambda attempt_id: None,
            narrator,
            settings.beat_interval,
            by=(Actor.REAPER, self._me),
            unkillable_after=settings.unkillable_after,
            here=f"reaper {owner.worker_id[-8:]} on {owner.host.hostname}",
        )
        self._inquest = Inquest(self._me, base, cgroups, outbox, narrator, loop.clock)
        self._leads = self._idle = False
        self._charges: Sequence[Charge] = ()
        self._looks = 0

    # -- the duty -----------------------------------------------------------------------------------------------------

    @property
    def held(self) -> list[str]:
        """The attempts that are ours."""
        return list(self._wards.where)

    @property
    def finished(self) -> bool:
        """Whether it may go: its supervisor is gone, and what is left, if anything, is another reaper's."""
        return self._parent_gone() and not len(self._wards) and self._idle

    def look(self, transaction: Transaction) -> Seen:
        """Take or renew the lease, from a dead holder at once, and read the scope's attempts if it is ours."""
        alone, spent = self._parent_gone(), self._spent()
        if not leases.acquire(transaction, self._lease, self._me, self._settings.silence):
            holder = leases.holder(transaction, self._lease)
            process = workers.process_of(transaction, holder) if holder else None
            if holder is None or process is None or probe.alive(process):
                return Seen(leads=False, alone=alone)
            leases.release(transaction, self._lease, holder)
            leases.acquire(transaction, self._lease, self._me, self._settings.silence)
        charges = charges_in(transaction, self._scope)
        return Seen(True, [replace(c, child=probe.completed(c.child, c.nonce)) for c in charges], alone, spent)

    def heed(self, seen: Seen) -> None:
        """Judge every owner, and take over what has none."""
        if seen.leads and not self._leads:
            self._narrator.leads(self._lease)
        if not seen.leads:
            self._vigil.begin_anew()
        self._leads, self._charges = seen.leads, seen.charges
        self._vigil.look({c.owner.id: c.owner.beat for c in seen.charges if c.owner}, boottime())
        unowned = [charge for charge in seen.charges if not self._lives(charge)]
        self._recover(unowned)
        self._wards.note_starts(self._loop.clock())
        self._ship()
        self._idle = seen.alone and not unowned and not len(self._wards)
        self._looks += 1
        if seen.leads and (self._idle or self._looks % _SWEEP_EVERY == 0):
            self._sweep(seen.spent)

    def beaten(self, result: Result) -> None:
        """The database was reached: renew the fence, and prove again what is ours."""
        self._fence.renew(result.began, self._wards.directories)
        ours = [row for row in result.owned or () if row.id in self._wards.where]
        self._guard.compare(ours, result.ended, self._loop.clock())

    def watch(self) -> None:
        """Limits, wishes and ends of our wards; and fences, our own and those that others should have kept."""
        now = self._loop.clock()
        self._blockade.look(boottime() - self._fence.renewed)
        if (seconds := self._fence.overdue) is not None:
            self._isolate(seconds, now)
        self._guard.watch(now)
        ended = [ward for ward in self._wards.holds.values() if ward.seat.ended]
        for ward in self._guard.gone(ended, now):
            if self._inquest.hold(ward):
                self._loop.unwatch(ward.seat)
                self._wards.drop(ward)
        self._fence_others()

    def interrupted(self) -> None:
        """What was watched before an outage does not count."""
        self._vigil.begin_anew()

    def leave(self, transaction: Transaction) -> None:
        """Let a spare take over at once."""
        leases.release(transaction, self._lease, self._me)

    # -- owners -------------------------------------------------------------------------------------------------------

    def _lives(self, charge: Charge) -> bool:
        """Whether somebody watches over it. A silent owner is ended here, and counts as living until it is gone.

        One that was declared dead or said that it stopped watches over nothing, although its process may live on: as
        another worker, or for its last moments.
        """
        owner = charge.owner
        if owner is None or owner.process is None or owner.state not in LIVE_WORKER:
            return False
        if owner.id == self._me:
            return charge.attempt_id in self._wards.where
        if not probe.alive(owner.process):
            return False
        silent = self._vigil.silent(owner.id)
        if silent > self._settings.silence:
            self._narrator.hung(owner.role, owner.id, owner.process.pid, silent)
            pidfd.signal_checked(owner.process, signal.SIGKILL)
        return True

    def _recover(self, unowned: Sequence[Charge]) -> None:
        """Adopt what lives, hold an inquest over what does not."""
        living = [charge for charge in unowned if probe.alive(charge.child)]
        for ward in self._guard.gone(self._inquest.open(c for c in unowned if c not in living), self._loop.clock()):
            self._inquest.hold(ward)
        if living:
            self._outbox.ask(
                lambda transaction: adopt(transaction, living, self._me, "its owner is gone"),
                lambda ids: self._took(living, ids),
            )

    def _took(self, charges: Iterable[Charge], ids: set[str]) -> None:
        now = self._loop.clock()
        for charge in charges:
            if charge.attempt_id not in ids:
                continue
            self._narrator.adopted(charge.job, charge.attempt_id, charge.child.pid)
            known = charge.nonce in self._wards.holds
            ward = self._wards.take(charge, now)
            if ward is None:
                continue
            if not known:
                self._loop.watch(ward.seat, self._loop.ring)
            self._welcome(ward, charge, now)

    def _welcome(self, ward: Ward[AdoptedSeat], charge: Charge, now: float) -> None:
        watched = ward.attempts[charge.attempt_id]
        watched.say(
            "warning", f"its supervisor is gone: process {charge.child.pid} is watched by a reaper now", "adopt"
        )
        self._fence.renew(self._fence.renewed, [ward.runtime])
        if self._settings.orphan_children is OrphanChildren.KILL:
            self._guard.end(ward, watched, Why.SHUTDOWN, "its supervisor is gone, and orphan_children is kill", now)

    # -- what wards say -----------------------------------------------------------------------------------------------

    def _ship(self) -> None:
        """Carry what living wards wrote to the database. A pool seat's lines are told apart only by itself."""
        for ward in self._wards.holds.values():
            for watched in ward.attempts.values():
                sizes = ward.seat.spool.sizes() if watched.claim.isolation != "pool" else ward.sizes
                words = watched.said.take_lines()
                if sizes != ward.sizes or words:
                    ward.sizes = sizes
                    self._outbox.act(_shipping(ward, watched.claim, words))

    # -- fences and folders -------------------------------------------------------------------------------------------

    def _isolate(self, seconds: float, now: float) -> None:
        if ended := self._guard.end_all(Why.ISOLATED, f"the database was not reached for {seconds:.1f} s", now):
            self._narrator.isolated(seconds, ended)

    def _fence_others(self) -> None:
        """End the seats of a directory whose keeper should have done it: it is stopped, or gone, and out of time."""
        now = boottime()
        for directory in all_in(self._base):
            keeper = directory.read_keeper()
            if keeper is None or keeper.scope != self._scope or not keeper.overdue(now, _OTHERS_SLACK):
                continue
            nonces = set(directory.spools())
            for charge in self._charges:
                if charge.nonce in nonces and probe.alive(charge.child):
                    self._narrator.fences_for_others(charge.attempt_id, now - keeper.renewed)
                    Body(charge.nonce, charge.child).kill()

    def _spent(self) -> list[RuntimeDir]:
        """The directories of those who are gone, and those that we kept for them."""
        kept = [(directory, directory.read_keeper()) for directory in all_in(self._base)]
        return [directory for directory, keeper in kept if keeper is not None and self._is_over(keeper)]

    def _is_over(self, keeper: Keeper) -> bool:
        """Whether nobody keeps it any more; of another scope, which may share our base, no process can be looked at."""
        if keeper.scope != self._scope:
            return keeper.overdue(boottime(), _FOREIGN_KEPT)
        return keeper.process.pid == os.getpid() or not probe.alive(keeper.process)

    def _sweep(self, spent: Iterable[RuntimeDir]) -> None:
        """Remove the directories of those who are gone, once nothing of their seats lives or flies."""
        held = {charge.nonce for charge in self._charges} | set(self._wards.holds)
        for directory in spent:
            nonces = set(directory.spools())
            if not nonces & held and not any(probe.nonce(process.pid) in nonces for process in probe.everyone()):
                directory.remove()


def _shipping(ward: Ward[AdoptedSeat], claim: Any, words: Sequence[Any]) -> Callable[[Transaction], None]:
    attempt = (claim.job_id, claim.attempt_id, claim.token)
    pooled = claim.isolation == "pool"
    end = (0, 0) if pooled else (None, None)
    return lambda transaction: ship(transaction, ward.seat.spool, attempt, end=end, words=words)
