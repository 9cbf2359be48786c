"""Running a role on this host: from the command line's wishes to a drained end."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from setproctitle import setproctitle

from jobwarden.config import Settings
from jobwarden.daemons import roles
from jobwarden.daemons.companion import Companion
from jobwarden.daemons.daemon import DeclaredDead
from jobwarden.daemons.log import configure
from jobwarden.daemons.loop import Loop
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.notify import Systemd
from jobwarden.daemons.supervisor import Supervisor
from jobwarden.domain.recovery import Backoff
from jobwarden.errors import PlatformUnsupported
from jobwarden.lifecycle.claim import Owner
from jobwarden.process import identity
from jobwarden.process.cgroup import take_delegated
from jobwarden.process.limits import raise_open_files
from jobwarden.process.runtime_dir import RuntimeDir, default_base
from jobwarden.process.seats import Zygote, ZygoteBroken, ZygoteGone, ZygoteReady
from jobwarden.store import workers
from jobwarden.store.database import Database
from jobwarden.store.ids import new_id
from jobwarden.store.nudge import Ear
from jobwarden.store.revision import check

_PATIENCE = Backoff(base=1.0, factor=2.0, cap=60.0, jitter=False)
_SWITCH_INTERVAL = 0.0005  # loop and writer share one interpreter: short turns keep the latency of both low


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks of a worker; ``overrides`` are settings that win over the application's.

    ``beside`` are daemons that run beside it, each as a process of its own.
    """

    app: str
    overrides: Mapping[str, Any]
    burst: bool = False
    migrate: bool = False
    beside: tuple[str, ...] = ()


def work(
    app: str, *, burst: bool = False, migrate_first: bool = False, beside: tuple[str, ...] = (), **overrides: Any
) -> int:
    """Run a supervisor until it is told to stop (or, with ``burst``, until nothing is left); the exit code.

    ``overrides`` are settings (capacity, lanes, drain_timeout, ...); None leaves the application's. ``beside`` are
    daemons to run beside it. A supervisor that was declared dead ends what it ran and begins anew, as another worker.
    Raises `JobWardenError` for what stands in the way of starting.
    """
    if platform.system() != "Linux":
        raise PlatformUnsupported(what="a worker", platform=platform.system())
    identity.require_own_proc()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    given = {name: value for name, value in overrides.items() if value is not None}
    wishes = Wishes(app, given, burst, migrate_first, beside)
    systemd = Systemd()
    while (code := _Worker(wishes, systemd).run()) is None:
        continue
    return code


