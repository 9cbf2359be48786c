"""Wards: seats that outlived their supervisor and are watched by a reaper, each by a handle on its verified process.

A ward has no socket. It is asked to stop by signal, it reports to the database by itself, and what it leaves is its
outcome file, its exit record, its spool and its tree.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

from jobwarden.daemons.watch import Watched
from jobwarden.domain.claims import Claim, Isolation
from jobwarden.domain.states import AttemptState
from jobwarden.lifecycle.recover import Charge
from jobwarden.process import pidfd
from jobwarden.process.body import Body
from jobwarden.process.cgroup import Cgroups
from jobwarden.process.exits import Exit
from jobwarden.process.runtime_dir import RuntimeDir, of_seat
from jobwarden.process.spool import Spool


class LeftSeat:
    """A seat that somebody else started, dead or alive: what it is made of, and what it wrote."""

    def __init__(self, charge: Charge, runtime: RuntimeDir, cgroups: Cgroups | None) -> None:
        self.process, self.nonce = charge.child, charge.nonce
        self.body = Body(charge.nonce, charge.child, cgroups)
        self.spool = Spool(runtime, charge.nonce)

    def stop(self, attempt_id: str) -> bool:
        """A seat that is dead has nobody to ask."""
        return False

    @property
    def status(self) -> int | None:
        """How it ended, as far as the kernel tells us: nothing, of a process that we never had a handle on."""
        return None

    def close(self) -> None:
        """There is nothing to let go of."""


class AdoptedSeat(LeftSeat):
    """A living one. ``handle`` is a pidfd whose identity was checked while it was held."""

    def __init__(self, charge: Charge, runtime: RuntimeDir, cgroups: Cgroups | None, handle: int) -> None:
        super().__init__(charge, runtime, cgroups)
        self._handle = handle

    def fileno(self) -> int:
        """For a selector: readable once the process has ended."""
        return self._handle

    def stop(self, attempt_id: str) -> bool:
        """Ask it to stop; whether it still lives. A seat that is alone runs one attempt and begins no other."""
        return pidfd.send(self._handle, signal.SIGTERM)

    @property
    def ended(self) -> bool:
        """Whether the process has ended, reaped or not."""
        return pidfd.ended(self._handle)

    @property
    def status(self) -> int | None:
        """Its wait status once somebody reaped it, where the kernel tells."""
        return pidfd.exit_status(self._handle)

    def close(self) -> None:
        """Let go of the handle."""
        os.close(self._handle)


S = TypeVar("S", bound=LeftSeat)


@dataclass(slots=True)
class Ward(Generic[S]):
    """A left seat and its attempts; ``dead_since`` is when its end was seen (monotonic seconds)."""

    seat: S
    runtime: RuntimeDir
    attempts: dict[str, Watched] = field(default_factory=dict)
    sizes: tuple[int, int] = (0, 0)
    dead_since: float | None = None

    @property
    def exit(self) -> Exit | None:
        """How its process ended: by its zygote's record, else by the kernel's own word; None if nobody can tell yet."""
        process, nonce = self.seat.process, self.seat.nonce
        found = self.runtime.read_exit(process) if process.start_time else self.runtime.exit_of(nonce)
        if found is None and (status := self.seat.status) is not None:
            return Exit(self.seat.process, self.seat.nonce, status)
        return found


class Wards:
    """The wards of one reaper by the nonce of their seat; ``where`` finds the ward of an attempt."""

    def __init__(self, base: Path, cgroups: Cgroups | None) -> None:
        self.holds: dict[str, Ward[AdoptedSeat]] = {}
        self.where: dict[str, Ward[AdoptedSeat]] = {}
        self._base, self._cgroups = base, cgroups

    def __len__(self) -> int:
        return len(self.where)

    def take(self, charge: Charge, now: float) -> Ward[AdoptedSeat] | None:
        """Watch over an attempt's process from now on; None if it has ended or is another one by now."""
        ward = self.holds.get(charge.nonce)
        if ward is None:
            handle = living(charge)
            if handle is None:
                return None
            runtime = runtime_of(self._base, charge)
            seat = AdoptedSeat(charge, runtime, self._cgroups, handle)
            ward = self.holds[charge.nonce] = Ward(seat, runtime)
        ward.attempts[charge.attempt_id] = watched(charge, now)
        self.where[charge.attempt_id] = ward
        return ward

    def note_starts(self, now: float) -> None:
        """Handlers that have begun although their start was never recorded: their limits count from here."""
        for ward in self.holds.values():
            for attempt in ward.attempts.values():
                if attempt.started is None and attempt.claim.idempotent and ward.seat.spool.began(attempt.id):
                    attempt.begin(now, 0, 0)

    def drop(self, ward: Ward[AdoptedSeat]) -> None:
        """Its seat is dead and everything of it was taken care of."""
        self.holds.pop(ward.seat.nonce, None)
        for attempt_id in ward.attempts:
            self.where.pop(attempt_id, None)
        ward.seat.close()

    @property
    def directories(self) -> Iterable[RuntimeDir]:
        """The runtime directories that they are in."""
        return {ward.runtime.path: ward.runtime for ward in self.holds.values()}.values()


def runtime_of(base: Path, charge: Charge) -> RuntimeDir:
    """Where the attempt's seat left what it left; by its nonce, since its owner may be another one by now."""
    return of_seat(base, charge.nonce) or RuntimeDir(base, charge.worker_id)


def living(charge: Charge) -> int | None:
    """A checked handle on the attempt's process, if exactly that process is there and has not ended."""
    handle = pidfd.open_checked(charge.child)
    if handle is not None and pidfd.ended(handle):
        os.close(handle)
        return None
    return handle


def watched(charge: Charge, now: float) -> Watched:
    """An attempt as a guard watches it. Where its start is not recorded, its limits count from now on at the earliest:
    see `Wards.note_starts`."""
    claim = Claim(
        job_id=charge.job_id,
        attempt_id=charge.attempt_id,
        attempt_number=charge.number,
        token=charge.token,
        job=charge.job,
        params="",
        lane="",
        idempotent=charge.idempotent,
        isolation=Isolation(charge.isolation),
        timeout=charge.timeout,
        max_runtime=charge.max_runtime,
        grace=charge.grace,
        memory=charge.memory,
    )
    found = Watched(claim, charge.nonce, now)
    if charge.state is AttemptState.RUNNING or charge.logged:
        found.begin(now - (charge.running_for or 0.0), 0, 0)
    return found
