"""PostgreSQL connections whose every call ends in time, whatever the network does.

The server ends its statements by itself, and the kernel ends a connection whose packets nobody acknowledges. Neither
helps when something between us and the server takes our words, acknowledges them and never answers. Imported only
where psycopg is used.
"""

from __future__ import annotations

import math
import time
from collections.abc import Generator
from typing import Any

import psycopg


class PatientConnection(psycopg.Connection[Any]):
    """Gives a call up, and the connection with it, that has no answer after ``deadline`` seconds.

    It costs one Python generator per call, a microsecond; the driver looks up from its wait ten times a second.
    """

    deadline = math.inf

    def wait(self, gen: Generator[Any, Any, Any], *args: Any, **kwargs: Any) -> Any:
        """Wait for the server, as the driver does, within the deadline."""
        return super().wait(self._within_deadline(gen), *args, **kwargs)

    def _within_deadline(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        until = time.monotonic() + self.deadline
        try:
            wish = next(gen)
            while True:
                ready = yield wish
                if not ready and time.monotonic() > until:
                    self.close()
                    raise psycopg.OperationalError(f"no answer from the server within {self.deadline:g} s")
                wish = gen.send(ready)
        except StopIteration as done:
            return done.value
