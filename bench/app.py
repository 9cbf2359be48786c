"""The application that is measured: jobs that do nothing, or say when their first line ran."""

from __future__ import annotations

import os
import signal
import time

from jobwarden import Context, JobWarden

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


def operators(app: JobWarden) -> None:
    """What operators drill with: a job that goes on, one that is parked, one that fails at first."""

    @app.job(idempotent=True, name="synchronise", grace=30)
    def synchronise(store: str, *, ctx: Context) -> None:
        """Go on until somebody says stop."""
        while True:
            ctx.raise_if_stop_requested()
            time.sleep(0.05)

    @app.job(idempotent=False, name="pay")
    def pay(amount: int) -> None:
        """Pay a customer; look for the payment at the bank if it is parked."""
        os.kill(os.getpid(), signal.SIGKILL)

    @app.job(idempotent=True, name="load", max_attempts=1)
    def load(part: str, *, ctx: Context) -> None:
        """Load a part; the source of one is down at first."""
        if part == "0" and ctx.attempt_number == 1:
            raise ConnectionError("the source is down")


operators(jw)
