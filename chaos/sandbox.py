"""The sandbox: the whole campaign in namespaces of its own, so that the kernel takes everything away when it ends.

Network, processes, mounts and shared memory are private. When the campaign's first process is gone, for whatever
reason, every process in it is killed, and network, servers and temporary folders vanish with the last of them. So
there is nothing to tidy up at the next start, and no process or address of the machine can be hit by mistake.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable

from chaos import namespaces

#: Temporary files of the campaign, on memory that belongs to it alone.
MEMORY = "/dev/shm"


def missing() -> str | None:
    """Why no sandbox can be made here, or None."""
    if not sys.platform.startswith("linux"):
        return "the campaign needs Linux: its hosts are namespaces"
    if os.geteuid() != 0:
        return "the campaign needs root to make namespaces: run it with sudo, or as root in a container of its own"
    return None


def run(main: Callable[[], int]) -> int:
    """Run ``main`` inside and give its exit code."""
    return namespaces.in_child(lambda: namespaces.first_of_new_pids(lambda: _inside(main)))


def _inside(main: Callable[[], int]) -> int:
    """As the first process: prepare, run the campaign as a child, and reap whatever is left to us meanwhile."""
    flags = namespaces.NEW_MOUNTS | namespaces.NEW_NETWORK | namespaces.NEW_IPC | namespaces.NEW_NAMES
    namespaces.unshare(flags)
    namespaces.keep_mounts_private()
    namespaces.mount("proc", "/proc")
    for folder in (MEMORY, "/run"):
        namespaces.mount("tmpfs", folder)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, _interrupt)
        code = 70
        try:
            code = main()
        except KeyboardInterrupt:
            code = 130
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, frame: os.kill(pid, signal.SIGTERM))
    return _reap_until(pid)


def _reap_until(pid: int) -> int:
    while True:
        gone, status = os.wait()
        if gone == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
