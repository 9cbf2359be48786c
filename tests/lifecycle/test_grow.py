"""Batches that grow while they run: who may, what is checked, what new members wait for; and none is over early."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from jobwarden.domain.claims import Claim
from jobwarden.domain.dag import Node
from jobwarden.domain.draft import Draft
from jobwarden.domain.states import BatchState, JobState
from jobwarden.domain.verdict import Policy
from jobwarden.errors import (
    BatchRefused,
    DependencyCycle,
    DoubledDependency,
    DuplicateKey,
    FencedOut,
    UnknownDependency,
)
from jobwarden.lifecycle.batches import cancel_batch
from jobwarden.lifecycle.grow import Grower, Growth, grow
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.store.ids import new_ids
from tests.lifecycle.runs import Run, fails
from tests.support.factories import Factories

S = JobState


def grower_of(run: Run, claim: Claim, token: int | None = None) -> Grower:
    return Grower(claim.job_id, claim.attempt_id, claim.token if token is None else token, run.plan.id)


def growth_of(nodes: Sequence[Node]) -> Growth:
    return Growth(nodes, [Draft(key, "job", "{}", idempotent=True, max_attempts=1) for key in new_ids(len(nodes))])


def claimed(run: Run, key: str) -> Claim:
    run.settle_down()
    return run.claim()[key]


def test_what_is_added_with_a_success_runs_after_it_and_the_batch_is_over_only_then(database: Database) -> None:
    run = Run(database, [Node("a"), Node("end", after_completion=("a",))])
    claim = claimed(run, "a")
    assert run.grow(claim, [Node("b", after=("a",)), Node("c", after=("b",)), Node("d")], success=True) == 3
    assert run.states["a"] is S.SUCCEEDED
    order = run.drain()
    assert order.index("b") < order.index("c")
    assert set(order) == {"b", "c", "d", "end"}
    assert run.line.state == BatchState.SUCCEEDED
    assert run.line.counts.total == 5
    run.check_counts()


def test_what_is_added_at_once_runs_beside_and_the_batch_waits_for_its_grower(database: Database) -> None:
    run = Run(database, [Node("a")])
    claim = claimed(run, "a")
    assert run.grow(claim, [Node("b")]) == 1
    assert run.drain() == ["b"]
    assert run.line.state == BatchState.RUNNING, "who runs may still grow it"
    assert run.grow(claim, [Node("c", after=("b",))]) == 1
    run.end({"a": claim})
    assert run.drain() == ["c"]
    assert run.line.state == BatchState.SUCCEEDED
    run.check_counts()


def test_who_waits_for_what_ended_long_ago_is_freed_or_called_off(database: Database) -> None:
    run = Run(database, [Node("a"), Node("good"), Node("bad")])
    claim = run.claim()
    run.end({key: claim[key] for key in ("good", "bad")}, fails("bad"))
    run.settle_down()
    wish = [
        Node("after-good", after=("good",)),
        Node("after-bad", after=("bad",)),
        Node("in-any-case", after_completion=("bad",)),
        Node("behind", after=("in-any-case", "good")),
        Node("hopeless", after=("after-bad",)),
    ]
    assert run.grow(claim["a"], wish) == 5
    order = run.drain()
    assert set(order) == {"after-good", "in-any-case", "behind"}
    assert (run.states["after-bad"], run.states["hopeless"]) == (S.CANCELED, S.CANCELED)
    run.end({"a": claim["a"]})
    run.settle_down()
    assert run.line.state == BatchState.PARTIAL
    run.check_counts()


def test_an_attempt_that_runs_again_adds_nothing_twice(database: Database) -> None:
    run = Run(database, [Node("a")])
    claim = claimed(run, "a")
    wish = [Node("b"), Node("c", after=("b",))]
    assert run.grow(claim, wish, params={"n": 1}) == 2
    assert run.grow(claim, wish, params={"n": 1}) == 0
    assert run.grow(claim, [*wish, Node("d", after=("c",))], params={"n": 1}) == 1
    with pytest.raises(DuplicateKey):
        run.grow(claim, [Node("b")], params={"n": 2})
    run.end({"a": claim})
    assert run.drain() == ["b", "c", "d"]
    run.check_counts()


@pytest.mark.parametrize(
    ("nodes", "error"),
    [
        ([Node("a")], DuplicateKey),
        ([Node("x", after=("nobody",))], UnknownDependency),
        ([Node("x", after=("a",), after_completion=("a",))], DoubledDependency),
        ([Node("x", after=("y",)), Node("y", after=("x",))], DependencyCycle),
        ([Node("x"), Node("x")], DuplicateKey),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(
    database: Database, nodes: list[Node], error: type[Exception]
) -> None:
    run = Run(database, [Node("a")])
    claim = claimed(run, "a")
    with pytest.raises(error):
        run.grow(claim, nodes, success=True, params={"other": True})
    assert run.states == {"a": S.RUNNING}
    run.check_counts()


def test_only_the_attempt_that_holds_the_job_may_and_only_while_the_batch_runs(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b")])
    claims = run.claim()
    with pytest.raises(FencedOut), database.write() as transaction:
        grow(transaction, grower_of(run, claims["a"], token=99), growth_of([Node("c")]))
    run.end({"a": claims["a"]})
    with pytest.raises(FencedOut):
        run.grow(claims["a"], [Node("c")])
    cancel_batch(database, run.plan.id, "enough", "ann")
    with pytest.raises(BatchRefused, match="it is canceled"):
        run.grow(claims["b"], [Node("c")])
    assert set(run.states) == {"a", "b"}
    run.check_counts()


def test_a_batch_whose_policy_tripped_does_not_grow(database: Database) -> None:
    run = Run(database, [Node("a"), Node("bad")], Policy.FAIL_FAST)
    claims = run.claim()
    run.end({"bad": claims["bad"]}, fails("bad"))
    run.settle_down()
    with pytest.raises(BatchRefused, match="it is failed"):
        run.grow(claims["a"], [Node("c")])


def test_growing_and_calling_off_see_each_other(database: Database) -> None:
    """Whichever comes first: no member is left that waits in a batch that was called off."""
    for _ in range(5):
        run = Run(database, [Node("a")])
        claim = claimed(run, "a")
        refused: list[Exception] = []

        def grows(run: Run = run, claim: Claim = claim, refused: list[Exception] = refused) -> None:
            try:
                growth = growth_of([Node(f"m{n}") for n in range(30)])
                database.attempt(lambda transaction: grow(transaction, grower_of(run, claim), growth), tries=50)
            except BatchRefused as error:
                refused.append(error)

        thread = threading.Thread(target=grows)
        thread.start()
        cancel_batch(database, run.plan.id, "enough", "ann")
        thread.join()
        run.settle_down()
        states = [state for key, state in run.states.items() if key != "a"]
        assert len(states) == (0 if refused else 30)
        assert set(states) <= {S.CANCELED}


def test_growing_stands_in_the_ledger(database: Database, factories: Factories) -> None:
    run = Run(database, [Node("a")])
    claim = claimed(run, "a")
    run.grow(claim, [Node("b"), Node("c")])
    with database.read() as transaction:
        found = transaction.connection.execute(schema.events.select().where(schema.events.c.batch_id == run.plan.id))
        told = [(row.reason, row.actor_id) for row in found if row.reason]
    assert told == [("it grew by 2 members", claim.job_id)]
