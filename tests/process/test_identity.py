"""Who and where we are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobwarden.domain.stamp import Grade, ProcessId
from jobwarden.errors import IdentityUnknown
from jobwarden.process import identity, pidfd, probe

_SHOW_SCOPE = (
    "from jobwarden.process.identity import this_host; h = this_host(); print(h.machine, h.pid_scope, sep='\\n')"
)


def fake_system(root: Path, boot: str | None, machine_id: str | None) -> Path:
    if boot is not None:
        (root / "proc/sys/kernel/random").mkdir(parents=True)
        (root / "proc/sys/kernel/random/boot_id").write_text(boot + "\n")
    if machine_id is not None:
        (root / "etc").mkdir()
        (root / "etc/machine-id").write_text(machine_id + "\n")
    return root


def test_a_host_is_the_same_each_time_and_names_its_pid_scope() -> None:
    host = identity.this_host()
    assert host == identity.this_host()
    assert host.pid_scope == f"{host.machine}-{os.stat('/proc/self/ns/pid').st_ino}"
    assert host.hostname


def test_a_machine_changes_with_its_boot_and_with_its_id(tmp_path: Path) -> None:
    names = {
        identity.this_host(str(fake_system(tmp_path / str(n), boot, machine_id))).machine
        for n, (boot, machine_id) in enumerate([("b1", "m1"), ("b2", "m1"), ("b1", "m2"), ("b1", None)])
    }
    assert len(names) == 4


def test_without_a_boot_id_there_is_no_identity(tmp_path: Path) -> None:
    with pytest.raises(IdentityUnknown, match="boot id"):
        identity.this_host(str(fake_system(tmp_path, None, "m1")))


def test_a_foreign_proc_gives_no_verdicts(tmp_path: Path) -> None:
    (tmp_path / "self").symlink_to("1")
    with pytest.raises(IdentityUnknown, match="we are process 1"):
        identity.require_own_proc(str(tmp_path))


def test_two_pid_namespaces_of_one_machine_are_two_scopes() -> None:
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", _SHOW_SCOPE]
    inside = subprocess.run(command, capture_output=True, text=True)
    if inside.returncode:
        pytest.skip(f"no new PID namespace here: {inside.stderr.strip()}")
    machine, scope = inside.stdout.split()
    here = identity.this_host()
    assert (machine == here.machine, scope == here.pid_scope) == (True, False)


def test_we_know_ourselves_by_more_than_a_pid() -> None:
    me = identity.myself()
    assert (me.pid, me.start_time) == (os.getpid(), probe.start_time(os.getpid()))
    assert bool(me.inode) == pidfd.inodes_are_distinct()
    assert probe.alive(me)


def test_every_grade_below_a_says_why() -> None:
    grade, reasons = identity.grade()
    assert grade is Grade.A or reasons


def test_a_recycled_pid_is_not_the_process_it_was(tmp_path: Path) -> None:
    (tmp_path / "42").mkdir()
    fields = "S 1 42 42 0 -1 4194304 0 0 0 0 5 6 0 0 20 0 {threads} 0 {start} 1000000 77 0"
    stat = tmp_path / "42/stat"
    process = ProcessId(42, 5000)
    stat.write_text("42 (evil) S 1 (name) " + fields.format(threads=1, start=5000))
    assert probe.alive(process, str(tmp_path))
    stat.write_text("42 (same name) " + fields.format(threads=1, start=5001))
    assert not probe.alive(process, str(tmp_path))
    stat.write_text("42 (same name) " + fields.format(threads=1, start=5000).replace("S", "Z", 1))
    assert not probe.alive(process, str(tmp_path))
    stat.write_text("42 (first thread gone) " + fields.format(threads=3, start=5000).replace("S", "Z", 1))
    assert probe.alive(process, str(tmp_path)), "other threads of a zombie's process still run"
    stat.unlink()
    assert not probe.alive(process, str(tmp_path))


def test_a_command_may_hold_parentheses_and_blanks() -> None:
    found = probe.parse_stat("7 (a) b (c)) R 3 7 9 0 -1 0 0 0 0 0 100 50 0 0 20 0 4 0 123456 0 2 0")
    assert (found.pid, found.command, found.state, found.parent) == (7, "a) b (c)", "R", 3)
    assert (found.session, found.threads, found.start_time) == (9, 4, 123456)


def test_a_handle_is_refused_to_another_process_with_the_same_pid() -> None:
    me = identity.myself()
    assert pidfd.open_checked(ProcessId(me.pid, me.start_time + 1)) is None
    if me.inode:
        assert pidfd.open_checked(ProcessId(me.pid, me.start_time, me.inode + 1)) is None
    fd = pidfd.open_checked(me)
    assert fd is not None
    os.close(fd)


def test_a_stranger_learns_the_exit_status_from_a_handle_after_the_reaping() -> None:
    child = subprocess.Popen([sys.executable, "-S", "-c", "import sys; sys.stdin.read(); sys.exit(5)"], stdin=-1)
    fd = os.pidfd_open(child.pid)
    try:
        assert pidfd.exit_status(fd) is None
        child.communicate()
        if (status := pidfd.exit_status(fd)) is None:
            pytest.skip("this kernel does not tell")
        assert os.waitstatus_to_exitcode(status) == 5
    finally:
        os.close(fd)
