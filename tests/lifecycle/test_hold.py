"""Batches that are held: nothing of them starts, whatever becomes of it meanwhile, and all of it goes on afterwards."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa

from jobwarden.domain.dag import Node
from jobwarden.domain.orders import Order, Verb, Verdict
from jobwarden.domain.report import Outcome
from jobwarden.domain.states import BatchState, JobState
from jobwarden.errors import WrongBatchState
from jobwarden.lifecycle import operate
from jobwarden.lifecycle.advance import BITE
from jobwarden.lifecycle.backstop import restart_stalled
from jobwarden.lifecycle.batches import cancel_batch, hold_batch, release_batch
from jobwarden.store import schema
from jobwarden.store.database import Database, Transaction
from jobwarden.views.explain import explain
from jobwarden.views.health import check
from jobwarden.views.health_batches import of_batches
from tests.lifecycle.claimants import Claimant
from tests.lifecycle.runs import MANY, ME, Run, fails
from tests.support.factories import Factories

J, B = JobState, BatchState


def _hold(run: Run) -> int:
    return hold_batch(run.database, run.plan.id, "look at the input first", "ann")


def _release(run: Run) -> None:
    release_batch(run.database, run.plan.id, "it is right", "ann")
    run.settle_down()


def _claimed(run: Run) -> list[str]:
    """Claim two members, as daemons do: again, if the database chose this transaction to end a deadlock."""

    def claims(transaction: Transaction) -> list[str]:
        return [seated.claim.job_id for seated in run.claimant.look(transaction, run.claimant.seats(2)).seated]

    return [run.keys[job_id] for job_id in run.database.attempt(claims)]


def test_nothing_more_starts_who_runs_goes_on_and_all_goes_on_afterwards(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b"), Node("c", ("a",)), Node("d", ("b",))])
    run.settle_down()
    claims = run.claim(1)
    first = next(iter(claims))
    assert _hold(run) == 4
    assert (run.line.held_by, run.line.held_reason) == ("ann", "look at the input first")
    run.end(claims)
    assert run.drain() == [], "what waited for it waits on"
    assert run.line.state == B.RUNNING
    assert list(run.states.values()).count(J.PENDING) == 3
    run.check_counts()
    _release(run)
    assert (set(run.drain()), run.line.state, run.line.held_at) == (set("abcd") - {first}, B.SUCCEEDED, None)
    run.check_counts()


def test_other_work_goes_on_beside_it(database: Database, factories: Factories, claimant: Claimant) -> None:
    run = Run(database, [Node(f"n{n}") for n in range(30)])
    run.settle_down()
    _hold(run)
    other = str(factories.job()["id"])
    assert [claim.job_id for claim in claimant.claim(database, 50)] == [other]


def test_who_is_given_back_fails_or_is_lost_meanwhile_waits_for_the_release(database: Database) -> None:
    run = Run(database, [Node("back"), Node("fails"), Node("lost")], tries=MANY)
    run.settle_down()
    claims = run.claim()
    _hold(run)
    run.claimant.settle(database, claims["back"], Outcome.UNSTARTED)
    run.claimant.settle(database, claims["fails"], Outcome.FAILED, retryable=True)
    run.lose({"lost": claims["lost"]})
    assert run.drain() == []
    assert run.states == {"back": J.PENDING, "fails": J.RETRYING, "lost": J.RETRYING}
    run.check_counts()
    _release(run)
    assert set(run.drain()) == {"back", "fails", "lost"}
    run.check_counts()


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.RESTART, Verb.RESOLVE])
def test_who_is_to_run_again_by_a_persons_will_waits_too(database: Database, verb: Verb) -> None:
    run = Run(database, [Node("a"), Node("b", ("a",)), Node("c")])
    run.settle_down()
    claims = run.claim()
    outcome = Outcome.PARKED if verb is Verb.RESOLVE else Outcome.FAILED
    run.end({"a": claims["a"]}, lambda key: outcome)
    run.settle_down()
    _hold(run)
    verdict = Verdict.DID_NOT_RUN if verb is Verb.RESOLVE else None
    [answer] = operate.carry_out(database, Order(verb, "again", "ann", verdict=verdict), [run.ids["a"]])
    assert (answer.refused, answer.state) == (None, J.PENDING)
    assert run.drain() == []
    run.end({"c": claims["c"]})
    _release(run)
    assert run.drain() == ["a", "b"]
    assert run.line.state == B.SUCCEEDED
    run.check_counts()


def test_a_wish_while_it_is_held_allows_a_second_run_and_the_hold_itself_does_not(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b")], idempotent=False)
    run.settle_down()
    for key, claim in run.claim().items():
        run.claimant.start(database, claim)
        run.end({key: claim}, lambda key: Outcome.PARKED if key == "a" else Outcome.FAILED)
    _hold(run)
    operate.carry_out(database, Order(Verb.RETRY, None, "ann", force=True), [run.ids["a"]])
    _release(run)
    again = run.claim()
    run.claimant.start(database, again["a"])
    with database.read() as transaction:
        assert "ran_twice" not in {finding.invariant for finding in check(transaction, deep=True, silence=60)}
    with database.write() as transaction:
        wish = (schema.events.c.job_id == run.ids["a"]) & (schema.events.c.from_state == "orphaned")
        transaction.execute(sa.update(schema.events).where(wish).values(from_state="queued"))
        assert "ran_twice" in {finding.invariant for finding in check(transaction, deep=True, silence=60)}


def test_what_is_added_meanwhile_waits_too(database: Database) -> None:
    run = Run(database, [Node("a")])
    run.settle_down()
    claims = run.claim()
    _hold(run)
    assert run.grow(claims["a"], [Node("b"), Node("c", ("a",))], success=True) == 2
    assert run.drain() == []
    _release(run)
    assert set(run.drain()) == {"b", "c"}
    run.check_counts()


def test_it_can_be_held_again_and_again(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b", ("a",))])
    run.settle_down()
    for _ in range(3):
        _hold(run)
        assert run.drain() == []
        _release(run)
    _hold(run)
    release_batch(database, run.plan.id, None, None)
    _hold(run)  # before anybody followed up the release
    assert run.drain() == []
    _release(run)
    assert run.drain() == ["a", "b"]
    run.check_counts()


def test_who_held_it_first_holds_it_and_all_of_it_stands_in_the_ledger(database: Database) -> None:
    run = Run(database, [Node("a")])
    _hold(run)
    hold_batch(database, run.plan.id, "me too", "bob")
    assert run.line.held_by == "ann"
    _release(run)
    with database.read() as transaction:
        found = sa.select(schema.events).where(schema.events.c.batch_id == run.plan.id).order_by(schema.events.c.id)
        rows = transaction.execute(found.where(schema.events.c.actor_type == "operator")).all()
    told = [(row.actor_id, row.reason, row.context) for row in rows]
    assert told == [
        ("ann", "look at the input first", {"wish": "hold"}),
        ("bob", "me too", {"wish": "hold", "before_by": "ann"}),
        ("ann", "it is right", {"wish": "release", "before_by": "ann"}),
    ]


def test_what_is_over_cannot_be_held_and_what_is_not_held_cannot_be_released(database: Database) -> None:
    run = Run(database, [Node("a")])
    with pytest.raises(WrongBatchState, match="is running and not held, and release needs it to be held"):
        _release(run)
    run.drain()
    with pytest.raises(WrongBatchState, match="is succeeded, and hold needs it to be running"):
        _hold(run)


def test_a_batch_that_is_held_can_be_called_off(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b", ("a",))])
    run.settle_down()
    _hold(run)
    cancel_batch(database, run.plan.id, "enough", "ann")
    run.settle_down()
    assert set(run.states.values()) == {J.CANCELED}
    assert run.line.finished_at is not None
    run.check_counts()


def test_a_hold_that_died_after_its_first_word_is_carried_on(database: Database) -> None:
    run = Run(database, [Node(f"n{n}") for n in range(2 * BITE + 5)])
    run.settle_down()

    def dies(number: int) -> None:
        raise KeyboardInterrupt

    with database.write() as transaction:
        transaction.execute(sa.delete(schema.turns))
    with pytest.raises(KeyboardInterrupt):
        hold_batch(database, run.plan.id, "wait", "ann", dies)
    run.settle_down()
    assert set(run.states.values()) == {J.PENDING}
    assert run.claim() == {}
    _release(run)
    assert len(run.drain()) == 2 * BITE + 5


def test_it_says_so_and_is_not_stalled(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b", ("a",))])
    run.settle_down()
    _hold(run)
    run.settle_down()
    with database.write() as transaction:
        reasons = [str(reason) for reason in explain(transaction, run.ids["b"]).reasons]
        assert restart_stalled(transaction, ME) == []
        assert list(of_batches(transaction, deep=True)) == []
    assert reasons[0] == "Its batch is held by ann until somebody releases it: look at the input first."
    assert reasons[1].startswith("It waits for 1 other job(s) to finish")


def test_the_backstop_frees_what_a_lost_release_left_tied(database: Database) -> None:
    run = Run(database, [Node("a")])
    run.settle_down()
    _hold(run)
    release_batch(database, run.plan.id, None, None)
    with database.write() as transaction:
        transaction.execute(sa.delete(schema.turns))
        assert restart_stalled(transaction, ME) == [run.plan.id]
    assert run.drain() == ["a"]


def test_a_member_that_failed_before_and_is_unreachable_waits_too_when_it_comes_back(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b", ("a",)), Node("c")])
    run.settle_down()
    claims = run.claim()
    run.end({"a": claims["a"]}, fails("a"))
    run.settle_down()
    assert run.states["b"] is J.CANCELED
    _hold(run)
    operate.carry_out(database, Order(Verb.RETRY, None), [run.ids["a"]])
    run.settle_down()
    assert (run.states["a"], run.states["b"]) == (J.PENDING, J.PENDING)
    run.end({"c": claims["c"]})
    _release(run)
    assert run.drain() == ["a", "b"]


def test_claiming_and_holding_see_each_other(database: Database) -> None:
    """Whatever was claimed before the hold was complete runs; once it is, nothing more does."""
    for _ in range(5):
        run = Run(database, [Node(f"n{n}") for n in range(40)])
        run.settle_down()
        begun: list[str] = []

        def claims(run: Run = run, begun: list[str] = begun) -> None:
            for _ in range(10):
                begun.extend(_claimed(run))

        thread = threading.Thread(target=claims)
        thread.start()
        _hold(run)
        before = set(begun)
        thread.join()
        running = {key for key, state in run.states.items() if state is J.RUNNING}
        assert before <= running
        run.settle_down()
        assert run.claim() == {}
        assert list(run.states.values()).count(J.PENDING) == 40 - len(running)
        run.check_counts()
