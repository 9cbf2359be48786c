"""Fences: a host that cannot reach the database ends its attempts by itself, before another host may take them."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jobwarden import JobHandle, JobWarden
from jobwarden.store import schema
from tests.faults.story import whole_ledger
from tests.support.factories import Factories
from tests.support.hosts import IN_OWN_PIDS, PATIENCE, Reaper, Worker, await_said, await_state
from tests.support.processes import Proc
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

#: Silent after 0.9 s; ended by the own host after 2 s without the database, taken by others after 6 s.
FENCED = {
    "JOBWARDEN_BEAT_INTERVAL": "0.3",
    "JOBWARDEN_MISSED_BEATS": "3",
    "JOBWARDEN_SELF_FENCE_TTL": "2",
    "JOBWARDEN_DEATH_BUDGET": "6",
}
Elsewhere = Callable[..., Reaper]
#: The same for a supervisor that shall live to tell the tale: it counts as silent only after it could connect again.
TELLING = {
    **FENCED,
    "JOBWARDEN_MISSED_BEATS": "15",
    "JOBWARDEN_SELF_FENCE_TTL": "5",
    "JOBWARDEN_DEATH_BUDGET": "9",
}


@pytest.fixture
def elsewhere(origin: str, tmp_path: Path) -> Iterator[Elsewhere]:
    """A global reaper in another pid scope, past the proxy: to it, this host is another one."""
    with ExitStack() as stack:

        def started(env: dict[str, str] = FENCED) -> Reaper:
            reaper = Reaper(origin, tmp_path, "global", before=IN_OWN_PIDS, env=env)
            return stack.enter_context(reaper).await_lease()

        yield started


def child_of(rows: Factories, job: JobHandle) -> Proc:
    """The process of the job's latest attempt, alive."""
    child = Proc.of(rows.attempts_of(job.id)[-1]["child_pid"])
    assert child is not None
    return child


def test_w01_a_host_ends_its_attempts_although_the_database_swallows_every_word(
    client: JobWarden, rows: Factories, proxy: Proxy, launch: Callable[..., Worker], tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    worker = launch(env=TELLING, capacity=2)
    again = client.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    once = client.enqueue("charge_at_the_gate", {"gate": str(gate)})
    for job in (again, once):
        await_said(rows, job)
    children = [child_of(rows, job) for job in (again, once)]
    proxy.swallow()
    eventually(lambda: not any(child.alive for child in children), PATIENCE, why=lambda: worker.log)
    assert worker.running, "the worker itself stays"
    assert [job.refresh().state for job in (again, once)] == ["running", "running"], "nobody could tell the database"
    proxy.heal()
    gate.touch()
    await_state(once, "orphaned")
    await_state(again, "retrying", "queued", "running", "succeeded")
    error = rows.attempts_of(once.id)[0]["error"]["message"]
    assert "the database was not reached for" in error, worker.log
    for job in (again, once):
        whole_ledger(rows.events_of(job.id))


def test_a_stopped_supervisor_and_a_stopped_reaper_are_no_shelter_from_the_fence(
    client: JobWarden, rows: Factories, launch: Callable[..., Worker], tmp_path: Path
) -> None:
    worker = launch(env=FENCED, capacity=1)
    job = client.enqueue("wait_for", {"gate": str(tmp_path / "gate"), "lines": 1})
    await_said(rows, job)
    child = child_of(rows, job)
    worker.expect("holds the lease")
    [reaper] = worker.titled("local reaper")
    reaper.signal(signal.SIGSTOP)
    worker.signal(signal.SIGSTOP)
    try:
        eventually(lambda: not child.alive, PATIENCE, why=lambda: worker.log)
    finally:
        reaper.signal(signal.SIGCONT)
        worker.signal(signal.SIGCONT)
    assert "nobody who watches over these seats reached the database" in worker.log


def test_a_dark_host_loses_its_attempts_only_after_it_ended_them(
    client: JobWarden,
    rows: Factories,
    proxy: Proxy,
    launch: Callable[..., Worker],
    elsewhere: Elsewhere,
    tmp_path: Path,
) -> None:
    gate = tmp_path / "gate"
    reaper = elsewhere()
    worker = launch(env=FENCED, capacity=2)
    again = client.enqueue("wait_for", {"gate": str(gate), "lines": 1})
    once = client.enqueue("charge_at_the_gate", {"gate": str(gate)})
    for job in (again, once):
        await_said(rows, job)
    children = [child_of(rows, job) for job in (again, once)]
    proxy.swallow()
    await_state(once, "orphaned")
    assert not any(child.alive for child in children), "it was over before it was taken"
    await_state(again, "retrying", "queued")
    for job in (again, once):
        [attempt] = rows.attempts_of(job.id)
        assert (attempt["state"], attempt["fencing_token"]) == ("orphaned", 2)
        [verdict] = [event for event in rows.events_of(job.id) if event["attempt_to"] == "orphaned"]
        assert verdict["actor_type"] == "reaper"
        assert (verdict["context"]["tier"], verdict["context"]["token"]) == ("global", 1)
    assert "attempts are taken from" in reaper.log
    gate.touch()
    proxy.heal()
    worker.expect("registers anew")
    await_state(again, "succeeded")
    assert [attempt["fencing_token"] for attempt in rows.attempts_of(again.id)] == [2, 2]
    assert once.refresh().state == "orphaned", "it waits for a person"
    for job in (again, once):
        whole_ledger(rows.events_of(job.id))
        late = [event for event in rows.events_of(job.id) if event["reason"] == "stale_write_rejected"]
        assert len(late) <= 1, "what it still wanted to say is refused, and noted once"


def test_w02_an_outage_for_everyone_is_nobodys_death(
    client: JobWarden, rows: Factories, proxy: Proxy, launch: Callable[..., Worker], through: str, tmp_path: Path
) -> None:
    patient = {**FENCED, "JOBWARDEN_SELF_FENCE_TTL": "60", "JOBWARDEN_DEATH_BUDGET": "64"}
    gate = tmp_path / "gate"
    with Reaper(through, tmp_path, "global", before=IN_OWN_PIDS, env=patient) as reaper:
        reaper.await_lease()
        worker = launch(env=patient, capacity=2)
        jobs = [client.enqueue("wait_for", {"gate": str(gate), "lines": 1}) for _ in range(2)]
        for job in jobs:
            await_said(rows, job)
        worker.expect("holds the lease")
        proxy.refuse()
        worker.expect("the database cannot be used", times=2)  # supervisor and local reaper
        reaper.expect("the database cannot be used")
        eventually(lambda: _silence(rows) > 5, PATIENCE)  # by the database's clock, far beyond the 0.9 s of a daemon
        proxy.heal()
        reaper.expect("the database answers again")
        worker.expect("the database answers again", times=2)
        gate.touch()
        for job in jobs:
            await_state(job, "succeeded")
            assert len(rows.attempts_of(job.id)) == 1
        assert "declared dead" not in reaper.log + worker.log
        with rows.database.read() as transaction:
            states = transaction.connection.execute(schema.workers.select()).mappings().all()
        assert {row["state"] for row in states} == {"active"}


def _silence(rows: Factories) -> float:
    """Seconds since anybody's last heartbeat."""
    with rows.database.read() as transaction:
        beats = transaction.connection.execute(schema.workers.select()).mappings().all()
        return float((transaction.now() - max(row["heartbeat_at"] for row in beats)).total_seconds())
