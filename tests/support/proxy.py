"""A proxy between us and a database server on 127.0.0.1, which understands just enough to break things on the spot.

    with Proxy(server.port, "postgresql") as proxy:
        trap = proxy.trap(lambda seen: seen.text == "COMMIT" and seen.wrote("job_attempts"), after=True)
        ...                                         # a daemon on proxy.port
        assert trap.sprung.wait(10)

It counts what a client says in units that get one answer (a statement; connecting; a bind with its execution), and
can cut a connection before such a unit reaches the server, or after the server has done it and before the client
hears of it. It can also swallow what is said while both ends believe to be connected, hold it back, refuse, and turn to
another server. What has lost a byte stays lost for ever, as behind a router that forgot the connection: its server
does not even learn that its client is gone.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self

Way = Literal["up", "down", "both"]
_CHUNK = 1 << 16
_SSL_AND_GSS = {80877103, 80877104}
_ENDS = ("COMMIT", "ROLLBACK")


@dataclass(frozen=True)
class Seen:
    """One unit: which connection said it, as its how-manieth, its text, and the transaction's texts before it."""

    connection: int
    number: int
    text: str
    before: tuple[str, ...] = ()

    def wrote(self, words: str) -> bool:
        """Whether this unit or one before it in the same transaction has these words."""
        return any(words in text for text in (*self.before, self.text))


@dataclass
class Trap:
    """Cuts once, where ``matches`` first says so: before the unit reaches the server, or after it was answered."""

    matches: Callable[[Seen], bool]
    after: bool
    sprung: threading.Event = field(default_factory=threading.Event)
    at: Seen | None = None


class Proxy:
    """Listens on `port` of 127.0.0.1 and speaks to ``target``, the port of a server there."""

    def __init__(self, target: int, engine: str) -> None:
        self.target, self.engine = target, engine
        self.seen: list[Seen] = []
        self.recording = False
        self.seconds = 0.0
        self._swallows: dict[str, bool] = {"up": False, "down": False}
        self._holds = threading.Event()
        self._refuses = False
        self._traps: list[Trap] = []
        self._lines: dict[int, _Line] = {}
        self.accepted = 0
        self._lock = threading.Lock()
        self._open = True
        self._listener = self._listen(0)
        self.port = int(self._listener.getsockname()[1])
        self._acceptor = threading.Thread(target=self._accept, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open = False
        self.heal()
        self.cut_all()
        self._acceptor.join(10)
        self._listener.close()

    # -- what can be done to connections

    def trap(self, matches: Callable[[Seen], bool], *, after: bool) -> Trap:
        """Cut where ``matches`` says, once."""
        trap = Trap(matches, after)
        with self._lock:
            self._traps.append(trap)
        return trap

    def disarm(self) -> None:
        """Forget the traps that have not sprung."""
        with self._lock:
            self._traps.clear()

    def swallow(self, way: Way = "both") -> None:
        """From now on take what is said that way, and drop it; connections stay open, new ones open too."""
        for name in self._swallows:
            self._swallows[name] = way in (name, "both")

    def forget(self) -> None:
        """What is said over the connections there are now is lost from now on; new ones are not touched."""
        for line in list(self._lines.values()):
            line.forget()

    def hold(self) -> None:
        """From now on keep what is said, to pass it on when healed."""
        self._holds.set()

    def refuse(self) -> None:
        """Cut everything, and refuse new connections."""
        self._refuses = True
        self.cut_all()

    def heal(self) -> None:
        """Let new connections live, and what was held back go on; what lost a byte stays lost."""
        self._swallows = {"up": False, "down": False}
        self._holds.clear()
        self._refuses = False

    def cut_all(self) -> int:
        """Cut every connection, both ways at once; how many there were."""
        lines = list(self._lines.values())
        for line in lines:
            line.cut()
        return len(lines)

    def turn_to(self, target: int) -> None:
        """New connections go to another server, and old ones are cut."""
        self.target = target
        self.cut_all()

    @contextlib.contextmanager
    def record(self) -> Iterator[list[Seen]]:
        """Keep what is said meanwhile, in order."""
        self.seen, self.recording = [], True
        try:
            yield self.seen
        finally:
            self.recording = False

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._lines)

    # -- the machinery

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        listener.settimeout(0.05)
        return listener

    def _accept(self) -> None:
        while self._open:
            if self._refuses:
                self._listener.close()
                while self._refuses and self._open:
                    time.sleep(0.01)
                self._listener = self._listen(self.port)
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                if self._refuses:
                    client.close()
                    continue
                client.settimeout(None)
                self.accepted += 1
                self._lines[self.accepted] = line = _Line(self, self.accepted, client)
                line.start()

    def _gone(self, number: int) -> None:
        self._lines.pop(number, None)

    def _swallowed(self, way: str) -> bool:
        """Wait out what is held back or slow; whether what goes that way is dropped."""
        if self.seconds:
            time.sleep(self.seconds)
        while self._holds.is_set() and self._open:
            time.sleep(0.01)
        return self._swallows[way]

    def _trapped(self, seen: Seen) -> Trap | None:
        if self.recording:
            self.seen.append(seen)
        with self._lock:
            for trap in self._traps:
                if trap.matches(seen):
                    self._traps.remove(trap)
                    trap.at = seen
                    return trap
        return None


