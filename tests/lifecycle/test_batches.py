"""Batches on every engine: what runs when, what follows from failures, and what a person may do, against an oracle."""

from __future__ import annotations

import random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobwarden.domain.claims import Claim
from jobwarden.domain.dag import Node
from jobwarden.domain.draft import Draft
from jobwarden.domain.orders import Order, Verb
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import Actor, BatchState, JobState
from jobwarden.domain.verdict import Policy, trips, verdict
from jobwarden.errors import BatchNotFound, WrongBatchState
from jobwarden.lifecycle import operate
from jobwarden.lifecycle.advance import BITE, advance
from jobwarden.lifecycle.backstop import WHY, restart_stalled
from jobwarden.lifecycle.batches import cancel_batch, enqueue_batch, retry_batch
from jobwarden.lifecycle.settle import Settlement, settle
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.store.ids import new_id
from jobwarden.store.stalled import stalled
from jobwarden.views.batches import edges_of, now_of
from jobwarden.views.health_batches import of_batches
from tests.lifecycle.plays import Play
from tests.lifecycle.runs import MANY, ME, Run, fails

J, B = JobState, BatchState


# -- against an oracle ------------------------------------------------------------------------------------------------


@st.composite
def graphs(draw: st.DrawFn, most: int) -> list[Node]:
    """Members that wait for earlier ones; few edges or many."""
    size = draw(st.integers(1, most))
    chance = random.Random(draw(st.integers(0, 1 << 30)))
    density = chance.choice([0.3, 1.0, 2.5])
    nodes = []
    for number in range(size):
        ups = {f"m{chance.randrange(number)}" for _ in range(int(chance.expovariate(1 / density)))} if number else set()
        listed = sorted(ups)
        ends = {up for up in listed if chance.random() < 0.25}
        nodes.append(Node(f"m{number}", tuple(up for up in listed if up not in ends), tuple(sorted(ends))))
    return nodes


def expected(nodes: list[Node], outcomes: dict[str, JobState], canceled: set[str]) -> dict[str, JobState]:
    """What a batch that goes on whatever happens comes to: straight from the rules, member by member."""
    found: dict[str, JobState] = {}
    for node in nodes:
        unreachable = any(found[up] is not J.SUCCEEDED for up in node.after)
        found[node.key] = J.CANCELED if unreachable or node.key in canceled else outcomes[node.key]
    return found


