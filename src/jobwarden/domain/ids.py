"""UUIDv7 (RFC 9562, 5.7) as text: ordered by time, and strictly rising within one process.

The milliseconds only order rows for people and indexes; nothing is decided by them.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

_COUNTER_BITS = 42  # rand_a and the upper 30 bits of rand_b count on within one millisecond
_COUNTER_MASK = (1 << _COUNTER_BITS) - 1


def first_at(moment: datetime) -> str:
    """The lowest id of a moment; the year 1970 for one before it."""
    return _text(max(0, int(moment.timestamp() * 1000)), 0, 0)


class Uuid7:
    """A source of ids: ``milliseconds`` is the clock, ``bits(n)`` gives n random bits. Not shared between threads."""

    def __init__(self, milliseconds: Callable[[], int], bits: Callable[[int], int]) -> None:
        self._milliseconds, self._bits = milliseconds, bits
        self._last, self._counter = 0, 0

    def next(self) -> str:
        """The next id, above every id that this source gave before."""
        now, chance = self._milliseconds(), self._bits(48)
        if now > self._last:
            self._last, self._counter = now, self._bits(_COUNTER_BITS - 1)
        else:
            self._counter = (self._counter + 1 + (chance >> 32)) & _COUNTER_MASK
            self._last += self._counter < 1 << 17
        return _text(self._last, self._counter, chance & 0xFFFFFFFF)

    def take(self, count: int) -> list[str]:
        """The next ``count`` ids; many at once cost half as much, because they share one look at the clock."""
        ids: list[str] = []
        while len(ids) < count:
            ids.append(self.next())
            ids += self._more(_stamp(self._last), count - len(ids))
        return ids

    def _more(self, stamp: str, count: int) -> list[str]:
        """At most ``count`` ids of the same millisecond as the last one: fewer if the counter is used up."""
        ids, counter, bits = [], self._counter, self._bits
        for _ in range(min(count, (_COUNTER_MASK - counter) >> 16)):
            chance = bits(48)
            counter += 1 + (chance >> 32)
            high, low = counter >> 16, counter & 0xFFFF
            ids.append(stamp + _FORM % (0x7000 | high >> 14, 0x8000 | high & 0x3FFF, low, chance & 0xFFFFFFFF))
        self._counter = counter
        return ids


_FORM = "%04x-%04x-%04x%08x"  # the fastest of the spellings


def _text(milliseconds: int, counter: int, tail: int) -> str:
    high, low = counter >> 16, counter & 0xFFFF
    return _stamp(milliseconds) + _FORM % (0x7000 | high >> 14, 0x8000 | high & 0x3FFF, low, tail)


def _stamp(milliseconds: int) -> str:
    return f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-"
