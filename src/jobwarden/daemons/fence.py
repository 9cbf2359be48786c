"""The fence: ends this host's attempts in time when the database cannot be reached, without asking it.

Whoever watches over seats notes in their runtime directory when it last reached the database. Supervisor, local reaper
and zygote each look at that note; the first to see it older than ``self_fence_ttl`` ends the seats. Others take a dark
host's attempts only after the longer ``death_budget``, so there is no moment at which two run one job. Measured by the
clock that runs on while the machine is suspended.
"""

from __future__ import annotations

from collections.abc import Iterable

from jobwarden.domain.stamp import ProcessId
from jobwarden.process.kernel import boottime
from jobwarden.process.runtime_dir import Keeper, RuntimeDir


class Fence:
    """One daemon's own fence, of a process in a pid scope; it begins renewed."""

    def __init__(self, process: ProcessId, scope: str, ttl: float) -> None:
        self.renewed = boottime()
        self._process, self._scope, self._ttl = process, scope, ttl

    def renew(self, since: float, directories: Iterable[RuntimeDir]) -> None:
        """The database was reached, from ``since`` (seconds since boot) on: note it where our seats are."""
        self.renewed = max(self.renewed, since)
        keeper = self.keeper
        for directory in directories:
            try:
                directory.write_keeper(keeper)
            except OSError:  # a full or vanished directory costs the others' sight of us, not our own
                continue

    @property
    def keeper(self) -> Keeper:
        """What is noted."""
        return Keeper(self._process, self._scope, self.renewed, self._ttl)

    @property
    def overdue(self) -> float | None:
        """For how many seconds the database has not been reached, if that is too long."""
        now = boottime()
        return now - self.renewed if self.keeper.overdue(now) else None
