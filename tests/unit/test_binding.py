"""Arguments become JSON text by name and come back as the worker gets them, or are refused with a way out."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr
from pydantic_core import core_schema
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, Session, mapped_column

from jobwarden.declare import define
from jobwarden.errors import (
    BindingError,
    DefinitionError,
    DoubledParam,
    InvalidParam,
    MissingParam,
    UnknownParam,
    UnstorableParam,
)
from jobwarden.jobs import JobDefinition


class Mode(Enum):
    FULL = "full"
    DELTA = "delta"


@dataclass
class Point:
    x: int
    y: int = 0


class Order(BaseModel):
    id: int
    placed: datetime
    lines: list[Point] = []


class Base(DeclarativeBase):
    pass


class Row(Base):
    __tablename__ = "rows"
    id: Mapped[int] = mapped_column(primary_key=True)


class DataRow(MappedAsDataclass, Base):
    __tablename__ = "data_rows"
    id: Mapped[int] = mapped_column(primary_key=True)


def job(target: Callable[..., Any]) -> JobDefinition[..., ..., Any]:
    """The job made of a function; nothing can be enqueued by it."""
    return define(target, None, {"idempotent": True, "name": "sample"})  # type: ignore[arg-type]


def taking(annotation: Any) -> JobDefinition[..., ..., Any]:
    """A job with one parameter ``value`` of this type."""

    def sample(value):  # type: ignore[no-untyped-def]
        return value

    sample.__annotations__["value"] = annotation
    return job(sample)


AWARE = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
NAIVE = AWARE.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("annotation", "value", "stored"),
    [
        (str, "a\u00e9\U0001f600", '"aé😀"'),
        (int, 2**80, str(2**80)),
        (bool, True, "true"),
        (float, 0.1, "0.1"),
        (float, float("inf"), '"Infinity"'),
        (int | None, None, "null"),
        (Mode, Mode.DELTA, '"delta"'),
        (Literal["a", 1], 1, "1"),
        (Decimal, Decimal("10.50"), '"10.50"'),
        (UUID, UUID(int=7), '"00000000-0000-0000-0000-000000000007"'),
        (date, date(2026, 1, 2), '"2026-01-02"'),
        (datetime, AWARE, '"2026-01-02T03:04:05.678901Z"'),
        (timedelta, timedelta(minutes=90), '"PT1H30M"'),
        (bytes, b"\xff\x00", '"_wA="'),
        (list[Point], [Point(1)], '[{"x":1,"y":0}]'),
        (dict[str, list[Decimal]], {"a": [Decimal("1.0")]}, '{"a":["1.0"]}'),
        (tuple[int, str], (1, "a"), '[1,"a"]'),
        (set[str], {"b", "a", "c"}, '["a","b","c"]'),
        (dict[int, str], {1: "a"}, '{"1":"a"}'),
        (Order, Order(id=1, placed=AWARE), '{"id":1,"placed":"2026-01-02T03:04:05.678901Z","lines":[]}'),
        (Any, {"a": [1, None, "x"]}, '{"a":[1,null,"x"]}'),
        (Annotated[int, Field(gt=0)], 3, "3"),
    ],
)
def test_data_survives_the_trip(annotation: Any, value: Any, stored: str) -> None:
    definition = taking(annotation)
    bound = definition.bind(value)
    assert bound.params == f'{{"value":{stored}}}'
    assert definition.load(bound.params).arguments == {"value": value}


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.text(), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists), max_size=4
    )
)
def test_any_json_data_survives_the_trip(value: dict[str, Any]) -> None:
    definition = taking(dict[str, Any])
    try:
        bound = definition.bind(value)
    except UnstorableParam:
        text = repr(value)
        assert "\\ud" in text or len(text) > sys.get_int_max_str_digits()
        return
    assert definition.load(bound.params).arguments == {"value": value}


class Blob(BaseModel):
    content: bytes


class Opaque:
    """A type of the application's own that knows JSON, but not ==."""

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from_text = core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            from_text,
            core_schema.union_schema([core_schema.is_instance_schema(cls), from_text]),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda opaque: opaque.text),
        )


def test_a_value_that_would_arrive_as_another_is_refused() -> None:
    assert taking(Blob).bind(Blob(content=b"plain")).params in (
        '{"value":{"content":"plain"}}',
        '{"value":{"content":"cGxhaW4="}}',
    )
    with pytest.raises(UnstorableParam, match="JSON"):
        taking(Blob).bind(Blob(content=b"\xff\x00"))


def test_a_type_of_the_applications_own_needs_no_equality() -> None:
    definition = taking(Opaque)
    assert definition.load(definition.bind(Opaque("x")).params).arguments["value"].text == "x"


def test_not_a_number_survives_the_trip() -> None:
    assert taking(float).bind(float("nan")).params == '{"value":"NaN"}'


