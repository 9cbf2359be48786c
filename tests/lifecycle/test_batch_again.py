"""Members of a batch that run again while it goes on, or after it was over: its policy and its summary follow them."""

from __future__ import annotations

import pytest

from jobwarden.domain.dag import Node
from jobwarden.domain.orders import Order, Verb
from jobwarden.domain.states import BatchState, JobState
from jobwarden.domain.verdict import Policy
from jobwarden.errors import MemberNotFound
from jobwarden.lifecycle import operate
from jobwarden.lifecycle.batches import cancel_batch, retry_batch
from jobwarden.store.database import Database
from tests.lifecycle.runs import Run, fails


def _retry(run: Run, *keys: str) -> None:
    operate.carry_out(run.database, Order(Verb.RETRY, "again"), [run.ids[key] for key in keys])


def _summed(run: Run) -> tuple[int, int, int]:
    summary = run.line.summary
    assert summary is not None
    return summary["succeeded"], summary["failed"], summary["canceled"]


def test_a_policy_trips_also_while_a_member_runs_again(database: Database) -> None:
    """The retry and the failures that trip it are followed up in one transaction."""
    nodes = [*(Node(key) for key in "abcd"), Node("waits", after=("d",))]
    run = Run(database, nodes, Policy.THRESHOLD, threshold=1.0)
    run.settle_down()
    claims = run.claim()
    run.end({"a": claims.pop("a")}, fails("a"))
    run.settle_down()
    assert run.line.state == BatchState.RUNNING
    _retry(run, "a")
    run.end({key: claims.pop(key) for key in "bc"}, fails("b", "c"))
    run.settle_down()
    assert run.line.state == BatchState.FAILED
    assert run.states["waits"] is JobState.CANCELED


def test_the_summary_of_a_batch_that_stays_failed_follows_what_ran_again(database: Database) -> None:
    run = Run(database, [Node(key) for key in "abc"], Policy.FAIL_FAST)
    run.settle_down()
    run.end(run.claim(), fails("a", "b"))
    run.settle_down()
    assert (run.line.state, _summed(run)) == (BatchState.FAILED, (1, 2, 0))
    first = run.line.finished_at
    assert first is not None
    _retry(run, "a")
    run.drain()
    assert (run.line.state, _summed(run)) == (BatchState.FAILED, (2, 1, 0))
    last = run.line.finished_at
    assert last is not None
    assert last > first
    run.check_counts()


def test_the_summary_of_a_batch_that_was_called_off_follows_what_ran_again(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b", after_completion=("a",)), Node("c", after=("b",))])
    run.settle_down()
    run.end(run.claim(), fails("a"))
    cancel_batch(database, run.plan.id, "enough", "me")
    run.settle_down()
    assert (run.line.state, _summed(run)) == (BatchState.CANCELED, (0, 1, 2))
    _retry(run, "a")
    run.drain()
    assert (run.line.state, _summed(run)) == (BatchState.CANCELED, (1, 0, 2))
    run.check_counts()


def test_from_a_member_down_only_what_follows_it_runs_again(database: Database) -> None:
    nodes = [Node("a"), Node("b", after=("a",)), Node("late", after_completion=("b",)), Node("other")]
    run = Run(database, nodes)
    run.drain(fails("a", "late", "other"))
    assert run.states["b"] is JobState.CANCELED
    with pytest.raises(MemberNotFound, match="has no member 'x'"):
        retry_batch(database, run.plan.id, Order(Verb.RETRY), start="x")
    answers = retry_batch(database, run.plan.id, Order(Verb.RETRY, attempts=1), start="a")
    assert {run.keys[answer.id] for answer in answers} == {"a", "late"}
    run.drain()
    assert {key: state for key, state in run.states.items() if state is not JobState.SUCCEEDED} == {
        "other": JobState.FAILED
    }
    assert [answer.id for answer in retry_batch(database, run.plan.id, Order(Verb.RETRY), start="late")] == []
    run.check_counts()
