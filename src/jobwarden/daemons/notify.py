"""Talking to a service manager: ready, alive, reloading, stopping, in the datagrams of systemd's ``sd_notify(3)``.

The protocol is stable and documented (sd_notify(3), sd_watchdog_enabled(3)): text lines ``NAME=value`` to the socket
that ``NOTIFY_SOCKET`` names, a path or ``@name`` of the abstract namespace; ``WATCHDOG_USEC`` is how often at least the
process that ``WATCHDOG_PID`` names must say that it is alive. The three are taken out of the environment, because
children that inherited them could speak for us. Without them, and whatever goes wrong, nothing is said and nothing
fails: no daemon depends on who watches it.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping
from contextlib import suppress

_SHARE = 3.0  # of the watchdog's time: one datagram may be late
_STATUS_LENGTH = 200


class Systemd:
    """One process's line to its service manager. Each thing is said once; `alive` as often as the watchdog needs."""

    def __init__(self, environ: MutableMapping[str, str] | None = None) -> None:
        environ = os.environ if environ is None else environ
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        micros, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        ours = not pid or pid == str(os.getpid())
        self.watchdog = int(micros) / 1e6 if micros.isdecimal() and ours else 0.0
        self._socket: socket.socket | None = None
        self._alive_at = 0.0
        self._ready = self._stopping = False
        self._status = ""

    @property
    def listens(self) -> bool:
        """Whether anybody wants to know."""
        return self._address is not None

    def ready(self) -> None:
        """It serves, or does again after `reloading`."""
        if not self._ready:
            self._ready = True
            self._say("READY=1")

    def reloading(self) -> None:
        """It is getting new code; `ready` says when it has."""
        if self._ready and not self._stopping:
            self._ready = False
            self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It takes no more work and will end."""
        if not self._stopping:
            self._stopping = self._ready = True
            self._say("STOPPING=1")

    def status(self, text: str) -> None:
        """What it is doing, in one line for ``systemctl status``."""
        line = " ".join(text.split())[:_STATUS_LENGTH]
        if line != self._status:
            self._status = line
            self._say(f"STATUS={line}")

    def alive(self) -> None:
        """Its loop turns and what it waits for moves; called on every round, sent as often as is needed."""
        now = time.monotonic()
        if self.watchdog and now >= self._alive_at:
            self._alive_at = now + self.watchdog / _SHARE
            self._say("WATCHDOG=1")

    def _say(self, text: str) -> None:
        if self._address is None:
            return
        with suppress(OSError):
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)
            self._socket.sendto(text.encode("utf-8", "replace"), self._address)


def _address(given: str) -> str | None:
    """The socket's address, or None for one of a kind that is not spoken here."""
    if given.startswith("@"):
        return "\0" + given[1:]
    return given if given.startswith("/") else None
