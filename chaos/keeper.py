"""The keeper: a host's first process, as a container platform has one. It reaps, and restarts what ends.

Run inside the network namespace of its host, it makes the PID namespace, says the first process's pid on standard
output, and stays as its waiter. Nothing of this knows jobwarden: what it keeps are commands.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from chaos import namespaces
from chaos.journal import boottime

_PACE, _PAUSE, _GRACE = 0.1, 0.4, 8.0


class Keeper:
    """The daemons of one host by name, each a command that shall run always."""

    def __init__(self, commands: dict[str, list[str]], folder: Path) -> None:
        self._commands, self._folder = commands, folder
        self._running: dict[int, str] = {}
        self._due = dict.fromkeys(commands, 0.0)
        self._stopping = 0.0

    def run(self) -> int:
        """Keep them until told to stop."""
        signal.signal(signal.SIGTERM, lambda number, frame: self._stop())
        while not self._stopping or (self._running and time.monotonic() < self._stopping):
            self._reap()
            for name, due in list(self._due.items()):
                if not self._stopping and due <= time.monotonic():
                    self._start(name)
            time.sleep(_PACE)
        return 0

    def _start(self, name: str) -> None:
        del self._due[name]
        with (self._folder / f"{name}.log").open("ab") as log:
            child = subprocess.Popen(
                self._commands[name], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        child.returncode = 0  # reaped here, not by the Popen object
        self._running[child.pid] = name
        self._note(event="started", name=name, pid=child.pid)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            name = self._running.pop(pid, None)
            if name is not None:
                self._due[name] = time.monotonic() + _PAUSE
                self._note(event="ended", name=name, pid=pid, code=os.waitstatus_to_exitcode(status))

    def _stop(self) -> None:
        if not self._stopping:
            self._stopping = time.monotonic() + _GRACE
            for pid in self._running:
                os.kill(pid, signal.SIGTERM)

    def _note(self, **facts: Any) -> None:
        with (self._folder / "keeper.jsonl").open("a") as file:
            file.write(json.dumps({"at": boottime(), **facts}) + "\n")


def main(words: list[str]) -> int:
    """``keeper NAME FOLDER COMMANDS``: the commands are a JSON object of argument vectors by name."""
    name, folder, commands = words

    def first() -> int:
        namespaces.unshare(namespaces.NEW_MOUNTS | namespaces.NEW_NAMES)
        namespaces.keep_mounts_private()
        namespaces.mount("proc", "/proc")
        socket.sethostname(name)
        return Keeper(json.loads(commands), Path(folder)).run()

    namespaces.die_with_parent()
    return namespaces.first_of_new_pids(first, lambda pid: print(pid, flush=True))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
