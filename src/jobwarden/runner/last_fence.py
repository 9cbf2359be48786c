"""The last fence: a seat that has lost its zygote ends itself in time, for there may be nobody left who would.

Supervisor, local reaper and zygote each end a seat that nobody may count on any more. Should all three die at once, the
seat itself is the last that can. The kernel tells it that its zygote ended; from then on it looks at the same note in
the runtime directory as they did, whenever that may have run out, and goes on for as long as somebody renews it. Where
the directory was wiped there is no note, which says nothing against those who live: then it goes on too.
"""

from __future__ import annotations

import os
import signal
import sys

from jobwarden.process import identity
from jobwarden.process.body import Body
from jobwarden.process.cgroup import Cgroups
from jobwarden.process.kernel import BOOTTIME, Timer, boottime
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.zygote import LOOK_UP

_SLACK = 1.5  # seconds that all others have to do it before us; death_budget allows for 2
_UNSEEN = 1.0  # seconds until the next look for a note that is not there
_AGAIN = 0.25  # seconds until the next look when nothing of ours runs, and at least


class LastFence:
    """One seat's. ``zygote`` is the pid that its parent has for as long as it lives."""

    def __init__(self, runtime: RuntimeDir, cgroups: Cgroups | None, zygote: int) -> None:
        self._runtime, self._cgroups, self._zygote = runtime, cgroups, zygote
        self._timer: Timer | None = None

    def look(self, nonce: str, *, running: bool) -> None:
        """End this process and all below it if an attempt runs and its time is over; else look again when it may be.

        Does nothing while the zygote lives.
        """
        if os.getppid() == self._zygote:
            return
        self._timer = self._timer or Timer(LOOK_UP, _AGAIN, BOOTTIME)
        keeper, now = self._runtime.read_keeper(), boottime()
        if keeper is None:
            self._timer.arm_for(_UNSEEN)
            return
        if running and keeper.overdue(now, _SLACK):
            self._end(nonce, now - keeper.renewed)
        self._timer.arm_for(max(keeper.renewed + keeper.ttl + _SLACK - now, _AGAIN))

    def _end(self, nonce: str, seconds: float) -> None:
        words = f"nobody who watches over this attempt reached the database for {seconds:.1f} s, and its zygote is gone"
        sys.stderr.write(f"jobwarden: {words}: it ends itself\n")
        sys.stderr.flush()
        Body(nonce, identity.myself(), self._cgroups).kill()
        os.kill(os.getpid(), signal.SIGKILL)
