"""The tests' own tools: conditions, processes that are left, servers of our own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from tests.support.processes import Proc, kill_tree
from tests.support.servers import SERVERS, NetworkServer
from tests.support.waiting import eventually

_ROOT = Path(__file__).parents[2]

_LEAK = """
import os, subprocess, sys
from tests.support.leaks import Leaks
script = "import os, time\\nif os.fork(): os._exit(0)\\nos.setsid()\\ntime.sleep(60)"
os.environ.pop("TEST_SESSION_MARK", None)
leaks = Leaks(set)
subprocess.run([sys.executable, "-c", script])
leaks.look("test_that_leaks")
print(*leaks.end(grace=0))
"""

_LEFT_SERVER = """
import sys, time
from tests.support.servers import SERVERS
server = SERVERS[sys.argv[1]]()
server.start()
print(server.pid, server.folder, flush=True)
time.sleep(60)
"""

needs_a_server = pytest.mark.parametrize(
    "engine", [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("postgresql", "mariadb")]
)


def test_eventually_gives_the_first_truthy_value() -> None:
    values = iter([0, None, 7])
    assert eventually(lambda: next(values), 5) == 7


def test_eventually_says_what_it_saw_last() -> None:
    with pytest.raises(AssertionError, match=r"not so after 0.02 s: the row is there; last seen: \[\]"):
        eventually(list, 0.02, why="the row is there")


def test_a_process_is_named_by_pid_and_start_time() -> None:
    child = subprocess.Popen(["sleep", "60"])
    proc = Proc.of(child.pid)
    assert proc is not None
    assert proc.alive
    assert kill_tree(Proc(proc.pid, proc.start_time + 1)) == []
    assert child.poll() is None
    assert kill_tree(proc) == [proc]
    assert child.wait() == -signal.SIGKILL
    assert not proc.alive


def test_a_left_process_is_named_and_ended_even_if_it_left_its_session() -> None:
    told = _python(_LEAK)
    pid = int(told.split()[0])
    assert "time.sleep(60)" in told
    assert "(since test_that_leaks)" in told
    eventually(lambda: Proc.of(pid) is None)


@needs_a_server
def test_a_killed_server_comes_back_with_every_commit(engine: str) -> None:
    with SERVERS[engine]() as server:
        assert isinstance(server, NetworkServer)
        connectable = sa.create_engine(server.create_empty(), poolclass=NullPool)
        with connectable.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE facts (id integer PRIMARY KEY)")
            connection.exec_driver_sql("INSERT INTO facts VALUES (1)")
        server.kill()
        with pytest.raises(sa.exc.OperationalError):
            connectable.connect()
        server.start()
        with connectable.connect() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM facts").scalar_one() == 1


@needs_a_server
def test_no_server_outlives_the_process_that_started_it(engine: str) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", _LEFT_SERVER, engine], cwd=_ROOT, stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pid, folder = starter.stdout.readline().split()
    assert Proc.of(int(pid)) is not None
    starter.kill()
    starter.communicate()
    eventually(lambda: Proc.of(int(pid)) is None and not Path(folder).exists())


def _python(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], cwd=_ROOT, capture_output=True, text=True, check=True).stdout
