"""Cleans up after a test run that could not do it itself: run as a process of its own, it waits for its parent's end.

It is told lines on standard input: ``pid PID START_TIME`` and ``dir PATH``, each with a ``-`` before it to forget it
again. When the input ends, because the parent finished, was interrupted or was killed, it ends the processes that are
left (checking that they are still the same) and removes the folders.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.processes import Proc, kill_tree, unmarked_environment
from tests.support.waiting import eventually

_ROOT = Path(__file__).resolve().parents[2]
_GRACE = 5.0


class Janitor:
    """The parent's side: one janitor process for this process, started at the first word to it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0

    @property
    def pid(self) -> int | None:
        """The janitor's own pid, once there is one."""
        return self._process.pid if self._process else None

    def watch(self, thing: Proc | Path) -> None:
        """See to it that this process or folder does not outlive us."""
        self._say(_words(thing))

    def forget(self, thing: Proc | Path) -> None:
        """It is gone already."""
        self._say("-" + _words(thing))

    def _say(self, line: str) -> None:
        if self._process is None or self._owner != os.getpid():
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def _start(self) -> None:
        env = unmarked_environment()
        self._owner = os.getpid()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.janitor"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=_ROOT,
            env=env,
            start_new_session=True,
        )


def _words(thing: Proc | Path) -> str:
    return f"dir {thing}" if isinstance(thing, Path) else f"pid {thing.pid} {thing.start_time}"


def main() -> None:
    """Listen until the parent is gone, then clean up."""
    watched: dict[str, None] = {}
    for line in sys.stdin:
        text = line.strip()
        if text.startswith("-"):
            watched.pop(text[1:], None)
        else:
            watched[text] = None
    for text in sorted(watched, reverse=True):  # processes before the folders they live in
        _clean(text)


def _clean(text: str) -> None:
    kind, _, rest = text.partition(" ")
    if kind == "dir":
        shutil.rmtree(rest, ignore_errors=True)
    else:
        proc = Proc(*map(int, rest.split()))
        proc.signal(signal.SIGQUIT)  # a database server then gives its shared memory back
        with contextlib.suppress(AssertionError):
            eventually(lambda: not proc.alive, _GRACE)
        kill_tree(proc)


if __name__ == "__main__":
    main()
