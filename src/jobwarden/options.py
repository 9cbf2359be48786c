"""What a job is declared with, and what one call of it may change: every option, checked and brought to one form.

A call's terms are settled before it is bound, so that drafting a job copies them and decides nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from jobwarden.domain.claims import Isolation
from jobwarden.domain.draft import Draft
from jobwarden.domain.recovery import Backoff, OnLost
from jobwarden.domain.refs import Ref
from jobwarden.errors import InvalidOption, UnstorableParam

_MEMORY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)\s*\Z", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_NO_TAGS: dict[str, str] = {}


@dataclass(frozen=True, slots=True)
class Options:
    """A job's declared options. Times are in seconds, memory in bytes."""

    idempotent: bool
    lane: str = "default"
    priority: int = 0
    max_attempts: int = 4
    backoff: Backoff = Backoff()
    retry_on: tuple[type[BaseException], ...] = ()
    fail_on: tuple[type[BaseException], ...] = ()
    timeout: float | None = None
    max_runtime: float | None = None
    grace: float = 10.0
    isolation: Isolation = Isolation.FORK
    memory: int | None = None
    on_lost: OnLost = OnLost.AUTO
    tags: Mapping[str, str] = field(default_factory=dict)
    promote: tuple[str, ...] = ()

    def dump(self) -> dict[str, Any]:
        """The options as JSON data; exception classes by their names."""
        data = asdict(self)
        for name in ("retry_on", "fail_on"):
            data[name] = [f"{kind.__module__}:{kind.__qualname__}" for kind in data[name]]
        return {**data, "promote": list(self.promote), "tags": dict(self.tags)}


class Terms:
    """The settled options of one call: everything of a `Draft` but its id, job, params and promoted tags."""

    __slots__ = ("has_key", "rest", "tags")

    def __init__(self, options: Options, choices: Mapping[str, Any]) -> None:
        tags = {**options.tags, **choices.get("tags", {})}
        given = {**{name: getattr(options, name) for name in _SHARED}, **choices}
        self.rest = tuple(given.get(name, _DEFAULTS.get(name)) for name in _TERMS)
        self.tags = tags or _NO_TAGS
        self.has_key = choices.get("idempotency_key") is not None


_draft: Callable[..., Draft] = Draft
_DRAFT = [entry.name for entry in fields(Draft)]
_TERMS = _DRAFT[3:-1]
_DEFAULTS = {entry.name: entry.default for entry in fields(Draft)}
_SHARED = [entry.name for entry in fields(Options) if entry.name in _TERMS]
if _DRAFT[:3] != ["id", "job", "params"] or _DRAFT[-1] != "tags":
    raise AssertionError("Bound.draft fills a Draft by position")


class Bound:
    """A checked call of a job that is not enqueued yet, for bulk, batches and schedules. Never changed once made.

    ``params`` is JSON text by parameter name; ``promoted`` are the tags that its parameters became, ``refs`` those of
    its parameters that refer to another member of its batch.
    """

    __slots__ = ("job", "params", "promoted", "refs", "terms")

    def __init__(
        self,
        job: str,
        params: str,
        terms: Terms,
        promoted: Mapping[str, str] | None = None,
        refs: Mapping[str, Ref] | None = None,
    ) -> None:
        self.job, self.params, self.terms, self.promoted, self.refs = job, params, terms, promoted, refs

    def __repr__(self) -> str:
        return f"Bound({self.job!r}, {self.params})"

    def draft(self, job_id: str, terms: Terms | None = None) -> Draft:
        """The job to be, under an id, on the call's own terms or on others."""
        terms = terms or self.terms
        tags = {**self.promoted, **terms.tags} if self.promoted else terms.tags
        return _draft(job_id, self.job, self.params, *terms.rest, tags)


def require_whole(call: Bound) -> None:
    """Raise `UnstorableParam` for a call that refers to another member's result, where there is none."""
    for name, ref in (call.refs or {}).items():
        rule = "only a member of a batch can refer to another's result"
        way_out = "add the call to a batch, or pass the value itself"
        raise UnstorableParam(job=call.job, param=name, value=ref, rule=rule, way_out=way_out)


# -- checks -----------------------------------------------------------------------------------------------------------


