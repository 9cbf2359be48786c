"""When to look for work next: at once after a wake-up or a full catch, ever more rarely while nothing comes.

Paced by the monotonic clock, with jitter, so that a fleet does not look in step. A wake-up is only ever a hint: the
look after a wake-up is followed by another soon, because enqueuers that see a fresh wake-up keep quiet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(slots=True)
class Pace:
    """The time of the next look. ``shortest`` and ``longest`` are pauses in seconds."""

    shortest: float
    longest: float
    chance: Callable[[], float]
    due: float = 0.0
    _pause: float = 0.0
    _echo: bool = False

    def woken(self, now: float) -> None:
        """Somebody said that there is work."""
        self.due = min(self.due, now)
        self._echo = True

    def soon(self, now: float) -> None:
        """There is room again, and the last look found work."""
        self.due = min(self.due, now)

    def looked(self, now: float, got: int, more: bool) -> None:
        """A look got so many jobs, and ``more`` may wait."""
        if got and more:
            self._pause, self.due = self.shortest, now
            return
        if self._echo or got:
            self._pause, self._echo = self.shortest, bool(got)
        else:
            self._pause = min(max(self._pause, self.shortest) * 1.6, self.longest)
        self.due = now + self._pause * (0.75 + self.chance() / 2)
