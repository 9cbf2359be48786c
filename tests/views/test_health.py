"""Health: a database that the engine wrote has nothing wrong with it, and each forged contradiction is named."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.claims import Claim
from jobwarden.domain.draft import Draft
from jobwarden.domain.findings import Finding
from jobwarden.domain.orders import By, Order, Verb, Verdict
from jobwarden.domain.report import Outcome
from jobwarden.domain.schedule import Definition
from jobwarden.domain.states import Actor, AttemptState, WorkerState
from jobwarden.domain.timing import Timing
from jobwarden.lifecycle import operate
from jobwarden.lifecycle.enqueue import enqueue
from jobwarden.lifecycle.record import Record, Saying, record
from jobwarden.lifecycle.schedules import put
from jobwarden.store import schema
from jobwarden.store.database import Database, after
from jobwarden.store.ids import new_id
from jobwarden.store.transition import move_jobs
from jobwarden.views import health, health_batches, health_schedules
from jobwarden.views.health import check
from jobwarden.views.schedules import shown
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories, Values

NOBODY = "00000000-0000-7000-8000-000000000000"


@dataclass
class World:
    """Jobs as the engine itself makes and moves them, with the worker that does."""

    database: Database
    factories: Factories
    claimant: Claimant

    def job(self, **options: Any) -> Values:
        draft = Draft(new_id(), "shop:pay", "{}", **{"idempotent": True, **options})
        with self.database.write() as transaction:
            enqueue(transaction, [draft])
        return self.factories.read(schema.jobs, draft.id)

    def schedule(self, **columns: Any) -> str:
        definition = Definition("nightly", "shop:pay", "{}", Timing(cron="0 3 * * *"))
        with self.database.write() as transaction:
            put(transaction, definition, By("ann"))
            line = shown(transaction, "nightly")
        self.forge(schema.schedules, line.id, **columns)
        return line.id

    def running(self, **options: Any) -> Claim:
        job = self.job(**options)
        [claim] = self.claimant.claim(self.database)
        assert claim.job_id == job["id"]
        self.claimant.start(self.database, claim)
        return claim

    def over(self, outcome: Outcome = Outcome.SUCCEEDED, **options: Any) -> Claim:
        claim = self.running(**options)
        self.claimant.settle(self.database, claim, outcome)
        return claim

    def again(self, claim: Claim) -> Claim:
        """The job's next attempt, once it is queued again."""
        [following] = self.claimant.claim(self.database)
        assert following.job_id == claim.job_id
        self.claimant.start(self.database, following)
        return following

    def says(self, claim: Claim, *seqs: int) -> None:
        lines = [Saying(seq, "info", "so") for seq in seqs]
        with self.database.write() as transaction:
            record(transaction, [Record(claim.job_id, claim.attempt_id, claim.token, lines)])

    def forge(self, table: sa.Table, key: str, **columns: Any) -> None:
        """Write past every door."""
        with self.database.write() as transaction:
            transaction.connection.execute(sa.update(table).where(table.c.id == key).values(**columns))

    def remove(self, table: sa.Table, *conditions: sa.ColumnElement[bool]) -> None:
        with self.database.write() as transaction:
            transaction.connection.execute(sa.delete(table).where(*conditions))

    def check(self, *, deep: bool) -> list[Finding]:
        with self.database.read() as transaction:
            return check(transaction, deep)


@pytest.fixture
def world(database: Database, factories: Factories) -> World:
    claimant = Claimant()
    factories.worker(id=claimant.worker_id)
    return World(database, factories, claimant)


def lively(world: World) -> None:
    """A bit of everything that may happen."""
    for outcome in Outcome:
        for idempotent in (True, False):
            claim = world.over(outcome, idempotent=idempotent)
            operate.carry_out(world.database, Order(Verb.CANCEL, "enough", "ann"), [claim.job_id])
    world.job(delay=60.0)
    said = world.running()
    world.says(said, 1, 2, 3)
    world.says(said, 4)
    wished = world.running()
    operate.carry_out(world.database, Order(Verb.STOP), [wished.job_id])
    operate.carry_out(world.database, Order(Verb.CANCEL), [wished.job_id])
    late = world.over(Outcome.FAILED, max_attempts=1)
    world.claimant.settle(world.database, late, Outcome.SUCCEEDED)
    operate.carry_out(world.database, Order(Verb.RETRY), [late.job_id])
    world.again(late)
    done = world.over()
    operate.carry_out(world.database, Order(Verb.RERUN), [done.job_id])
    with world.database.write() as transaction:
        operate.drain(transaction, world.claimant.worker_id, "a deploy", "ann")


