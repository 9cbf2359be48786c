"""References to other members' results: how they are bound, refused, and resolved."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from jobwarden import JobWarden, Ref
from jobwarden.domain.refs import names_within, resolved
from jobwarden.errors import (
    DoubledDependency,
    InvalidParam,
    MissingParam,
    UnknownDependency,
    UnknownParam,
    UnstorableParam,
)


@dataclass
class Store:
    number: int


@pytest.fixture
def jw() -> JobWarden:
    jw = JobWarden(database_url="sqlite:///nowhere.db")

    @jw.job(name="load", idempotent=True, promote=("day",))
    def load(path: str, store: Store, day: str = "monday", extra: Any = None) -> None: ...

    return jw


def test_a_reference_stands_for_a_whole_argument_and_the_others_are_checked_as_ever(jw: JobWarden) -> None:
    load = jw.find("load")
    call = load.bind(Ref("extract", "files", 0), store=Ref("pick"), day="friday")
    assert json.loads(call.params) == {
        "path": {"$result": ["extract", "files", 0]},
        "store": {"$result": ["pick"]},
        "day": "friday",
    }
    assert call.promoted == {"day": "friday"}
    assert call.refs == {"path": Ref("extract", "files", 0), "store": Ref("pick")}
    wrongs: tuple[tuple[Callable[[], Any], type[Exception]], ...] = (
        (lambda: load.bind(Ref("extract")), MissingParam),
        (lambda: load.bind(Ref("extract"), store=7), InvalidParam),
        (lambda: load.bind(Ref("extract"), store=Store(7), hour=Ref("x")), UnknownParam),
        (lambda: load.bind(Ref("extract", 1.5), store=Store(7)), UnstorableParam),  # type: ignore[arg-type]
        (lambda: load.bind("a", store=Store(7), extra={"$result": ["x"]}), UnstorableParam),
        (lambda: load.bind("a", store=Store(7), extra=[Ref("x")]), UnstorableParam),
    )
    for wrong, kind in wrongs:
        with pytest.raises(kind):
            wrong()
    assert load.bind("a", store=Store(7), extra={"$result": 1, "more": 2}).refs is None


def test_only_a_member_of_a_batch_can_refer_and_it_waits_for_what_it_refers_to(jw: JobWarden) -> None:
    load = jw.find("load")
    call = load.bind(Ref("extract"), store=Store(7))
    outsiders: tuple[Callable[[], Any], ...] = (
        lambda: load.enqueue(Ref("extract"), store=Store(7)),
        lambda: jw.enqueue_many([call]),
        lambda: jw.schedule("x", "@daily", call),
        lambda: jw.batch("b", on_complete=call),
    )
    for outside in outsiders:
        with pytest.raises(UnstorableParam, match="only a member of a batch can refer"):
            outside()
    batch = jw.batch("b")
    batch.add(load.bind("a", store=Store(1)), key="extract")
    batch.add(call, key="load", after="extract")
    assert [(node.key, node.after) for node in batch._built().nodes] == [("extract", ()), ("load", ("extract",))]
    alone = jw.batch("b")
    alone.add(call)
    with pytest.raises(UnknownDependency):
        alone.enqueue()
    both = jw.batch("b")
    both.add(load.bind("a", store=Store(1)), key="extract")
    both.add(call, after_completion="extract")
    with pytest.raises(DoubledDependency):
        both.enqueue()


def test_what_is_referred_to_is_asked_once_for_each_member_and_a_part_that_is_not_there_is_named() -> None:
    asked: list[str] = []

    def result_of(key: str) -> Any:
        asked.append(key)
        return {"files": ["a", "b"]}

    params = json.dumps({"x": {"$result": ["e", "files", 1]}, "y": {"$result": ["e"]}, "z": 3})
    assert json.loads(resolved(params, result_of)) == {"x": "b", "y": {"files": ["a", "b"]}, "z": 3}
    assert asked == ["e"]
    for path in (["files", 2], ["folders"], ["files", "a"]):
        with pytest.raises(LookupError, match="the result of 'e' has no e"):
            resolved(json.dumps({"x": {"$result": ["e", *path]}}), result_of)
    assert resolved('{"x":1}', result_of) == '{"x":1}'


def test_a_key_means_the_nearest_member_of_that_name() -> None:
    assert names_within("t", "k") == ["k"]
    assert names_within("x/y/t", "k") == ["x/y/k", "x/k", "k"]
