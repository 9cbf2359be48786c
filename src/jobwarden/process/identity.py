"""Who and where we are: the host, the pid scope, our own process, and how sure verdicts can be here.

Identity fails closed: with a ``/proc`` that is not ours there is no identity, and so no verdict.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from pathlib import Path

from jobwarden.domain.stamp import Grade, Host, ProcessId
from jobwarden.errors import IdentityUnknown, PlatformUnsupported
from jobwarden.process import cgroup, pidfd, probe


def this_host(root: str = "/") -> Host:
    """The machine (its id and this boot) and the pid scope within it; ``root`` is where the system's files are."""
    require_own_proc()
    base = Path(root)
    boot = _read(base / "proc/sys/kernel/random/boot_id")
    if not boot:
        raise IdentityUnknown(rule="the kernel's boot id cannot be read", way_out="mount /proc completely")
    machine_id = _read(base / "etc/machine-id") or _read(base / "var/lib/dbus/machine-id")
    machine = hashlib.sha256(f"{machine_id} {boot}".strip().encode()).hexdigest()[:32]
    return Host(machine=machine, pid_scope=f"{machine}-{_namespace()}", hostname=socket.gethostname())


def myself() -> ProcessId:
    """This process by its complete name."""
    require_own_proc()
    pid = os.getpid()
    if not pidfd.available():
        return ProcessId(pid, probe.start_time(pid) or 0)
    fd = os.pidfd_open(pid)
    try:
        found = pidfd.identify(pid, fd)
    finally:
        os.close(fd)
    if found is None:
        raise IdentityUnknown(rule="/proc does not show our own start time", way_out="mount /proc without hidepid")
    return found


def require_own_proc(proc: str = "/proc") -> None:
    """Raise unless this is Linux and ``/proc`` shows our own PID namespace."""
    if not sys.platform.startswith("linux"):
        raise PlatformUnsupported(what="A JobWarden daemon", platform=sys.platform)
    try:
        shown = os.readlink(f"{proc}/self")
    except OSError as problem:
        rule = f"{proc} cannot be read: {problem.strerror}"
        raise IdentityUnknown(rule=rule, way_out="mount /proc in this container") from problem
    if shown != str(os.getpid()):
        rule = f"{proc} says that we are process {shown}, and we are {os.getpid()}"
        raise IdentityUnknown(rule=rule, way_out="mount the /proc of our own PID namespace")


def grade() -> tuple[Grade, list[str]]:
    """How sure verdicts are on this host, and one sentence for each reason why they are not surer."""
    if not pidfd.available():
        if probe.start_time(os.getpid()) is None:
            return Grade.D, ["/proc shows no start times: a pid alone names nobody"]
        return Grade.C, ["the kernel has no pidfds (Linux 5.3): processes are named by pid, start time and nonce"]
    if not pidfd.inodes_are_distinct():
        return Grade.C, [
            "pidfds have no inodes of their own (Linux 6.9): processes are named by pid, start time and nonce"
        ]
    delegated, why_not = cgroup.find_delegated()
    if delegated is None:
        return Grade.B, [f"no control group of its own for each job: {why_not}"]
    return Grade.A, []


def _namespace() -> int:
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError as problem:
        rule = "the PID namespace cannot be read"
        raise IdentityUnknown(rule=rule, way_out="mount /proc completely") from problem


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace").strip()
    except OSError:
        return ""
