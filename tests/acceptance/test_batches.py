"""Batches with real workers: results flow along edges, and no death of a process leaves a batch behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden import BatchState, JobWarden, Ref
from jobwarden.store.schema import turns
from jobwarden.views.batches import members_of
from tests.acceptance.conftest import QUICK, Start
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, await_state
from tests.support.waiting import eventually


def _fan(app: JobWarden, gate: Path, wide: int) -> Any:
    batch = app.batch("fan", params={"n": wide})
    first = batch.add(app.bind("succeed", {"value": 7}), "first")
    gated = batch.add(app.bind("wait_for", {"gate": str(gate)}), "gated", after=first)
    wider = batch.fan_out([app.bind("succeed", {"value": n}) for n in range(wide)], after=first)
    batch.add(app.bind("ask_upstream", {"key": "first"}), "asks", after=[first, gated, *wider])
    batch.add(app.bind("ask_batch"), "final", after_completion=["asks"])
    return batch.enqueue()


def test_results_flow_along_edges_and_a_member_sees_its_batch(app: JobWarden, start: Start, gate: Path) -> None:
    gate.touch()
    handle = _fan(app, gate, 20)
    start(capacity=4)
    assert handle.wait(PATIENCE).state is BatchState.SUCCEEDED
    assert (handle.counts.total, handle.counts.succeeded) == (24, 24)
    members = {member.key: app.job_handle(member.id) for member in _members(app, handle.id)}
    assert members["asks"].result == 7
    assert members["final"].result == {"name": "fan", "running": 1, "succeeded": 23, "params": {"n": 20}}


def test_a_batch_goes_on_when_its_supervisor_is_killed(
    app: JobWarden, rows: Factories, start: Start, gate: Path
) -> None:
    """The last member of a level ends while nobody advances; whoever comes next follows that up."""
    handle = _fan(app, gate, 5)
    worker = start(capacity=8)
    gated = next(app.job_handle(member.id) for member in _members(app, handle.id) if member.key == "gated")
    eventually(lambda: handle.refresh().counts.succeeded == 6, PATIENCE)
    worker.kill()
    gate.touch()
    await_state(gated, "succeeded")
    start(capacity=2)
    assert handle.wait(PATIENCE).state is BatchState.SUCCEEDED
    assert all(len(rows.attempts_of(member.id)) == 1 for member in _members(app, handle.id))


def test_the_leading_reaper_goes_on_with_a_stalled_batch_and_says_so(app: JobWarden, reaper: Any) -> None:
    handle = app.batch("nobody comes").enqueue()
    with app.database.write() as transaction:
        transaction.execute(sa.delete(turns))
    leader = reaper("global")
    leader.expect(f"batch {handle.id} was stalled")
    assert handle.wait(PATIENCE).state is BatchState.SUCCEEDED


def _members(app: JobWarden, batch_id: str) -> list[Any]:
    with app.database.read() as transaction:
        return members_of(transaction, batch_id)


def test_a_param_that_refers_to_a_result_is_given_it_at_the_start_and_checked_then(
    app: JobWarden, start: Start
) -> None:
    succeed, takes = app.find("succeed"), app.find("takes_model")
    order = {"number": 7, "amount": "1.50", "lines": ["a"]}
    batch = app.batch("refers")
    batch.add(app.bind("give_back", {"value": {"orders": [order]}}), key="orders")
    batch.add(takes.bind(Ref("orders", "orders", 0)), key="fits")
    batch.add(succeed.bind(Ref("orders", "orders", 0, "number")), key="whole")
    batch.add(succeed.bind(Ref("orders", "orders", 0, "lines")), key="misfits")
    batch.add(succeed.bind(Ref("orders", "nothing")), key="nothing")
    start(capacity=4, env=QUICK)
    handle = batch.enqueue()
    assert handle.wait(PATIENCE).state is BatchState.PARTIAL
    jobs = {member.key: app.job_handle(member.id).refresh() for member in _members(app, handle.id)}
    assert jobs["fits"].result["order"]["number"] == 7
    assert jobs["whole"].result == 7
    why = {key: str(jobs[key].error) for key in ("misfits", "nothing")}
    assert "should be a valid integer" in why["misfits"]
    assert "the result of 'orders' has no orders['nothing']" in why["nothing"]
    again = app.rerun(jobs["whole"].id, force=True)
    assert await_state(again, "succeeded").result == 7, "a new run outside the batch refers to the same"


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("mishap", ["", "killed", "fails"])
def test_a_member_grows_its_batch_once_whatever_happens_to_it(
    app: JobWarden, rows: Factories, start: Start, at_once: bool, mishap: str
) -> None:
    batch = app.batch("grows")
    batch.add(app.bind("grow", {"parts": [3, 5, 8], "at_once": at_once, "mishap": mishap}), "grow")
    batch.add(app.bind("ask_batch"), "end", after_completion="grow")
    start(capacity=4, env=QUICK)
    handle = batch.enqueue()
    assert handle.wait(PATIENCE).state is BatchState.SUCCEEDED
    jobs = {member.key: app.job_handle(member.id).refresh() for member in _members(app, handle.id)}
    grower = jobs.pop("grow")
    assert len(rows.attempts_of(grower.id)) == (2 if mishap else 1)
    names = [f"succeed-{grower.id[-8:]}-{n}" for n in (1, 2, 3)]
    assert sorted(jobs) == sorted(["end", "sums", *names])
    assert [jobs[name].result for name in names] == [3, 5, 8]
    assert handle.counts.succeeded == handle.counts.total == 6


def test_jobs_that_follow_a_batch_are_told_what_it_came_to(app: JobWarden, rows: Factories, start: Start) -> None:
    asks = app.find("ask_batch")
    app.after_batches(asks.using(label="by the application").bind())
    batch = app.batch("followed", params={"n": 1}, on_complete=[asks.bind(), app.bind("add_to_batch")])
    batch.add(app.bind("succeed", {"value": 7}))
    handle = batch.enqueue()
    outer = app.batch("outer")
    outer.add(_one(app))
    outer_handle = outer.enqueue()
    start(capacity=4, env=QUICK)
    for each in (handle, outer_handle):
        assert each.wait(PATIENCE).state is BatchState.SUCCEEDED
    followers = {each.id: rows.following(each.id) for each in (handle, outer_handle)}
    told = {"name": "followed", "params": {"n": 1}, "running": 0, "succeeded": 1}
    jobs = [await_state(app.job_handle(row["id"]), "succeeded", "failed") for row in followers[handle.id]]
    assert [job.result for job in jobs if job.state.value == "succeeded"] == [told, told]
    [failed] = [job for job in jobs if job.state.value == "failed"]
    assert "only a member of it can make it grow" in str(failed.error)
    assert len(followers[outer_handle.id]) == 1, "what the application follows, and once for the whole"


def _one(app: JobWarden) -> Any:
    batch = app.batch("within")
    batch.add(app.bind("succeed", {"value": 7}))
    return batch


def test_a_batch_that_is_held_waits_for_its_release(app: JobWarden, start: Start, gate: Path) -> None:
    handle = _fan(app, gate, 20)
    worker = start(capacity=4)
    eventually(lambda: handle.refresh().counts.succeeded == 21, PATIENCE)
    assert handle.hold("look first", "ann").held
    gate.touch()
    eventually(lambda: handle.refresh().counts.running == 0, PATIENCE)
    other = app.enqueue("succeed", {"value": 1})
    await_state(other, "succeeded")
    assert (handle.refresh().counts.succeeded, handle.counts.pending) == (22, 2)
    worker.kill()
    start(capacity=4)
    await_state(app.enqueue("succeed", {"value": 1}), "succeeded")
    assert (handle.refresh().counts.succeeded, handle.counts.pending) == (22, 2)
    assert not handle.release("it is right", "ann").held
    assert handle.wait(PATIENCE).state is BatchState.SUCCEEDED


@pytest.mark.any_engine
def test_growth_that_is_refused_fails_the_grower_and_adds_nothing(app: JobWarden, start: Start) -> None:
    batch = app.batch("grows")
    batch.add(app.bind("grow", {"parts": [3], "mishap": "wrong"}), "grow")
    start(capacity=2, env=QUICK)
    handle = batch.enqueue()
    assert handle.wait(PATIENCE).state is BatchState.PARTIAL
    [grower] = _members(app, handle.id)
    job = app.job_handle(grower.id).refresh()
    assert (job.state.value, grower.attempt_count) == ("failed", 1)
    assert "'nobody'" in str(job.error)


def test_a_batch_within_a_batch_knows_its_own_members_by_their_own_keys(app: JobWarden, start: Start) -> None:
    inner = app.batch("inner")
    inner.add(app.bind("give_back", {"value": 7}), "a")
    inner.add(app.bind("ask_upstream", {"key": "a"}), "asks", after="a")
    inner.add(app.find("succeed").bind(Ref("a")), "refers")
    outer = app.batch("outer")
    outer.add(app.bind("give_back", {"value": 1}), "a")
    outer.add(inner, "in", after="a")
    outer.add(app.find("succeed").bind(Ref("in/refers")), "last", after="in")
    start(capacity=4, env=QUICK)
    handle = outer.enqueue()
    assert handle.wait(PATIENCE).state is BatchState.SUCCEEDED
    results = {member.key: app.job_handle(member.id).refresh().result for member in _members(app, handle.id)}
    assert results == {"a": 1, "in/a": 7, "in/asks": 7, "in/refers": 7, "last": 7}


@pytest.mark.any_engine
def test_a_success_in_a_transaction_of_ones_own_does_not_drop_what_was_added(app: JobWarden, start: Start) -> None:
    batch = app.batch("grows")
    batch.add(app.bind("grow_and_complete_in_own"), "grow")
    start(capacity=2, env=QUICK)
    handle = batch.enqueue()
    assert handle.wait(PATIENCE).state is BatchState.PARTIAL
    [grower] = _members(app, handle.id)
    assert "1 members were added to it and not written" in str(app.job_handle(grower.id).refresh().error)
