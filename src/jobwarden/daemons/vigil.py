"""The vigil: for how long one has seen somebody be silent, counted only while one was watching oneself.

A heartbeat that looks old proves nothing: the database may have been away for everyone, its clock may have been set,
or it was the one who looks that slept. So what counts is how long a mark has not changed between looks that succeeded
one after another without a gap; an outage or a gap begins the vigil anew. Pure: time is given to it.
"""

from __future__ import annotations

from collections.abc import Mapping


class Vigil:
    """Watches marks by name. ``gap`` is the longest pause in seconds between two looks that leaves the vigil whole."""

    def __init__(self, gap: float) -> None:
        self._gap = gap
        self._last: float | None = None
        self._seen: dict[str, tuple[object, float]] = {}

    def look(self, marks: Mapping[str, object], now: float) -> None:
        """The marks as they are now; names that are not among them are forgotten."""
        if self._last is not None and now - self._last > self._gap:
            self.begin_anew()
        self._last = now
        known = self._seen
        self._seen = {
            name: known[name] if name in known and known[name][0] == mark else (mark, now)
            for name, mark in marks.items()
        }

    def begin_anew(self) -> None:
        """Something was wrong with our own watching: nothing that was seen before counts."""
        self._last = None
        self._seen = {}

    def silent(self, name: str) -> float:
        """For how many seconds, up to the last look, that mark is known not to have changed."""
        if self._last is None or name not in self._seen:
            return 0.0
        return self._last - self._seen[name][1]
