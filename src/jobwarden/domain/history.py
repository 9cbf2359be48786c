"""What happened over time, in numbers: spans of time that grow coarser with age, and histograms that can be added.

Every attempt's wait and run falls into one of a fixed set of buckets whose bounds double, so that rows of any lanes,
jobs and hours can be summed, and a quantile read from the sum. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum

#: The upper bounds of the buckets, in seconds: from a millisecond to three days; what is longer falls into one more.
BOUNDS: tuple[float, ...] = tuple((1 << power) / 1000 for power in range(29))
BEYOND = len(BOUNDS)
#: The upper bounds of the sizes that transactions are counted by, in things written; what is larger comes last.
SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Kind(StrEnum):
    """What a number is about."""

    WAIT = "wait"  # an attempt began: how long its job had been due and had waited for a seat
    RUN = "run"  # an attempt ended: how long it had run
    FENCED = "fenced"  # an outcome came too late, and was refused
    DEPTH = "depth"  # somebody looked: how many jobs of a lane were queued, as its seconds
    SEATS = "seats"  # somebody looked: how many seats were there, and were busy (outcome), as its seconds


#: What attempts leave; everything else is left by somebody who looked.
OF_ATTEMPTS = (Kind.WAIT, Kind.RUN)


class Span(StrEnum):
    """How much time a row stands for."""

    MOMENT = "moment"  # what one transaction left
    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    EVER = "ever"  # all that is older: kept, so that totals never go down


#: How old a row of a span must be, before it becomes part of one of the next.
LADDER: Mapping[Span, tuple[timedelta, Span]] = {
    Span.MOMENT: (timedelta(), Span.MINUTE),
    Span.MINUTE: (timedelta(hours=3), Span.HOUR),
    Span.HOUR: (timedelta(days=7), Span.DAY),
    Span.DAY: (timedelta(days=90), Span.EVER),
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def beginning(span: Span, at: datetime) -> datetime:
    """The instant at which the minute, hour or day begins that an instant falls into; the epoch for `Span.EVER`."""
    if span is Span.EVER:
        return _EPOCH
    whole = at.astimezone(UTC).replace(microsecond=0)
    if span is Span.MOMENT:
        return whole
    minute = whole.replace(second=0)
    if span is Span.MINUTE:
        return minute
    hour = minute.replace(minute=0)
    return hour if span is Span.HOUR else hour.replace(hour=0)


def bucket_of(seconds: float) -> int:
    """The bucket that a time falls into: the first whose bound is not below it."""
    return next((number for number, bound in enumerate(BOUNDS) if seconds <= bound), BEYOND)


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """The time in seconds below which that share of the counted ones is; None if nothing was counted.

    Linear within a bucket, as Prometheus's ``histogram_quantile`` does it; what is beyond the last bound counts as it.
    """
    total = sum(counts.values())
    if total <= 0:
        return None
    rank, seen = share * total, 0
    for number in sorted(counts):
        if seen + counts[number] >= rank and counts[number] > 0:
            return _within(number, (rank - seen) / counts[number])
        seen += counts[number]
    return BOUNDS[-1]


def _within(number: int, part: float) -> float:
    """A point of a bucket, by the part of its counted ones that lie below."""
    if number >= BEYOND:
        return BOUNDS[-1]
    low = BOUNDS[number - 1] if number else 0.0
    return low + (BOUNDS[number] - low) * max(0.0, min(1.0, part))
