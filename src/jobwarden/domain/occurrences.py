"""What becomes of the occurrences of a schedule that are due: run, wait for their turn, or not run, and why.

Pure, and total: each occurrence gets exactly one ruling. Three rules, in this order:

- On time or late. What is found within ``late_after`` of its moment is on time, and no missed policy touches it. Of
  what is late, the catch-up window and the missed policy choose what is made up for: ``run_all`` all of it,
  ``run_latest`` and ``coalesce`` the newest (where one on time is there, that is the newest), ``skip`` nothing.
- At most so many. ``most`` keeps the newest of what is made up for.
- Overlap. ``allow`` runs them all; ``queue`` runs one and lets the others wait, oldest first; ``skip`` runs the newest
  and only if nothing of the schedule is active.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import groupby

from jobwarden.domain.states import JobState

#: From so many alike, occurrences that do not run share one record.
MANY = 100
#: Seconds after which an occurrence that nobody has decided is late, where the settings do not say.
LATE_AFTER = 60.0
#: Occurrences that are decided in one go; the rest of a longer backlog follows at once.
BITE = 5_000


class Missed(StrEnum):
    """What to do about occurrences that nobody looked at in time."""

    RUN_LATEST = "run_latest"
    RUN_ALL = "run_all"
    COALESCE = "coalesce"
    SKIP = "skip"


class Overlap(StrEnum):
    """What to do when an occurrence is due and a job of the schedule is not over."""

    SKIP = "skip"
    QUEUE = "queue"
    ALLOW = "allow"


class Action(StrEnum):
    """What became of an occurrence."""

    ENQUEUED = "enqueued"  # it has a job
    QUEUED = "queued"  # it gets one when those before it are over
    SKIPPED = "skipped"  # it was missed, and is not made up for
    COALESCED = "coalesced"  # a newer one stands for it
    OUTSIDE_WINDOW = "outside_window"  # it was missed for longer than the schedule makes up for
    OVERLAPPED = "overlapped"  # a job of the schedule was not over


@dataclass(frozen=True, slots=True)
class Rules:
    """A schedule's policies. ``window`` is how old what is made up for may be, ``most`` how many of them.

    ``parked_counts``: a job that waits for a person counts as active.
    """

    missed: Missed = Missed.RUN_LATEST
    overlap: Overlap = Overlap.SKIP
    window: timedelta | None = None
    most: int | None = None
    parked_counts: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """Occurrences to decide about, in order. ``now`` is the moment that they are compared with.

    ``more``: so many newer ones are due as well that none of these that is late is among the newest.
    """

    moments: Sequence[datetime]
    now: datetime
    late_after: timedelta
    more: bool = False


@dataclass(frozen=True, slots=True)
class Active:
    """A job of the schedule that is not over."""

    job_id: str
    state: JobState


@dataclass(frozen=True, slots=True)
class Ruling:
    """One occurrence, or ``number`` alike from ``moment`` to ``last``, and what becomes of it."""

    moment: datetime
    action: Action
    reason: str | None = None
    number: int = 1
    last: datetime | None = None


def lookahead(rules: Rules, late_after: timedelta) -> int:
    """How many due occurrences must be known beyond some, to know that none of those is among the newest."""
    return max(1, rules.most or 0) + int(late_after.total_seconds()) + 2


def decide(rules: Rules, due: Due, active: Sequence[Active] = (), waiting: int = 0) -> list[Ruling]:
    """The rulings for due occurrences, in order; ``waiting`` runs of the schedule wait for their turn already."""
    on_time = [moment for moment in due.moments if due.now - moment <= due.late_after]
    late = due.moments[: len(due.moments) - len(on_time)]
    chosen, dropped = _made_up(rules, due, late, on_time)
    kept = [*chosen, *(Ruling(moment, Action.ENQUEUED) for moment in on_time)]
    rulings = sorted([*dropped, *_overlapped(rules, kept, active, waiting, due.more)], key=lambda ruling: ruling.moment)
    return list(_gathered(rulings))


# -- what is made up for ----------------------------------------------------------------------------------------------


def _made_up(
    rules: Rules, due: Due, late: Sequence[datetime], on_time: Sequence[datetime]
) -> tuple[list[Ruling], list[Ruling]]:
    """What is late and runs, and what is late and does not."""
    oldest = due.now - rules.window if rules.window is not None else None
    old = [moment for moment in late if oldest is not None and moment < oldest]
    young = late[len(old) :]
    newest = _newest(rules, due, on_time)
    kept = list(young[len(young) - newest :]) if newest < len(young) else list(young)
    action, words = _refusal(rules, [*kept, *on_time])
    beyond = f"older than the catch-up window of {_seconds(rules.window)}"
    dropped = [Ruling(moment, Action.OUTSIDE_WINDOW, beyond) for moment in old]
    dropped += [Ruling(moment, action, words) for moment in young[: len(young) - len(kept)]]
    why = f"missed, and made up for: {rules.missed}"
    return [Ruling(moment, Action.ENQUEUED, why) for moment in kept], dropped


def _newest(rules: Rules, due: Due, on_time: Sequence[datetime]) -> int:
    """How many of the newest late occurrences run."""
    match rules.missed:
        case Missed.SKIP:
            return 0
        case Missed.RUN_ALL:
            most = len(due.moments) if rules.most is None else rules.most
            return 0 if due.more and rules.most is not None else most
        case _:
            return 0 if due.more or on_time else 1


def _refusal(rules: Rules, kept: Sequence[datetime]) -> tuple[Action, str]:
    stands = f", that of {kept[-1].isoformat()}" if kept else ""
    match rules.missed:
        case Missed.SKIP:
            return Action.SKIPPED, "missed, and the policy skip makes up for nothing"
        case Missed.RUN_ALL:
            return Action.SKIPPED, f"missed, and only the newest {rules.most} are made up for (max_catch_up)"
        case Missed.COALESCE:
            return Action.COALESCED, f"missed, and a newer one stands for it{stands}"
        case Missed.RUN_LATEST:
            return Action.SKIPPED, f"missed, and only the newest runs{stands}"


def _seconds(window: timedelta | None) -> str:
    return f"{window.total_seconds():g} s" if window is not None else ""


# -- what may run beside what -----------------------------------------------------------------------------------------


def blocking(rules: Rules, active: Iterable[Active]) -> Active | None:
    """The job that keeps others of its schedule from running, if there is one."""
    counted = [job for job in active if rules.parked_counts or job.state is not JobState.ORPHANED]
    return counted[0] if counted else None


def _overlapped(rules: Rules, kept: list[Ruling], active: Sequence[Active], waiting: int, more: bool) -> list[Ruling]:
    if rules.overlap is Overlap.ALLOW or not kept:
        return kept
    blocked = blocking(rules, active)
    if blocked is None:
        kept = [_beside_parked(ruling, active) for ruling in kept]
    if rules.overlap is Overlap.QUEUE:
        first = [] if blocked is not None or waiting else kept[:1]
        rest = kept[len(first) :]
        words = _words(blocked) if blocked is not None else "those before it go first"
        return [*first, *(replace(ruling, action=Action.QUEUED, reason=words) for ruling in rest)]
    if blocked is not None:
        return [replace(ruling, action=Action.OVERLAPPED, reason=_words(blocked)) for ruling in kept]
    newest = [] if more else kept[-1:]
    words = (
        f"that of {newest[0].moment.isoformat()}, due as well, runs instead" if newest else "a newer one runs instead"
    )
    older = kept[: len(kept) - len(newest)]
    return [*(replace(ruling, action=Action.OVERLAPPED, reason=words) for ruling in older), *newest]


def _beside_parked(ruling: Ruling, active: Sequence[Active]) -> Ruling:
    """What runs although a job of its schedule is parked says so."""
    if not active:
        return ruling
    words = f"job {active[0].job_id} is parked, which does not count as active here"
    return replace(ruling, reason=f"{ruling.reason}; {words}" if ruling.reason else words)


def _words(blocked: Active) -> str:
    if blocked.state is JobState.ORPHANED:
        return f"job {blocked.job_id} is parked, which counts as active here, and waits for a person"
    return f"job {blocked.job_id} of this schedule is {blocked.state}"


# -- many alike -------------------------------------------------------------------------------------------------------


def _gathered(rulings: Iterable[Ruling]) -> Iterable[Ruling]:
    """Long stretches of occurrences that do not run, as one ruling each."""
    for (action, reason), group in groupby(rulings, key=lambda ruling: (ruling.action, ruling.reason)):
        alike = list(group)
        if len(alike) < MANY or action in (Action.ENQUEUED, Action.QUEUED):
            yield from alike
        else:
            yield Ruling(alike[0].moment, action, reason, len(alike), alike[-1].moment)
