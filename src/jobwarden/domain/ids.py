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
        now = self._milliseconds()
        if now > self._last:
            self._last, self._counter = now, self._bits(_COUNTER_BITS - 1)
        else:
            self._counter = (self._counter + 1 + self._bits(16)) & _COUNTER_MASK
            self._last += self._counter < 1 << 17
        return _text(self._last, self._counter, self._bits(32))


def _text(milliseconds: int, counter: int, tail: int) -> str:
    high = (counter >> 30) & 0xFFF
    middle = counter & 0x3FFFFFFF
    value = milliseconds << 80 | 0x7 << 76 | high << 64 | 0b10 << 62 | middle << 32 | tail
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
