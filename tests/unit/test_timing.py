"""Timing: what is refused and in which words, seconds, intervals, bounds, jitter, excluded dates, and looking back."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise, takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwarden.domain.timing import EPOCH, Kind, Timing, checked
from jobwarden.errors import ScheduleRefused

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def some(timing: Timing, after: datetime = NOON, count: int = 3) -> list[str]:
    return [moment.isoformat() for moment in islice(timing.occurrences(after), count)]


@pytest.mark.parametrize(
    ("timing", "words"),
    [
        (Timing(), "has 0 of cron pattern, every= and an instant"),
        (Timing(cron="0 * * * *", every=HOUR), "has 2 of"),
        (Timing(cron="61 * * * *"), "'61 * * * *' cannot be read: its minute field '61' is out of range"),
        (Timing(cron="0 0 * 13 *"), "its month field '13'"),
        (Timing(cron="0 0 30 2 *"), "its day-of-month field '30'"),
        (Timing(cron="* * *"), "it has 3 fields; a pattern has five, or six with seconds first"),
        (Timing(cron="@fortnightly"), "no such shorthand; there are @yearly"),
        (Timing(cron="5-1 * * * *"), "its minute field '5-1'"),
        (Timing(cron="*/0 * * * *"), "its minute field"),
        (Timing(cron="0 0 31 4 MON#6"), "its day-of-week field"),
        (Timing(cron="@daily", zone="Europe/Olso"), "the time zone 'Europe/Olso' is not known"),
        (Timing(cron="@daily", zone="../etc/passwd"), "the time zone"),
        (Timing(cron="@daily", zone=""), "the time zone ''"),
        (Timing(every=timedelta(milliseconds=10)), "no timedelta of a second or more"),
        (Timing(run_at=NOON.replace(tzinfo=None)), "names no instant"),
        (Timing(cron="@daily", starts_at=NOON, ends_at=NOON - HOUR), "before it starts"),
        (Timing(cron="@daily", jitter=timedelta(days=2)), "is not from 0 to a day"),
        (Timing(cron="@daily", excluded=frozenset([NOON])), "no date"),
    ],
)
def test_what_cannot_be_kept_to_is_refused_in_one_sentence(timing: Timing, words: str) -> None:
    with pytest.raises(ScheduleRefused) as caught:
        checked("nightly", timing)
    said = str(caught.value)
    assert words in said
    assert said.startswith("The schedule 'nightly' cannot be made: ")
    assert said.endswith(".")
    assert "\n" not in said


def test_six_fields_begin_with_seconds() -> None:
    assert some(Timing(cron="*/20 * * * * *")) == [
        "2026-03-01T12:00:20+00:00",
        "2026-03-01T12:00:40+00:00",
        "2026-03-01T12:01:00+00:00",
    ]


def test_what_is_due_is_later_than_what_was() -> None:
    assert some(Timing(cron="0 * * * *"), NOON, 1) == ["2026-03-01T13:00:00+00:00"]
    assert some(Timing(cron="0 * * * *"), NOON - timedelta(microseconds=1), 1) == ["2026-03-01T12:00:00+00:00"]


def test_intervals_are_steady_whatever_the_clocks_do() -> None:
    timing = Timing(every=timedelta(hours=5), zone="Europe/Oslo")
    found = list(islice(timing.occurrences(datetime(2026, 3, 28, tzinfo=UTC)), 20))
    assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(hours=5)}
    assert (found[0] - EPOCH) % timedelta(hours=5) == timedelta()
    assert some(Timing(every=HOUR, starts_at=NOON + timedelta(minutes=7)), count=2) == [
        "2026-03-01T12:07:00+00:00",
        "2026-03-01T13:07:00+00:00",
    ]


def test_bounds_are_inclusive() -> None:
    timing = Timing(cron="0 * * * *", starts_at=NOON + HOUR, ends_at=NOON + 2 * HOUR)
    assert some(timing, NOON - 5 * HOUR, 9) == ["2026-03-01T13:00:00+00:00", "2026-03-01T14:00:00+00:00"]
    assert timing.next(NOON + 2 * HOUR) is None


def test_excluded_dates_are_those_of_the_zone() -> None:
    timing = Timing(cron="30 23 * * *", zone="America/New_York", excluded=frozenset([date(2026, 3, 2)]))
    assert some(timing, count=2) == ["2026-03-02T04:30:00+00:00", "2026-03-04T04:30:00+00:00"]


def test_one_instant_is_due_once() -> None:
    timing = Timing(run_at=NOON)
    assert timing.kind is Kind.ONE_TIME
    assert some(timing, NOON - HOUR) == ["2026-03-01T12:00:00+00:00"]
    assert timing.next(NOON) is None


def test_jitter_is_the_same_each_time_and_differs_between_schedules() -> None:
    timing = Timing(cron="@hourly", jitter=timedelta(minutes=10))
    delays = {f"s{n}": timing.delay(f"s{n}") for n in range(200)}
    assert delays == {name: timing.delay(name) for name in delays}
    assert all(timedelta() <= delay < timedelta(minutes=10) for delay in delays.values())
    assert len(set(delays.values())) > 190
    assert Timing(cron="@hourly").delay("s1") == timedelta()


@given(
    timing=st.sampled_from(
        [
            Timing(cron="*/7 * * * *", zone="Europe/Oslo"),
            Timing(cron="0 0 * * MON", zone="Asia/Gaza"),
            Timing(cron="30 2 * * *", zone="America/New_York"),
            Timing(cron="@yearly"),
            Timing(cron="5 * * * * *"),
            Timing(every=timedelta(days=40)),
        ]
    ),
    seconds=st.integers(0, 440_000_000),
)
def test_the_one_before_is_the_last_of_those_before(timing: Timing, seconds: int) -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    previous = timing.previous(moment)
    assert previous is not None
    assert previous < moment
    assert list(takewhile(lambda found: found < moment, timing.occurrences(previous))) == []


def test_nothing_is_before_the_first() -> None:
    timing = Timing(cron="@hourly", starts_at=NOON)
    assert timing.previous(NOON) is None
    assert timing.previous(NOON + HOUR) == NOON
    assert checked("x", replace(timing, zone="Europe/Oslo")).zone == "Europe/Oslo"