def checked(job: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options in their one form; raises `InvalidOption` naming the first that is none."""
    found = {}
    for option, value in given.items():
        try:
            found[option] = _CHECKS[option](value)
        except (TypeError, ValueError) as error:
            raise InvalidOption(option=option, value=value, job=job, rule=error) from None
    return found


def checked_choices(job: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of one call, those that were given, in their one form."""
    found = checked(job, {option: value for option, value in given.items() if value is not None})
    if "delay" in found and "available_at" in found:
        raise InvalidOption(option="delay", value=given["delay"], job=job, rule="left out where available_at is given")
    return found


def _text(limit: int) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        if not isinstance(value, str) or not value.strip() or len(value) > limit or "\0" in value:
            raise ValueError(f"a text of 1 to {limit} characters")
        return value

    return check


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(value)

    return check


def _seconds(zero: bool) -> Callable[[Any], float]:
    def check(value: Any) -> float:
        value = value.total_seconds() if isinstance(value, timedelta) else value
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value < 0 or (value == 0 and not zero):
            raise ValueError(f"seconds or a timedelta, {'0 or more' if zero else 'more than 0'}")
        return float(value)

    return check


def _optional(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _instant(value: Any) -> datetime:
    if not isinstance(value, datetime) or value.utcoffset() is None:
        raise ValueError("a datetime with an offset, as datetime.now(UTC) gives: without one it names no instant")
    return value


def _memory(value: Any) -> int:
    rule = "bytes, or a text like '512MiB' or '2GiB'"
    if isinstance(value, str):
        match = _MEMORY.match(value)
        if match is None:
            raise ValueError(rule)
        base = 1000 if match[3].lower() == "b" else 1024
        value = int(float(match[1]) * base ** _POWERS[match[2].lower()])
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(rule)
    return value


def _word(kind: type[Isolation | OnLost]) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        try:
            return kind(value)
        except ValueError:
            raise ValueError(f"one of {', '.join(kind)}") from None

    return check


def _backoff(value: Any) -> Backoff:
    if not isinstance(value, Backoff) or value.base < 0 or value.factor < 1 or value.cap < 0:
        raise ValueError("a Backoff with base and cap of 0 or more seconds and a factor of 1 or more")
    return value


def _errors(value: Any) -> tuple[type[BaseException], ...]:
    kinds = tuple(value) if isinstance(value, Iterable) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds):
        raise ValueError("exception classes")
    return kinds


def _tags(value: Any) -> dict[str, str]:
    rule = "a mapping from names of 1 to 64 characters to texts of 1 to 200 characters"
    if not isinstance(value, Mapping):
        raise ValueError(rule)
    for name, text in value.items():
        if not (is_text(name, 64) and is_text(text, 200)):
            raise ValueError(f"{rule}; {name!r}: {text!r} is none")
    return dict(value)


def is_text(value: Any, limit: int) -> bool:
    """Whether a value is a text of 1 to ``limit`` characters that shows something."""
    return isinstance(value, str) and 0 < len(value) <= limit and bool(value.strip()) and "\0" not in value


def _names(value: Any) -> tuple[str, ...]:
    names = (value,) if isinstance(value, str) else tuple(value)
    if not all(is_text(name, 64) for name in names):
        raise ValueError("names of parameters, each at most 64 characters")
    return names


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("True or False")
    return value


def promoted(names: Iterable[str], values: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that become tags: those whose value is a text within the limits. Never refuses, never converts."""
    return {name: str(values[name]) for name in names if name in values and is_text(values[name], 200)}


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "idempotent": _flag,
    "lane": _text(100),
    "priority": _integer(-32768, 32767),
    "max_attempts": _integer(1, 1_000_000),
    "backoff": _backoff,
    "retry_on": _errors,
    "fail_on": _errors,
    "timeout": _optional(_seconds(zero=False)),
    "max_runtime": _optional(_seconds(zero=False)),
    "grace": _seconds(zero=True),
    "isolation": _word(Isolation),
    "memory": _optional(_memory),
    "on_lost": _word(OnLost),
    "tags": _tags,
    "promote": _names,
    "label": _text(200),
    "idempotency_key": _text(200),
    "created_by": _text(200),
    "delay": _seconds(zero=True),
    "available_at": _instant,
}
