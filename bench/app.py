"""The application that is measured: jobs that do nothing, or say when their first line ran."""

from __future__ import annotations

import time

from jobwarden import JobWarden

APP = "bench.app:jw"
jw = JobWarden()


@jw.job(idempotent=True, isolation="pool", name="nothing_pool")
def nothing_pool(number: int) -> None:
    """Do nothing, in a shared child."""


@jw.job(idempotent=True, name="nothing_fork")
def nothing_fork(number: int) -> None:
    """Do nothing, in a child of its own."""


@jw.job(idempotent=True, isolation="pool", name="stamp_pool")
def stamp_pool() -> int:
    """When the first line ran, on the machine's own clock."""
    return time.monotonic_ns()


@jw.job(idempotent=True, name="stamp_fork")
def stamp_fork() -> int:
    """When the first line ran, on the machine's own clock."""
    return time.monotonic_ns()


@jw.job(idempotent=False, name="stamp_barrier")
def stamp_barrier() -> int:
    """When the first line ran, behind the start barrier."""
    return time.monotonic_ns()
