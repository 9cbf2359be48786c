"""A service manager reduced to its ear: the socket that daemons send their ``sd_notify`` datagrams to."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Self


class Manager:
    """Listens on a path, or without one in the abstract namespace; `heard` has every line in order."""

    def __init__(self, path: Path | None = None) -> None:
        self.heard: list[str] = []
        self.address = str(path) if path is not None else f"@jobwarden-test-{os.urandom(8).hex()}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self.address.replace("@", "\0") if path is None else self.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._socket.close()

    def listen(self) -> list[str]:
        """Take up what has come, and give all of it."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard += self._socket.recv(65_536).decode().split("\n")
        return self.heard

    def story(self) -> list[str]:
        """What was said apart from signs of life and plain words."""
        return [line for line in self.listen() if not line.startswith(("WATCHDOG=", "STATUS=", "MONOTONIC_USEC="))]
