"""What a check-up finds: one thing each, how it stands, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Standing(StrEnum):
    """How a thing stands: as wished, working with less, or in the way."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; ``fix`` says what to do where it is not as wished."""

    name: str
    standing: Standing
    says: str
    fix: str | None = None


def ok(name: str, says: str) -> Finding:
    """It is as wished."""
    return Finding(name, Standing.OK, says)


def warn(name: str, says: str, fix: str) -> Finding:
    """It works, with less than there could be."""
    return Finding(name, Standing.WARN, says, fix)


def fail(name: str, says: str, fix: str) -> Finding:
    """It is in the way."""
    return Finding(name, Standing.FAIL, says, fix)
