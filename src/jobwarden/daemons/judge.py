"""The judgement of a process that ended without a report, from its exit and what was done to it. Pure but for /proc."""

from __future__ import annotations

from dataclasses import replace

from jobwarden.daemons.watch import Watched, Why
from jobwarden.domain.report import Cause, Outcome, Report, Usage
from jobwarden.process.exits import Exit
from jobwarden.process.forensics import Circumstances, explain

_SENT = 9
_DIED = "ProcessDied"


def judge(
    watched: Watched,
    end: Exit | None,
    reported: Report | None,
    now: float,
    *,
    oom_killed: bool = False,
    oom_near: bool = False,
) -> Report:
    """What is settled for an attempt whose process was ended by a limit, or died and said nothing.

    A limit of its own that ended it is a failure like any other; a death that nobody can explain is a loss.
    """
    seconds = now - watched.started if watched.started is not None else None
    why = watched.ending.why if watched.ending else None
    if end is None:
        return _by_limit(watched, reported, seconds)
    seen = Circumstances(
        seconds=seconds,
        timeout=watched.claim.timeout,
        memory=watched.claim.memory,
        timed_out=why is Why.TIMEOUT,
        over_memory=why is Why.MEMORY,
        oom_killed=oom_killed,
        oom_near=oom_near,
        sent=_SENT if watched.ending is not None and watched.ending.killed else None,
        why=watched.ending.words if watched.ending is not None else None,
    )
    cause, words = explain(end, None, seen)
    known = cause is Cause.TIMED_OUT or (cause is Cause.OUT_OF_MEMORY and (why is Why.MEMORY or oom_killed))
    usage = Usage(None if seconds is None else int(seconds * 1000), end.user_ms, end.system_ms, end.peak_rss)
    error = {"class": _class(cause) if known else _DIED, "message": words, "pid": end.process.pid}
    outcome = Outcome.FAILED if known else Outcome.LOST
    return Report(watched.id, outcome, error=error, reason=words, usage=usage, cause=cause)


def in_light_of_ending(watched: Watched, report: Report, now: float) -> Report:
    """What a child says, given why it was being ended: a limit that is exceeded is a failure, and a stop that only the
    daemon or its host wanted is no wish; success stays success."""
    ending = watched.ending
    if ending is None or report.outcome is Outcome.SUCCEEDED:
        return report
    if ending.why is Why.TIMEOUT:
        return judge(watched, None, report, now)
    if ending.why in (Why.SHUTDOWN, Why.ISOLATED) and report.outcome is Outcome.STOPPED:
        return replace(report, outcome=Outcome.DRAINED, reason=report.reason or f"stopped: {ending.words}")
    return report


def released(watched: Watched, end: Exit) -> Report:
    """What is settled for an attempt whose handler provably never began."""
    words = f"its seat (pid {end.process.pid}) ended before the handler began"
    return Report(watched.id, Outcome.UNSTARTED, reason=words)


def _by_limit(watched: Watched, reported: Report | None, seconds: float | None) -> Report:
    limit, after = watched.claim.timeout, f" after {seconds:.1f} s" if seconds is not None else ""
    words = f"stopped{after} for exceeding its timeout of {limit:g} s" if limit is not None else f"stopped{after}"
    usage = reported.usage if reported is not None else Usage()
    error = {"class": _class(Cause.TIMED_OUT), "message": words}
    return Report(watched.id, Outcome.FAILED, error=error, reason=words, usage=usage, cause=Cause.TIMED_OUT)


def _class(cause: Cause) -> str:
    return {Cause.TIMED_OUT: "TimeoutExceeded", Cause.OUT_OF_MEMORY: "MemoryLimitExceeded"}.get(cause, _DIED)
