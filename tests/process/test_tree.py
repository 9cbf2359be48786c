"""Finding and ending whole process trees."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden.domain.stamp import ProcessId
from jobwarden.process import cgroup, pidfd, probe, tree
from jobwarden.process.cgroup import Cgroups
from tests.support.waiting import eventually

NONCE = "abcdwxyz"
_ESCAPE = """
import os, signal, sys, time
deaf = "deaf" in sys.argv
if deaf: signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):                          # two children: one in the session, one that escapes from it twice
    if os.fork() == 0:
        if _ == 1:
            os.setsid()
            if os.fork(): os._exit(0)
        os.write(1, f"{os.getpid()}\\n".encode())
        time.sleep(600)
os.write(1, f"{os.getpid()}\\n".encode())
time.sleep(600)
"""


@pytest.fixture
def family(request: pytest.FixtureRequest) -> Iterator[tuple[ProcessId, set[int]]]:
    """A parent in a session of its own, a child, and a grandchild that escaped; all carry the nonce."""
    environment = {**os.environ, probe.NONCE_VARIABLE: NONCE}
    command = [sys.executable, "-S", "-c", _ESCAPE, *getattr(request, "param", [])]
    root = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, start_new_session=True)
    assert root.stdout is not None
    pids = {int(root.stdout.readline()) for _ in range(3)}
    yield ProcessId(root.pid, probe.start_time(root.pid) or 0), pids
    tree.end_tree(ProcessId(root.pid, probe.start_time(root.pid) or 0), NONCE, grace=0)
    root.stdout.close()
    root.wait()


def running(pids: set[int]) -> set[int]:
    return {pid for pid in pids if (found := probe.stat(pid)) and found.running}


def test_a_tree_is_found_by_parentage_session_and_nonce(family: tuple[ProcessId, set[int]]) -> None:
    root, pids = family
    assert {member.process.pid for member in tree.members(root, NONCE)} >= pids
    escaped = pids - {member.process.pid for member in tree.members(root, None)}
    assert len(escaped) <= 1, "only the one that left both session and parent may need the nonce"


@pytest.mark.parametrize("family", [[], ["deaf"]], indirect=True, ids=["polite", "deaf"])
def test_an_ended_tree_is_gone_whatever_it_did_to_escape(family: tuple[ProcessId, set[int]]) -> None:
    root, pids = family
    assert tree.end_tree(root, NONCE, grace=0.2) == []
    assert not running(pids)


def test_nobody_is_struck_for_a_pid_that_was_used_again(family: tuple[ProcessId, set[int]]) -> None:
    root, pids = family
    former = ProcessId(root.pid, root.start_time - 1)
    assert tree.members(former, None) == []
    assert tree.end_tree(former, None, grace=0, patience=0.1) == []
    assert running(pids) == pids


def test_what_we_did_not_start_is_not_ours() -> None:
    stranger = subprocess.Popen(["sleep", "600"], start_new_session=True)
    try:
        root = ProcessId(stranger.pid + 1_000_000, 1)
        assert tree.members(root, NONCE) == []
    finally:
        stranger.kill()
        stranger.wait()


def test_a_signal_reaches_only_the_process_that_was_meant() -> None:
    child = subprocess.Popen(["sleep", "600"])
    began = probe.start_time(child.pid) or 0
    assert not pidfd.signal_checked(ProcessId(child.pid, began + 1), 9)
    assert child.poll() is None
    assert pidfd.signal_checked(ProcessId(child.pid, began), 9)
    assert child.wait() == -9
    assert not pidfd.signal_checked(ProcessId(child.pid, began), 9)


def test_the_root_control_group_is_never_taken(tmp_path: Path) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "self/mountinfo").write_text(f"30 1 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "self/cgroup").write_text("4:memory:/x\n0::/\n")
    assert cgroup.find_delegated(str(tmp_path)) == (
        None,
        "this process is in the root control group, which is nobody's",
    )
    (tmp_path / "self/cgroup").write_text("0::/own.scope/supervisor\n")
    assert cgroup.find_delegated(str(tmp_path))[0] is None, "a group that cannot be written is not delegated"
    (tmp_path / "own.scope").mkdir()
    for name in ("cgroup.procs", "cgroup.subtree_control"):
        (tmp_path / "own.scope" / name).touch()
    assert cgroup.find_delegated(str(tmp_path)) == (tmp_path / "own.scope", "")


def test_a_session_that_another_seat_began_under_a_dead_ones_pid_is_not_its_tree() -> None:
    """The leader is gone, so nothing but the nonce says whose session it is."""
    script = "import os, time\nif os.fork() == 0:\n print(os.getpid(), flush=True)\n time.sleep(600)"
    environment = {**os.environ, probe.NONCE_VARIABLE: NONCE}
    leader = subprocess.Popen(
        [sys.executable, "-S", "-c", script], env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert leader.stdout is not None
    left = int(leader.stdout.readline())
    began = probe.start_time(left)
    assert began is not None
    try:
        leader.wait()
        assert [found.process.pid for found in tree.members(ProcessId(leader.pid, began), NONCE)] == [left]
        assert tree.members(ProcessId(leader.pid, began), "0ther0ne") == []
        assert [found.process.pid for found in tree.members(ProcessId(leader.pid, began), None)] == [left]
    finally:
        pidfd.signal_checked(ProcessId(left, began), 9)


def test_a_stamp_without_a_pid_has_no_session() -> None:
    """Session 0 is everybody's who has none, the kernel's own threads among them."""
    assert tree.members(ProcessId(0, 0), "0ther0ne") == []


def test_a_control_group_ends_all_that_is_in_it() -> None:
    mount = next(
        (
            Path(where)
            for where in ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
            if (Path(where) / "cgroup.procs").exists()
        ),
        None,
    )
    if mount is None or os.geteuid() != 0:
        pytest.skip("no cgroup v2 hierarchy that we may write")
    folder = mount / f"jobwarden-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as problem:
        pytest.skip(f"no control group can be made here: {problem}")
    groups = Cgroups(folder)
    groups.seats.mkdir()
    script = (
        "import sys, time; from pathlib import Path; from jobwarden.process.cgroup import Cgroups;"
        " print(Cgroups(Path(sys.argv[1])).join('seat'), flush=True); time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline() == "True\n"
        assert groups.members("seat") == [child.pid]
        assert groups.populated("seat")
        assert groups.kill("seat")
        assert child.wait() == -9
        assert groups.wait_empty("seat", 5)
        assert eventually(lambda: groups.remove("seat"))
    finally:
        child.kill()
        child.wait()
        for group in (groups.seats / "seat", groups.seats, folder):
            if group.exists():
                group.rmdir()
