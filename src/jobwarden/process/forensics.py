"""A death in words: what ended a process, as far as its wait status, its last report and the limits can tell."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from dataclasses import dataclass

from jobwarden.domain.report import Cause, Outcome, Report
from jobwarden.process.exits import Exit

_MOMENT = 10.0


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else is known: how long it ran, its limits (seconds, bytes), and what we did to it and why.

    ``sent`` is the last signal that we sent it and ``why`` the reason in words; ``oom_killed`` is the kernel's own word
    (cgroup), ``oom_near`` that it ended something on this machine a moment ago; ``over_memory`` and ``timed_out`` say
    that a limit was the reason for ending it.
    """

    seconds: float | None = None
    timeout: float | None = None
    memory: int | None = None
    timed_out: bool = False
    over_memory: bool = False
    oom_killed: bool = False
    oom_near: bool = False
    sent: int | None = None
    why: str | None = None


class OomWatch:
    """Remembers when the kernel's out-of-memory killer was at work, by its counter; looked at once a second."""

    def __init__(self, count: Callable[[], int | None]) -> None:
        self._count = count
        self._seen = count()
        self._look_at = 0.0
        self._struck = -math.inf

    def look(self, now: float) -> None:
        """Notice if it has struck since the last look; ``now`` in monotonic seconds."""
        if now >= self._look_at:
            self._look_at = now + 1.0
            self._notice(now)

    def near(self, now: float) -> bool:
        """Whether it struck a moment ago; large processes take long to end."""
        self._notice(now)
        return now - self._struck < _MOMENT

    def _notice(self, now: float) -> None:
        before, self._seen = self._seen, self._count()
        if before is not None and self._seen is not None and self._seen > before:
            self._struck = now


def explain(end: Exit, report: Report | None = None, seen: Circumstances = Circumstances()) -> tuple[Cause, str]:
    """The cause in one word and in one sentence without a full stop."""
    after = f" after {seen.seconds:.1f} s" if seen.seconds is not None else ""
    if seen.timed_out:
        limit = f"its timeout of {seen.timeout:g} s" if seen.timeout is not None else "its timeout"
        return Cause.TIMED_OUT, f"ended{after} for exceeding {limit} ({_how(end)}){_leftovers(end)}"
    if seen.over_memory or seen.oom_killed:
        return Cause.OUT_OF_MEMORY, f"{_memory(end, seen)}{after}{_leftovers(end)}"
    if report is not None and report.cause is Cause.OUT_OF_MEMORY:
        return Cause.OUT_OF_MEMORY, f"ran into its memory limit{after} and reported it{_leftovers(end)}"
    silent = "" if report is not None else " without reporting"
    if end.signal is not None:
        cause = Cause.OUT_OF_MEMORY if _by_oom_killer(end.signal, seen) else Cause.KILLED
        return cause, f"{_how(end)}{after}{silent}{_sender(end.signal, seen)}{_leftovers(end)}"
    if end.status is None:
        return _unknown(report), f"gone{after}{silent}; nobody saw how it ended{_leftovers(end)}"
    return Cause.EXITED, f"{_how(end)}{after}{silent}{_leftovers(end)}"


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; real-time signals by number."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIGRTMIN+{number - signal.SIGRTMIN}" if number >= signal.SIGRTMIN else f"signal {number}"


def _how(end: Exit) -> str:
    if end.signal is not None:
        return f"killed by signal {end.signal} ({signal_name(end.signal)})"
    if end.code is not None:
        return f"exited with code {end.code}"
    return "gone, nobody saw how"


def _sender(number: int, seen: Circumstances) -> str:
    if seen.sent == number:
        return f"; sent by us: {seen.why}" if seen.why else "; sent by us"
    if _by_oom_killer(number, seen):
        return "; SIGKILL nobody here sent, and the kernel's out-of-memory killer struck on this machine in that moment"
    if number == signal.SIGKILL:
        return "; SIGKILL nobody here sent, and no out-of-memory killer of the kernel was seen: a program or a person"
    if number in (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT):
        return "; a crash in native code, see its last words in the log"
    return "; nobody here sent it"


def _memory(end: Exit, seen: Circumstances) -> str:
    limit = f"its memory limit of {_bytes(seen.memory)}" if seen.memory is not None else "its memory limit"
    peak = f", peak {_bytes(end.peak_rss)}" if end.peak_rss is not None else ""
    who = "by the kernel, which guards its control group," if seen.oom_killed else "by us"
    found = f": {seen.why}" if seen.why and not seen.oom_killed else ""
    return f"ended {who} for exceeding {limit} ({_how(end)}{peak}){found}"


def _by_oom_killer(number: int, seen: Circumstances) -> bool:
    return number == signal.SIGKILL and seen.sent is None and seen.oom_near


def _unknown(report: Report | None) -> Cause:
    return Cause.EXITED if report is not None and report.outcome is not Outcome.LOST else Cause.KILLED


def _leftovers(end: Exit) -> str:
    if not end.leftovers:
        return ""
    names = ", ".join(f"{left.pid} {left.command}"[:60] for left in end.leftovers[:5])
    stuck = [str(left.pid) for left in end.leftovers if not left.ended]
    fate = f"could not end {', '.join(stuck)}" if stuck else "ended"
    count = len(end.leftovers)
    return f"; left {count} process{'es' if count > 1 else ''} behind: {names}; {fate}"


def _bytes(amount: int | None) -> str:
    size = float(amount or 0)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"
