"""Cron patterns, and the rule for the days on which the clocks change.

The fields are read and walked by cronsim over local times without a zone; which instant a local time is, is decided
here, so that one rule holds for every pattern:

- Local times that do not exist, because the clocks jump over them, run once together, at the jump.
- Local times that happen twice run the first time only.
- A pattern that runs in every hour, or more than once within an hour, follows the clock where it goes back: it runs
  in both passes. One that runs in every hour loses nothing where the clock jumps ahead, so nothing is added there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from cronsim import CronSim, CronSimError

from jobwarden.domain.zones import Jump, jumps, last_jump, offset

SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
_SECOND = timedelta(seconds=1)
_LAST_YEAR = 9000
_FAR = 60  # years after which a pattern that has not run will never run


@dataclass(frozen=True, slots=True)
class Pattern:
    """A pattern of six fields; ``hourly`` if it runs in every hour, ``dense`` if more than once within an hour."""

    text: str
    hourly: bool
    dense: bool

    @property
    def follows_the_clock(self) -> bool:
        """Whether it runs in both passes where the clock goes back."""
        return self.hourly or self.dense


@lru_cache(maxsize=4096)
def pattern(expression: str) -> Pattern:
    """A pattern from its text; raises ValueError with the rule that the text breaks."""
    text = " ".join(expression.split())
    if text.startswith("@"):
        if text.lower() not in SHORTHANDS:
            raise ValueError(f"there is no such shorthand; there are {', '.join(SHORTHANDS)}")
        text = SHORTHANDS[text.lower()]
    parts = text.split()
    if len(parts) not in (5, 6):
        raise ValueError(f"it has {len(parts)} fields; a pattern has five, or six with seconds first")
    parts = ["0", *parts] if len(parts) == 5 else parts
    try:
        found = CronSim(" ".join(parts), datetime(2000, 1, 1, tzinfo=UTC))
    except (CronSimError, AssertionError, TypeError) as error:
        raise ValueError(_wrong(parts, str(error))) from None
    if next(found, None) is None:
        raise ValueError("it never runs: there is no such date")
    dense = len(found.seconds) * len(found.minutes) > 1
    return Pattern(" ".join(parts), len(found.hours) == 24, dense)


def _wrong(parts: list[str], said: str) -> str:
    name = said.removeprefix("Bad ")
    if name not in _FIELDS:
        return "its fields cannot be read"
    return f"its {name} field {parts[_FIELDS.index(name)]!r} is out of range or cannot be read"


def instants(expression: str, zone: str, after: datetime) -> Iterator[datetime]:
    """The instants, in UTC and in order, at which a pattern runs in a zone, later than ``after``."""
    wanted = pattern(expression)
    begin = past = after.astimezone(UTC).replace(microsecond=0)
    jump = last_jump(zone, begin)
    for end, following in _stretches(zone, begin):
        shift = offset(zone, begin)
        for local in _walk(wanted.text, _local(past, shift), _local(end, shift)):
            if not _again(wanted, jump, local):
                yield (local - shift).replace(tzinfo=UTC)
        past = end - _SECOND
        if following is not None:
            jump = following
            if _jumps_over(wanted, jump):
                yield jump.at
                past = jump.at
        begin = end


def _stretches(zone: str, begin: datetime) -> Iterator[tuple[datetime, Jump | None]]:
    """The ends of stretches of time in which the offset stays as it is, with the jump that ends each, if one does."""
    for year in range(begin.year, min(begin.year + _FAR, _LAST_YEAR)):
        for jump in jumps(zone, year):
            if jump.at > begin:
                yield jump.at, jump
        yield datetime(year + 1, 1, 1, tzinfo=UTC), None


def _walk(text: str, past: datetime, end: datetime) -> Iterator[datetime]:
    """The local times of a pattern between two, both left out."""
    for local in CronSim(text, past):
        if local >= end:
            return
        yield local


def _local(moment: datetime, shift: timedelta) -> datetime:
    return moment.replace(tzinfo=None) + shift


def _again(wanted: Pattern, jump: Jump | None, local: datetime) -> bool:
    """Whether a local time happens for the second time, after the jump, for a pattern that runs the first time only."""
    if jump is None or wanted.follows_the_clock:
        return False
    return jump.after < jump.before and local < _local(jump.at, jump.before)


def _jumps_over(wanted: Pattern, jump: Jump) -> bool:
    """Whether the jump leaves out local times at which the pattern would have run."""
    if wanted.hourly or jump.after <= jump.before:
        return False
    begin = _local(jump.at, jump.before)
    return next(_walk(wanted.text, begin - _SECOND, _local(jump.at, jump.after)), None) is not None
