"""Ids: rising within one process whatever the clock does, one by one or many at once, and always UUIDv7."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable
from itertools import pairwise

import pytest

from jobwarden.domain.ids import Uuid7

_chance = random.Random(7)


def _stuck() -> int:
    return 1_790_000_000_000


def _backwards() -> Callable[[], int]:
    moments = iter(range(1_790_000_000_000, 0, -1))
    return lambda: next(moments)


@pytest.mark.parametrize("clock", [_stuck, _backwards()], ids=["stuck", "backwards"])
@pytest.mark.parametrize(
    "bits", [_chance.getrandbits, lambda n: (1 << n) - 1, lambda n: 0], ids=["any", "most", "none"]
)
def test_ids_rise(clock: Callable[[], int], bits: Callable[[int], int]) -> None:
    source = Uuid7(clock, bits)
    ids = [*source.take(70_000), source.next(), *source.take(0), *source.take(1), *source.take(70_000)]
    assert len(ids) == 140_002
    assert all(before < after for before, after in pairwise(ids))


def test_ids_are_version_seven() -> None:
    source = Uuid7(_stuck, _chance.getrandbits)
    for text in (source.next(), *source.take(1000)):
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 7, uuid.RFC_4122)
        assert abs((parsed.int >> 80) - _stuck()) <= 1
