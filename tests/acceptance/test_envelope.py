"""What an attempt may use: memory of its whole tree, open files; and a delegated control group that holds it."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden import JobWarden
from jobwarden.store import schema
from tests.acceptance.conftest import Start
from tests.acceptance.test_ending import CONFIRMED, bred, ended, said
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, await_said, await_state
from tests.support.processes import Proc
from tests.support.waiting import eventually

_UNIFIED = (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))
_MEMORY = Path("/sys/fs/cgroup/memory")


def _inside(group: Path) -> list[str]:
    """To be put before a command line: it runs in the group."""
    return ["/bin/sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]


def _remove(group: Path) -> bool:
    for folder, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    return not group.exists()


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A control group of version 2 that is given to us: it takes a mounted one and the right to make a group in it."""
    mount = next(path for path in _UNIFIED if (path / "cgroup.procs").exists())
    group = mount / f"jobwarden-test-{os.getpid()}"
    group.mkdir()
    yield group
    eventually(lambda: _remove(group), 10)


@pytest.fixture
def confined() -> Iterator[Path]:
    """A group whose memory the kernel limits, where the memory controller is one of version 1."""
    group = _MEMORY / f"jobwarden-test-{os.getpid()}"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(400 << 20))
    with contextlib.suppress(OSError):
        (group / "memory.memsw.limit_in_bytes").write_text(str(400 << 20))
    yield group
    eventually(lambda: _remove(group), 10)


@pytest.mark.any_engine
def test_a_delegated_control_group_holds_each_seat_and_ends_all_that_is_in_it(
    app: JobWarden, rows: Factories, start: Start, delegated: Path
) -> None:
    worker = start(capacity=2, before=_inside(delegated))
    job = app.enqueue("breed", {"heed": False})
    family = bred(rows, job)
    [attempt] = rows.attempts_of(job.id)
    group = delegated / "seats" / attempt["proc_nonce"]
    assert {proc.pid for proc in family} <= _pids(group)
    assert worker.pid in _pids(delegated / "supervisor")
    stranger = subprocess.Popen(["sleep", "600"], env={}, start_new_session=True)
    (group / "cgroup.procs").write_text(str(stranger.pid))
    app.cancel(job.id, "enough", "ann")
    ended(rows, job, family, "canceled")
    assert stranger.wait(10) == -9, "nothing but the group showed whose it was"
    assert CONFIRMED in said(rows, job)
    eventually(lambda: not group.exists(), PATIENCE, why="an empty group is removed")
    with app.database.read() as transaction:
        found = transaction.connection.execute(schema.workers.select().where(schema.workers.c.role == "supervisor"))
        assert found.mappings().one()["assurance"] == "A"
    worker.drain()


def _pids(group: Path) -> set[int]:
    return {int(line) for line in (group / "cgroup.procs").read_text().split()}


@pytest.mark.any_engine
def test_memory_is_weighed_over_the_whole_tree(app: JobWarden, rows: Factories, start: Start) -> None:
    worker = start(capacity=1)
    job = app.enqueue("eat_memory_together")
    await_said(rows, job)
    eaters = [proc for proc in worker.tree() if "eat_memory_together" in proc.command]
    await_state(job, "failed")
    assert not [proc for proc in eaters if proc.alive]
    [attempt] = rows.attempts_of(job.id)
    assert (attempt["cause"], attempt["error"]["class"]) == ("out of memory", "MemoryLimitExceeded")
    assert "bytes of memory with the 3 processes below it, its limit is" in attempt["error"]["message"]


@pytest.mark.any_engine
def test_the_kernels_out_of_memory_killer_is_told_from_a_person(
    app: JobWarden, rows: Factories, start: Start, confined: Path
) -> None:
    start(capacity=1)
    by_person = app.enqueue("wait_for", {"gate": "/nowhere", "lines": 1}, max_attempts=1)
    await_said(rows, by_person)
    os.kill(rows.attempts_of(by_person.id)[0]["child_pid"], 9)
    await_state(by_person, "failed")
    eater = app.enqueue("eat_shared_memory", {"megabytes": 600}, memory="4GiB")
    pid = eventually(lambda: [row["child_pid"] for row in rows.attempts_of(eater.id)], PATIENCE)[0]
    (confined / "cgroup.procs").write_text(str(pid))
    await_state(eater, "failed")
    [person], [kernel] = (rows.attempts_of(job.id) for job in (by_person, eater))
    assert (person["cause"], person["term_signal"]) == ("killed", 9)
    assert "a program or a person" in person["error"]["message"]
    assert (kernel["cause"], kernel["term_signal"]) == ("out of memory", 9)
    assert "the kernel's out-of-memory killer struck" in kernel["error"]["message"]


@pytest.mark.any_engine
def test_attempts_have_the_files_they_are_given_and_the_supervisor_all_it_may(app: JobWarden, start: Start) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    given = min(soft, hard) - 1
    plain = start(capacity=1, lanes=["plain"], before=["/bin/sh", "-c", f'ulimit -Sn {given} && exec "$@"', "sh"])
    start(capacity=1, lanes=["set"], env={"JOBWARDEN_OPEN_FILES": "777"})
    results = {
        (lane, isolation): await_state(
            app.enqueue("count_files", {}, lane=lane, isolation=isolation), "succeeded"
        ).result
        for lane in ("plain", "set")
        for isolation in ("fork", "pool", "exec")
    }
    assert {results["plain", isolation] for isolation in ("fork", "pool", "exec")} == {given}
    assert {results["set", isolation] for isolation in ("fork", "pool", "exec")} == {777}
    supervisor = Proc.of(plain.pid)
    assert supervisor is not None
    assert resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE) == (hard, hard)
