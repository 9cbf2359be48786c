"""The check-up of a host: what the kernel gives for positive control over processes, and whether there is room.

Everything is tried, no version is assumed.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
from collections.abc import Iterator

from jobwarden.cli.checks import Finding, fail, ok, warn
from jobwarden.config import Settings
from jobwarden.domain.stamp import Grade
from jobwarden.errors import IdentityUnknown, JobWardenError, PlatformUnsupported
from jobwarden.process import cgroup, identity, kernel, pidfd, probe
from jobwarden.process.runtime_dir import RuntimeDir, default_base, in_memory

_ROOM = 64 << 20
_PROBED = 7
_FILES_PER_SEAT, _FILES_BESIDES = 6, 64


def check_host(settings: Settings) -> Iterator[Finding]:
    """Everything that a worker needs of this host."""
    if not sys.platform.startswith("linux"):
        fix = "run workers on a Linux host; enqueueing and reading work here"
        yield warn("platform", f"{platform.system()} cannot run workers", fix)
        return
    yield from _identity()
    yield from _kernel()
    yield _grade()
    yield _runtime_dir(settings)
    yield _files(settings)
    yield _cores(settings)


def _identity() -> Iterator[Finding]:
    try:
        host = identity.this_host()
    except (IdentityUnknown, PlatformUnsupported) as error:
        yield fail("/proc", str(error), "without it no process can be judged, and no worker starts")
        return
    yield ok("/proc", f"shows our own PID namespace; we are process {os.getpid()}")
    machine, _, namespace = host.pid_scope.rpartition("-")
    yield ok("pid scope", f"{host.hostname}, machine {machine[:12]}, PID namespace {namespace}")
    if probe.stat(1) is None:
        fix = "mount /proc without hidepid, or with gid= for this user"
        yield warn("visibility", "/proc hides the processes of other users", fix)


def _kernel() -> Iterator[Finding]:
    release = platform.release()
    if not pidfd.available():
        yield warn("kernel", f"{release} has no pidfds", "use Linux 5.3 or later, better 6.9")
        return
    inodes = "each with its own inode" if pidfd.inodes_are_distinct() else "without inodes of their own (Linux 6.9)"
    told = "tells how a reaped process ended" if _tells_exits() else "does not tell how a reaped process ended (6.15)"
    yield ok("kernel", f"{release}: pidfds, {inodes}; {told}")
    if kernel.become_subreaper():
        yield ok("subreaper", "descendants of a lost process come back to us")
    else:
        fix = "use Linux 3.4 or later; a sandbox may forbid prctl"
        yield warn("subreaper", "descendants of a lost process are adopted by others", fix)
    folder, why_not = cgroup.find_delegated()
    if folder is None:
        fix = "run the worker as a systemd unit with Delegate=yes, or under systemd-run --user --scope -p Delegate=yes"
        yield warn("cgroup", f"no control group of our own: {why_not}", fix)
    else:
        memory = "memory" in _controllers(folder)
        limits = "memory limits are the kernel's" if memory else "without the memory controller"
        yield ok("cgroup", f"{folder} is ours, {limits}")


def _controllers(folder: os.PathLike[str]) -> list[str]:
    try:
        with open(os.path.join(folder, "cgroup.controllers"), encoding="ascii") as file:
            return file.read().split()
    except OSError:
        return []


def _tells_exits() -> bool:
    """Whether a pidfd still knows the exit status of a process that somebody reaped."""
    child = os.fork()
    if not child:
        os._exit(_PROBED)
    fd = os.pidfd_open(child)
    try:
        os.waitpid(child, 0)
        status = pidfd.exit_status(fd)
        return status is not None and os.waitstatus_to_exitcode(status) == _PROBED
    finally:
        os.close(fd)


def _grade() -> Finding:
    grade, reasons = identity.grade()
    says = f"{grade.value}{f' ({reasons[0]})' if reasons else ': pidfd inodes and a control group for each job'}"
    if grade in (Grade.A, Grade.B):
        return ok("assurance", says)
    if grade is Grade.C:
        return warn("assurance", says, "use Linux 6.9 or later for names that are never used twice")
    return warn("assurance", says, "jobs that are not idempotent are left to a person after every loss here")


def _runtime_dir(settings: Settings) -> Finding:
    base = default_base(settings.runtime_dir, os.environ)
    folder = RuntimeDir(base, f"doctor-{os.getpid()}")
    try:
        folder.create()
    except JobWardenError as error:
        return fail("runtime directory", str(error), "set runtime_dir, or JOBWARDEN_RUNTIME_DIR")
    try:
        free = shutil.disk_usage(folder.path).free
        memory = in_memory(folder.path)
    finally:
        folder.remove()
    says = f"{base}, {free >> 20} MiB free, {'in memory' if memory else 'on disk'}"
    if free < _ROOM:
        return warn("runtime directory", says, "free some space: what jobs say waits there until it is committed")
    if not memory:
        return warn("runtime directory", says, "set runtime_dir to a folder in memory (tmpfs): it is faster there")
    return ok("runtime directory", says)


def _files(settings: Settings) -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = settings.capacity * _FILES_PER_SEAT + _FILES_BESIDES
    says = f"{soft} (hard {hard}); capacity {settings.capacity} needs about {needed}"
    if soft < needed:
        return warn("open files", says, "raise it: ulimit -n, or LimitNOFILE= in the unit")
    return ok("open files", says)


def _cores(settings: Settings) -> Finding:
    usable = len(os.sched_getaffinity(0))
    return ok("processors", f"{usable} usable, capacity {settings.capacity}")