@pytest.mark.parametrize("deep", [False, True])
def test_w42_what_the_engine_wrote_is_healthy(world: World, deep: bool) -> None:
    assert world.check(deep=deep) == []
    lively(world)
    assert world.check(deep=deep) == []


@pytest.mark.parametrize("deep", [False, True])
def test_w42_a_life_of_retries_and_verdicts_is_healthy(world: World, deep: bool) -> None:
    claim = world.over(Outcome.LOST, idempotent=False)
    operate.carry_out(world.database, Order(Verb.RESOLVE, "seen", verdict=Verdict.DID_NOT_RUN), [claim.job_id])
    [unstarted] = world.claimant.claim(world.database)
    world.claimant.settle(world.database, unstarted, Outcome.UNSTARTED)
    claim = world.again(claim)
    world.claimant.settle(world.database, claim, Outcome.SNOOZED, delay=0.0)
    with world.database.write() as transaction:
        moves = [{"job_id": claim.job_id, "origin": "pending", "target": "queued"}]
        move_jobs(transaction, moves, Actor.SUPERVISOR, world.claimant.worker_id)
    claim = world.again(claim)
    world.claimant.settle(world.database, claim, Outcome.FAILED)
    operate.carry_out(world.database, Order(Verb.RETRY, "checked", force=True), [claim.job_id])
    world.claimant.settle(world.database, world.again(claim), Outcome.LOST)
    assert len(world.factories.attempts_of(claim.job_id)) == 5
    assert world.check(deep=deep) == []


# -- forged -----------------------------------------------------------------------------------------------------------

Told = tuple[str, str, str]


def current_attempt_over(world: World) -> Told:
    claim = world.running()
    world.forge(schema.attempts, claim.attempt_id, state="failed")
    return "running_without_attempt", claim.job_id, f"running under attempt {claim.attempt_id}, which is failed"


def no_current_attempt(world: World) -> Told:
    claim = world.running()
    world.forge(schema.jobs, claim.job_id, current_attempt_id=None)
    return "running_without_attempt", claim.job_id, "under no attempt at all"


def current_attempt_missing(world: World) -> Told:
    claim = world.running()
    world.remove(schema.attempts, schema.attempts.c.id == claim.attempt_id)
    return "dangling_attempt", claim.job_id, f"its current attempt {claim.attempt_id} does not exist"


def pointer_to_nothing(world: World) -> Told:
    job = world.job()
    world.forge(schema.jobs, job["id"], current_attempt_id=NOBODY)
    return "dangling_attempt", job["id"], f"The job is queued, and its current attempt {NOBODY}"


def attempt_of_a_waiting_job(world: World) -> Told:
    claim = world.running()
    world.forge(schema.jobs, claim.job_id, state="queued")
    return "attempt_without_job", claim.attempt_id, f"its job {claim.job_id} does not run: it is queued"


def attempt_of_an_ended_job(world: World) -> Told:
    claim = world.running()
    world.forge(schema.jobs, claim.job_id, state="succeeded")
    return "attempt_after_end", claim.attempt_id, f"its job {claim.job_id} is succeeded"


def attempt_of_no_job(world: World) -> Told:
    claim = world.running()
    world.remove(schema.jobs, schema.jobs.c.id == claim.job_id)
    return "attempt_without_job", claim.attempt_id, f"its job {claim.job_id} does not exist"


def attempt_that_is_not_the_current_one(world: World) -> Told:
    claim = world.running()
    world.factories.attempt({"id": claim.job_id}, AttemptState.RUNNING, worker_id=world.claimant.worker_id)
    return "attempt_without_job", claim.attempt_id, "runs under another one"


def two_attempts_in_flight(world: World) -> Told:
    claim = world.running()
    world.factories.attempt({"id": claim.job_id}, AttemptState.DISPATCHED, worker_id=world.claimant.worker_id)
    return "two_in_flight", claim.job_id, "has 2 attempts in flight at once"


def miscounted_attempts(world: World) -> Told:
    claim = world.running()
    world.forge(schema.jobs, claim.job_id, attempt_count=3)
    return "attempt_count", claim.job_id, "counts 3 attempts, and 1 are there"


def misnumbered_attempts(world: World) -> Told:
    claim = world.running()
    world.forge(schema.attempts, claim.attempt_id, attempt_number=5)
    return "attempt_numbers", claim.job_id, "The 1 attempts have 1 numbers, up to 5"