class _Worker:
    def __init__(self, wishes: Wishes, systemd: Systemd) -> None:
        self._wishes, self._systemd = wishes, systemd
        self._worker_id = new_id()
        self._narrator = Narrator()
        self._loop = Loop()
        self._signal: str | None = None
        self._terms = 0

    def run(self) -> int | None:
        """Its life; the exit code, or None if it was declared dead and must begin anew."""
        settings = Settings(**self._wishes.overrides)
        configure(settings.log_format, "supervisor", self._worker_id)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        setproctitle(f"jobwarden: supervisor {self._worker_id[-8:]}")
        self._loop.catch_signals()
        runtime = self._runtime(settings)
        try:
            zygote, ready = self._boot(runtime)
            if zygote is None or ready is None:
                return 0
            return self._supervise(zygote, ready, runtime)
        finally:
            self._loop.close()
            _remove_if_spent(runtime)

    def _runtime(self, settings: Settings) -> RuntimeDir:
        runtime = RuntimeDir(default_base(settings.runtime_dir, os.environ), self._worker_id)
        runtime.create()
        return runtime

    # -- the application is imported, however long it takes to become importable --------------------------------------

    def _boot(self, runtime: RuntimeDir) -> tuple[Zygote | None, ZygoteReady | None]:
        failures = 0
        while True:
            zygote = self._zygote(runtime)
            zygote.start()
            event = self._first_word(zygote)
            if isinstance(event, ZygoteReady):
                return zygote, event
            zygote.kill()
            if event is None:
                return None, None
            failures += 1
            delay = _PATIENCE.delay(failures, 0.0)
            broken = event if isinstance(event, ZygoteBroken) else ZygoteBroken("the zygote ended at once", "")
            self._narrator.broken(broken.error, broken.trace, delay)
            self._systemd.status(broken.error)
            if self._wishes.burst or not self._sleep(delay):
                return None, None

    def _zygote(self, runtime: RuntimeDir) -> Zygote:
        return Zygote(self._wishes.app, runtime, cgroup=take_delegated(), open_files=raise_open_files())

    def _first_word(self, zygote: Zygote) -> ZygoteReady | ZygoteBroken | ZygoteGone | None:
        words: list[Any] = []
        self._loop.watch(zygote, lambda: words.extend(zygote.receive()))
        try:
            while not words:
                self._loop.wait(1.0)
                self._systemd.alive()
                if self._loop.take_signals():
                    return None
        finally:
            self._loop.unwatch(zygote)
        word: ZygoteReady | ZygoteBroken | ZygoteGone = words[0]
        return word

    def _sleep(self, seconds: float) -> bool:
        until = self._loop.clock() + seconds
        while (left := until - self._loop.clock()) > 0:
            self._loop.wait(min(left, 1.0))
            self._systemd.alive()
            if self._loop.take_signals():
                return False
        return True

    # -- the supervisor runs ------------------------------------------------------------------------------------------

    def _supervise(self, zygote: Zygote, ready: ZygoteReady, runtime: RuntimeDir) -> int | None:
        settings = Settings(**{**ready.settings, **self._wishes.overrides})
        configure(settings.log_format, "supervisor", self._worker_id)
        database = Database(settings)
        database.server()
        if self._wishes.migrate:
            import_module("jobwarden.store.migrate").migrate(database)  # loaded by those only who migrate
        check(database)
        host, process = identity.this_host(), identity.myself()
        owner = Owner(self._worker_id, host, process)
        row = self._row(owner, settings, ready)
        roles.enlist(database, row)
        supervisor = Supervisor(
            database,
            owner,
            settings,
            runtime,
            lambda: self._zygote(runtime),
            self._loop,
            lambda transaction: workers.register(transaction, row),
            burst=self._wishes.burst,
            narrator=self._narrator,
        )
        lanes = ", ".join(settings.lanes)
        self._narrator.started("supervisor", self._worker_id, str(database), ready.app, lanes, settings.capacity)
        self._systemd.status(f"serving lanes {lanes} with {settings.capacity} seats")
        with self._ear(database, settings, supervisor.nudged), self._companions(settings, runtime) as companions:
            supervisor.crew.adopt(zygote, ready)
            supervisor.start()
            return self._rounds(supervisor, companions)

    def _rounds(self, supervisor: Supervisor, companions: Sequence[Companion]) -> int | None:
        try:
            while supervisor.tick():
                self._tell(supervisor)
                for companion in companions:
                    companion.keep()
                for number in self._loop.take_signals():
                    self._obey(supervisor, number)
        except DeclaredDead:
            self._narrator.declared_dead()
            supervisor.perish()
            return None
        except BaseException:
            supervisor.end_attempts(at_once=False)
            raise
        finally:
            supervisor.close(self._signal)
        self._narrator.stopped(self._signal or "nothing left to do")
        return 0

    @contextlib.contextmanager
    def _companions(self, settings: Settings, runtime: RuntimeDir) -> Iterator[list[Companion]]:
        """The daemons beside this worker; they see by themselves when it is gone, and go when their work is done."""
        wanted = (*(("local_reaper",) if settings.local_reaper else ()), *self._wishes.beside)
        companions = [
            Companion(role, settings, self._wishes.app, runtime.base, self._narrator, self._loop.clock)
            for role in wanted
        ]
        try:
            yield companions
        finally:
            for companion in companions:
                companion.close()

    def _tell(self, supervisor: Supervisor) -> None:
        """Let the service manager know how it stands."""
        if supervisor.draining:
            self._systemd.stopping()
            self._systemd.status("draining")
        elif supervisor.crew.ready is not None:
            self._systemd.ready()
        if supervisor.healthy:
            self._systemd.alive()

    def _obey(self, supervisor: Supervisor, number: int) -> None:
        if number == signal.SIGHUP:
            self._systemd.reloading()
            supervisor.renew()
            return
        self._signal = signal.Signals(number).name
        self._terms += 1
        supervisor.drain()
        if number == signal.SIGQUIT:
            supervisor.end_attempts(at_once=True)
        elif self._terms > 1:
            supervisor.end_attempts(at_once=False)

    def _row(self, owner: Owner, settings: Settings, ready: ZygoteReady) -> dict[str, Any]:
        told = {"lanes": list(settings.lanes), "app": ready.app, "jobs": sorted(ready.jobs)}
        row = roles.row(owner, "supervisor", told)
        return {**row, "capacity": settings.capacity, "python_version": ready.python}

    @contextlib.contextmanager
    def _ear(self, database: Database, settings: Settings, heard: Callable[[], None]) -> Iterator[None]:
        if not settings.nudge:
            yield
            return
        ear = Ear(database.fingerprint, self._worker_id)
        self._loop.watch(ear, lambda: heard() if ear.drain() else None)
        try:
            yield
        finally:
            self._loop.unwatch(ear)
            ear.close()


def _remove_if_spent(runtime: RuntimeDir) -> None:
    """Take the runtime directory away unless something in it still waits for somebody."""
    if not any(runtime.outcomes()) and not any(runtime.spools()):
        runtime.remove()
