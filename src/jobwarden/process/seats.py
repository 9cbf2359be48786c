"""The supervisor's side of seats: it starts zygotes, is told of births and deaths, and talks to each seat.

Nothing here waits and nothing here starts a thread: sockets are registered in the supervisor's selector, which calls
`receive` and `flush`. Signals go through the pidfd that came with the birth, so they cannot hit anyone else.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from jobwarden.domain.stamp import ProcessId
from jobwarden.process import pidfd, probe
from jobwarden.process.body import Body
from jobwarden.process.cgroup import Cgroups
from jobwarden.process.exits import Exit
from jobwarden.process.kernel import become_subreaper
from jobwarden.process.limits import limit_open_files
from jobwarden.process.reaping import Nursery
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.spool import Spool
from jobwarden.process.tree import Member
from jobwarden.process.wire import CHUNK, Frame, Inbox, pack, receive_packet, send_packet

_NO_NONCE = "z" * 8
_LAST_BREATH_SECONDS = 1.0


class SeatClosed(EOFError):
    """The seat's end of the socket is closed and everything it sent was received."""


class Seat:
    """One seat as the supervisor holds it."""

    def __init__(
        self,
        nonce: str,
        process: ProcessId,
        sock: socket.socket,
        handle: int,
        fallback: str | None,
        runtime: RuntimeDir,
        cgroups: Cgroups | None = None,
    ) -> None:
        self.nonce = nonce
        self.process = process
        self.sock = sock
        self.pidfd = handle
        self.fallback = fallback
        self.spool = Spool(runtime, nonce)
        self.body = Body(nonce, process, cgroups)
        self._cgroups = cgroups
        self._inbox = Inbox()
        self._outbox = bytearray()
        sock.setblocking(False)

    def fileno(self) -> int:
        """The socket's descriptor, for the selector; -1 once closed."""
        return self.sock.fileno()

    @property
    def wants_write(self) -> bool:
        """Whether `flush` has more to send when the socket is writable."""
        return bool(self._outbox)

    def send(self, *frames: Mapping[str, Any]) -> None:
        """Queue frames in order and send what the socket takes now; a seat that is gone shows in `receive`."""
        self._outbox += b"".join(map(pack, frames))
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes now."""
        try:
            while self._outbox:
                del self._outbox[: self.sock.send(self._outbox, socket.MSG_NOSIGNAL)]
        except BlockingIOError:
            return
        except OSError:
            self._outbox.clear()

    def receive(self) -> list[Frame]:
        """The frames that have come, perhaps none; raises `SeatClosed` at the end."""
        frames: list[Frame] = []
        while True:
            try:
                data = self.sock.recv(CHUNK)
            except BlockingIOError:
                return frames
            except OSError:
                data = b""
            if not data:
                return self._at_end(frames)
            frames += self._inbox.feed(data)
            if len(data) < CHUNK // 4:
                return frames

    def stop(self, attempt_id: str) -> bool:
        """Ask this attempt, and no other that the seat may run by then, to stop; whether the seat still lives."""
        self.send({"op": "stop", "attempt_id": attempt_id})
        return self.signal(signal.SIGTERM)

    def signal(self, number: int) -> bool:
        """Send a signal to this very process; False if it has ended."""
        return self.pidfd >= 0 and pidfd.send(self.pidfd, number)

    @property
    def ended(self) -> bool:
        """Whether the process has ended, reaped or not."""
        return self.pidfd < 0 or pidfd.ended(self.pidfd)

    def limit_memory(self, memory: int) -> bool:
        """Let the kernel limit the seat's memory (bytes), before its claim is sent; False where no group can."""
        return self._cgroups is not None and self._cgroups.limit(self.nonce, memory)

    def kill_tree(self) -> list[Member]:
        """SIGKILL the seat and everything that belongs to it; who was still alive. Call again until it is empty."""
        return self.body.kill()

    def close(self) -> None:
        """Let go of socket, handle and control group; the process is not touched."""
        self.sock.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1
        if self._cgroups is not None:
            self._cgroups.remove(self.nonce)

    def _at_end(self, frames: list[Frame]) -> list[Frame]:
        if frames:
            return frames
        raise SeatClosed(f"seat {self.process.pid} closed its socket")


@dataclass(frozen=True, slots=True)
class ZygoteReady:
    """The application is imported: its settings and jobs as data, and what it runs on."""

    process: ProcessId
    app: str
    python: str
    settings: dict[str, Any]
    jobs: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ZygoteBroken:
    """The application does not import: one sentence, and the traceback."""

    error: str
    trace: str


@dataclass(frozen=True, slots=True)
class SeatBorn:
    """A seat waits for its first claim."""

    seat: Seat


@dataclass(frozen=True, slots=True)
class SeatUnable:
    """A seat that was asked for could not be started (no memory, too many processes)."""

    error: str


@dataclass(frozen=True, slots=True)
class SeatExited:
    """A seat was reaped."""

    process: ProcessId
    nonce: str
    exit: Exit


