"""Put on PYTHONPATH: each Python process reads the time of day from a file that says how wrong it is, in seconds.

Only clocks that are set are changed; those that count are left alone. What C code reads by itself is not changed, so
neither is the clock of a database file.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

_FILE = Path(os.environ["WALL_CLOCK"])
_time, _time_ns, _gmtime, _localtime, _gettime = (
    time.time,
    time.time_ns,
    time.gmtime,
    time.localtime,
    time.clock_gettime,
)


def _off() -> float:
    return float(_FILE.read_text())


def _wrong_gettime(clock: int) -> float:
    return _gettime(clock) + (_off() if clock == time.CLOCK_REALTIME else 0.0)


def _of(convert: Any) -> Any:
    return lambda seconds=None: convert(_time() + _off() if seconds is None else seconds)


time.time = lambda: _time() + _off()
time.time_ns = lambda: _time_ns() + int(_off() * 1e9)
time.clock_gettime = _wrong_gettime
time.gmtime, time.localtime = _of(_gmtime), _of(_localtime)