def test_only_what_was_passed_is_stored_and_order_is_the_signatures() -> None:
    def sample(store: str, mode: Mode = Mode.FULL, *, limit: int = 3) -> None: ...

    definition = job(sample)
    assert definition.bind("42").params == '{"store":"42"}'
    assert definition.bind(limit=1, store="42").params == '{"store":"42","limit":1}'
    assert definition.bind("42", Mode.FULL).params == '{"store":"42","mode":"full"}'


def test_values_are_converted_as_the_worker_would() -> None:
    assert taking(int).bind("42").params == '{"value":42}'
    assert taking(Mode).bind("full").params == '{"value":"full"}'
    assert taking(Point).bind({"x": 1}).params == '{"value":{"x":1,"y":0}}'


def test_arguments_that_do_not_fit_are_refused() -> None:
    def sample(store: str, mode: Mode = Mode.FULL, *, limit: int = 3) -> None: ...

    definition = job(sample)
    for error, words, args, kwargs in (
        (MissingParam, "needs the parameter 'store'", (), {}),
        (UnknownParam, r"no parameter 'stroe'.*did you mean store", (), {"store": "1", "stroe": "1"}),
        (DoubledParam, "'store' more than once", ("1",), {"store": "1"}),
        (BindingError, "3 were given by position and it takes 2", ("1", "full", 3), {}),
        (InvalidParam, "mode='fast'.*'full' or 'delta'", ("1", "fast"), {}),
        (InvalidParam, "limit='x'.*valid integer", ("1",), {"limit": "x"}),
        (InvalidParam, "store=None.*valid string", (None,), {}),
    ):
        with pytest.raises(error, match=words) as caught:
            definition.bind(*args, **kwargs)
        assert "\n" not in str(caught.value)


class _Pretender:
    ensure_connection = None


def _opened() -> list[tuple[Any, str]]:
    engine = create_engine("sqlite://")
    return [
        (Row(id=1), "pass its primary key"),
        (DataRow(id=1), "pass its primary key"),
        ({"deep": [Row(id=1)]}, "pass its primary key"),
        (Session(engine), "open one in the job"),
        (engine, "open one in the job"),
        (sqlite3.connect(":memory:"), "open one in the job"),
        (_Pretender(), "open one in the job"),
        (sys.__stderr__, "pass its path"),
        (print, "code and not data"),
        (test_data_survives_the_trip, "code and not data"),
        (Mode, "code and not data"),
        ((n for n in range(3)), "pass a list"),
        (NAIVE, "another instant on each host"),
        (SecretStr("x"), "pass the secret's name"),
        (object(), "does not go into JSON"),
        (Point(1), "annotate the parameter"),
        (UUID(int=1), "annotate the parameter"),
        (AWARE, "annotate the parameter"),
        ({1: "a"}, "annotate the parameter"),
        ("\ud800", "does not go into JSON"),
    ]


@pytest.mark.parametrize(("value", "words"), _opened())
def test_what_is_no_data_is_refused_with_what_to_pass_instead(value: Any, words: str) -> None:
    with pytest.raises(UnstorableParam, match=words) as caught:
        taking(Any).bind(value)
    assert "value=" in str(caught.value)


@pytest.mark.parametrize("annotation", [str, int, list[int], Point])
def test_a_row_is_recognised_under_any_annotation(annotation: Any) -> None:
    with pytest.raises(UnstorableParam, match="pass its primary key"):
        taking(annotation).bind(Row(id=1))


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (datetime, NAIVE),
        (list[datetime], [AWARE, NAIVE]),
        (datetime | None, "2026-01-01T00:00:00"),
        (Order, Order(id=1, placed=NAIVE)),
        (SecretStr, SecretStr("x")),
    ],
)
def test_naive_moments_and_secrets_are_refused_wherever_they_hide(annotation: Any, value: Any) -> None:
    with pytest.raises(UnstorableParam):
        taking(annotation).bind(value)


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (Row, "database row's class"),
        (DataRow, "database row's class"),
        (list[Row] | None, "database row's class"),
        (Session, "no data type"),
        (sqlite3.Connection, "no data type"),
    ],
)
def test_an_annotation_that_is_no_data_type_is_refused(annotation: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        taking(annotation).prepare()


def test_a_stored_row_that_no_longer_fits_the_code_is_a_binding_error() -> None:
    definition = taking(int)
    for stored in ('{"value":"x"}', "{}", '{"value":1,"gone":2}', "[]", "not json", '{"value":null}'):
        with pytest.raises(BindingError):
            definition.load(stored)


@pytest.mark.parametrize(
    "target", [lambda *many: None, lambda **named: None, eval("lambda only, /: None")], ids=["many", "named", "only"]
)
def test_parameters_without_a_name_of_their_own_are_refused(target: Any) -> None:
    with pytest.raises(DefinitionError, match="stored one by one, by name"):
        job(target)