def a_second_start_that_nobody_allowed(world: World) -> Told:
    claim = world.over(Outcome.LOST, idempotent=False)
    with world.database.write() as transaction:
        move = {"job_id": claim.job_id, "origin": "orphaned", "target": "retrying"}
        move_jobs(transaction, [move], Actor.REAPER, "r")
        move = {"job_id": claim.job_id, "origin": "retrying", "target": "queued"}
        move_jobs(transaction, [move], Actor.SUPERVISOR, "s")
    world.again(claim)
    return "ran_twice", claim.job_id, "attempt 2 entered its handler after attempt 1 had, though nobody allowed it"


def a_third_start_on_one_permission(world: World) -> Told:
    claim = world.over(Outcome.FAILED, idempotent=False)
    operate.carry_out(world.database, Order(Verb.RETRY, force=True), [claim.job_id])
    world.claimant.settle(world.database, world.again(claim), Outcome.LOST)
    with world.database.write() as transaction:
        move = {"job_id": claim.job_id, "origin": "orphaned", "target": "retrying"}
        move_jobs(transaction, [move], Actor.REAPER, "r")
        move = {"job_id": claim.job_id, "origin": "retrying", "target": "queued"}
        move_jobs(transaction, [move], Actor.SUPERVISOR, "s")
    world.again(claim)
    return "ran_twice", claim.job_id, "attempt 3 entered its handler after attempt 2"


def a_state_that_no_row_explains(world: World) -> Told:
    job = world.job()
    world.forge(schema.jobs, job["id"], state="orphaned")
    return "ledger_gap", job["id"], "The job is orphaned, and its ledger ends at queued"


def a_row_that_is_missing(world: World) -> Told:
    claim = world.running()
    [_, opened, *_] = world.factories.events_of(claim.job_id)
    world.remove(schema.events, schema.events.c.id == opened["id"])
    return "ledger_gap", claim.job_id, "leaves running, and the row before it led to queued"


def a_birth_that_is_missing(world: World) -> Told:
    claim = world.running()
    world.remove(schema.events, schema.events.c.job_id == claim.job_id, schema.events.c.from_state.is_(None))
    return "ledger_gap", claim.job_id, "leaves queued, and the row before it is missing"


def no_ledger_at_all(world: World) -> Told:
    job = world.job()
    world.remove(schema.events, schema.events.c.job_id == job["id"])
    return "ledger_gap", job["id"], "its ledger is empty"


def last_lines_missing(world: World) -> Told:
    claim = world.running()
    world.says(claim, 1, 2, 3)
    world.remove(schema.logs, schema.logs.c.attempt_id == claim.attempt_id, schema.logs.c.seq == 3)
    return "log_gap", claim.attempt_id, "wrote lines up to 3, and the last one there is 2"


def a_wish_about_a_waiting_job(world: World) -> Told:
    job = world.job()
    world.forge(schema.jobs, job["id"], cancel_requested=True, cancel_mode="stop")
    return "stray_wish", job["id"], "The job is queued, and a wish to stop it stands"


def a_wish_that_nobody_knows(world: World) -> Told:
    claim = world.running()
    world.forge(schema.jobs, claim.job_id, cancel_requested=True)
    return "stray_wish", claim.job_id, "The job is running, and a wish to do nothing in particular it stands"


def a_silent_worker(world: World) -> Told:
    world.running()
    world.forge(schema.workers, world.claimant.worker_id, heartbeat_at=after(sa.literal_column("-35")))
    return "silent_worker", world.claimant.worker_id, "The supervisor on host.example is active, is silent for 35 s"


def a_dead_worker(world: World) -> Told:
    world.running()
    columns = {"state": WorkerState.DEAD.value, "heartbeat_at": after(sa.literal_column("-3600"))}
    world.forge(schema.workers, world.claimant.worker_id, **columns)
    return "silent_worker", world.claimant.worker_id, "is dead and gone, is silent for 3600 s, and holds 1 attempt(s)"


def an_unknown_worker(world: World) -> Told:
    claim = world.running()
    world.forge(schema.attempts, claim.attempt_id, worker_id=NOBODY)
    return "silent_worker", NOBODY, "Nobody knows the worker that holds 1 attempt(s) in flight"


def an_unkillable_process(world: World) -> Told:
    claim = world.running()
    world.forge(schema.attempts, claim.attempt_id, unkillable_since=after(sa.literal_column("-7")), child_pid=4242)
    return "unkillable", claim.attempt_id, "Process 4242 on host.example could not be ended for 7 s"


def a_schedule_that_nobody_looks_at(world: World) -> Told:
    key = world.schedule(next_due_at=after(sa.literal_column("-90")))
    return "schedule_unattended", key, "nightly has been due for 90 s and no scheduler looked"