_SLOW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@_SLOW
@given(graph=graphs(most=60), seed=st.integers(0, 1 << 30))
def test_any_graph_comes_to_what_the_rules_say(database: Database, graph: list[Node], seed: int) -> None:
    chance = random.Random(seed)
    run = Run(database, graph, tries=MANY)
    outcomes, canceled = _played(run, chance, 0.25)
    for _ in range(2):  # a person retries some; now they succeed, and undo exactly what followed from their failure
        failed = [key for key, state in run.states.items() if state is J.FAILED]
        again = [key for key in failed if chance.random() < 0.7]
        outcomes |= dict.fromkeys(again, J.SUCCEEDED)
        operate.carry_out(run.database, Order(Verb.RETRY, "again"), [run.ids[key] for key in again])
        Play(run, chance, outcomes, canceled, anew=True).to_its_end()
        assert run.states == expected(run.nodes, outcomes, canceled)
        _check_verdict(run)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_graph_of_three_hundred_comes_to_what_the_rules_say(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    nodes = [
        Node(f"m{n}", tuple({f"m{chance.randrange(n)}" for _ in range(chance.randint(0, 3))} if n else ()))
        for n in range(280)
    ]
    _played(Run(database, nodes, tries=MANY), chance, 0.02)


def _played(run: Run, chance: random.Random, failing: float) -> tuple[dict[str, JobState], set[str]]:
    """Play a batch to its end, that share of its members failing; how each ends if it runs, and who was called off."""
    outcomes = {node.key: J.FAILED if chance.random() < failing else J.SUCCEEDED for node in run.nodes}
    canceled: set[str] = set()
    Play(run, chance, outcomes, canceled).to_its_end()
    assert run.states == expected(run.nodes, outcomes, canceled)
    _check_verdict(run)
    return outcomes, canceled


def _check_verdict(run: Run) -> None:
    states = list(run.states.values())
    line = run.line
    assert line.finished_at is not None
    assert line.state == verdict(states.count(J.FAILED), states.count(J.CANCELED) + states.count(J.STOPPED))
    assert line.summary is not None
    assert line.summary["total"] == len(states)
    assert line.summary["succeeded"] == states.count(J.SUCCEEDED)
    with run.database.read() as transaction:
        assert transaction.execute(sa.select(schema.turns)).all() == []
        assert list(of_batches(transaction, deep=True)) == []


@_SLOW
@given(graph=graphs(most=40), seed=st.integers(0, 1 << 30))
def test_any_graph_under_a_policy_ends_and_spares_its_finalizers(
    database: Database, graph: list[Node], seed: int
) -> None:
    chance = random.Random(seed)
    policy, threshold = chance.choice([(Policy.FAIL_FAST, None), (Policy.THRESHOLD, 2.0), (Policy.THRESHOLD, 0.2)])
    run = Run(database, graph, policy, threshold=threshold)
    outcomes = {node.key: J.FAILED if chance.random() < 0.2 else J.SUCCEEDED for node in graph}
    run.drain(lambda key: Outcome.FAILED if outcomes[key] is J.FAILED else Outcome.SUCCEEDED)
    states, spared = run.states, run.plan.finalizers
    assert not set(states.values()) & {J.PENDING, J.QUEUED, J.RUNNING}
    tripped = trips(policy, threshold, list(states.values()).count(J.FAILED), len(graph))
    assert (run.line.state == B.FAILED) is tripped
    assert run.line.finished_at is not None
    for node in run.nodes:
        if node.key in spared and all(states[up] is J.SUCCEEDED for up in node.after):
            assert states[node.key] is outcomes[node.key], "a finalizer that could be reached has run"
    run.check_counts()


# -- one by one -------------------------------------------------------------------------------------------------------


def test_what_waits_runs_after_what_it_waits_for(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b", ("a",)), Node("c", ("a",)), Node("d", ("b", "c"))])
    assert [run.states[key] for key in "abcd"] == [J.QUEUED, J.PENDING, J.PENDING, J.PENDING]
    order = run.drain()
    assert (order[0], order[-1], len(order)) == ("a", "d", 4)
    assert run.line.state == B.SUCCEEDED
    with database.read() as transaction:
        assert all(edge.satisfied for edge in edges_of(transaction, run.plan.id))
        told = sa.select(schema.events).where(schema.events.c.batch_id == run.plan.id).order_by(schema.events.c.id)
        assert [event.to_state for event in transaction.execute(told)] == ["running", "succeeded"]


def test_a_batch_without_members_succeeds(database: Database) -> None:
    run = Run(database, [])
    run.settle_down()
    assert (run.line.state, run.line.summary is not None) == (B.SUCCEEDED, True)


def test_what_is_parked_satisfies_nobody_and_keeps_its_batch_open(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b", ("a",)), Node("f", (), ("a",))])
    run.end(run.claim(), lambda key: Outcome.PARKED)
    run.settle_down()
    assert run.states == {"a": J.ORPHANED, "b": J.PENDING, "f": J.PENDING}
    assert (run.line.state, run.line.finished_at) == (B.RUNNING, None)


def test_a_policy_that_trips_calls_off_all_but_finalizers_and_flags_who_runs(database: Database) -> None:
    nodes = [Node("bad"), Node("slow"), Node("later", ("slow",)), Node("f", (), ("bad", "slow")), Node("g", ("f",))]
    run = Run(database, nodes, Policy.FAIL_FAST)
    claims = run.claim()
    run.end({"bad": claims.pop("bad")}, fails("bad"))
    run.settle_down()
    assert run.states == {
        "bad": J.FAILED,
        "slow": J.RUNNING,
        "later": J.CANCELED,
        "f": J.PENDING,
        "g": J.PENDING,
    }
    line = run.line
    assert (line.state, line.finished_at, line.summary) == (B.FAILED, None, None), "it is not over while members run"
    with database.read() as transaction:
        slow = transaction.execute(sa.select(schema.jobs).where(schema.jobs.c.id == run.ids["slow"])).one()
    assert (slow.cancel_requested, slow.cancel_actor) == (True, "failure policy")
    run.end(claims, lambda key: Outcome.CANCELED)
    assert run.drain() == ["f", "g"]
    assert (run.line.state, run.line.summary["canceled"]) == (B.FAILED, 2)  # type: ignore[index]


def test_a_retry_reopens_disarms_and_revives_but_never_what_a_person_called_off(database: Database) -> None:
    nodes = [Node("a"), Node("runs"), Node("b", ("a",)), Node("c", ("b",)), Node("mine", ("a",))]
    run = Run(database, nodes, Policy.FAIL_FAST)
    operate.carry_out(database, Order(Verb.CANCEL, "no"), [run.ids["mine"]])
    claims = run.claim()
    run.end({"a": claims.pop("a")}, fails("a"))
    run.settle_down()
    assert run.line.state == B.FAILED
    [answer] = retry_batch(database, run.plan.id, Order(Verb.RETRY, "again"))
    assert answer.refused is None
    run.settle_down()
    assert (run.line.state, run.line.finished_at) == (B.RUNNING, None)
    with database.read() as transaction:
        runs = transaction.execute(sa.select(schema.jobs).where(schema.jobs.c.id == run.ids["runs"])).one()
    assert not runs.cancel_requested, "what the policy wished is taken back"
    run.end(claims)
    run.drain()
    assert run.states["mine"] is J.CANCELED
    assert run.states["a"] is J.SUCCEEDED


def test_an_unreachable_tail_comes_back_with_what_it_waits_for(database: Database) -> None:
    run = Run(database, [Node("a"), Node("x"), Node("b", ("a", "x")), Node("c", ("b",))])
    run.drain(fails("a", "x"))
    assert [run.states[key] for key in "bc"] == [J.CANCELED, J.CANCELED]
    operate.carry_out(database, Order(Verb.RETRY, None), [run.ids["a"]])
    run.drain()
    assert [run.states[key] for key in "abc"] == [J.SUCCEEDED, J.CANCELED, J.CANCELED], "x still stands in the way"
    operate.carry_out(database, Order(Verb.RETRY, None), [run.ids["x"]])
    run.drain()
    assert set(run.states.values()) == {J.SUCCEEDED}
    assert run.line.state == B.SUCCEEDED


def test_a_finalizer_that_still_waits_waits_again_for_what_runs_again(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b"), Node("f", (), ("a", "b"))])
    claims = run.claim()
    run.end({"a": claims.pop("a")}, fails("a"))
    run.settle_down()
    operate.carry_out(database, Order(Verb.RETRY, None), [run.ids["a"]])
    run.settle_down()
    run.end(claims)
    run.settle_down()
    assert run.states["f"] is J.PENDING, "a has not ended yet"
    assert run.drain() == ["a", "f"]


def test_calling_off_takes_everybody_in_bites_and_finalizers_too(database: Database) -> None:
    wide = 2 * BITE + 7
    nodes = [Node("first"), *(Node(f"n{n}", ("first",)) for n in range(wide)), Node("f", (), ("first",))]
    run = Run(database, nodes)
    claims = run.claim()
    told: list[int] = []
    assert cancel_batch(database, run.plan.id, "enough", "ops", told.append) == wide + 1
    assert told == [BITE, 2 * BITE, wide + 1, wide + 1]
    assert (run.line.state, run.line.cancel_reason) == (B.CANCELED, "enough")
    with database.read() as transaction:
        first = transaction.execute(sa.select(schema.jobs).where(schema.jobs.c.id == run.ids["first"])).one()
    assert (first.cancel_requested, first.cancel_reason) == (True, "enough")
    run.end(claims, lambda key: Outcome.CANCELED)
    run.drain()
    assert set(run.states.values()) == {J.CANCELED}
    assert (run.line.state, run.line.finished_at is not None) == (B.CANCELED, True)
    with pytest.raises(WrongBatchState, match="needs it to be running, partial or failed"):
        retry_batch(database, run.plan.id, Order(Verb.RETRY, None))


def test_a_cancel_that_died_after_its_first_word_is_carried_on(database: Database) -> None:
    run = Run(database, [Node("a"), *(Node(f"n{n}", ("a",)) for n in range(BITE + 3))])

    def dies(number: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cancel_batch(database, run.plan.id, "enough", "ops", dies)
    assert J.PENDING in run.states.values()
    run.drain()
    assert set(run.states.values()) == {J.CANCELED}
    with database.read() as transaction:
        told = sa.select(schema.events.c.actor_type, schema.events.c.actor_id, schema.events.c.reason).distinct()
        found = transaction.execute(told.where(schema.events.c.to_state == "canceled")).all()
    assert (Actor.OPERATOR, "ops", "enough") in {tuple(row) for row in found}


def test_what_is_over_cannot_be_called_off_and_what_is_not_there_is_not_found(database: Database) -> None:
    run = Run(database, [Node("a")])
    run.drain()
    with pytest.raises(WrongBatchState, match="is succeeded, and cancel needs"):
        cancel_batch(database, run.plan.id, None, None)
    for wrong in (new_id(), "nonsense"):
        with pytest.raises(BatchNotFound):
            cancel_batch(database, wrong, None, None)
        with pytest.raises(BatchNotFound):
            retry_batch(database, wrong, Order(Verb.RETRY, None))


def test_a_deep_cascade_goes_level_by_level_without_recursion(database: Database) -> None:
    depth = BITE + 60
    chain = [Node("n0"), *(Node(f"n{n}", (f"n{n - 1}",)) for n in range(1, depth))]
    run = Run(database, chain)
    run.drain(fails("n0"))
    assert set(run.states.values()) == {J.FAILED, J.CANCELED}
    assert run.line.counts.canceled == depth - 1
    operate.carry_out(database, Order(Verb.RETRY, None), [run.ids["n0"]])
    run.settle_down()
    assert list(run.states.values()).count(J.PENDING) == depth - 1, "all of it came back"


def test_a_wide_cascade_goes_in_bites(database: Database) -> None:
    wide = 2 * BITE + 9
    run = Run(database, [Node("a"), *(Node(f"n{n}", ("a",)) for n in range(wide)), Node("f", (), ("a",))])
    assert run.drain(fails("a")) == ["a", "f"]
    assert run.line.counts.canceled == wide


def test_a_wide_fan_in_is_counted_down_to_its_last(database: Database) -> None:
    wide = 2 * BITE + 9
    run = Run(database, [*(Node(f"n{n}") for n in range(wide)), Node("join", tuple(f"n{n}" for n in range(wide)))])
    order = run.drain()
    assert (order[-1], len(order)) == ("join", wide + 1)


def test_the_last_two_members_that_end_at_once_end_their_batch(database: Database) -> None:
    """Both are settled before either is committed: neither sees the other's end, and the batch ends all the same."""
    Run(
        database, [Node(f"n{n}") for n in range(100)]
    ).drain()  # tables that are not nearly empty are read by their keys
    run = Run(database, [Node("a"), Node("b"), Node("f", (), ("a", "b"))])
    claims = run.claim()
    if database.facts.one_machine:
        run.end(claims)  # one writer at a time: they cannot meet
    else:
        _at_once(database, run, claims)
    assert run.drain() == ["f"]
    assert run.line.state == B.SUCCEEDED


def _at_once(database: Database, run: Run, claims: dict[str, Claim]) -> None:
    with database.write() as one, database.write() as other:
        for transaction, key in ((one, "a"), (other, "b")):
            assert advance(transaction, ME).turns == (1 if key == "a" else 0), (
                "the turn of the batch's birth is taken once"
            )
            _settle(transaction, run, claims[key])


def _settle(transaction: Any, run: Run, claim: Claim) -> None:
    report = Report(claim.attempt_id, Outcome.SUCCEEDED)
    settle(transaction, [Settlement(claim.job_id, claim.token, report)], Actor.WORKER, run.claimant.worker_id)


def test_a_following_job_is_enqueued_when_all_is_over(database: Database) -> None:
    following = Draft(new_id(), "after", '{"n": 1}', idempotent=True, tags={"of": "b"})
    run = Run(database, [Node("a")], on_complete=[following])
    run.drain()
    with database.read() as transaction:
        [row] = transaction.execute(sa.select(schema.jobs).where(schema.jobs.c.job == "after")).all()
        [tag] = transaction.execute(sa.select(schema.tags).where(schema.tags.c.job_id == row.id)).all()
    assert (row.params, row.batch_id, row.created_by, tag.value) == ({"n": 1}, None, None, "b")


def test_a_member_sees_its_batch_and_why_others_failed(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b", ("a",)), Node("f", (), ("b",))], params='{"day": "monday"}')
    for key, claim in run.claim().items():
        error = {"class": "ValueError", "message": f"{key} did not"}
        run.claimant.settle(database, claim, Outcome.FAILED, retryable=False, error=error)
    run.settle_down()
    run.claim()
    with database.read() as transaction:
        now = now_of(transaction, run.plan.id)
    assert (now.params, now.counts.running, now.counts.failed) == ({"day": "monday"}, 1, 1)
    assert [(failure.key, failure.state) for failure in now.failures] == [("a", "failed"), ("b", "canceled")]
    assert now.failures[0].error == "a did not"
    assert "unreachable" in str(now.failures[1].error)


def test_health_tells_a_batch_that_nothing_will_end_and_one_that_is_miscounted(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b")])
    run.end(run.claim())
    with database.write() as transaction:
        assert list(of_batches(transaction, deep=True)) == []
        transaction.execute(sa.delete(schema.turns))
        transaction.execute(sa.delete(schema.counters).where(schema.counters.c.state == "succeeded"))
        found = {finding.invariant: finding for finding in of_batches(transaction, deep=True)}
    assert set(found) == {"batch_stalled", "batch_miscounted"}
    assert found["batch_miscounted"].detail == "of 2 members it counts 0 succeeded for 2"


def restarted(run: Run) -> list[str]:
    """The batches that the backstop finds stalled."""
    with run.database.write() as transaction:
        found = [str(row.id) for row in stalled(transaction, 10)]
        assert [each.id for each in of_batches(transaction, deep=False)] == found, "health tells the same"
        assert restart_stalled(transaction, ME) == found
        assert restart_stalled(transaction, ME) == [], "it is found once"
        return found


def forget_turns(run: Run) -> None:
    """Lose what members left, as no transaction of ours ever does."""
    with run.database.write() as transaction:
        transaction.execute(sa.delete(schema.turns))


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
def test_the_backstop_goes_on_with_what_lost_its_turns_and_notes_it(database: Database, outcome: Outcome) -> None:
    nodes = [Node("a"), Node("b"), Node("c", ("a", "b")), Node("d", ("c",)), Node("f", ("b",), ("d",))]
    run = Run(database, nodes)
    run.settle_down()
    run.end(run.claim(), lambda key: outcome if key == "a" else Outcome.SUCCEEDED)
    forget_turns(run)
    run.settle_down()
    assert run.states["c"] is J.PENDING
    assert not run.claim(), "without the turns nothing follows"
    assert restarted(run) == [run.plan.id]
    run.drain()
    rest = J.SUCCEEDED if outcome is Outcome.SUCCEEDED else J.CANCELED
    assert [run.states[key] for key in "bcdf"] == [J.SUCCEEDED, rest, rest, J.SUCCEEDED]
    assert run.line.state == (B.SUCCEEDED if outcome is Outcome.SUCCEEDED else B.PARTIAL)
    run.check_counts()
    with database.read() as transaction:
        reasons = transaction.execute(sa.select(schema.events.c.reason).where(schema.events.c.batch_id == run.plan.id))
        assert list(reasons.scalars()).count(WHY) == 1


def test_the_backstop_counts_again_what_members_wait_for(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b", ("a",))])
    run.settle_down()
    with database.write() as transaction:
        b = schema.jobs.c.id == run.ids["b"]
        transaction.execute(sa.update(schema.jobs).where(b).values(blocked_by=2))
    run.end(run.claim())
    run.settle_down()
    assert restarted(run) == [run.plan.id]
    assert run.drain() == ["b"]
    assert run.line.state == B.SUCCEEDED


def test_the_backstop_leaves_alone_what_runs_waits_is_parked_or_over(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b"), Node("c", ("a", "b"))])
    assert restarted(run) == [], "its birth left a turn"
    run.settle_down()
    assert restarted(run) == [], "members are queued"
    claims = run.claim()
    assert restarted(run) == [], "members run"
    run.end(claims, lambda key: Outcome.PARKED if key == "a" else Outcome.SUCCEEDED)
    run.settle_down()
    assert restarted(run) == [], "a person is waited for"
    cancel_batch(database, run.plan.id, None, None)
    run.settle_down()
    assert run.line.finished_at is not None
    assert restarted(run) == [], "it is over"


def test_writing_a_batch_again_writes_nothing(database: Database) -> None:
    run = Run(database, [Node("a"), Node("b", ("a",))])
    with database.write() as transaction:
        enqueue_batch(transaction, run.plan, again=True)
    assert len(run.states) == 2
