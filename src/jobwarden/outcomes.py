"""What a handler may raise to say how its attempt ends, other than by returning or failing.

They derive from BaseException, as KeyboardInterrupt does: they are wishes, not errors, so neither a broad
``except Exception`` around a checkpoint nor a retry decorator may swallow them.
"""

from __future__ import annotations

from datetime import timedelta


class Ending(BaseException):
    """The handler decided how its attempt ends; raise one of the classes below."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message


class Snooze(Ending):
    """Run this job again later; the attempt costs nothing of its budget."""

    def __init__(self, seconds: float | timedelta, message: str = "") -> None:
        super().__init__(message)
        given = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
        if not 0 <= given < float("inf"):
            raise ValueError(f"Snooze({seconds!r}) needs a number of seconds that is not negative")
        self.seconds = given


class Fail(Ending):
    """The job has failed, and trying again would not help."""


class Park(Ending):
    """The job waits for a person to decide."""


class Cancel(Ending):
    """The job is no longer wanted."""


class Stopped(Ending):
    """A requested stop was honoured at a checkpoint."""
