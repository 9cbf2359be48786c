"""New ids for rows: one rising source per process, safe between threads and across forks."""

from __future__ import annotations

import os
import random
import threading
import time

from jobwarden.domain.ids import Uuid7

_chance = random.Random()
_source = Uuid7(lambda: time.time_ns() // 1_000_000, _chance.getrandbits)
_lock = threading.Lock()


def new_id() -> str:
    """A UUIDv7 as text, above every id this process made before."""
    with _lock:
        return _source.next()


def new_ids(count: int) -> list[str]:
    """``count`` rising ids at once."""
    with _lock:
        return _source.take(count)


def _begin_anew() -> None:
    global _lock
    _lock = threading.Lock()
    _chance.seed()


if hasattr(os, "register_at_fork"):  # elsewhere nothing forks
    os.register_at_fork(after_in_child=_begin_anew)
