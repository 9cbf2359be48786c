"""The injector: carries a plan out, remembers exactly which process was hit when, and undoes in time what must end.

A process is named by PID namespace, inner pid and start time, as the attempts' stamps name it. Whatever is frozen,
cut or shut is given back by `Injector.finish` at the latest. Daemons are frozen freely, but never so that nobody on a
host could end its seats for long: children that run unwatched beyond the death budget cannot be told from dead ones.
"""

from __future__ import annotations

import heapq
import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from sqlalchemy.exc import DBAPIError

from chaos.evidence import Injury
from chaos.hosts import Found, Host
from chaos.journal import boottime
from chaos.plan import Fault, Scale
from chaos.site import Site, SQLiteSite, Undo

_LOOK, _PATIENCE, _DARK, _BEHIND = 0.2, 3.0, 0.5, 5.0
_SIGNALS = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "term": signal.SIGTERM, "hup": signal.SIGHUP}


@dataclass(slots=True)
class _Frozen:
    proc: Found
    host: Host
    injury: Injury
    since: float


@dataclass(order=True, slots=True)
class _Due:
    at: float
    order: int
    undo: Undo = field(compare=False)
    database: bool = field(compare=False, default=False)


class Injector:
    """Carries faults out on a site and its hosts; ``tick`` is called while it waits."""

    def __init__(self, site: Site, hosts: Sequence[Host], scale: Scale, tick: Callable[[], None]) -> None:
        self.injuries: list[Injury] = []
        self.counts: Counter[str] = Counter()
        self.missed = self.revived = 0
        self._site, self._hosts, self._scale, self._tick = site, hosts, scale, tick
        self._frozen: dict[tuple[int, int], _Frozen] = {}
        self._due: list[_Due] = []
        self._orders = itertools.count()
        self._unwatched: dict[tuple[int, int], float] = {}
        self._cut: set[str] = set()
        self._next = time.monotonic()

    @property
    def signals(self) -> int:
        """Kills and stops of processes so far, a whole host counting as one."""
        return sum(count for what, count in self.counts.items() if what.startswith(("kill", "freeze")))

    def inject(self, fault: Fault) -> None:
        """Wait until it is its time, then do it; one that finds nobody to hit is counted as missed.

        A pause counts from when the fault before it was due, so that a slow one does not delay all that follow.
        """
        self._next = max(self._next + fault.pause, time.monotonic() - _BEHIND)
        self.wait(self._next - time.monotonic())
        host = self._hosts[fault.host % len(self._hosts)]
        if fault.what in _SIGNALS:
            done = self._hit(fault, host)
        elif fault.what in ("kill host", "kill init", "wipe", "cut"):
            done = self._hit_host(fault, host)
        else:
            done = self._hit_database(fault)
        if done:
            self.counts[" ".join(part for part in (fault.what, fault.mode, fault.role) if part)] += 1
        else:
            self.missed += 1

    def wait(self, seconds: float) -> None:
        """Let time pass, and undo what is due."""
        until = time.monotonic() + seconds
        while True:
            self._undo_until(time.monotonic())
            self._keep_watch()
            self._tick()
            left = until - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, _LOOK))

    def finish(self) -> None:
        """Undo everything now."""
        self._undo_until(float("inf"))
        for key in list(self._frozen):
            self._thaw(key)

    # -- one process ---------------------------------------------------------------------------------------------------

    def _hit(self, fault: Fault, host: Host) -> bool:
        found = self._find(fault, host)
        if found is None:
            return False
        host, proc = found
        injury = self._injury(fault, host, proc)
        if not proc.signal(_SIGNALS[fault.what]):
            return False
        self.injuries.append(injury)
        if fault.what != "freeze":
            injury.ended = boottime()
            return True
        key = (proc.pid, proc.start_time)
        self._frozen[key] = _Frozen(proc, host, injury, time.monotonic())
        self._later(fault.seconds, partial(self._thaw, key))
        return True

    def _find(self, fault: Fault, host: Host) -> tuple[Host, Found] | None:
        """The target by its rank, on the host that was drawn or else on another; waits a little for one to appear."""
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            for at in (host, *(other for other in self._hosts if other is not host)):
                among = [proc for proc in at.processes() if proc.role == fault.role and self._free(proc)]
                if among:
                    return at, among[int(fault.rank * len(among))]
            self.wait(_LOOK)
        return None

    def _free(self, proc: Found) -> bool:
        return (proc.pid, proc.start_time) not in self._frozen

    def _thaw(self, key: tuple[int, int]) -> None:
        frozen = self._frozen.pop(key, None)
        if frozen is not None:
            frozen.proc.signal(signal.SIGCONT)
            frozen.injury.ended = boottime()

    def _injury(self, fault: Fault, host: Host, proc: Found) -> Injury:
        return Injury(
            fault.number,
            fault.what,
            host.name,
            proc.role,
            boottime(),
            scope=host.lives[-1].scope,
            pid=proc.inner,
            start_time=proc.start_time,
            nonce=proc.nonce,
            title=proc.title,
        )

    def _keep_watch(self) -> None:
        """Thaw somebody on a host where a zygote's seats have had nobody who could end them for too long."""
        if not self._frozen:
            self._unwatched.clear()
            return
        now, dark = time.monotonic(), {}
        for host in {frozen.host.name: frozen.host for frozen in self._frozen.values()}.values():
            for zygote, watchers in _watched(host.processes()):
                if any(self._free(proc) for proc in watchers):
                    continue
                key = (zygote.pid, zygote.start_time)
                dark[key] = self._unwatched.get(key, now)
                if now - dark[key] > self._scale.fence / 2:
                    self._thaw(min(((p.pid, p.start_time) for p in watchers), key=lambda k: self._frozen[k].since))
        self._unwatched = dark

    # -- a host --------------------------------------------------------------------------------------------------------

    def _hit_host(self, fault: Fault, host: Host) -> bool:
        if fault.what == "cut" and self._cut:
            return False  # one host at a time, so that somebody is there to judge it
        injury = Injury(fault.number, fault.what, host.name, "host", boottime())
        self.injuries.append(injury)
        match fault.what:
            case "kill host":
                self._kill_all(fault, host)
            case "kill init":
                host.kill_first()
                self.wait(_DARK)
                host.start()
            case "wipe":
                host.wipe()
            case "cut":
                self._cut.add(host.name)
                host.cut(fault.mode)
                self._later(fault.seconds, partial(self._heal, host, injury))
                return True
        injury.ended = boottime()
        return True

    def _kill_all(self, fault: Fault, host: Host) -> None:
        """Every process but the first: stopped before they are killed, so that none sees another's end."""
        for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGKILL):
            for proc in host.processes():
                proc.signal(number)
                if frozen := self._frozen.pop((proc.pid, proc.start_time), None):
                    frozen.injury.ended = boottime()

    def _heal(self, host: Host, injury: Injury) -> None:
        host.heal()
        self._cut.discard(host.name)
        injury.ended = boottime()

    # -- the database --------------------------------------------------------------------------------------------------

    def _hit_database(self, fault: Fault) -> bool:
        while any(due.database for due in self._due):
            self.wait(_LOOK)
        injury = Injury(fault.number, f"{fault.what} {fault.mode}".strip(), begun=boottime())
        self.injuries.append(injury)
        try:
            undo = self._database_fault(fault)
        except DBAPIError:
            self.revived += 1
            self._site.revive()
            injury.ended = boottime()
            return False
        if undo is None:
            injury.ended = boottime()
        else:
            self._later(fault.seconds, partial(_give_back, undo, injury), database=True)
        return True

    def _database_fault(self, fault: Fault) -> Undo | None:
        match fault.what:
            case "restart":
                self._site.restart(fault.mode)
            case "terminate":
                self._site.terminate()
            case "read only":
                return self._site.read_only()
            case "outage":
                return self._site.outage()
            case "hang":
                return self._site.hang()
            case "lock":
                assert isinstance(self._site, SQLiteSite)
                return self._site.lock()
        return None

    # -- giving back ---------------------------------------------------------------------------------------------------

    def _later(self, seconds: float, undo: Undo, *, database: bool = False) -> None:
        heapq.heappush(self._due, _Due(time.monotonic() + seconds, next(self._orders), undo, database))

    def _undo_until(self, moment: float) -> None:
        while self._due and self._due[0].at <= moment:
            heapq.heappop(self._due).undo()


def _give_back(undo: Undo, injury: Injury) -> None:
    undo()
    injury.ended = boottime()


def _watched(processes: Sequence[Found]) -> list[tuple[Found, list[Found]]]:
    """Each zygote with those who can end its seats: itself, its supervisor, and the host's local reapers."""
    reapers = [proc for proc in processes if proc.role == "local reaper"]
    by_pid = {proc.pid: proc for proc in processes if proc.role == "supervisor"}
    zygotes = [proc for proc in processes if proc.role == "zygote"]
    return [(z, [z, *reapers, *([by_pid[z.parent]] if z.parent in by_pid else [])]) for z in zygotes]