def a_schedule_that_cannot_be_evaluated(world: World) -> Told:
    key = world.schedule(failures=3, last_error="the zone has vanished")
    return "schedule_broken", key, "nightly cannot be evaluated: the zone has vanished"


FORGERIES: list[Callable[[World], Told]] = [
    current_attempt_over,
    no_current_attempt,
    current_attempt_missing,
    pointer_to_nothing,
    attempt_of_a_waiting_job,
    attempt_of_an_ended_job,
    attempt_of_no_job,
    attempt_that_is_not_the_current_one,
    two_attempts_in_flight,
    miscounted_attempts,
    misnumbered_attempts,
    a_second_start_that_nobody_allowed,
    a_third_start_on_one_permission,
    a_state_that_no_row_explains,
    a_row_that_is_missing,
    a_birth_that_is_missing,
    no_ledger_at_all,
    last_lines_missing,
    a_wish_about_a_waiting_job,
    a_wish_that_nobody_knows,
    a_silent_worker,
    a_dead_worker,
    an_unknown_worker,
    an_unkillable_process,
    a_schedule_that_nobody_looks_at,
    a_schedule_that_cannot_be_evaluated,
]


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_w42_each_contradiction_is_named(world: World, forge: Callable[[World], Told]) -> None:
    world.over()
    rule, key, words = forge(world)
    for deep in (False, True):
        found = [finding for finding in world.check(deep=deep) if (finding.invariant, finding.id) == (rule, key)]
        assert [words in finding.detail for finding in found] == [True], f"{deep=}: {world.check(deep=deep)}"


def test_the_page_names_every_rule() -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "operate.md").read_text()
    source = "".join(map(inspect.getsource, (health, health_batches, health_schedules)))
    rules = set(re.findall(r'Finding\(\s*"(\w+)"', source))
    assert len(rules) == 19
    assert {rule for rule in rules if f"`{rule}`" not in page} == set()


# -- what only a deep look finds --------------------------------------------------------------------------------------


def test_a_deep_check_finds_what_is_wrong_with_the_dead(world: World) -> None:
    done = world.over()
    world.forge(schema.jobs, done.job_id, state="failed")
    assert world.check(deep=False) == []
    assert ("ledger_gap", done.job_id) in {(finding.invariant, finding.id) for finding in world.check(deep=True)}


def test_a_deep_check_finds_lines_missing_in_between(world: World) -> None:
    claim = world.running()
    world.says(claim, 1, 2, 3, 4)
    world.remove(schema.logs, schema.logs.c.attempt_id == claim.attempt_id, schema.logs.c.seq == 2)
    assert world.check(deep=False) == []
    [finding] = world.check(deep=True)
    assert finding == Finding("log_gap", claim.attempt_id, "Of the attempt's log lines 1 to 4 only 3 are there.")


def test_lines_that_were_pruned_from_the_front_are_no_gap(world: World) -> None:
    claim = world.running()
    world.says(claim, 1, 2, 3, 4)
    world.remove(schema.logs, schema.logs.c.attempt_id == claim.attempt_id, schema.logs.c.seq < 3)
    assert world.check(deep=True) == []


@pytest.mark.parametrize(("delta", "words"), [(2, "2 too many"), (-1, "1 too few")])
def test_a_deep_check_finds_counters_that_are_off(world: World, delta: int, words: str) -> None:
    world.job()
    values = {"scope": "lane", "name": "default", "state": "queued", "delta": delta}
    with world.database.write() as transaction:
        transaction.connection.execute(sa.insert(schema.counters).values(**values))
    assert world.check(deep=False) == []
    [finding] = world.check(deep=True)
    assert (finding.invariant, finding.id) == ("lane_counters", "default")
    assert f"have {words} jobs that are queued" in finding.detail


def test_a_plain_check_tells_when_the_running_do_not_add_up(world: World) -> None:
    """It names the jobs among the newest, and otherwise says what to do."""
    claim = world.running()
    world.forge(schema.attempts, claim.attempt_id, state="failed")
    rules = [finding.invariant for finding in world.check(deep=False)]
    assert rules == ["running_without_attempt", "running_jobs"]
    assert "1 running jobs, and 0 attempts are in flight: check --deep" in world.check(deep=False)[-1].detail


def test_every_job_is_looked_at_whatever_the_bite(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_page", health._page.limit(2))
    broken = [world.over().job_id for _ in range(7)]
    for job_id in broken:
        world.forge(schema.jobs, job_id, attempt_count=2)
    found = world.check(deep=True)
    assert sorted(finding.id for finding in found) == sorted(broken)
    assert {finding.invariant for finding in found} == {"attempt_count"}
