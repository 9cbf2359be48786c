"""UUIDv7 (RFC 9562, 5.7) as text: ordered by time, and strictly rising within one process.

The milliseconds only order rows for people and indexes; nothing is decided by them.
"""

from __future__ import annotations

from collections.abc import Callable

_COUNTER_BITS = 42  # rand_a and the upper 30 bits of rand_b count on within one millisecond
_COUNTER_MASK = (1 << _COUNTER_BITS) - 1


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


def _text(milliseconds: int, counter: int, tail: int) -> str:
    return "%08x-%04x-%04x-%04x-%04x%08x" % (  # noqa: UP031 - twice as fast
        milliseconds >> 16,
        milliseconds & 0xFFFF,
        0x7000 | counter >> 30,
        0x8000 | counter >> 16 & 0x3FFF,
        counter & 0xFFFF,
        tail,
    )