class _Line:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy, number: int, client: socket.socket) -> None:
        self._proxy, self._number, self._client = proxy, number, client
        self._server: socket.socket | None = None
        self._units = _PostgreSQL() if proxy.engine == "postgresql" else _MySQL()
        self._said = 0
        self._transaction: list[str] = []
        self._deaf = self._dumb = False  # the server hears no more of the client, the client no more of the server
        self._closing: Trap | None = None
        self._answered = self._units.answered()
        next(self._answered)

    def start(self) -> None:
        threading.Thread(target=self._up, name=f"proxy-up-{self._number}", daemon=True).start()

    def cut(self) -> None:
        for end in (self._client, self._server):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    end.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        self._deaf = self._dumb = True

    def _up(self) -> None:
        try:
            self._deaf = self._proxy._swallowed("up")
            if not self._deaf and not self._connect():
                return
            while data := self._client.recv(_CHUNK):
                for part, text in self._units.feed(data):
                    self._say(part, text)
        except OSError:
            pass
        finally:
            if not self._deaf:  # else the server does not learn of it
                self.cut()
                self._proxy._gone(self._number)
            self._client.close()

    def _connect(self) -> bool:
        try:
            self._server = socket.create_connection(("127.0.0.1", self._proxy.target), 10)
        except OSError:
            return False
        self._server.settimeout(None)
        for end in (self._client, self._server):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._down, name=f"proxy-down-{self._number}", daemon=True).start()
        return True

    def _say(self, part: bytes, text: str) -> None:
        trap = None
        if text:
            self._said += 1
            if text == "BEGIN":
                self._transaction.clear()
            trap = self._proxy._trapped(Seen(self._number, self._said, text, tuple(self._transaction)))
            self._transaction.append(text)
            if text in _ENDS:
                self._transaction.clear()
        if trap is not None and not trap.after:
            self.cut()
            trap.sprung.set()
            raise ConnectionAbortedError
        self._closing = trap
        self._deaf = self._deaf or self._proxy._swallowed("up")
        if not self._deaf and self._server is not None:
            self._server.sendall(part)

    def _down(self) -> None:
        assert self._server is not None
        try:
            while data := self._server.recv(_CHUNK):
                self._hear(data)
        except OSError:
            pass
        finally:
            self.cut()
            self._server.close()

    def _hear(self, data: bytes) -> None:
        if self._closing is not None:
            if self._answered.send(data):
                self.cut()
                self._closing.sprung.set()
        elif self._dumb or self._proxy._swallowed("down"):
            self._dumb = True
        else:
            self._client.sendall(data)


class _PostgreSQL:
    """Cuts the stream of a PostgreSQL client into units: to each Sync or simple query."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun = False
        self._known: dict[bytes, str] = {}
        self._unit = b""
        self._text = ""

    def feed(self, data: bytes) -> Iterator[tuple[bytes, str]]:
        """What is to be passed on, with the text of the unit that it is, or none where it is no unit."""
        self._rest += data
        while message := self._message():
            if not self._begun:
                yield message, self._greet(message)
                continue
            kind = message[:1]
            self._unit += message
            self._text = self._words(kind, message[5:]) or self._text
            if kind in b"SQXpdcf":
                unit, text = self._unit, self._text
                self._unit, self._text = b"", ""
                yield unit, text

    def answered(self) -> Generator[bool, bytes, None]:
        """Told what the server says; whether the answer is complete."""
        rest, done = b"", False
        while True:
            rest += yield done
            while len(rest) >= 5 and len(rest) > (length := struct.unpack(">I", rest[1:5])[0]):
                done = done or rest[:1] == b"Z"
                rest = rest[length + 1 :]

    def _message(self) -> bytes:
        head = 5 if self._begun else 4
        if len(self._rest) < head:
            return b""
        length = struct.unpack(">I", self._rest[head - 4 : head])[0] + head - 4
        if len(self._rest) < length:
            return b""
        message, self._rest = self._rest[:length], self._rest[length:]
        return message

    def _greet(self, message: bytes) -> str:
        if struct.unpack(">I", message[4:8])[0] in _SSL_AND_GSS:
            return ""
        self._begun = True
        return "(connect)"

    def _words(self, kind: bytes, body: bytes) -> str:
        if kind == b"Q":
            return body.rstrip(b"\0").decode(errors="replace")
        if kind == b"P":
            name, _, rest = body.partition(b"\0")
            self._known[name] = rest.partition(b"\0")[0].decode(errors="replace")
        if kind == b"B":
            return self._known.get(body.split(b"\0", 2)[1], "")
        return ""


class _MySQL:
    """Cuts the stream of a MariaDB or MySQL client into units: its packets, where a command begins with number 0."""

    def __init__(self) -> None:
        self._rest = b""
        self._greeted = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, str]]:
        """What is to be passed on, with the text of the unit that it is, or none where it is no unit."""
        self._rest += data
        while len(self._rest) >= 4:
            length = int.from_bytes(self._rest[:3], "little") + 4
            if len(self._rest) < length:
                return
            packet, self._rest = self._rest[:length], self._rest[length:]
            yield packet, self._words(packet)

    def answered(self) -> Generator[bool, bytes, None]:
        """Told what the server says; the first word of it comes when the work is done."""
        yield False
        while True:
            yield True

    def _words(self, packet: bytes) -> str:
        if not self._greeted:
            self._greeted = True
            return "(connect)"
        if packet[3] == 0 and packet[4:5] == b"\x03":
            return packet[5:].decode(errors="replace")
        return ""
