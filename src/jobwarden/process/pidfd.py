"""Handles on processes: a pidfd never comes to mean another process, whatever happens to the pid.

A handle is only trusted after the identity behind it was checked again while it was held.
"""

from __future__ import annotations

import errno
import fcntl
import functools
import os
import select
import signal
import struct

from jobwarden.domain.stamp import ProcessId
from jobwarden.process import probe

_INFO_SIZE = 64  # struct pidfd_info, first version: the mask is its first 8 bytes, the exit code its last 4
_INFO_EXIT = 1 << 3
_PIDFD_GET_INFO = (3 << 30) | (_INFO_SIZE << 16) | (0xFF << 8) | 11


@functools.cache
def available() -> bool:
    """Whether this kernel has pidfds at all."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


@functools.cache
def inodes_are_distinct() -> bool:
    """Whether a pidfd's inode names its process (pidfs, Linux 6.9); before, all of them share one inode."""
    if not available():
        return False
    ours, theirs = os.pidfd_open(os.getpid()), -1
    try:
        theirs = os.pidfd_open(os.getppid() or 1)
        return os.fstat(ours).st_ino != os.fstat(theirs).st_ino
    except OSError:
        return False
    finally:
        os.close(ours)
        if theirs >= 0:
            os.close(theirs)


def inode(fd: int) -> int:
    """The inode that names the process behind a pidfd for this boot, or 0 where the kernel has none."""
    return os.fstat(fd).st_ino if inodes_are_distinct() else 0


def open_checked(process: ProcessId) -> int | None:
    """A pidfd of exactly that process (zombie or not), or None: gone, or the pid means another one by now."""
    try:
        fd = os.pidfd_open(process.pid)
    except OSError as problem:
        if problem.errno in (errno.ESRCH, errno.EINVAL, errno.ENOSYS):
            return None
        raise
    if process.same_process(identify(process.pid, fd)):
        return fd
    os.close(fd)
    return None


def identify(pid: int, fd: int) -> ProcessId | None:
    """The process behind a pidfd that was opened by this pid; None once it is gone."""
    began = probe.start_time(pid)
    return None if began is None else ProcessId(pid, began, inode(fd))


def send(fd: int, number: int) -> bool:
    """Send a signal to the process behind the handle; False if it is gone, raises PermissionError if it is not ours."""
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    return True


def signal_checked(process: ProcessId, number: int) -> bool:
    """Send a signal to exactly that process, or to nobody; whether it was sent."""
    fd = open_checked(process)
    if fd is None:
        return False
    try:
        return send(fd, number)
    finally:
        os.close(fd)


def ended(fd: int, timeout_ms: int = 0) -> bool:
    """Whether the whole process behind the handle has ended (a zombie has), waiting at most that long."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout_ms))


def exit_status(fd: int) -> int | None:
    """The wait status of a process that somebody else reaped (Linux 6.15), or None where the kernel does not tell."""
    buffer = bytearray(struct.pack("<Q", _INFO_EXIT).ljust(_INFO_SIZE, b"\0"))
    try:
        fcntl.ioctl(fd, _PIDFD_GET_INFO, buffer)
    except OSError:
        return None
    (mask,) = struct.unpack_from("<Q", buffer)
    (code,) = struct.unpack_from("<i", buffer, _INFO_SIZE - 4)
    return int(code) if mask & _INFO_EXIT else None
