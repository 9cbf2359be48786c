"""Buckets and quantiles: a time falls into one bucket, sums are order-free, and a quantile lies where the times lie."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwarden.domain.history import BEYOND, BOUNDS, LADDER, Span, beginning, bucket_of, quantile

TIMES = st.floats(0, BOUNDS[-1] * 4, allow_nan=False)


@given(TIMES)
def test_a_time_lies_between_the_bounds_of_its_bucket(seconds: float) -> None:
    number = bucket_of(seconds)
    assert seconds <= (BOUNDS[number] if number < BEYOND else math.inf)
    assert number == 0 or seconds > BOUNDS[number - 1]


@given(st.lists(st.floats(0.0011, BOUNDS[-1]), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_at_most_a_bucket_away_from_the_times_own(times: list[float], share: float) -> None:
    found = quantile(Counter(map(bucket_of, times)), share)
    exact = sorted(times)[math.ceil(share * len(times)) - 1]
    assert found is not None
    assert exact / 2 <= found * (1 + 1e-9)
    assert found <= exact * 2 * (1 + 1e-9)


def test_the_quantiles_of_nothing_and_of_what_is_beyond() -> None:
    assert quantile({}, 0.5) is None
    assert quantile({3: 0}, 0.5) is None
    assert quantile({BEYOND: 2}, 0.5) == BOUNDS[-1]
    assert quantile({10: 4}, 0.5) == pytest.approx((BOUNDS[9] + BOUNDS[10]) / 2)


@pytest.mark.parametrize(
    ("span", "begun"),
    [
        (Span.MINUTE, datetime(2026, 11, 27, 23, 59, tzinfo=UTC)),
        (Span.HOUR, datetime(2026, 11, 27, 23, 0, tzinfo=UTC)),
        (Span.DAY, datetime(2026, 11, 27, tzinfo=UTC)),
        (Span.EVER, datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_when_a_span_begins(span: Span, begun: datetime) -> None:
    assert beginning(span, datetime(2026, 11, 27, 23, 59, 59, 999, tzinfo=UTC)) == begun


def test_the_ladder_leads_up_to_ever() -> None:
    ages = [age for age, _ in LADDER.values()]
    assert ages == sorted(ages)
    assert [*LADDER, Span.EVER] == list(Span)
    assert [target for _, target in LADDER.values()] == list(Span)[1:]
    assert timedelta(hours=3) in ages
