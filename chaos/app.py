"""The hostile application: each job does one bad thing, or none, and tells the journal what it did.

Every handler's first act is its ``start`` line and its last is its ``end`` line. What takes a while says that it is
alive, and so do the grandchildren that some leave behind, so that life after a verdict is seen.
"""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from chaos import journal
from chaos.kinds import KINDS
from jobwarden import Backoff, Context, JobWarden, Outcome, Snooze

APP = "chaos.app:jw"
_HEARTBEAT = 0.1
_SOON = Backoff(base=0.2, factor=1.5, cap=1.0)
_LONGEST_LIFE = 300.0
_declared: list[tuple[Callable[..., Any], dict[str, Any]]] = []


def build(**settings: Any) -> JobWarden:
    """An app with all of these jobs."""
    app = JobWarden(**settings)
    for function, options in _declared:
        app.job(**options)(function)
    return app


def _job(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Note a job under its function's name, as its kind describes it."""

    def note(function: Callable[..., Any]) -> Callable[..., Any]:
        kind = KINDS[options.get("name", function.__name__)]
        base = {"name": kind.name, "idempotent": kind.idempotent, "isolation": kind.isolation}
        _declared.append((function, {**base, "backoff": _SOON, "max_attempts": 20, "grace": 0.5, **options}))
        return function

    return note


def _facts(ctx: Context) -> dict[str, Any]:
    return {
        "job": ctx.job_id,
        "attempt": ctx.attempt_id,
        "number": ctx.attempt_number,
        "token": ctx.fencing_token,
        "kind": ctx.job,
        "host": os.environ.get(journal.HOST_VARIABLE, ""),
        **journal.myself(),
    }


class _Told:
    """One run of a handler as the journal sees it."""

    def __init__(self, ctx: Context) -> None:
        self._facts = _facts(ctx)
        journal.write("start", **self._facts)

    def effect(self) -> None:
        journal.write("effect", **self._facts)

    def end(self, **more: Any) -> None:
        journal.write("end", **self._facts, more=more)

    def live(self, seconds: float, look: Callable[[], object] = lambda: None) -> None:
        """Say that we are alive until the time is up."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            look()
            journal.write("alive", **self._facts)
            time.sleep(min(left, _HEARTBEAT))

    def leave_grandchildren(self, count: int) -> None:
        """Processes in sessions of their own, whose parents are gone, that ignore TERM and say that they are alive."""
        for _ in range(count):
            child = os.fork()
            if child == 0:
                self._be_grandchild()
            os.waitpid(child, 0)

    def _be_grandchild(self) -> None:
        try:
            os.setsid()
            if os.fork() == 0:
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                self._facts |= {**journal.myself(), "grandchild": True}
                self.live(_LONGEST_LIFE)
        finally:
            os._exit(0)


# -- the well-behaved -------------------------------------------------------------------------------------------------


def _plain(ctx: Context, seconds: float = 0.0) -> int:
    told = _Told(ctx)
    told.effect()
    told.live(seconds)
    told.end()
    return ctx.attempt_number


@_job()
def quick(*, ctx: Context) -> int:
    return _plain(ctx)


@_job()
def quick_once(*, ctx: Context) -> int:
    return _plain(ctx)


@_job()
def quick_once_pool(*, ctx: Context) -> int:
    return _plain(ctx)


@_job()
def slow(seconds: float, *, ctx: Context) -> int:
    return _plain(ctx, seconds)


@_job()
def slow_once(seconds: float, *, ctx: Context) -> int:
    return _plain(ctx, seconds)


@_job()
def slow_pool(seconds: float, *, ctx: Context) -> int:
    return _plain(ctx, seconds)


@_job()
def slow_exec(seconds: float, *, ctx: Context) -> int:
    return _plain(ctx, seconds)


@_job()
def growing(*, ctx: Context) -> int:
    """Adds members that run side by side, and one that waits for them; at its odd attempts at once."""
    told = _Told(ctx)
    batch = ctx.batch()
    parts = batch.fan_out([jw.bind("quick") for _ in range(3)])
    batch.add(jw.bind("quick_once"), after=parts)
    if ctx.attempt_number % 2:
        batch.enqueue()
    told.effect()
    told.end()
    return ctx.attempt_number


@_job()
def noisy(seconds: float, *, ctx: Context) -> int:
    told = _Told(ctx)
    for number in range(200):
        ctx.log.info("line %d of a handler that talks too much", number)
        if number % 20 == 0:
            ctx.progress(number / 200, "talking")
            print("aside", number, flush=True)
    ctx.artifact("report.json", {"rows": 200}, type="report")
    told.live(seconds)
    told.end()
    return 200


@_job()
def checkpointing(seconds: float, *, ctx: Context) -> int:
    told = _Told(ctx)
    told.live(seconds, ctx.raise_if_stop_requested)
    told.end()
    return ctx.attempt_number


@_job()
def snoozing(*, ctx: Context) -> int:
    told = _Told(ctx)
    if ctx.attempt_number == 1:
        told.end(fate="snoozed")
        raise Snooze(0.3)
    told.end()
    return ctx.attempt_number


@_job(name="reconciling")
class Reconciling:
    """Has its effect late, and can tell from the journal whether a lost attempt had it."""

    seconds: float

    def run(self, ctx: Context) -> int:
        told = _Told(ctx)
        told.live(self.seconds)
        told.effect()
        told.live(0.2)
        told.end()
        return ctx.attempt_number

    def reconcile(self, ctx: Context) -> Outcome:
        journal.write("reconcile", **_facts(ctx))
        lost = ctx.lost_attempt
        seen = {line.event for line in journal.of(lost.id)}
        if "end" in seen:
            return Outcome.ran({"found": lost.number})
        if "effect" in seen:
            return Outcome.unknown("it had its effect and did not come to its end")
        return Outcome.did_not_run("the journal knows of no effect")


# -- the ill-behaved --------------------------------------------------------------------------------------------------


def _once_bad(ctx: Context, misdeed: Callable[[_Told], object]) -> int:
    """Misbehave at the first attempt, and be good at the next."""
    told = _Told(ctx)
    if ctx.attempt_number == 1 or not KINDS[ctx.job].idempotent:
        misdeed(told)
    told.effect()
    told.end()
    return ctx.attempt_number


@_job()
def raises(*, ctx: Context) -> int:
    def misdeed(told: _Told) -> None:
        told.end(fate="failed")
        raise RuntimeError("it broke")

    return _once_bad(ctx, misdeed)


@_job()
def exits(*, ctx: Context) -> int:
    return _once_bad(ctx, lambda told: os._exit(3))


@_job()
def dies(*, ctx: Context) -> int:
    return _once_bad(ctx, lambda told: os.kill(os.getpid(), signal.SIGKILL))


@_job()
def dies_once(*, ctx: Context) -> int:
    def misdeed(told: _Told) -> None:
        told.effect()
        os.kill(os.getpid(), signal.SIGKILL)

    return _once_bad(ctx, misdeed)


@_job()
def segfaults(*, ctx: Context) -> int:
    return _once_bad(ctx, lambda told: ctypes.string_at(0))


@_job(timeout=1.5)
def stubborn(*, ctx: Context) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    told = _Told(ctx)
    told.live(_LONGEST_LIFE)


@_job(timeout=1.0, max_attempts=2)
def overdue(seconds: float, *, ctx: Context) -> int:
    return _plain(ctx, seconds)


@_job()
def forking(seconds: float, *, ctx: Context) -> int:
    told = _Told(ctx)
    told.leave_grandchildren(2)
    told.live(seconds)
    told.end()
    return ctx.attempt_number


@_job()
def forking_long(seconds: float, *, ctx: Context) -> int:
    told = _Told(ctx)
    told.leave_grandchildren(3)
    told.live(seconds)
    told.end()
    return ctx.attempt_number


@_job()
def forking_dies(*, ctx: Context) -> int:
    def misdeed(told: _Told) -> None:
        told.leave_grandchildren(2)
        told.live(0.3)
        os.kill(os.getpid(), signal.SIGKILL)

    return _once_bad(ctx, misdeed)


jw = build()
