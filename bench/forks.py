"""``python -m bench.forks COUNT IN_FLIGHT``: fork and wait, as fast as a process that holds the application can.

The same modules as the zygote, the same objects frozen, as many children in flight, one thread; a child ends at once.
Prints how many a second.
"""

from __future__ import annotations

import gc
import os
import select
import sys
import time
from importlib import import_module


def main(count: int, in_flight: int) -> float:
    """Fork so many children, never more at once than asked for; how many a second."""
    import_module("jobwarden.runner.__main__")
    import_module("bench.app").jw.prepare()
    gc.collect()
    gc.freeze()
    watched, left, gone = select.epoll(), count, 0
    children: dict[int, int] = {}
    begin = time.monotonic()
    while gone < count:
        while left and len(children) < in_flight:
            descriptor, pid = _fork()
            watched.register(descriptor, select.EPOLLIN)
            children[descriptor] = pid
            left -= 1
        for descriptor, _ in watched.poll(10):
            os.wait4(children.pop(descriptor), 0)
            watched.unregister(descriptor)  # closing is not enough: later children hold copies
            os.close(descriptor)
            gone += 1
    return count / (time.monotonic() - begin)


def _fork() -> tuple[int, int]:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return os.pidfd_open(pid), pid


if __name__ == "__main__":
    print(main(int(sys.argv[1]), int(sys.argv[2])))
