"""The machine that was measured: a figure without it says nothing."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any


def machine(folder: Path) -> dict[str, Any]:
    """Processor, memory, kernel, Python, and how often a second ``folder``'s disk flushes a small write."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_at_start": os.getloadavg()[0],
        "fsyncs_per_second": round(fsync_rate(folder)),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def fsync_rate(folder: Path, seconds: float = 0.5) -> float:
    """8 KiB written and flushed (fdatasync), one after the other."""
    path = folder / f"bench-{os.getpid()}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, bytes(1 << 20))
        os.fsync(descriptor)
        count, begin = 0, time.monotonic()
        while time.monotonic() - begin < seconds:
            os.pwrite(descriptor, bytes(8192), count % 128 * 8192)
            os.fdatasync(descriptor)
            count += 1
        return count / (time.monotonic() - begin)
    finally:
        os.close(descriptor)
        path.unlink()
