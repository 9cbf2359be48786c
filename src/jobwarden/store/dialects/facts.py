"""The facts that the store asks of an engine. Subclasses state only what differs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy.engine import URL


class Fault(Enum):
    """What kind of database error this is, and so what to do about it."""

    LOST = "the connection is gone or the server is busy: connect again and repeat"
    CONFLICT = "another transaction won: repeat after a short random pause"
    READ_ONLY = "the server takes no writes now: wait and repeat"
    DATA = "a value was refused: repeat without the row at fault"
    OTHER = "a mistake: repeating will not help"

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed later."""
        return self in (Fault.LOST, Fault.CONFLICT, Fault.READ_ONLY)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long things may take, in seconds: a statement, connecting, and for those in haste how long their transactions
    may rest while the server waits for them, and wait for a lock."""

    statement: float
    connect: float
    haste: float | None = None

    @property
    def answer(self) -> float:
        """Until a call is given up here that the server, were it there, would have ended itself."""
        return self.statement + 2.0


@dataclass(frozen=True, slots=True)
class Server:
    """What answered at the other end: product name, version, and whether it may be written to."""

    product: str
    version: tuple[int, ...]
    writable: bool = True

    def __str__(self) -> str:
        return f"{self.product} {'.'.join(map(str, self.version))}"


class Facts:
    """One engine's facts, with the defaults of a client-server engine."""

    name: str
    drivers: Mapping[str, str] = {}  # the driver chosen where the URL names none, and the extra that brings it
    oldest: Mapping[str, tuple[int, ...]] = {}  # product -> the oldest version that has all we need
    skips_locked: bool = True  # SELECT ... FOR UPDATE SKIP LOCKED
    chains_writes: bool = False  # several writes in one statement, as data-modifying CTEs
    returns_updates: bool = False  # UPDATE ... RETURNING
    notifies: bool = False  # LISTEN and NOTIFY
    pours_rows: bool = False  # many rows streamed into a table as text, past the planner
    orders_bytes: bool = True  # texts are in the order of their bytes, so that those with one beginning stand together
    recurses_along_indexes: bool = True  # the next greater value is looked up in an index, also within a recursion
    compares_entries: bool = False  # a comparison of several columns at once walks along their index
    index_hint: str | None = None  # has a statement walk along the index that is named
    one_machine: bool = False  # the data are a local file

    def connect_args(self, limits: Limits, pooled: bool) -> dict[str, Any]:
        """Driver arguments that give every call a deadline; ``pooled``: a transaction pooler is between."""
        raise NotImplementedError

    def connect(self, driver: Any, limits: Limits, *args: Any, **named: Any) -> Any:
        """A raw connection over which no call waits for ever."""
        return driver.connect(*args, **named)

    def descriptor(self, raw: Any) -> int | None:
        """The descriptor of a raw connection's socket, where it has one that can be told."""
        return None

    def engine_options(self) -> dict[str, Any]:
        """Further arguments for create_engine."""
        return {}

    def prepare(self, raw: Any, durability: str, limits: Limits) -> None:
        """Set a new raw connection up; ``durability`` is the synchronous level where the engine is embedded."""

    def server(self, connection: Any) -> Server:
        """Ask what the server is."""
        raise NotImplementedError

    def fault(self, error: BaseException) -> Fault:
        """Class an error of the driver."""
        raise NotImplementedError

    def pour(self, raw: Any, sql_name: str, columns: Iterable[str], lines: Iterable[str]) -> None:
        """Stream lines of `field` texts, each ended by a newline, into a table over a raw connection."""
        raise NotImplementedError

    def field(self, value: str | float | bool | None) -> str:
        """A value as `pour` takes it."""
        raise NotImplementedError

    def make_schema(self, connection: Any, name: str) -> None:
        """Make the schema of the tables if it is not there, where the engine has schemas inside a database."""

    def lock_schema(self, connection: Any, name: str) -> None:
        """Wait until nobody else migrates; held until `unlock_schema` or the end of the transaction."""

    def unlock_schema(self, connection: Any, name: str) -> None:
        """Let the next one migrate."""

    def listen(self, raw: Any, channel: str) -> Any:
        """A listener over a raw connection of its own: ``fileno()``, ``heard()`` and ``close()``."""
        raise NotImplementedError

    def write_lock(self, url: URL) -> tuple[str, int] | None:
        """The file, and the byte of it, on which whoever writes holds a lock of the kernel, where there is one."""
        return None

    def missing(self, url: URL) -> str | None:
        """Why there is no database at this URL, if that can be told without connecting."""
        return None


def version_of(text: str) -> tuple[int, ...]:
    """The leading numbers of a version text: ``"10.11.4-MariaDB"`` gives (10, 11, 4)."""
    numbers: list[int] = []
    for part in text.split("-", maxsplit=1)[0].split("."):
        digits = "".join(character for character in part if character.isdigit())
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
