"""How things are said on pages: instants, spans, sizes, JSON; and the search that a page shows, with a word changed."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from jobwarden.domain.search import Field, Search, Word
from jobwarden.domain.states import JobState
from jobwarden.domain.words import instant, mark, said, size
from jobwarden.views.deaths import Certificate

_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def span(seconds: float | None) -> str:
    """Seconds in the unit that people would use."""
    if seconds is None:
        return ""
    for length, unit in _UNITS:
        if abs(seconds) >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s" if abs(seconds) >= 10 else f"{seconds:.1f} s"


def milliseconds(value: float | None) -> str:
    """The same of milliseconds."""
    return "" if value is None else span(value / 1000)


def ago(moment: datetime | None, now: datetime) -> str:
    """How far a moment is from now."""
    if moment is None:
        return ""
    seconds = (now - moment).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def exact(moment: datetime | None) -> str:
    """A moment in UTC, to the millisecond."""
    return "" if moment is None else instant(moment)


def iso(moment: datetime | None) -> str:
    """A moment as machines read it."""
    return "" if moment is None else moment.astimezone(UTC).isoformat()


def pretty(value: Any) -> str:
    """JSON to be read, with exact numbers and sorted keys."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str)


def short(whole: str | None) -> str:
    """An id as it is shown."""
    return (whole or "")[-8:]


def who(actor_id: str | None) -> str:
    """Who it was: a name, or the end of a daemon's id."""
    text = actor_id or ""
    return short(text) if _UUID.fullmatch(text) else text


def cause(death: Certificate) -> str:
    """Of what an attempt ended, with how its process did."""
    parts = [(death.cause or death.became).replace("_", " ")]
    if death.term_signal:
        try:
            parts.append(f"by {signal.Signals(death.term_signal).name}")
        except ValueError:
            parts.append(f"by signal {death.term_signal}")
    if death.exit_code is not None:
        parts.append(f"exit code {death.exit_code}")
    return ", ".join(parts)


def states_of(search: Search) -> list[str]:
    """The states that a search asks for."""
    return [value for word in search.words if word.field is Field.STATE and not word.negated for value in word.values]


def toggled(search: Search, state: str) -> str:
    """The search with a state taken in, or out if it was in."""
    chosen = states_of(search)
    chosen = [one for one in chosen if one != state] if state in chosen else [*chosen, state]
    return with_states(search, chosen)


def with_states(search: Search, states: Sequence[str]) -> str:
    """The search with these states and no others."""
    rest = tuple(word for word in search.words if word.field is not Field.STATE or word.negated)
    ordered = tuple(state.value for state in JobState if state.value in states)
    return str(Search((Word(Field.STATE, ordered), *rest) if ordered else rest))


def with_word(search: Search, field: str, value: str) -> str:
    """The search with one word of a field more, or that word away if it is there."""
    word = Word(Field(field), (value,))
    if word in search.words:
        return str(Search(tuple(one for one in search.words if one != word)))
    kept = tuple(one for one in search.words if one.field is not word.field)
    return str(Search((*kept, word)))


__all__ = [
    "ago",
    "cause",
    "exact",
    "iso",
    "mark",
    "milliseconds",
    "pretty",
    "said",
    "short",
    "size",
    "span",
    "states_of",
    "toggled",
    "who",
    "with_states",
    "with_word",
]
