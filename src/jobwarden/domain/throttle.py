"""How often somebody may fail to prove who they are, within a window; what is remembered is bounded."""

from __future__ import annotations

from collections import OrderedDict

_REMEMBERED = 10_000


class Throttle:
    """At most ``most`` failures of one key (an address, a name) within ``window`` seconds; moments are monotonic.

    Of more than 10,000 keys, the one that failed longest ago is forgotten first. Not for several threads at once.
    """

    def __init__(self, most: int, window: float) -> None:
        self._most, self._window = most, window
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def wait(self, now: float, *keys: str) -> float:
        """Seconds until another try is allowed; 0 if it is now. The strictest of the keys decides."""
        return max((self._wait(now, key) for key in keys), default=0.0)

    def failed(self, now: float, *keys: str) -> None:
        """Remember a failure under each of the keys."""
        for key in keys:
            self._failures[key] = [*self._recent(now, key), now][-self._most :]
            self._failures.move_to_end(key)
        while len(self._failures) > _REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, *keys: str) -> None:
        """Forget the failures of these keys."""
        for key in keys:
            self._failures.pop(key, None)

    def __len__(self) -> int:
        return len(self._failures)

    def _wait(self, now: float, key: str) -> float:
        recent = self._recent(now, key)
        return recent[0] + self._window - now if len(recent) >= self._most else 0.0

    def _recent(self, now: float, key: str) -> list[float]:
        return [moment for moment in self._failures.get(key, []) if now - moment < self._window]
