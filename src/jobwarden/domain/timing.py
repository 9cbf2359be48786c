"""Timing: when a schedule is due, as one value: a cron pattern, a steady interval, or one instant.

An occurrence is named by its nominal instant; jitter moves the moment at which it is due, by the same amount for every
occurrence of a schedule, so that schedules spread and each keeps its pace. Pure: the clock is given to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

from jobwarden.domain import cron
from jobwarden.domain.zones import known
from jobwarden.errors import ScheduleRefused

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_INSTANT = timedelta(microseconds=1)
_SHORTEST = timedelta(seconds=1)
_LONGEST_JITTER = timedelta(days=1)
#: How far to look back for the occurrence before one, in growing steps.
_BACK = tuple(timedelta(seconds=seconds) for seconds in (90, 5400, 180_000, 3_200_000, 35_000_000, 300_000_000))


class Kind(StrEnum):
    """Whether a schedule is due again and again, or once."""

    RECURRING = "recurring"
    ONE_TIME = "one_time"


@dataclass(frozen=True, slots=True)
class Timing:
    """When a schedule is due: exactly one of ``cron``, ``every`` and ``run_at``; bounds are inclusive.

    Steady intervals are counted from ``starts_at``, or from 1970-01-01 UTC. ``excluded`` are dates in ``zone``.
    """

    cron: str | None = None
    every: timedelta | None = None
    run_at: datetime | None = None
    zone: str = "UTC"
    jitter: timedelta = timedelta()
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    excluded: frozenset[date] = frozenset()

    @property
    def kind(self) -> Kind:
        """Whether it is due once."""
        return Kind.RECURRING if self.run_at is None else Kind.ONE_TIME

    def delay(self, name: str) -> timedelta:
        """How long after each occurrence the schedule of that name is due: always the same, below ``jitter``."""
        if not self.jitter:
            return timedelta()
        digest = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        return timedelta(microseconds=digest % (self.jitter // _INSTANT))

    def occurrences(self, after: datetime) -> Iterator[datetime]:
        """The occurrences later than ``after``, in order, in UTC."""
        begin = after if self.starts_at is None else max(after, self.starts_at - _INSTANT)
        ends_at = self.ends_at
        found = self._unbounded(begin)
        for moment in found if ends_at is None else takewhile(lambda at: at <= ends_at, found):
            if not self._is_excluded(moment):
                yield moment

    def next(self, after: datetime) -> datetime | None:
        """The first occurrence later than ``after``, if there is any."""
        return next(self.occurrences(after), None)

    def previous(self, before: datetime) -> datetime | None:
        """The last occurrence earlier than ``before``, if one is found in the ten years before it."""
        for back in _BACK:
            found = None
            for moment in takewhile(lambda at: at < before, self.occurrences(before - back)):
                found = moment
            if found is not None:
                return found
        return None

    def _unbounded(self, after: datetime) -> Iterator[datetime]:
        if self.run_at is not None:
            return iter([self.run_at] if self.run_at > after else [])
        if self.every is not None:
            return _steady(self.every, self.starts_at or EPOCH, after)
        return cron.instants(self.cron or "", self.zone, after)

    def _is_excluded(self, moment: datetime) -> bool:
        return bool(self.excluded) and moment.astimezone(ZoneInfo(self.zone)).date() in self.excluded


def _steady(every: timedelta, anchor: datetime, after: datetime) -> Iterator[datetime]:
    number = max(0, (after - anchor) // every + 1)
    while True:
        try:
            moment = anchor + number * every
        except OverflowError:
            return
        yield moment.astimezone(UTC)
        number += 1


# -- checks -----------------------------------------------------------------------------------------------------------


def checked(name: str, timing: Timing) -> Timing:
    """The timing, once it can be kept to; raises `ScheduleRefused` for what it cannot mean."""
    ways = [way for way in (timing.cron, timing.every, timing.run_at) if way is not None]
    if len(ways) != 1:
        rule = f"it has {len(ways)} of cron pattern, every= and an instant"
        raise ScheduleRefused(name=name, rule=rule, way_out="give exactly one of them")
    if not isinstance(timing.zone, str) or not known(timing.zone):
        rule = f"the time zone {timing.zone!r} is not known"
        raise ScheduleRefused(name=name, rule=rule, way_out="give an IANA name like 'Europe/Oslo'")
    _check_way(name, timing)
    _check_bounds(name, timing)
    return timing


def _check_way(name: str, timing: Timing) -> None:
    if timing.cron is not None:
        try:
            cron.pattern(timing.cron)
        except (ValueError, AttributeError) as error:
            rule = f"the pattern {timing.cron!r} cannot be read: {error}"
            way_out = "write five fields (minute hour day month weekday), or six with seconds first"
            raise ScheduleRefused(name=name, rule=rule, way_out=way_out) from None
    if timing.every is not None and (not isinstance(timing.every, timedelta) or timing.every < _SHORTEST):
        rule = f"every={timing.every!r} is no timedelta of a second or more"
        raise ScheduleRefused(name=name, rule=rule, way_out="give timedelta(minutes=5), say")
    _check_instant(name, "the instant", timing.run_at)


def _check_bounds(name: str, timing: Timing) -> None:
    _check_instant(name, "starts_at", timing.starts_at)
    _check_instant(name, "ends_at", timing.ends_at)
    if timing.starts_at and timing.ends_at and timing.ends_at < timing.starts_at:
        rule = f"it ends at {timing.ends_at.isoformat()}, before it starts"
        raise ScheduleRefused(name=name, rule=rule, way_out="give bounds in order")
    if not timedelta() <= timing.jitter <= _LONGEST_JITTER:
        rule = f"jitter={timing.jitter!r} is not from 0 to a day"
        raise ScheduleRefused(name=name, rule=rule, way_out="give seconds or a timedelta")
    if not all(type(day) is date for day in timing.excluded):
        raise ScheduleRefused(name=name, rule="exclude has what is no date", way_out="give datetime.date values")


def _check_instant(name: str, what: str, moment: Any) -> None:
    if moment is not None and (not isinstance(moment, datetime) or moment.utcoffset() is None):
        rule = f"{what} {moment!r} is no datetime with an offset, and names no instant"
        raise ScheduleRefused(name=name, rule=rule, way_out="give datetime(..., tzinfo=UTC), say")
