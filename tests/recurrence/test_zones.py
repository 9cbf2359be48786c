"""Cron patterns against the oracle: every zone whose clocks change between 2020 and 2035, around every change.

A change is the same for every zone that makes it, so what the oracle expects around one is worked out once; the engine
is asked for each zone by its own name. Here each zone meets every pattern at some of its changes;
``ALL_PATTERNS=1`` has every pattern meet every change (some minutes).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import takewhile
from zoneinfo import available_timezones

from jobwarden.domain.cron import instants
from jobwarden.domain.zones import jumps
from tests.recurrence import oracle

FIRST, LAST = 2020, 2035
ALL = bool(os.environ.get("ALL_PATTERNS"))
AROUND = timedelta(hours=13)
PATTERNS = (
    """
* * * * * | */5 * * * * | */15 * * * * | 7-59/20 * * * * | 0 * * * * | 30 * * * * | 59 * * * * | @hourly
0 */2 * * * | 30 1-23/2 * * * | 15,45 0-6 * * * | */30 2 * * * | 0,30 2 * * * | 1-59/2 1 * * * | 0 0 * * * | @daily
@midnight | 30 0 * * * | 0 1 * * * | 30 1 * * * | 0 2 * * * | 30 2 * * * | 45 2 * * * | 0 3 * * * | 30 3 * * *
59 23 * * * | 0 12 * * * | 0 2 * * SUN | 30 2 * * 7 | 30 2 * * 0L | 30 1 L * * | 0 0 LW * * | 30 2 29-31 MAR,OCT *
0 4 1 * * | @monthly | @weekly | 30 2 8-14 3 0 | 0 2 1-7 11 SUN | 15 0-3 * 3,10,11 SUN#1 | 30 2 * APR-SEP 5L
0 5 1 JAN * | 5 4 */2 * 1-5
""".strip()
    .replace("\n", " | ")
    .split(" | ")
)


@cache
def zones() -> dict[str, list[datetime]]:
    """The zones whose clocks change in these years, with the changes."""
    found = {zone: oracle.changes(zone, FIRST, LAST) for zone in sorted(available_timezones())}
    return {zone: changes for zone, changes in found.items() if changes}


@cache
def around(change: datetime, before: timedelta, after: timedelta, zone: str) -> oracle.Span:
    """The hours around a change, as one zone that makes it shows them."""
    return oracle.span(zone, change - AROUND, change + AROUND)


@cache
def expected(change: datetime, before: timedelta, after: timedelta, zone: str, pattern: str) -> list[datetime]:
    """When a pattern runs around a change."""
    return around(change, before, after, zone).expected(pattern)


def engine(pattern: str, zone: str, begin: datetime, end: datetime) -> list[datetime]:
    """When the engine has it run."""
    return list(takewhile(lambda at: at < end, instants(pattern, zone, begin - timedelta(microseconds=1))))


def cases() -> Iterator[tuple[str, datetime, str]]:
    """Zone, change and pattern."""
    for number, (zone, changes) in enumerate(zones().items()):
        share = len(PATTERNS) if ALL else max(2, -(-len(PATTERNS) // len(changes)))
        for turn, change in enumerate(changes):
            for each in range(share):
                yield zone, change, PATTERNS[(number + turn * share + each) % len(PATTERNS)]


def test_the_patterns_are_forty_and_the_zones_are_there() -> None:
    assert len(set(PATTERNS)) >= 40
    assert len(zones()) > 150
    assert {"Europe/Oslo", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "Asia/Gaza"} <= set(zones())


def test_the_jumps_are_those_of_the_zones() -> None:
    for zone, changes in zones().items():
        found = [jump for year in range(FIRST, LAST + 1) for jump in jumps(zone, year)]
        assert [jump.at for jump in found] == changes, zone
        second = timedelta(seconds=1)
        assert [(jump.before, jump.after) for jump in found] == [
            (oracle.offset(zone, at - second), oracle.offset(zone, at)) for at in changes
        ], zone


def test_every_zone_runs_every_pattern_as_the_rule_says() -> None:
    first: dict[tuple[datetime, timedelta, timedelta, int], str] = {}
    met: dict[str, set[str]] = {}
    for zone, change, pattern in cases():
        before = oracle.offset(zone, change - oracle.MINUTE)
        after = oracle.offset(zone, change)
        # a second change within the hours around would make two zones differ that share this one
        key = (change, before, after, sum(abs(other - change) < 2 * AROUND for other in zones()[zone]))
        alike = first.setdefault(key, zone)
        wanted = expected(change, before, after, alike, pattern)
        found = engine(pattern, zone, change - AROUND, change + AROUND)
        assert found == wanted, (zone, change, pattern)
        met.setdefault(zone, set()).add(pattern)
    assert [zone for zone, patterns in met.items() if len(zones()[zone]) >= 20 and len(patterns) < 40] == []


def test_a_day_that_a_zone_left_out_runs_its_patterns_once_at_the_jump() -> None:
    begin, end = datetime(2011, 12, 28, tzinfo=UTC), datetime(2012, 1, 2, tzinfo=UTC)
    days = oracle.span("Pacific/Apia", begin, end)
    for pattern in PATTERNS:
        assert engine(pattern, "Pacific/Apia", begin, end) == days.expected(pattern), pattern


def test_sparse_patterns_are_found_years_ahead() -> None:
    begin = datetime(2025, 1, 1, tzinfo=UTC)
    found = engine("0 0 29 2 *", "Asia/Tokyo", begin, datetime(2041, 1, 1, tzinfo=UTC))
    assert [at.date().isoformat() for at in found] == ["2028-02-28", "2032-02-28", "2036-02-28", "2040-02-28"]
