"""What jobs are searched by: one grammar for the command line, the API and pages.

    state:failed,orphaned lane:imports store:42 error:"connection reset" newer:2h -label:test* stuck

Words stand side by side and all must fit; a minus before a word turns it round. A value may be quoted, and a backslash
takes the meaning from the character after it. A name that is none of ours is a tag's. See docs/how-to/search.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from jobwarden.domain.states import JobState
from jobwarden.errors import SearchRefused


class Field(StrEnum):
    """What a word looks at."""

    STATE = "state"
    LANE = "lane"
    JOB = "job"
    LABEL = "label"
    HOST = "host"
    WORKER = "worker"
    BATCH = "batch"
    SCHEDULE = "schedule"
    BY = "by"
    TAG = "tag"
    ERROR = "error"
    ID = "id"
    OLDER = "older"
    NEWER = "newer"
    STUCK = "stuck"
    TEXT = "text"  # a word without a name: a part of the job's name, or the label
    PAIR = "pair"  # a name that is none of ours: a tag, or a job's name with a colon


_NAMED = frozenset(Field) - {Field.STUCK, Field.TEXT, Field.PAIR}
#: Several values, with commas, of which one must fit.
_LISTS = frozenset({Field.STATE, Field.LANE, Field.JOB})
#: A value that ends in ``*`` is a beginning.
_BEGINNINGS = frozenset({Field.JOB, Field.LABEL, Field.SCHEDULE, Field.BY, Field.TAG, Field.TEXT, Field.PAIR})
_MOST_WORDS, _LONGEST = 50, 4000
_WORD = re.compile(
    r'(?P<minus>-)?(?:(?P<name>[^\W\d][\w.\-]*):)?(?P<value>(?:"(?:[^"\\]|\\.)*"|\\.|[^\s"\\])*)(?=\s|\Z)', re.DOTALL
)
_CHARACTER = re.compile(r'"((?:[^"\\]|\\.)*)"|\\(.)|(.)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SPAN = re.compile(r"(\d{1,6})([smhdw])\Z")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_PLAIN = re.compile(r'[^\s"\\,*-][^\s"\\,*]*\Z')

Moment = timedelta | datetime


@dataclass(frozen=True, slots=True)
class Word:
    """One condition: ``values`` of which one must fit, as a beginning if ``begins``; ``name`` is a tag's; ``moment``
    an age or an instant."""

    field: Field
    values: tuple[str, ...] = ()
    negated: bool = False
    begins: bool = False
    name: str | None = None
    moment: Moment | None = None

    def __str__(self) -> str:
        minus = "-" * self.negated
        if self.field is Field.STUCK:
            return f"{minus}stuck"
        text = ",".join(_quoted(value, self.field is Field.TEXT) for value in self.values) + "*" * self.begins
        if self.field is Field.TEXT:
            return f"{minus}{text}"
        if self.field is Field.TAG:
            return f"{minus}tag:{self.name}={text}"
        return f"{minus}{self.name or self.field.value}:{text}"


@dataclass(frozen=True, slots=True)
class Search:
    """Words that must all fit; as text it is in its plainest form, which parses to the same."""

    words: tuple[Word, ...] = ()

    def __str__(self) -> str:
        return " ".join(map(str, self.words))

    def __bool__(self) -> bool:
        return bool(self.words)


def parse(text: str) -> Search:
    """What a text asks for. Raises `SearchRefused`."""
    if len(text) > _LONGEST:
        raise SearchRefused(value=f"{text[:20]}...", position=_LONGEST, rule=f"it may have {_LONGEST:,} characters")
    words, at = [], 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found = _WORD.match(text, at)
        if found is None:
            raise SearchRefused(value=text[at : at + 40], position=at + 1, rule="its quotation mark needs another one")
        words.append(_word(found, at + 1))
        at = found.end()
    if len(words) > _MOST_WORDS:
        raise SearchRefused(value=text[:40], position=1, rule=f"it may have {_MOST_WORDS} words")
    return Search(tuple(words))


# -- reading a word ---------------------------------------------------------------------------------------------------


def _word(found: re.Match[str], position: int) -> Word:
    negated, name = found["minus"] is not None, found["name"]
    spelled = _spelled(found["value"])
    text = "".join(character for character, _ in spelled)
    begins = bool(spelled) and spelled[-1] == ("*", True)
    if name is None:
        return _bare(found, text, begins, negated, position)
    if name not in _NAMED:
        return _begun(Word(Field.PAIR, (text,), negated, name=name), begins)
    field = Field(name)
    if field is Field.TAG:
        return _tag(text, begins, negated, position)
    if not text:
        raise SearchRefused(value=found[0], position=position, rule=f"{name}: needs a value, like {_LIKE[field]}")
    values = tuple(filter(None, _split(spelled))) if field in _LISTS else (text,)
    word = _begun(Word(field, values, negated), begins and len(values) == 1)
    return _checked(word, position)


def _bare(found: re.Match[str], text: str, begins: bool, negated: bool, position: int) -> Word:
    if not text:
        raise SearchRefused(value=found[0], position=position, rule="nothing can be looked for in it")
    if found["value"] == Field.STUCK:
        return Word(Field.STUCK, (), negated)
    return _begun(Word(Field.TEXT, (text,), negated), begins)


def _tag(text: str, begins: bool, negated: bool, position: int) -> Word:
    name, _, value = text.partition("=")
    if not name:
        raise SearchRefused(value=f"tag:{text}", position=position, rule="a tag needs a name, like tag:store=42")
    return _begun(Word(Field.TAG, (value,), negated, name=name), begins and text.endswith("*"))


def _begun(word: Word, begins: bool) -> Word:
    """The word as a beginning, without its star, where it can be one."""
    if not begins or word.field not in _BEGINNINGS:
        return word
    return Word(word.field, (word.values[0][:-1],), word.negated, True, word.name)


def _checked(word: Word, position: int) -> Word:
    [value, *_] = word.values or ("",)
    if word.field is Field.STATE and (unknown := [text for text in word.values if text not in set(JobState)]):
        rule = f"a state is one of {', '.join(JobState)}"
        raise SearchRefused(value=f"state:{unknown[0]}", position=position, rule=rule)
    if word.field in (Field.OLDER, Field.NEWER):
        return Word(word.field, word.values, word.negated, moment=_moment(word.field, value, position))
    if not word.values:
        raise SearchRefused(value=str(word), position=position, rule="it needs a value beside the commas")
    return word


def _moment(field: Field, value: str, position: int) -> Moment:
    if span := _SPAN.match(value):
        return timedelta(seconds=int(span[1]) * _UNITS[span[2]])
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        rule = "an age is a number with s, m, h, d or w, or a date like 2026-03-29 or 2026-03-29T01:30Z"
        raise SearchRefused(value=f"{field}:{value}", position=position, rule=rule) from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _spelled(raw: str) -> list[tuple[str, bool]]:
    """The characters of a value, each with whether it has its meaning: it was neither quoted nor escaped."""
    spelled = []
    for quoted, escaped, plain in _CHARACTER.findall(raw):
        spelled += [(character, False) for character in _ESCAPED.sub(r"\1", quoted) + escaped]
        spelled += [(character, True) for character in plain]
    return spelled


def _split(spelled: Iterable[tuple[str, bool]]) -> Sequence[str]:
    values = [""]
    for character, has_meaning in spelled:
        if character == "," and has_meaning:
            values.append("")
        else:
            values[-1] += character
    return values


def _quoted(value: str, stands_alone: bool) -> str:
    """A value in quotation marks, if it needs them: also where it would be taken for a name of ours."""
    is_plain = bool(_PLAIN.match(value)) or not value
    if is_plain and not (stands_alone and (":" in value or value == Field.STUCK)):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


_LIKE = {
    Field.STATE: "state:failed",
    Field.LANE: "lane:imports",
    Field.JOB: "job:import_catalog",
    Field.LABEL: "label:nightly*",
    Field.HOST: "host:worker-3",
    Field.WORKER: "worker:4f9d11",
    Field.BATCH: "batch:4f9d11",
    Field.SCHEDULE: "schedule:nightly",
    Field.BY: "by:api",
    Field.ERROR: 'error:"connection reset"',
    Field.ID: "id:4f9d11",
    Field.OLDER: "older:3d",
    Field.NEWER: "newer:2h",
}
