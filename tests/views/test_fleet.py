"""Workers by the database's clock, and attempts in flight with their real processes looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from jobwarden.domain.stamp import ProcessId
from jobwarden.domain.states import AttemptState, JobState, WorkerState
from jobwarden.process import identity, pidfd, probe
from jobwarden.store.database import Database
from jobwarden.views.fleet import Flight, Seen, in_flight, listed_workers, this_host, verified
from tests.support.factories import Factories

HERE = identity.this_host()


@pytest.fixture
def child() -> Iterator[tuple[ProcessId, subprocess.Popen[bytes]]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    fd = os.pidfd_open(process.pid)
    found = pidfd.identify(process.pid, fd)
    os.close(fd)
    assert found is not None
    yield found, process
    process.kill()
    process.communicate()


def stamped(factories: Factories, process: ProcessId, **more: Any) -> None:
    job = factories.job(JobState.RUNNING, attempt=AttemptState.SUCCEEDED)
    factories.attempt(
        job,
        AttemptState.RUNNING,
        pid_scope=more.pop("pid_scope", HERE.pid_scope),
        child_pid=process.pid,
        child_start_time=process.start_time,
        child_inode=process.inode or None,
        **more,
    )


def look(database: Database) -> Flight:
    with database.read() as transaction:
        [flight] = in_flight(transaction)
    return verified([flight], this_host())[0]


def test_a_running_process_is_verified_and_measured(database: Database, factories: Factories, child: Any) -> None:
    stamped(factories, child[0], progress={"fraction": 0.5, "message": "half"})
    flight = look(database)
    assert (flight.seen, flight.child_pid, flight.progress) == (
        Seen.VERIFIED,
        child[0].pid,
        {"fraction": 0.5, "message": "half"},
    )
    assert flight.rss is not None
    assert flight.rss > 1 << 20
    assert flight.cpu is not None
    assert 0 <= flight.age < 60


def test_a_process_that_ended_is_gone_even_as_a_zombie(database: Database, factories: Factories, child: Any) -> None:
    stamped(factories, child[0])
    child[1].kill()
    os.waitid(os.P_PID, child[0].pid, os.WEXITED | os.WNOWAIT)
    assert look(database).seen is Seen.GONE
    child[1].wait()
    assert look(database).seen is Seen.GONE


def test_a_pid_that_means_another_process_is_recycled(database: Database, factories: Factories, child: Any) -> None:
    stamped(factories, ProcessId(child[0].pid, child[0].start_time - 1))
    assert look(database).seen is Seen.RECYCLED


def test_a_process_of_the_same_tick_is_told_apart_by_its_inode_where_the_kernel_gives_it_one(
    database: Database, factories: Factories, child: Any
) -> None:
    stamped(factories, ProcessId(child[0].pid, child[0].start_time, child[0].inode + 1))
    assert look(database).seen is (Seen.RECYCLED if pidfd.inodes_are_distinct() else Seen.VERIFIED)


def test_nothing_is_said_of_a_process_in_another_scope(database: Database, factories: Factories, child: Any) -> None:
    stamped(factories, child[0], pid_scope="another:1")
    flight = look(database)
    assert (flight.seen, flight.cpu, flight.rss) == (Seen.ELSEWHERE, None, None)


def test_only_attempts_in_flight_are_listed_oldest_first(database: Database, factories: Factories) -> None:
    for state in JobState:
        factories.job(state)
    with database.read() as transaction:
        assert [flight.state for flight in in_flight(transaction)] == ["running"]
        assert in_flight(transaction, limit=0) == []


def test_workers_that_live_and_all_of_them(database: Database, factories: Factories) -> None:
    rows = {state: factories.worker(state, beat_ago=30)["id"] for state in WorkerState}
    with database.read() as transaction:
        live = listed_workers(transaction)
        everyone = listed_workers(transaction, everyone=True)
        assert listed_workers(transaction, role="reaper") == []
    assert {worker.id for worker in everyone} == set(rows.values())
    assert {worker.state for worker in live} == {"starting", "active", "draining"}
    assert all(29 < worker.heartbeat_age < 60 for worker in everyone)


def test_our_own_cpu_time_is_counted() -> None:
    found = probe.stat(os.getpid())
    assert found is not None
    assert found.cpu == pytest.approx(sum(os.times()[:2]), abs=0.5)
