"""How long a daemon waits for the answer to one statement before it breaks it off and tries anew.

Short, because a connection that swallows all that is said must be found out before the daemon counts as silent; and
never so short that a slow database cannot be used: it doubles with each call that was broken off, as far as the
driver's own deadline, and comes back step by step when transactions are quick again.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from jobwarden.domain.recovery import Backoff

_SHARE = 3.0  # of the silence after which others act: to be broken off once, and be heard of in time all the same
_LEAST = 1.0  # a busy host alone may take this long
_QUICK = 4.0
_DECAY = 0.5
_LONGEST_PAUSE = 5.0
_PAUSES = 4.0


@dataclass(slots=True)
class Deadline:
    """``silence``: seconds after which this daemon counts as silent; ``statement``: the most a statement may take."""

    silence: float
    statement: float
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        self.seconds = self.shortest

    @property
    def shortest(self) -> float:
        """What it begins with."""
        return min(self.statement, max(_LEAST, self.silence / _SHARE))

    @property
    def pause(self) -> Backoff:
        """How long to wait between two tries while the database cannot be used: when it is back, whoever waited must be
        heard of before those who were back sooner take it for dead."""
        return Backoff(base=0.2, factor=2.0, cap=min(_LONGEST_PAUSE, max(0.2, self.silence / _PAUSES)))

    def missed(self) -> None:
        """A transaction was broken off."""
        self.seconds = min(self.seconds * 2, max(self.statement, self.shortest))

    def met(self, took: float) -> None:
        """A transaction took so many seconds."""
        if took < self.shortest / _QUICK:
            self.seconds = max(self.shortest, self.seconds * _DECAY)
