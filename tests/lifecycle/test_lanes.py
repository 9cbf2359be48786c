"""Lanes: a pause stops claims at once, a cap is never exceeded however many claim at once, each change is told."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden import JobWarden
from jobwarden.config import Settings
from jobwarden.domain.orders import By
from jobwarden.domain.states import JobState
from jobwarden.errors import InvalidOption, WrongLaneState
from jobwarden.lifecycle import lanes
from jobwarden.lifecycle.lanes import LaneState
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.lifecycle.claimants import Claimant
from tests.lifecycle.test_races import Racer
from tests.support.factories import Factories

ANN = By("ann", "because")


def cap(database: Database, name: str, most: int | None) -> LaneState:
    with database.write() as transaction:
        return lanes.cap(transaction, name, most, ANN)


def pause(database: Database, name: str) -> LaneState:
    with database.write() as transaction:
        return lanes.pause(transaction, name, ANN)


def resume(database: Database, name: str) -> LaneState:
    with database.write() as transaction:
        return lanes.resume(transaction, name, ANN)


def fill(factories: Factories, **lanes: int) -> None:
    for lane, count in lanes.items():
        for _ in range(count):
            factories.job(lane=lane)


def running(database: Database) -> dict[str, int]:
    with database.read() as transaction:
        found = sa.select(schema.jobs.c.lane).where(schema.jobs.c.state == JobState.RUNNING.value)
        return dict(Counter(row.lane for row in transaction.execute(found)))


# -- pause ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hot", "*"])
def test_a_pause_stops_claims_at_once_and_nothing_else(database: Database, factories: Factories, name: str) -> None:
    fill(factories, hot=3)
    claimant = Claimant(lanes=("hot",))
    [first] = claimant.claim(database)
    assert pause(database, name) == LaneState(name, True, None)
    assert claimant.claim(database) == []
    assert claimant.settle(database, first).decision is not None
    assert resume(database, name) == LaneState(name, False, None)
    assert len(claimant.claim(database, 5)) == 2


def test_one_lane_is_paused_and_another_goes_on(database: Database, factories: Factories) -> None:
    fill(factories, hot=1, cold=1)
    pause(database, "hot")
    assert [claim.lane for claim in Claimant(lanes=("hot", "cold")).claim(database, 5)] == ["cold"]


def test_what_was_done_is_not_done_again(database: Database) -> None:
    with pytest.raises(WrongLaneState, match="not paused and cannot be resumed"):
        resume(database, "hot")
    pause(database, "hot")
    with pytest.raises(WrongLaneState, match="paused by ann and cannot be paused"):
        pause(database, "hot")


def test_each_change_is_in_the_ledger(database: Database) -> None:
    pause(database, "hot")
    cap(database, "hot", 3)
    resume(database, "hot")
    with database.read() as transaction:
        found = transaction.execute(sa.select(schema.events).order_by(schema.events.c.id)).all()
    told: list[tuple[Any, ...]] = [(row.level, row.to_state, row.actor_id, row.reason) for row in found]
    assert told == [("lane", state, "ann", "because") for state in ("paused", "paused", "open")]
    assert [row.context["wish"] for row in found] == ["pause", "cap", "resume"]
    assert found[1].context["before"] == {"paused": True, "max_running": None}
    assert found[1].context["after"] == {"paused": True, "max_running": 3}


@pytest.mark.any_engine
@pytest.mark.parametrize("name", ["", " ", "x" * 101, "a\0b"])
def test_what_is_no_name_of_a_lane(database: Database, name: str) -> None:
    with pytest.raises(InvalidOption):
        pause(database, name)


@pytest.mark.any_engine
@pytest.mark.parametrize("most", [-1, 1_000_001, 2.5, True, "3"])
def test_what_is_no_cap(database: Database, most: Any) -> None:
    with pytest.raises(InvalidOption):
        cap(database, "hot", most)


# -- caps -------------------------------------------------------------------------------------------------------------


def test_a_cap_leaves_the_rest_queued(database: Database, factories: Factories) -> None:
    fill(factories, hot=5)
    claimant = Claimant(lanes=("hot",))
    cap(database, "hot", 2)
    with database.write() as transaction:
        catch = claimant.look(transaction, claimant.seats(4))
    assert (len(catch.seated), catch.more, catch.capped) == (2, False, True)
    assert claimant.claim(database, 4) == []
    claimant.settle(database, catch.seated[0].claim)
    assert len(claimant.claim(database, 4)) == 1
    cap(database, "hot", None)
    assert len(claimant.claim(database, 4)) == 2


def test_a_cap_below_what_runs_waits_for_room(database: Database, factories: Factories) -> None:
    fill(factories, hot=4)
    claimant = Claimant(lanes=("hot",))
    claims = claimant.claim(database, 3)
    cap(database, "hot", 1)
    claimant.settle(database, claims[0])
    assert claimant.claim(database) == []
    claimant.settle(database, claims[1])
    assert claimant.claim(database) == []
    claimant.settle(database, claims[2])
    assert len(claimant.claim(database)) == 1


def test_a_cap_on_all_lanes_together(database: Database, factories: Factories) -> None:
    fill(factories, hot=4, cold=4, warm=4)
    cap(database, "*", 5)
    cap(database, "cold", 1)
    assert len(Claimant(lanes=("cold", "hot", "warm")).claim(database, 12)) == 5
    assert running(database) == {"cold": 1, "hot": 4}


def test_a_cap_counts_what_one_pool_seat_holds(database: Database, factories: Factories) -> None:
    for _ in range(6):
        factories.job(lane="hot", isolation="pool")
    cap(database, "hot", 4)
    claimant = Claimant(lanes=("hot",))
    with database.write() as transaction:
        catch = claimant.look(transaction, [claimant.seat(pooled=True, room=10)], depth=10)
    assert len(catch.seated) == 4


def test_a_cap_of_none_at_all(database: Database, factories: Factories) -> None:
    fill(factories, hot=1)
    cap(database, "hot", 0)
    assert Claimant(lanes=("hot",)).claim(database) == []


def test_many_that_claim_at_once_never_exceed_a_cap(
    database: Database, settings: Settings, factories: Factories
) -> None:
    fill(factories, hot=30, cold=30)
    for name, most in (("hot", 4), ("cold", 6), ("*", 7)):
        cap(database, name, most)
    racers = [Racer(settings, racing=bool(number % 2)) for number in range(12)]
    for number, racer in enumerate(racers):
        racer.claimant.lanes = ("hot", "cold") if number % 3 else ("cold", "hot")
    gun = threading.Barrier(len(racers))

    def claim_some(racer: Racer) -> None:
        with racer.database.read() as transaction:
            transaction.now()
        gun.wait(60)
        for _ in range(6):
            racer._again(racer._round, False)

    with ThreadPoolExecutor(len(racers)) as pool:
        list(pool.map(claim_some, racers))
    for racer in racers:
        racer.close()
    found = running(database)
    assert sum(found.values()) == 7
    assert found.get("hot", 0) <= 4
    assert found.get("cold", 0) <= 6


def test_who_claims_second_waits_for_the_first_and_finds_no_room(
    database: Database, settings: Settings, factories: Factories
) -> None:
    fill(factories, hot=150, cold=150)  # so many that MariaDB reads an index, and locks what it needs alone
    cap(database, "*", 2)
    first, second, other = Claimant(lanes=("hot",)), Claimant(lanes=("cold",)), Database(settings)
    with ThreadPoolExecutor(1) as pool:
        with database.write() as transaction:
            assert len(first.look(transaction, first.seats(2)).seated) == 2
            late = pool.submit(second.claim, other, 2)
            with pytest.raises(TimeoutError):
                late.result(0.3)
        assert late.result(30) == []
    other.dispose()


# -- from an application ----------------------------------------------------------------------------------------------


@pytest.fixture
def jw(database_url: str) -> Iterator[JobWarden]:
    jw = JobWarden(database_url=database_url, nudge=False, notify=False)
    yield jw
    jw.database.dispose()


def test_an_application_steers_its_lanes(jw: JobWarden, database: Database, factories: Factories) -> None:
    fill(factories, hot=2)
    factories.worker(meta={"lanes": ["mail", "hot"]})
    jw.lanes.pause("hot", reason="deploy", actor="ann")
    assert jw.lanes.cap("*", 10).max_running == 10
    found = {lane.name: lane for lane in jw.lanes.all()}
    assert sorted(found) == ["*", "hot", "mail"]
    hot = found["hot"]
    assert (hot.paused, hot.paused_by, hot.paused_reason, hot.states) == (True, "ann", "deploy", {"queued": 2})
    assert (hot.workers, found["mail"].workers, found["mail"].states) == (1, 1, {})
    assert hot.oldest is not None
    assert found["*"].max_running == 10
    assert jw.lanes.resume("hot").paused is False
    with pytest.raises(WrongLaneState):
        jw.lanes.resume("hot")
