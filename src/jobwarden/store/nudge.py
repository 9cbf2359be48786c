"""The local nudge: who enqueues on a host wakes the workers of that host over a datagram socket.

A nudge is a hint without a promise: it is lost when nobody listens, and polling finds the work all the same.
"""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path

_WORDS = b"work"


def _folder(fingerprint: str) -> Path:
    """Where the workers of one database listen, for one user of this host."""
    return Path(tempfile.gettempdir()) / f"jobwarden-nudge-{os.getuid()}" / fingerprint


class Ear:
    """A worker's end: a datagram socket in the folder of its database."""

    def __init__(self, fingerprint: str, worker_id: str) -> None:
        folder = _folder(fingerprint)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / worker_id[-12:]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))

    def fileno(self) -> int:
        """For the selector."""
        return self._socket.fileno()

    def drain(self) -> bool:
        """Take what has come; whether anything had."""
        heard = False
        while True:
            try:
                self._socket.recv(64)
            except BlockingIOError:
                return heard
            heard = True

    def close(self) -> None:
        """Stop listening."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


class Voice:
    """An enqueuer's end. Never waits, never fails, and costs a few system calls."""

    def __init__(self, fingerprint: str) -> None:
        self._folder = str(_folder(fingerprint))
        self._socket: socket.socket | None = None
        self._pid = 0

    def nudge(self) -> int:
        """Wake every worker of this database on this host; how many were told."""
        try:
            names = os.listdir(self._folder)
        except OSError:
            return 0
        return sum(self._tell(os.path.join(self._folder, name)) for name in names)

    def _tell(self, path: str) -> bool:
        try:
            self._own_socket().sendto(_WORDS, path)
        except ConnectionRefusedError:
            _forget(path)
            return False
        except OSError:
            return False
        return True

    def _own_socket(self) -> socket.socket:
        if self._socket is None or self._pid != os.getpid():
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
            self._pid = os.getpid()
        return self._socket


def _forget(path: str) -> None:
    """Remove the socket of a worker that is gone."""
    try:
        os.unlink(path)
    except OSError:
        return
