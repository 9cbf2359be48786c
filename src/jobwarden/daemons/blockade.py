"""The blockade: a stopped process that holds the one lock without which nobody writes to a database in a file.

A server takes the locks from a client that is silent; a file has no server. Whoever is stopped in the middle of a
write, be it for a millisecond that it lasts, stops the whole fleet, and with it the very statements by which the hung
are found. So the kernel is asked who holds the lock. A daemon of ours that holds it, and of which no thread has run
once while we were looking all the time, hangs: it is ended as any other daemon that hangs. Any other process is not
ours to end: it is named.
"""

from __future__ import annotations

import signal

from sqlalchemy.exc import SQLAlchemyError

from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.vigil import Vigil
from jobwarden.domain.stamp import ProcessId
from jobwarden.process import file_locks, pidfd, probe
from jobwarden.process.kernel import boottime
from jobwarden.store import workers
from jobwarden.store.database import Database


class Blockade:
    """Looks at one database from one pid scope; ``silence``: seconds after which a daemon that does not run hangs.

    ``database`` is read by the thread that calls `look`: readers of such a database wait for no writer.
    """

    def __init__(self, database: Database, scope: str, silence: float, narrator: Narrator) -> None:
        self._database, self._scope, self._silence, self._narrator = database, scope, silence, narrator
        self._lock = database.facts.write_lock(database.url)
        self._vigil = Vigil(gap=silence)
        self._named: set[ProcessId] = set()

    def look(self, unreached: float) -> None:
        """Break it if there is one; ``unreached``: for how many seconds the database has taken nothing from us."""
        if self._lock is None or unreached < self._silence:
            self._vigil.begin_anew()
            return
        holders = {pid: ProcessId(pid, start) for pid in self._holders() if (start := probe.start_time(pid))}
        self._vigil.look({str(pid): (who, probe.switches(pid)) for pid, who in holders.items()}, boottime())
        for pid, who in holders.items():
            if (seconds := self._vigil.silent(str(pid))) > self._silence:
                self._break(who, seconds)

    def _holders(self) -> list[int]:
        return file_locks.writers(*self._lock) if self._lock is not None else []

    def _break(self, who: ProcessId, seconds: float) -> None:
        try:
            with self._database.read() as transaction:
                daemon = workers.of_process(transaction, self._scope, who)
        except (SQLAlchemyError, OSError):
            return  # asked again at the next look
        if daemon is not None:
            self._narrator.blocks(f"{daemon.role} {daemon.id[-8:]}", who.pid, seconds, ended=True)
            pidfd.signal_checked(who, signal.SIGKILL)
        elif who not in self._named:
            self._named.add(who)
            self._narrator.blocks(probe.command_line(who.pid), who.pid, seconds, ended=False)
