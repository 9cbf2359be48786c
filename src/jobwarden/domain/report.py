"""What is said of one attempt when it is over: by the child itself, or by whoever saw it die.

A report crosses a socket, lies in an outcome file and is settled by ``lifecycle.settle``; `Report.dump` and
`Report.load` are its only spelling.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """How an attempt ended, as far as the one who reports it can tell."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"  # the handler raised, or was ended for exceeding a limit
    LOST = "lost"  # the process is gone and never said what it had done
    STOPPED = "stopped"  # a stop wish was honoured
    CANCELED = "canceled"  # the handler raised Cancel, or a cancel wish was carried out
    PARKED = "parked"  # the handler raised Park
    SNOOZED = "snoozed"  # the handler raised Snooze
    UNSTARTED = "unstarted"  # the handler provably never began
    DRAINED = "drained"  # a stop was honoured at a checkpoint, and only because the worker drains
    DID_NOT_RUN = "did not run"  # a reconcile hook found that the lost attempt had done nothing
    DID_FAIL = "did fail"  # a reconcile hook found that the lost attempt had failed for good


class Cause(StrEnum):
    """Why a process ended, in words."""

    EXITED = "exited"
    KILLED = "killed"
    OUT_OF_MEMORY = "out of memory"
    TIMED_OUT = "timed out"


@dataclass(frozen=True, slots=True)
class Usage:
    """What an attempt cost: wall and CPU time in milliseconds, peak resident memory in bytes; None is unknown."""

    wall_ms: int | None = None
    user_ms: int | None = None
    system_ms: int | None = None
    peak_rss: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """One attempt's end.

    ``result`` is JSON text. ``error`` has the keys class, message, location, trace and previous. ``retryable`` is the
    handler's own verdict (``retry_on``, ``fail_on``, ``raise Fail``); None leaves it to the rules. ``delay`` is in
    seconds. ``cause``, ``exit_code`` and ``signal`` are known to those who saw the process end.
    """

    attempt_id: str
    outcome: Outcome
    result: str | None = None
    error: dict[str, Any] | None = None
    reason: str | None = None
    retryable: bool | None = None
    delay: float | None = None
    usage: Usage = field(default_factory=Usage)
    cause: Cause | None = None
    exit_code: int | None = None
    signal: int | None = None

    def dump(self) -> dict[str, Any]:
        """The report as JSON data, without what is unknown."""
        data = {key: value for key, value in asdict(self).items() if value is not None}
        data["usage"] = {key: value for key, value in data["usage"].items() if value is not None}
        return data

    @classmethod
    def load(cls, data: dict[str, Any]) -> Report:
        """The report that `dump` gave; raises KeyError or ValueError on anything else."""
        known = dict(data)
        known["outcome"] = Outcome(known["outcome"])
        if known.get("cause") is not None:
            known["cause"] = Cause(known["cause"])
        try:
            known["usage"] = Usage(**known.get("usage", {}))
            return cls(**known)
        except TypeError as error:
            raise ValueError(f"not a report: {error}") from error

    def to_json(self) -> bytes:
        """The report as one line of JSON."""
        return json.dumps(self.dump(), separators=(",", ":")).encode()
