"""What a handler may raise to say how its attempt ends, and what a reconcile hook answers.

The endings derive from BaseException, as KeyboardInterrupt does: they are wishes, not errors, so neither a broad
``except Exception`` around a checkpoint nor a retry decorator may swallow them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any


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


class Finding(StrEnum):
    """What a reconcile hook found that a lost attempt had done."""

    RAN = "ran"
    DID_NOT_RUN = "did not run"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a lost attempt did, as a ``reconcile`` hook found it out; made by one of the four methods."""

    finding: Finding
    result: Any = None
    reason: str = ""

    @classmethod
    def ran(cls, result: Any = None) -> Outcome:
        """It did all of its work: the job has succeeded, with this result."""
        return cls(Finding.RAN, result)

    @classmethod
    def did_not_run(cls, reason: str = "") -> Outcome:
        """It did nothing that counts: the job runs again, as long as its attempts are not used up."""
        return cls(Finding.DID_NOT_RUN, None, reason)

    @classmethod
    def failed(cls, reason: str) -> Outcome:
        """It came to an end, and not a good one: the job has failed."""
        return cls(Finding.FAILED, None, reason)

    @classmethod
    def unknown(cls, reason: str) -> Outcome:
        """It cannot be told from here: the job waits for a person."""
        return cls(Finding.UNKNOWN, None, reason)
