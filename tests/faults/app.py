"""Jobs whose words are hard to keep, beside those of all tests."""

from __future__ import annotations

import os
from typing import Any

from jobwarden import JobWarden
from tests.support.jobs import build


def bad_words() -> None:
    """Fails with words that are no Unicode, and leaves half a character as its last one."""
    os.write(2, "half a \u20ac".encode()[:-1])
    raise ValueError(b"\xff\xfe".decode("utf-8", "surrogateescape"), "a\0b", "the reason")


def long_words(size: int) -> None:
    """Says a line and an error that are as long as that."""
    print("\u20ac" * size)
    raise ValueError("x" * size)


def build_all(**settings: Any) -> JobWarden:
    """An app with all of these jobs."""
    app = build(**settings)
    for function in (bad_words, long_words):
        app.job(idempotent=True, name=function.__name__, max_attempts=1)(function)
    return app


jw = build_all()
