"""The grammar that jobs are searched by."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwarden.domain.search import Field, Search, Word, parse
from jobwarden.errors import SearchRefused


def words(text: str) -> list[Word]:
    return list(parse(text).words)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("state:failed,orphaned", Word(Field.STATE, ("failed", "orphaned"))),
        ("-lane:imports", Word(Field.LANE, ("imports",), negated=True)),
        ('lane:"a,b"', Word(Field.LANE, ("a,b",))),
        ("job:shop.jobs:pay", Word(Field.JOB, ("shop.jobs:pay",))),
        ("job:shop*", Word(Field.JOB, ("shop",), begins=True)),
        (r"job:shop\*", Word(Field.JOB, ("shop*",))),
        ('label:"a b"', Word(Field.LABEL, ("a b",))),
        ('label:"a*"', Word(Field.LABEL, ("a*",))),
        (r'error:"say \"no\""', Word(Field.ERROR, ('say "no"',))),
        ("error:don't", Word(Field.ERROR, ("don't",))),
        ("store:42", Word(Field.PAIR, ("42",), name="store")),
        ("store:", Word(Field.PAIR, ("",), name="store")),
        ("store:4*", Word(Field.PAIR, ("4",), begins=True, name="store")),
        ("tag:store=42", Word(Field.TAG, ("42",), name="store")),
        ("tag:state=x", Word(Field.TAG, ("x",), name="state")),
        ("tag:store", Word(Field.TAG, ("",), name="store")),
        ("stuck", Word(Field.STUCK)),
        ('"stuck"', Word(Field.TEXT, ("stuck",))),
        ("-stuck", Word(Field.STUCK, negated=True)),
        ("import*", Word(Field.TEXT, ("import",), begins=True)),
        ('"state:failed"', Word(Field.TEXT, ("state:failed",))),
        ("newer:2h", Word(Field.NEWER, ("2h",), moment=timedelta(hours=2))),
        ("older:2026-03-29", Word(Field.OLDER, ("2026-03-29",), moment=datetime(2026, 3, 29, tzinfo=UTC))),
    ],
)
def test_a_word_and_what_it_means(text: str, word: Word) -> None:
    assert words(text) == [word]


def test_words_stand_side_by_side() -> None:
    found = parse(' state:failed   store:42\t-label:"test run"  ')
    assert [word.field for word in found.words] == [Field.STATE, Field.PAIR, Field.LABEL]
    assert str(found) == 'state:failed store:42 -label:"test run"'
    assert not parse("  ")


@pytest.mark.parametrize(
    ("text", "value", "position"),
    [
        ("state:sleeping", "state:sleeping", 1),
        ("a lane:", "lane:", 3),
        ('x error:"open', 'error:"open', 3),
        ("older:soon", "older:soon", 1),
        ("older:2026-13-01", "older:2026-13-01", 1),
        ("-", "-", 1),
        ("tag:=5", "tag:=5", 1),
        ("state:,", "state:", 1),
        ('a"b"c"', 'a"b"c"', 1),
    ],
)
def test_what_cannot_be_understood_is_named_with_its_place(text: str, value: str, position: int) -> None:
    with pytest.raises(SearchRefused) as raised:
        parse(text)
    assert raised.value.facts["value"] == value
    assert raised.value.facts["position"] == position


def test_it_is_bounded() -> None:
    with pytest.raises(SearchRefused, match="50 words"):
        parse("a " * 51)
    with pytest.raises(SearchRefused, match="4,000"):
        parse("a" * 4001)


_VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
_NAMES = st.from_regex(r"[a-z][a-z0-9.]{0,6}", fullmatch=True).filter(lambda name: name not in set(Field))
_PLAIN_FIELDS = st.sampled_from([Field.LABEL, Field.HOST, Field.BY, Field.ERROR, Field.SCHEDULE, Field.WORKER])


@st.composite
def _words(draw: st.DrawFn) -> Word:
    kind = draw(st.sampled_from(["state", "list", "plain", "tag", "pair", "text", "stuck"]))
    negated, value = draw(st.booleans()), draw(_VALUES)
    begins = draw(st.booleans())
    if kind == "state":
        return Word(Field.STATE, tuple(draw(st.sets(st.sampled_from(["failed", "queued"]), min_size=1))), negated)
    if kind == "list":
        return Word(Field.LANE, tuple(draw(st.lists(_VALUES, min_size=1, max_size=3))), negated)
    if kind == "stuck":
        return Word(Field.STUCK, (), negated)
    if kind == "text":
        return Word(Field.TEXT, (value,), negated, begins)
    if kind in ("tag", "pair"):
        field = Field.TAG if kind == "tag" else Field.PAIR
        return Word(field, (value,), negated, begins, name=draw(_NAMES))
    field = draw(_PLAIN_FIELDS)
    return Word(field, (value,), negated, begins and field in (Field.LABEL, Field.BY, Field.SCHEDULE))


@given(st.lists(_words(), max_size=5))
def test_what_is_written_is_read_as_the_same(given_words: list[Word]) -> None:
    search = Search(tuple(given_words))
    assert parse(str(search)) == search


@given(st.text(max_size=60))
def test_any_text_is_understood_or_refused_in_words(text: str) -> None:
    found = Search()
    with contextlib.suppress(SearchRefused):
        found = parse(text)
    assert parse(str(found)) == found


def test_a_word_that_looks_like_one_of_ours_is_written_with_quotation_marks() -> None:
    for word in (Word(Field.TEXT, ("a:b",), begins=True), Word(Field.TEXT, ("stuck",), begins=True)):
        assert parse(str(Search((word,)))).words == (word,)
