"""Running the daemons that run no jobs themselves, from settings to a stopped end, by signal or with their worker's.

A daemon that was declared dead begins anew as another one, in the same process.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import select
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from setproctitle import setproctitle

from jobwarden.config import Settings
from jobwarden.daemons.blockade import Blockade
from jobwarden.daemons.daemon import Daemon, DeclaredDead, Duty
from jobwarden.daemons.declarations import Declarations
from jobwarden.daemons.global_reaper import GlobalReaper
from jobwarden.daemons.local_reaper import LocalReaper
from jobwarden.daemons.log import configure
from jobwarden.daemons.loop import Loop
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.notify import Systemd
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.scheduler import Scheduler
from jobwarden.domain.recovery import Backoff
from jobwarden.errors import DatabaseReadOnly, DatabaseUnavailable
from jobwarden.lifecycle.claim import Owner
from jobwarden.process import identity
from jobwarden.process.runtime_dir import default_base
from jobwarden.process.wire import from_json
from jobwarden.store import workers
from jobwarden.store.database import Database
from jobwarden.store.ids import new_id
from jobwarden.store.revision import check

_GLANCE = 0.5  # seconds that a look from the event loop may take
_PATIENCE = Backoff(base=0.2, factor=1.6, cap=5.0)


def run(role: str, settings: Settings, app: str | None = None, base: Path | None = None, parent: int = -1) -> int:
    """Be that daemon until told to stop; the exit code.

    ``app`` is the application whose declarations a scheduler keeps, ``base`` where runtime directories are, ``parent``
    a descriptor that ends when the worker does beside which it was started (-1: it runs on its own).
    """
    identity.require_own_proc()
    where = base or default_base(settings.runtime_dir, os.environ)
    systemd = Systemd()
    while (code := _Life(role, settings, app, where, parent, systemd).run()) is None:
        continue
    return code


def run_beside(descriptor: int) -> int:
    """Be what a worker asks for over a pipe: one line that says what, and its end when the worker ends."""
    with open(descriptor, "rb", buffering=0, closefd=False) as pipe:
        told = from_json(_line(pipe))
    return run(told["role"], Settings(**told["settings"]), told["app"], Path(told["base"]), descriptor)


def row(owner: Owner, role: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    """A daemon's row as it registers."""
    grade, reasons = identity.grade()
    return {
        "id": owner.worker_id,
        "role": role,
        "host_id": owner.host.machine,
        "pid_scope": owner.host.pid_scope,
        "hostname": owner.host.hostname,
        "pid": owner.supervisor.pid,
        "start_time": owner.supervisor.start_time,
        "nonce": f"{random.SystemRandom().getrandbits(32):08x}",
        "incarnation": owner.supervisor.start_time,
        "assurance": grade.value,
        "meta": {**meta, "assurance_reasons": reasons},
    }


def enlist(database: Database, known: Mapping[str, Any]) -> None:
    """Write a daemon's row; raises `DatabaseUnavailable` or `DatabaseReadOnly` where the database takes none now."""
    with database.answering():
        database.attempt(lambda transaction: workers.register(transaction, known))


class _Life:
    """One daemon from its registration to its end."""

    def __init__(
        self, role: str, settings: Settings, app: str | None, base: Path, parent: int, systemd: Systemd
    ) -> None:
        self._systemd, self._app = systemd, app
        self._role, self._settings, self._base, self._parent = role, settings, base, parent
        self._loop, self._narrator, self._outbox = Loop(), Narrator(), Outbox()
        self._signal: str | None = None

    def run(self) -> int | None:
        """Its life; None if it was declared dead and must begin anew."""
        self._loop.catch_signals()
        database = Database(self._settings)
        owner = Owner(new_id(), identity.this_host(), identity.myself())
        configure(self._settings.log_format, self._role, owner.worker_id)
        setproctitle(f"jobwarden: {self._role.replace('_', ' ')} {owner.worker_id[-8:]}")
        known = row(owner, self._role, {})
        if not self._registered(database, known):
            return 0
        self._narrator.daemon_started(self._role.replace("_", " "), owner.worker_id, str(database), owner.host.hostname)
        daemon = Daemon(
            database,
            owner,
            self._settings,
            self._loop,
            self._outbox,
            self._duty(owner, database),
            lambda transaction: workers.register(transaction, known),
            self._narrator,
        )
        with self._watching_parent():
            daemon.start()
            return self._rounds(daemon)

    def _registered(self, database: Database, known: Mapping[str, Any]) -> bool:
        """Write the row to a database that is ours. Beside a worker it is waited for: the worker has checked it."""
        for tries in itertools.count(1):
            try:
                database.server()
                check(database)
                enlist(database, known)
            except (DatabaseUnavailable, DatabaseReadOnly):
                if self._parent < 0:
                    raise
                self._loop.wait(_PATIENCE.delay(tries, random.random()))
            else:
                return True
            if self._told_to_end() or self._parent_gone():
                return False
        return False

    def _duty(self, owner: Owner, database: Database) -> Duty:
        if self._role == "scheduler":
            declared = Declarations(self._app, self._narrator, self._loop.clock) if self._app else None
            return Scheduler(owner, self._settings, self._outbox, self._narrator, declared, database.announce)
        if self._role == "global_reaper":
            return GlobalReaper(owner, self._settings, self._base, self._outbox, self._narrator)
        glancing = Database(self._settings.model_copy(update={"statement_timeout": _GLANCE}))
        blockade = Blockade(glancing, owner.host.pid_scope, self._settings.silence, self._narrator)
        return LocalReaper(
            owner, self._settings, self._base, self._loop, self._outbox, self._narrator, self._parent_gone, blockade
        )

    def _rounds(self, daemon: Daemon) -> int | None:
        try:
            while daemon.tick():
                self._systemd.ready()
                if daemon.healthy:
                    self._systemd.alive()
                if self._told_to_end():
                    self._systemd.stopping()
                    daemon.stop()
        except DeclaredDead:
            self._narrator.declared_dead()
            return None
        finally:
            daemon.close(self._signal)
            self._loop.close()
        self._narrator.stopped(self._signal or "nothing left to do")
        return 0

    def _told_to_end(self) -> bool:
        """A signal, or the end of the worker for a daemon that is no use without one."""
        for number in self._loop.take_signals():
            if number != signal.SIGHUP:
                self._signal = signal.Signals(number).name
        return self._signal is not None or (self._role != "local_reaper" and self._parent_gone())

    @contextlib.contextmanager
    def _watching_parent(self) -> Iterator[None]:
        """Wake up when the worker ends."""
        if self._parent < 0:
            yield
            return
        once = _Once(self._parent, self._loop)
        self._loop.watch(once, once.ended)
        yield

    def _parent_gone(self) -> bool:
        if self._parent < 0:
            return False
        poll = select.poll()
        poll.register(self._parent, 0)
        return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


class _Once:
    """A descriptor in the loop's selector that is taken out with its first event: its end stays readable for ever."""

    def __init__(self, descriptor: int, loop: Loop) -> None:
        self._descriptor, self._loop = descriptor, loop

    def fileno(self) -> int:
        """For the selector."""
        return self._descriptor

    def ended(self) -> None:
        """The worker is gone; the round that follows sees it."""
        self._loop.unwatch(self)


def _line(pipe: Any) -> bytes:
    """The first line of a pipe that stays open."""
    found = bytearray()
    while not found.endswith(b"\n"):
        some = pipe.read(65_536)
        if not some:
            break
        found += some
    return bytes(found)
