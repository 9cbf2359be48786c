"""Waiting for a condition instead of for time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(
    condition: Callable[[], T],
    timeout: float = 10.0,
    *,
    interval: float = 0.01,
    why: str | Callable[[], object] | None = None,
) -> T:
    """The first truthy value of ``condition``, asked again until then; AssertionError after ``timeout`` seconds.

    An AssertionError raised by the condition counts as "not yet" and is shown if it stays the last word. ``why`` is
    added to the failure; a callable is asked for it only then.
    """
    deadline = time.monotonic() + timeout
    while True:
        last: object = None
        try:
            if value := condition():
                return value
            last = value
        except AssertionError as error:
            last = error
        if time.monotonic() >= deadline:
            story = why() if callable(why) else why
            raise AssertionError(f"not so after {timeout:g} s: {story or condition}; last seen: {last!r}")
        time.sleep(interval)
