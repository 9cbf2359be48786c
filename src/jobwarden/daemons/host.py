"""Running a role on this host: from the command line's wishes to a drained end."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import random
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from setproctitle import setproctitle

from jobwarden.config import Settings
from jobwarden.daemons.loop import Loop
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.supervisor import Supervisor
from jobwarden.domain.recovery import Backoff
from jobwarden.errors import PlatformUnsupported
from jobwarden.lifecycle.claim import Owner
from jobwarden.process import identity
from jobwarden.process.cgroup import find_delegated
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
    """What the command line asks of a worker; ``overrides`` are settings that win over the application's."""

    app: str
    overrides: Mapping[str, Any]
    burst: bool = False
    migrate: bool = False


def work(app: str, *, burst: bool = False, migrate_first: bool = False, **overrides: Any) -> int:
    """Run a supervisor until it is told to stop (or, with ``burst``, until nothing is left); the exit code.

    ``overrides`` are settings (capacity, lanes, drain_timeout, ...); None leaves the application's. Raises
    `JobWardenError` for what stands in the way of starting.
    """
    if platform.system() != "Linux":
        raise PlatformUnsupported(what="a worker", platform=platform.system())
    identity.require_own_proc()
    sys.setswitchinterval(_SWITCH_INTERVAL)
    given = {name: value for name, value in overrides.items() if value is not None}
    return _Worker(Wishes(app, given, burst, migrate_first)).run()


class _Worker:
    def __init__(self, wishes: Wishes) -> None:
        self._wishes = wishes
        self._worker_id = new_id()
        self._narrator = Narrator()
        self._loop = Loop()
        self._signal: str | None = None
        self._terms = 0

    def run(self) -> int:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        setproctitle(f"jobwarden: supervisor {self._worker_id[-8:]}")
        self._loop.catch_signals()
        runtime = self._runtime(Settings(**self._wishes.overrides))
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
            if self._wishes.burst or not self._sleep(delay):
                return None, None

    def _zygote(self, runtime: RuntimeDir) -> Zygote:
        return Zygote(self._wishes.app, runtime, cgroup=find_delegated()[0])

    def _first_word(self, zygote: Zygote) -> ZygoteReady | ZygoteBroken | ZygoteGone | None:
        words: list[Any] = []
        self._loop.watch(zygote, lambda: words.extend(zygote.receive()))
        try:
            while not words:
                self._loop.wait(1.0)
                if self._loop.take_signals():
                    return None
        finally:
            self._loop.unwatch(zygote)
        word: ZygoteReady | ZygoteBroken | ZygoteGone = words[0]
        return word

    def _sleep(self, seconds: float) -> bool:
        until = self._loop.clock() + seconds
        while (left := until - self._loop.clock()) > 0:
            self._loop.wait(left)
            if self._loop.take_signals():
                return False
        return True

    # -- the supervisor runs ------------------------------------------------------------------------------------------

    def _supervise(self, zygote: Zygote, ready: ZygoteReady, runtime: RuntimeDir) -> int:
        settings = Settings(**{**ready.settings, **self._wishes.overrides})
        database = Database(settings)
        database.server()
        if self._wishes.migrate:
            import_module("jobwarden.store.migrate").migrate(database)  # loaded by those only who migrate
        check(database)
        host, process = identity.this_host(), identity.myself()
        owner = Owner(self._worker_id, host, process)
        self._register(database, owner, settings, ready)
        supervisor = Supervisor(
            database,
            owner,
            settings,
            runtime,
            lambda: self._zygote(runtime),
            self._loop,
            burst=self._wishes.burst,
            narrator=self._narrator,
        )
        lanes = ", ".join(settings.lanes)
        self._narrator.started("supervisor", self._worker_id, str(database), ready.app, lanes, settings.capacity)
        with self._ear(database, settings, supervisor.nudged):
            supervisor.crew.adopt(zygote, ready)
            supervisor.start()
            self._rounds(supervisor)
        return 0

    def _rounds(self, supervisor: Supervisor) -> None:
        try:
            while supervisor.tick():
                for number in self._loop.take_signals():
                    self._obey(supervisor, number)
        except BaseException:
            supervisor.end_attempts(at_once=False)
            raise
        finally:
            supervisor.close(self._signal)
        self._narrator.stopped(self._signal or "nothing left to do")

    def _obey(self, supervisor: Supervisor, number: int) -> None:
        if number == signal.SIGHUP:
            supervisor.renew()
            return
        self._signal = signal.Signals(number).name
        self._terms += 1
        supervisor.drain()
        if number == signal.SIGQUIT:
            supervisor.end_attempts(at_once=True)
        elif self._terms > 1:
            supervisor.end_attempts(at_once=False)

    def _register(self, database: Database, owner: Owner, settings: Settings, ready: ZygoteReady) -> None:
        grade, reasons = identity.grade()
        row = {
            "id": owner.worker_id,
            "role": "supervisor",
            "host_id": owner.host.machine,
            "pid_scope": owner.host.pid_scope,
            "hostname": owner.host.hostname,
            "pid": owner.supervisor.pid,
            "start_time": owner.supervisor.start_time,
            "nonce": f"{random.SystemRandom().getrandbits(32):08x}",
            "incarnation": owner.supervisor.start_time,
            "assurance": grade.value,
            "capacity": settings.capacity,
            "python_version": ready.python,
            "meta": {
                "lanes": list(settings.lanes),
                "app": ready.app,
                "jobs": sorted(ready.jobs),
                "assurance_reasons": reasons,
            },
        }
        database.attempt(lambda transaction: workers.register(transaction, row))

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
