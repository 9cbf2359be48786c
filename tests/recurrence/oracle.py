"""An oracle for cron that shares nothing with the engine: it steps through UTC minute by minute, asks the zone what its
clocks show, and compares that with fields that it reads itself."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
_MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
_DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
_NAMED = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *"}
_NAMED |= {"@yearly": "0 0 1 1 *", "@midnight": "0 0 * * *", "@annually": "0 0 1 1 *"}


@dataclass(frozen=True)
class Fields:
    """A pattern of five fields, read plainly."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: str
    months: frozenset[int]
    weekdays: str

    @property
    def every_hour(self) -> bool:
        return len(self.hours) == 24

    @property
    def both_passes(self) -> bool:
        return self.every_hour or len(self.minutes) > 1

    def match(self, local: datetime) -> bool:
        if local.minute not in self.minutes or local.hour not in self.hours or local.month not in self.months:
            return False
        return _day_fits(self.days, self.weekdays, local.year, local.month, local.day)


@cache
def read(expression: str) -> Fields:
    minute, hour, day, month, weekday = _NAMED.get(expression, expression).upper().split()
    return Fields(_numbers(minute, 0, 59), _numbers(hour, 0, 23), day, _numbers(month, 1, 12, _MONTHS), weekday)


def _numbers(text: str, low: int, high: int, names: list[str] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, dash, last = span.partition("-")
        begin = low if span == "*" else _number(first, low, names)
        end = high if span == "*" or (step and not dash) else _number(last, low, names) if dash else begin
        found.update(range(begin, end + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, low: int, names: list[str] | None) -> int:
    return names.index(text) + low if names and text in names else int(text)


@cache
def _day_fits(days: str, weekdays: str, year: int, month: int, day: int) -> bool:
    of_month, of_week = _dom(days, year, month, day), _dow(weekdays, year, month, day)
    return of_month and of_week if "*" in (days[0], weekdays[0]) else of_month or of_week


def _dom(text: str, year: int, month: int, day: int) -> bool:
    last = calendar.monthrange(year, month)[1]
    if text == "L":
        return day == last
    if text == "LW":
        return day == max(d for d in range(1, last + 1) if calendar.weekday(year, month, d) < 5)
    return day in _numbers(text, 1, 31)


def _dow(text: str, year: int, month: int, day: int) -> bool:
    mine = (calendar.weekday(year, month, day) + 1) % 7
    if "#" in text:
        wanted, _, nth = text.partition("#")
        return mine == _number(wanted, 0, _DAYS) % 7 and (day - 1) // 7 + 1 == int(nth)
    if text.endswith("L"):
        return mine == int(text[:-1]) % 7 and day + 7 > calendar.monthrange(year, month)[1]
    return mine in {number % 7 for number in _numbers(text, 0, 7, _DAYS)}


@dataclass(frozen=True)
class Span:
    """Minutes of UTC with what a zone's clocks show at them, and the local minutes that each jump leaves out."""

    begin: datetime
    end: datetime
    minutes: tuple[tuple[datetime, datetime, bool], ...]
    left_out: tuple[tuple[datetime, tuple[datetime, ...]], ...]

    def expected(self, expression: str) -> list[datetime]:
        """When a pattern runs in it, straight from the rule."""
        fields = read(expression)
        found = {
            moment for moment, local, again in self.minutes if (not again or fields.both_passes) and fields.match(local)
        }
        if not fields.every_hour:
            found |= {at for at, missing in self.left_out if any(map(fields.match, missing))}
        return sorted(found)


def span(zone: str, begin: datetime, end: datetime) -> Span:
    """What a zone's clocks show from one instant up to before another; both whole minutes."""
    place = ZoneInfo(zone)
    minutes, left_out = [], []
    before = begin - MINUTE
    shown = before.astimezone(place).replace(tzinfo=None)
    moment = begin
    while moment < end:
        there = moment.astimezone(place)
        local = there.replace(tzinfo=None)
        minutes.append((moment, local, there.fold == 1))
        missing = []
        following = shown + MINUTE
        while following < local:
            missing.append(following)
            following += MINUTE
        if missing:
            left_out.append((moment, tuple(missing)))
        shown, moment = local, moment + MINUTE
    return Span(begin, end, tuple(minutes), tuple(left_out))


def offset(zone: str, moment: datetime) -> timedelta:
    """What a zone's clocks are ahead of UTC."""
    found = moment.astimezone(ZoneInfo(zone)).utcoffset()
    assert found is not None
    return found


def changes(zone: str, first: int, last: int) -> list[datetime]:
    """The instants, to the minute, at which the zone's offset changes in the years from first to last."""
    step = timedelta(days=1)
    moment, end = datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC)
    place, found = ZoneInfo(zone), []
    before = moment.astimezone(place).utcoffset()
    while moment < end:
        following = moment + step
        after = following.astimezone(place).utcoffset()
        if after != before:
            found.append(_minute(place, moment, following))
        moment, before = following, after
    return found


def _minute(place: ZoneInfo, low: datetime, high: datetime) -> datetime:
    before = low.astimezone(place).utcoffset()
    while high - low > MINUTE:
        middle = low + ((high - low) // MINUTE // 2) * MINUTE
        low, high = (middle, high) if middle.astimezone(place).utcoffset() == before else (low, middle)
    return high
