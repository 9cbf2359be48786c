"""Time zones as the jumps that their clocks make: what the rule for summer time needs, and `zoneinfo` does not tell.

Found by asking for the offset day by day and halving the day in which it changed; a year of a zone is asked once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_DAY, _SECOND = timedelta(days=1), timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Jump:
    """The clocks of a zone go from one offset to another ``at`` an instant in UTC."""

    at: datetime
    before: timedelta
    after: timedelta


def known(zone: str) -> bool:
    """Whether there is such a zone."""
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError, AttributeError):
        return False
    return True


def offset(zone: str, moment: datetime) -> timedelta:
    """How far the zone's clocks are ahead of UTC at an instant."""
    return moment.astimezone(ZoneInfo(zone)).utcoffset() or timedelta()


def last_jump(zone: str, moment: datetime) -> Jump | None:
    """The last jump up to an instant, of this year or the one before."""
    years = (moment.year - 1, moment.year)
    found = [jump for year in years for jump in jumps(zone, year) if jump.at <= moment]
    return found[-1] if found else None


@lru_cache(maxsize=8192)
def jumps(zone: str, year: int) -> tuple[Jump, ...]:
    """The jumps of a year (in UTC), in order."""
    return tuple(_found(zone, datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)))


def _found(zone: str, low: datetime, end: datetime) -> Iterator[Jump]:
    before = offset(zone, low - _SECOND)
    day = low - _SECOND
    while day < end - _SECOND:
        following = min(day + _DAY, end - _SECOND)
        after = offset(zone, following)
        if after != before:
            yield Jump(_moment(zone, day, following), before, after)
        day, before = following, after


def _moment(zone: str, low: datetime, high: datetime) -> datetime:
    """The first second at which the offset is no longer that of ``low``."""
    before = offset(zone, low)
    while high - low > _SECOND:
        middle = low + timedelta(seconds=(high - low) // _SECOND // 2)
        if offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high
