"""A batch as a member of another: its members, what they wait for, who waits for them, and what it cannot have."""

from __future__ import annotations

import pytest

from jobwarden import Batch, Bound, JobWarden, Ref, Threshold
from jobwarden.errors import BatchRefused, DuplicateKey, UnknownDependency


@pytest.fixture
def jw() -> JobWarden:
    jw = JobWarden(database_url="sqlite:///nowhere.db")

    @jw.job(name="step", idempotent=True)
    def step(value: int = 0) -> None: ...

    return jw


def step(jw: JobWarden) -> Bound:
    return jw.bind("step")


def inner(jw: JobWarden, name: str = "load") -> Batch:
    batch = jw.batch(name)
    batch.add(step(jw), "a")
    batch.add(step(jw), "b", after="a")
    batch.add(step(jw), "clean", after_completion="b")
    return batch


def waits(batch: Batch) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {node.key: (node.after, node.after_completion) for node in batch._built().nodes}


def test_it_waits_as_a_whole_and_is_waited_for_as_a_whole(jw: JobWarden) -> None:
    outer = jw.batch("outer")
    first = outer.add(step(jw), "first")
    group = outer.add(inner(jw), after=first)
    outer.add(step(jw), "then", after=group)
    outer.add(step(jw), "always", after_completion=["load", first])
    whole = ("load/a", "load/b", "load/clean")
    assert waits(outer) == {
        "first": ((), ()),
        "load/a": (("first",), ()),
        "load/b": (("first", "load/a"), ()),
        "load/clean": (("first",), ("load/b",)),
        "then": (whole, ()),
        "always": ((), (*whole, "first")),
    }
    assert outer._built().finalizers == {"load/clean", "then", "always"}


def test_it_may_hold_others_and_wait_for_an_end(jw: JobWarden) -> None:
    middle = jw.batch("middle")
    deep = middle.add(inner(jw, "deep"))
    middle.add(step(jw), "last", after=deep)
    outer = jw.batch("outer")
    outer.add(step(jw), "first")
    outer.add(middle, "m", after_completion="first")
    found = waits(outer)
    assert found["m/deep/a"] == ((), ("first",))
    assert found["m/deep/b"] == (("m/deep/a",), ())
    assert found["m/last"] == (("m/deep/a", "m/deep/b", "m/deep/clean"), ())


def test_what_cannot_be_is_refused(jw: JobWarden) -> None:
    refused = {
        "a failure policy": jw.batch("x", Threshold(2)),
        "params": jw.batch("x", params={"a": 1}),
        "on_complete": jw.batch("x", on_complete=step(jw)),
        "labels": jw.batch("x", labels={"team": "a"}),
        "has no members": jw.batch("x"),
    }
    for words, batch in refused.items():
        with pytest.raises(BatchRefused, match=words):
            jw.batch("outer").add(batch)
    outer = jw.batch("outer")
    outer.add(inner(jw))
    with pytest.raises(DuplicateKey):
        outer.add(inner(jw))
    outer.add(step(jw), "load")
    with pytest.raises(DuplicateKey):
        outer.enqueue()
    alone = jw.batch("outer")
    alone.add(inner(jw), "x")
    alone.add(jw.find("step").bind(Ref("x")), "refers")
    with pytest.raises(BatchRefused):
        alone.enqueue()
    lost = jw.batch("outer")
    lost.add(inner(jw), "x", after="nobody")
    with pytest.raises(UnknownDependency):
        lost.enqueue()
