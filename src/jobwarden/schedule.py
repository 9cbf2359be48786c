"""Schedules as the application sees them: a name, when it is due, and a bound call, checked and brought to one form.

`define` makes a `Definition` of what a person writes; `Schedules` are those of an application: what its code declares,
and what can be done to those that are there, at run time.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, TypedDict, TypeVar, Unpack

from pydantic import TypeAdapter

from jobwarden.domain.draft import Draft, own_columns
from jobwarden.domain.occurrences import Missed, Overlap, Rules
from jobwarden.domain.schedule import Definition
from jobwarden.domain.timing import Timing, checked
from jobwarden.errors import InvalidOption, ScheduleRefused
from jobwarden.handle import JobHandle
from jobwarden.options import Bound, require_whole
from jobwarden.options import checked as checked_options

E = TypeVar("E", bound=StrEnum)
_LIST = TypeAdapter(list[Definition])


class Policies(TypedDict, total=False):
    """What a schedule may say beside its name, its time and its call. Spans are seconds or timedeltas.

    - ``every`` instead of a cron pattern: a steady interval, counted from ``starts_at``, or from 1970.
    - ``timezone``: an IANA name; a cron pattern follows its clock.
    - ``missed``: ``run_latest``, ``run_all``, ``coalesce`` or ``skip``, for occurrences that nobody looked at in time.
    - ``catch_up_window``, ``max_catch_up``: how old and how many are made up for at most; the newest are.
    - ``overlap``: ``skip``, ``queue`` or ``allow``, while a job of the schedule is not over; with ``parked_counts``
      also while one waits for a person.
    - ``jitter``: it is due up to so much later, always by the same amount.
    - ``starts_at``, ``ends_at``: bounds, inclusive; ``exclude``: dates in its time zone on which it is not due.
    - ``lane``: where its jobs wait. Priority, tags and all else are those of the bound call.
    - ``enabled``: whether it begins enabled.
    """

    every: timedelta | float | None
    timezone: str
    missed: str
    overlap: str
    catch_up_window: timedelta | float | None
    max_catch_up: int | None
    parked_counts: bool
    jitter: timedelta | float
    starts_at: datetime | None
    ends_at: datetime | None
    exclude: Iterable[date]
    lane: str
    enabled: bool


def define(name: str, when: str | datetime | None, call: Bound | None, given: Mapping[str, Any]) -> Definition:
    """A definition from what a person writes: ``when`` is a cron pattern, or the one instant at which it is due.

    Raises `ScheduleRefused`.
    """
    _check_words(name, given)
    if not isinstance(call, Bound):
        raise ScheduleRefused(name=name, rule=f"{call!r} is no bound call", way_out="give job.bind(...)")
    require_whole(call)
    draft = call.draft("")
    _check_call(name, draft)
    return Definition(
        name=name,
        job=draft.job,
        params=draft.params,
        timing=checked(name, _timing(name, when, given)),
        rules=_rules(name, given),
        lane=_option(name, "lane", given.get("lane", "scheduled")),
        priority=draft.priority,
        idempotent=draft.idempotent,
        max_attempts=draft.max_attempts,
        options=own_columns(draft),
        tags=dict(draft.tags),
        enabled=bool(given.get("enabled", True)),
    )


def redefined(now: Definition, when: str | datetime | None, call: Bound | None, given: Mapping[str, Any]) -> Definition:
    """A definition with what is given said anew, and all else as it was.

    ``when`` or ``every`` replaces whatever said when it is due; a ``call`` comes with its own options. Raises
    `ScheduleRefused`.
    """
    _check_words(now.name, given)
    policies = {**_policies_of(now), **given}
    if when is None and given.get("every") is None:
        when, policies["every"] = now.timing.cron or now.timing.run_at, now.timing.every
    if call is not None:
        return define(now.name, when, call, policies)
    timing, lane = checked(now.name, _timing(now.name, when, policies)), _option(now.name, "lane", policies["lane"])
    return replace(now, timing=timing, rules=_rules(now.name, policies), lane=lane)


def _policies_of(now: Definition) -> dict[str, Any]:
    timing, rules = now.timing, now.rules
    return {
        "timezone": timing.zone,
        "jitter": timing.jitter,
        "starts_at": timing.starts_at,
        "ends_at": timing.ends_at,
        "exclude": timing.excluded,
        "missed": rules.missed,
        "overlap": rules.overlap,
        "catch_up_window": rules.window,
        "max_catch_up": rules.most,
        "parked_counts": rules.parked_counts,
        "lane": now.lane,
    }


def as_json(definitions: Iterable[Definition]) -> str:
    """Definitions on one line, for another process."""
    return _LIST.dump_json(list(definitions)).decode()


def definitions_of(text: str) -> list[Definition]:
    """What `as_json` made."""
    return _LIST.validate_json(text)


def _check_words(name: Any, given: Mapping[str, Any]) -> None:
    try:
        checked_options("", {"label": name})
    except InvalidOption:
        rule = "its name is no text of 1 to 200 characters"
        raise ScheduleRefused(name=name, rule=rule, way_out="give it one") from None
    for word in given:
        if word not in Policies.__annotations__:
            near = difflib.get_close_matches(word, Policies.__annotations__, 1)
            known = f"did you mean {near[0]}?" if near else f"use {', '.join(Policies.__annotations__)}"
            raise ScheduleRefused(name=name, rule=f"it knows no option {word!r}", way_out=known)


def _check_call(name: str, draft: Draft) -> None:
    for option in ("idempotency_key", "delay", "available_at"):
        if getattr(draft, option) is not None:
            rule = f"its call has {option}={getattr(draft, option)!r}, and each occurrence makes a job of its own"
            raise ScheduleRefused(name=name, rule=rule, way_out=f"leave {option} out")


def _timing(name: str, when: Any, given: Mapping[str, Any]) -> Timing:
    return Timing(
        cron=None if isinstance(when, datetime) else when,
        run_at=when if isinstance(when, datetime) else None,
        every=_span(name, "every", given.get("every")),
        zone=given.get("timezone", "UTC"),
        jitter=_span(name, "jitter", given.get("jitter")) or timedelta(),
        starts_at=given.get("starts_at"),
        ends_at=given.get("ends_at"),
        excluded=frozenset(given.get("exclude", ())),
    )


def _rules(name: str, given: Mapping[str, Any]) -> Rules:
    most = given.get("max_catch_up")
    if most is not None:
        most = _option(name, "max_attempts", most, "max_catch_up")
    return Rules(
        missed=_word(name, "missed", Missed, given.get("missed", Missed.RUN_LATEST)),
        overlap=_word(name, "overlap", Overlap, given.get("overlap", Overlap.SKIP)),
        window=_span(name, "catch_up_window", given.get("catch_up_window")),
        most=most,
        parked_counts=bool(given.get("parked_counts", False)),
    )


def _word(name: str, option: str, kind: type[E], value: Any) -> E:
    try:
        return kind(value)
    except ValueError:
        rule = f"{option}={value!r} is none of its words"
        raise ScheduleRefused(name=name, rule=rule, way_out=f"give one of {', '.join(kind)}") from None


def _span(name: str, option: str, value: Any) -> timedelta | None:
    if value is None:
        return None
    seconds = _option(name, "delay", value, option)
    return value if isinstance(value, timedelta) else timedelta(seconds=seconds)


def _option(name: str, check: str, value: Any, option: str | None = None) -> Any:
    """A value that an option of jobs has a check for."""
    try:
        return checked_options(name, {check: value})[check]
    except InvalidOption as error:
        rule = f"{option or check}={value!r} cannot be"
        raise ScheduleRefused(name=name, rule=rule, way_out=f"give {error.facts['rule']}") from None


# -- the schedules of an application ----------------------------------------------------------------------------------


class HasClerk(Protocol):
    """The application, as far as its schedules need it."""

    @property
    def schedule_clerk(self) -> Any:
        """A `schedule_clerk.ScheduleClerk`."""
        ...

    def job_handle(self, job_id: str) -> JobHandle:
        """The handle of a job."""
        ...


class Schedules:
    """``jw.schedules``: what is done to schedules at run time, each with who and why for the ledger.

    All that name a schedule raise `ScheduleNotFound` for one that is not there.
    """

    def __init__(self, app: HasClerk) -> None:
        self._app = app
        self._declared: dict[str, Definition] = {}

    def __repr__(self) -> str:
        return f"<Schedules, {len(self._declared)} declared>"

    @property
    def declared(self) -> Mapping[str, Definition]:
        """What the application's code declares, by name."""
        return MappingProxyType(self._declared)

    def declare(self, definition: Definition, jobs: Collection[str]) -> Definition:
        """Keep a declaration, for the scheduler to read; raises `ScheduleRefused` if the name is taken."""
        if definition.name in self._declared:
            rule = "the name is declared twice"
            raise ScheduleRefused(name=definition.name, rule=rule, way_out="give each schedule a name of its own")
        if definition.job not in jobs:
            rule = f"its job {definition.job!r} is one of another application"
            raise ScheduleRefused(name=definition.name, rule=rule, way_out="declare it there")
        self._declared[definition.name] = definition
        return definition

    def put(
        self,
        name: str,
        when: str | datetime | None,
        call: Bound,
        *,
        reason: str | None = None,
        actor: str | None = None,
        **policies: Unpack[Policies],
    ) -> bool:
        """Make a schedule at run time, or change it to be like that; whether anything was changed.

        ``when`` is a cron pattern, or the one instant at which it is due. Raises `ScheduleRefused`, also for one that
        the application's code declares.
        """
        done: bool = self._app.schedule_clerk.put(define(name, when, call, policies), reason, actor)
        return done

    def enable(self, name: str, *, backfill: bool = False, reason: str | None = None, actor: str | None = None) -> bool:
        """Let it be due again, from now; with ``backfill`` what it missed is made up for as its policies say.

        Whether it was disabled.
        """
        done: bool = self._app.schedule_clerk.enable(name, backfill, reason, actor)
        return done

    def disable(self, name: str, *, reason: str | None = None, actor: str | None = None) -> bool:
        """Let it not be due; runs that wait for their turn are called off. Whether it was enabled."""
        done: bool = self._app.schedule_clerk.disable(name, reason, actor)
        return done

    def remove(self, name: str, *, reason: str | None = None, actor: str | None = None) -> None:
        """Remove it with its history; its jobs stay. Raises `ScheduleRefused` for one that code declares."""
        self._app.schedule_clerk.remove(name, reason, actor)

    def run_now(self, name: str, *, reason: str | None = None, actor: str | None = None) -> JobHandle:
        """Run it once now, whatever its time and whether it is enabled; gives the job."""
        return self._app.job_handle(self._app.schedule_clerk.run_now(name, reason, actor))

    def backfill(
        self, name: str, begin: datetime, end: datetime, *, reason: str | None = None, actor: str | None = None
    ) -> Any:
        """Make the runs of a past window, ends included, of each occurrence that has none.

        Gives how many were ``made`` and how many were ``there``. Raises `ScheduleRefused` for one not past.
        """
        return self._app.schedule_clerk.backfill(name, begin, end, reason, actor)

    def all(self) -> list[Any]:
        """Every schedule (`views.schedules.ScheduleLine`), by name."""
        found: list[Any] = self._app.schedule_clerk.listed()
        return found

    def get(self, name: str) -> Any:
        """One schedule (`views.schedules.ScheduleLine`)."""
        return self._app.schedule_clerk.shown(name)

    def runs(self, name: str, limit: int = 20) -> list[Any]:
        """Its newest runs (`views.schedules.RunLine`), with what became of each and why."""
        found: list[Any] = self._app.schedule_clerk.runs(name, limit)
        return found