@dataclass(frozen=True, slots=True)
class ZygoteGone:
    """The zygote has ended (wait status, or None if unknown); its seats, if any, are ours to reap now."""

    status: int | None


Event: TypeAlias = ZygoteReady | ZygoteBroken | SeatBorn | SeatUnable | SeatExited | ZygoteGone


class Zygote:
    """One zygote process as the supervisor holds it. Register ``control`` for reading and call `receive`.

    ``open_files`` is the soft limit that it and its seats begin with, where that is not this process's own.
    """

    def __init__(
        self,
        app: str,
        runtime: RuntimeDir,
        *,
        env: Mapping[str, str] | None = None,
        python: str = sys.executable,
        cgroup: Path | None = None,
        open_files: int | None = None,
    ) -> None:
        self.app = app
        self.gone = False
        self._runtime = runtime
        self._env = dict(os.environ if env is None else env)
        self._python = python
        self._cgroup = cgroup
        self._open_files = open_files
        self._cgroups = Cgroups(cgroup) if cgroup is not None else None
        self._nursery = Nursery()
        self._child: subprocess.Popen[bytes] | None = None
        self.control = socket.socket()

    def start(self) -> None:
        """Start the process; `ZygoteReady` or `ZygoteBroken` follows. Raises OSError if it cannot be started."""
        become_subreaper()
        self.control.close()
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.setblocking(False)
        with theirs:
            self._child = subprocess.Popen(
                self._command(theirs.fileno()),
                env={**self._env, probe.NONCE_VARIABLE: _NO_NONCE, "SPT_NOENV": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        if self._open_files is not None:
            limit_open_files(self._open_files, self._child.pid)

    @property
    def pid(self) -> int | None:
        """The zygote's pid once it is started."""
        return self._child.pid if self._child else None

    def fileno(self) -> int:
        """The control socket's descriptor, for the selector."""
        return self.control.fileno()

    def fork(self, count: int) -> None:
        """Ask for that many seats; each comes as `SeatBorn` (or `SeatUnable`)."""
        if count > 0:
            self._order({"op": "fork", "n": count})

    def retire(self) -> None:
        """No more forks; the process goes when its last seat is gone."""
        self._order({"op": "retire"})

    def kill(self) -> None:
        """End the zygote at once; its seats live on and become ours to reap."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()

    def receive(self) -> list[Event]:
        """What has happened, in order, without waiting; after `ZygoteGone` use `reap_orphans` while it has seats."""
        events: list[Event] = []
        while not self.gone:
            try:
                packet = receive_packet(self.control)
            except BlockingIOError:
                break
            except OSError:
                packet = None
            events.append(self._ended() if packet is None else self._event(*packet))
        return events

    @property
    def seats(self) -> int:
        """How many of its seats are not known to have ended."""
        return len(self._nursery)

    def reap_orphans(self) -> list[SeatExited]:
        """After `ZygoteGone`: reap what has ended of the seats that fell to us. Call it on each round while `seats`."""
        if not self.gone:
            return []
        return [SeatExited(end.process, end.nonce, end) for end in self._nursery.collect_own()]

    def close(self) -> None:
        """Close the control socket: the zygote takes us for gone, and so do idle seats once theirs close."""
        self.control.close()

    def _command(self, fd: int) -> list[str]:
        command = [self._python, "-m", "jobwarden.runner", "--app", self.app, "--control-fd", str(fd)]
        command += ["--runtime-dir", str(self._runtime.path)]
        return command + (["--cgroup", str(self._cgroup)] if self._cgroup is not None else [])

    def _order(self, message: Mapping[str, Any]) -> None:
        try:
            send_packet(self.control, message)
        except OSError:
            return  # a zygote that is gone shows in receive

    def _event(self, message: Frame, fds: list[int]) -> Event:
        match message["op"]:
            case "seat":
                return self._born(message, fds)
            case "exit":
                end = Exit.load(message)
                self._nursery.discard(end.process)
                return SeatExited(end.process, end.nonce, end)
            case "unable":
                return SeatUnable(message["error"])
            case "broken":
                return ZygoteBroken(message["error"], message["trace"])
            case _:
                process = ProcessId(message["pid"], message["start_time"], message.get("inode", 0))
                return ZygoteReady(process, message["app"], message["python"], message["settings"], message["jobs"])

    def _born(self, message: Frame, fds: list[int]) -> SeatBorn:
        process = ProcessId(message["pid"], message["start_time"], message["inode"])
        self._nursery.add(process, message["nonce"])
        sock = socket.socket(fileno=fds[0])
        seat = Seat(message["nonce"], process, sock, fds[1], message["fallback"], self._runtime, self._cgroups)
        return SeatBorn(seat)

    def _ended(self) -> ZygoteGone:
        self.gone = True
        if self._child is None:
            return ZygoteGone(None)
        try:
            code = self._child.wait(_LAST_BREATH_SECONDS)
        except subprocess.TimeoutExpired:  # it lost its control socket: a zygote that cannot be told anything is no use
            self._child.kill()
            code = self._child.wait()
        return ZygoteGone(code << 8 if code >= 0 else -code)
