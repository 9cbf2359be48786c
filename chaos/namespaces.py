"""Namespaces of the kernel, without a program beside Python: leaving the old ones, and mounting what the new ones need.

A process that enters a new PID namespace forks its first process, whose death ends every other one in it. That is how
a host is lost in one instant, and how a campaign leaves nothing behind however it ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

NEW_MOUNTS, NEW_NAMES, NEW_IPC, NEW_PIDS, NEW_NETWORK = 0x20000, 0x4000000, 0x8000000, 0x20000000, 0x40000000
_PRIVATE, _RECURSIVE = 1 << 18, 1 << 14
_DIE_WITH_PARENT = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """Leave the namespaces of these kinds for new ones; raises OSError."""
    _check(_LIBC.unshare(flags))


def mount(kind: str, where: str) -> None:
    """Mount a fresh file system of a kind; raises OSError."""
    _check(_LIBC.mount(kind.encode(), where.encode(), kind.encode(), 0, None))


def keep_mounts_private() -> None:
    """What is mounted from here on is seen by nobody outside."""
    _check(_LIBC.mount(b"none", b"/", None, _PRIVATE | _RECURSIVE, None))


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that forked it ends."""
    _check(_LIBC.prctl(_DIE_WITH_PARENT, int(signal.SIGKILL), 0, 0, 0))


def first_of_new_pids(main: Callable[[], int], tell: Callable[[int], None] = lambda pid: None) -> int:
    """Run ``main`` as the first process of a new PID namespace and wait for it; its exit code.

    ``tell`` is given its pid as seen from here. SIGTERM and SIGINT go on to it, and it does not outlive this process.
    A process can do this once in its life.
    """
    unshare(NEW_PIDS)
    return in_child(main, tell)


def in_child(main: Callable[[], int], tell: Callable[[int], None] = lambda pid: None) -> int:
    """Run ``main`` in a child that dies with us and is sent our SIGTERM and SIGINT; its exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _run(main)
    tell(pid)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: os.kill(pid, received))
    return _exit_code(os.waitpid(pid, 0)[1])


def _run(main: Callable[[], int]) -> NoReturn:
    code = 70
    try:
        die_with_parent()
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _check(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
