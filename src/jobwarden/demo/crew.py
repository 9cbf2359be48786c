"""The demonstration's supervisor: a real one, in a process of its own, that does not outlive the demonstration."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from jobwarden.errors import JobWardenError
from jobwarden.process.kernel import die_with_parent

APP = "jobwarden.demo.census:app"
_DRAIN = 20.0
_END = 5.0


@contextlib.contextmanager
def supervisor(folder: Path, log: Path, lane: str) -> Iterator[subprocess.Popen[bytes]]:
    """A supervisor that serves the lane; drained at the end, or ended at once if the end is an exception."""
    command = [sys.executable, "-m", "jobwarden.cli", "-A", APP, "work", "--lane", lane]
    with open(log, "ab") as file:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,  # an interrupt at the terminal is ours to pass on
            preexec_fn=_follow_us,  # noqa: PLW1509 - this process has one thread
        )
    try:
        yield process
    except BaseException:
        _end(process, signal.SIGQUIT, _END)
        raise
    _end(process, signal.SIGTERM, _DRAIN)


def require_alive(process: subprocess.Popen[bytes], log: Path) -> None:
    """Raise with the supervisor's last words if it has ended."""
    if process.poll() is None:
        return
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    last = lines[-1] if lines else "it said nothing"
    raise JobWardenError(f"The supervisor ended with exit code {process.returncode} ({last}): see {log}.")


def _follow_us() -> None:
    die_with_parent(signal.SIGQUIT)


def _end(process: subprocess.Popen[bytes], number: int, patience: float) -> None:
    """Ask, ask firmly, end: the first that works."""
    for wish in (number, signal.SIGQUIT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(wish)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            return
        patience = _END
