"""Claim: in order, from the lanes that are served and not paused, each onto a seat of its kind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from jobwarden.domain.claims import Isolation
from jobwarden.domain.states import JobState, WorkerState
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.lifecycle.claimants import Claimant, by_nonce
from tests.support.factories import Factories, Values


def test_priority_first_then_age(database: Database, factories: Factories, claimant: Claimant) -> None:
    with database.read() as transaction:
        now = transaction.now()
    made = {
        name: factories.job(priority=priority, created_at=now - timedelta(seconds=age))["id"]
        for name, priority, age in [
            ("old", 0, 60),
            ("new", 0, 1),
            ("urgent", 5, 1),
            ("last", -5, 600),
            ("older", 0, 90),
        ]
    }
    order = [claimant.claim(database)[0].job_id for _ in made]
    assert order == [made[name] for name in ("urgent", "older", "old", "new", "last")]
    assert claimant.claim(database) == []


def test_nothing_but_queued_jobs(database: Database, factories: Factories, claimant: Claimant) -> None:
    for state in JobState:
        factories.job(state)
    [claim] = claimant.claim(database, 20)
    assert factories.read(schema.jobs, claim.job_id)["state"] == "running"


def test_jobs_wait_on_a_pool_seat_in_the_order_of_their_urgency(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    made = [factories.job(priority=priority, isolation="pool")["id"] for priority in (3, 9, 1, 7, 5)]
    seat = claimant.seat(pooled=True, room=8)
    seated, _ = _look(database, claimant, [seat], depth=8)
    assert seated[seat.nonce] == [made[1], made[3], made[4], made[0], made[2]]


def test_lanes_in_their_order_and_no_others(database: Database, factories: Factories) -> None:
    for lane in ("low", "high", "other"):
        factories.jobs(2, lane=lane)
    claimant = Claimant(lanes=("high", "low"))
    assert [claim.lane for claim in claimant.claim(database, 3)] == ["high", "high", "low"]
    assert [claim.lane for claim in claimant.claim(database, 9)] == ["low"]


def test_a_paused_lane_rests_until_it_is_resumed(database: Database, factories: Factories, claimant: Claimant) -> None:
    factories.job()
    with database.write() as transaction:
        transaction.execute(sa.insert(schema.lanes).values(name="default", paused=True, updated_at=transaction.now()))
    assert claimant.claim(database) == []
    with database.write() as transaction:
        transaction.execute(sa.update(schema.lanes).values(paused=False))
    assert len(claimant.claim(database)) == 1


def test_a_claim_has_all_that_the_child_needs(database: Database, factories: Factories, claimant: Claimant) -> None:
    with database.read() as transaction:
        moment = transaction.now()
    job = factories.job(
        name="the label",
        params={"a": [1, "ö"]},
        tags={"store": "42"},
        lane="default",
        idempotent=False,
        timeout_sec=1.5,
        max_runtime_sec=60.0,
        grace_sec=2.0,
        memory_bytes=1 << 30,
        isolation="pool",
        scheduled_for=moment,
        unspent_count=2,
        attempt_count=3,
        started_at=moment,
    )
    [claim] = claimant.claim(database)
    assert (claim.job_id, claim.job, claim.label, claim.params.replace(" ", "")) == (
        job["id"],
        "tests:succeed",
        "the label",
        claim.params.replace(" ", ""),
    )
    assert (claim.attempt_number, claim.token, claim.unspent) == (4, 4, 2)
    assert (claim.timeout, claim.max_runtime, claim.grace, claim.memory) == (1.5, 60.0, 2.0, 1 << 30)
    assert (claim.idempotent, claim.isolation, claim.tags) == (False, Isolation.POOL, {"store": "42"})
    assert claim.scheduled_for == moment.isoformat()
    row = factories.read(schema.jobs, job["id"])
    assert (row["attempt_count"], row["current_attempt_id"]) == (4, claim.attempt_id)
    assert row["started_at"] == moment, "a job starts once"


def test_the_attempt_is_stamped_completely_in_the_claim(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    job = factories.job()
    seat = claimant.seat(fallback="threads")
    with database.write() as transaction:
        claimant.look(transaction, [seat])
    [attempt] = factories.attempts_of(job["id"])
    owner = claimant.owner
    assert (attempt["state"], attempt["worker_id"]) == ("dispatched", claimant.worker_id)
    assert (attempt["host_id"], attempt["pid_scope"], attempt["hostname"]) == (
        owner.host.machine,
        owner.host.pid_scope,
        owner.host.hostname,
    )
    assert (attempt["supervisor_pid"], attempt["supervisor_start_time"]) == (owner.supervisor.pid, 1)
    assert (attempt["child_pid"], attempt["child_start_time"], attempt["child_inode"], attempt["proc_nonce"]) == (
        seat.process.pid,
        2,
        3,
        seat.nonce,
    )
    assert (attempt["isolation"], attempt["isolation_reason"]) == ("exec", "threads")
    [event] = factories.events_of(job["id"])
    assert event["context"] == {"pid": seat.process.pid, "start_time": 2, "nonce": seat.nonce, "inode": 3}


def _look(database: Database, claimant: Claimant, seats: list[Any], depth: Any = 1) -> tuple[dict[str, list[str]], Any]:
    with database.write() as transaction:
        catch = claimant.look(transaction, seats, depth)
    return by_nonce(catch.seated), catch


def _ids(jobs: list[Values]) -> list[str]:
    return [job["id"] for job in jobs]


def test_one_fork_job_to_a_seat_and_none_on_a_pool_seat(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.jobs(3)
    fresh, pooled = claimant.seat(room=8), claimant.seat(pooled=True, room=8)
    seated, catch = _look(database, claimant, [fresh, pooled], depth=8)
    assert [len(jobs) for jobs in seated.values()] == [1]
    assert list(seated) == [fresh.nonce]
    assert catch.unseated > 0, "so that room can be made"


def test_pool_jobs_fill_idle_pool_seats_first_then_fresh_ones_then_queue_up(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.jobs(6, isolation="pool")
    seats = [claimant.seat(room=4), claimant.seat(pooled=True, room=4)]
    seated, _ = _look(database, claimant, seats, depth=3)
    assert sorted(len(jobs) for jobs in seated.values()) == [2, 3], "a fresh seat counts for one until it is taken"


def test_no_more_than_the_depth_wait_on_a_pool_seat(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.jobs(6, isolation="pool")
    seat = claimant.seat(pooled=True, room=32)
    assert len(_look(database, claimant, [seat], depth=2)[0][seat.nonce]) == 2
    other = claimant.seat(pooled=True, room=3)
    assert len(_look(database, claimant, [other], depth=32)[0][other.nonce]) == 3, "room is a limit too"


def test_nothing_waits_behind_what_is_not_known_to_be_quick(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.job(isolation="pool", job="slow")
    factories.jobs(3, isolation="pool", job="quick")
    depths = {"slow": 1, "quick": 32}
    one, two = claimant.seat(pooled=True, room=32), claimant.seat(pooled=True, room=32)
    seated, _ = _look(database, claimant, [one, two], depth=depths.__getitem__)
    assert sorted(map(len, seated.values())) == [1, 3]


def test_what_may_not_run_twice_is_never_prefetched(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.jobs(4, isolation="pool", idempotent=False)
    seat = claimant.seat(pooled=True, room=32)
    assert len(_look(database, claimant, [seat], depth=32)[0][seat.nonce]) == 1


def test_a_catch_says_whether_more_may_wait(database: Database, factories: Factories, claimant: Claimant) -> None:
    factories.jobs(3)
    assert _look(database, claimant, claimant.seats(2))[1].more
    assert not _look(database, claimant, claimant.seats(2))[1].more
    assert not _look(database, claimant, [])[1].more


def test_two_claimers_skip_what_the_other_holds(database: Database, factories: Factories, engine_name: str) -> None:
    """Where rows can be skipped; an engine with one writer at a time lets the second wait."""
    factories.jobs(100, JobState.SUCCEEDED)  # on a nearly empty table MariaDB locks all rows
    made = set(_ids(factories.jobs(4)))
    one, two = Claimant(), Claimant()
    with database.write() as first:
        mine = {seated.claim.job_id for seated in one.look(first, one.seats(2)).seated}
        if database.facts.skips_locked:
            with database.write() as second:
                theirs = {seated.claim.job_id for seated in two.look(second, two.seats(2)).seated}
    if not database.facts.skips_locked:
        theirs = {claim.job_id for claim in two.claim(database, 2)}
    assert len(mine) == len(theirs) == 2, engine_name
    assert mine | theirs == made


def test_a_worker_that_was_declared_dead_claims_nothing(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.jobs(2)
    factories.worker(WorkerState.DEAD, id=claimant.worker_id)
    assert claimant.claim(database) == [], "it may not know yet, and would have to end what it began"
    assert len(Claimant().claim(database, 5)) == 2
