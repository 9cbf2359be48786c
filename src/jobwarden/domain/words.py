"""How states, moments and sizes are written for people, the same in the terminal and on pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

#: state: mark. With the word beside it, so that nothing is told by colour alone.
MARKS: Mapping[str, str] = {
    "pending": "…",
    "queued": "○",
    "dispatched": "▷",
    "running": "▶",
    "retrying": "↻",
    "orphaned": "‼",
    "succeeded": "✓",
    "partial": "◑",
    "failed": "✗",
    "canceled": "⊘",
    "stopped": "■",
    "starting": "…",
    "active": "●",
    "draining": "◐",
    "dead": "✗",
    "silent": "?",
    "verified": "✓",
    "gone": "✗",
    "recycled": "≠",
    "elsewhere": "·",
    "enabled": "●",
    "disabled": "○",
    "paused": "⏸",
    "ok": "✓",
    "warn": "!",
    "fail": "✗",
}
_SAID = {"orphaned": "parked"}


def mark(state: object) -> str:
    """A state's sign."""
    return MARKS.get(str(state), "·")


def said(state: object) -> str:
    """A state in the word that people use."""
    return _SAID.get(str(state), str(state))


def instant(moment: datetime) -> str:
    """A moment in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds")[:23] + "Z"


def size(count: int | None) -> str:
    """Bytes in the unit that people would use."""
    if count is None:
        return ""
    amount = float(count)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"
