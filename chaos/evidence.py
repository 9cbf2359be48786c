"""What the checker looks at, as plain values: ledger and state from the database, the journal, and what was done.

All instants are CLOCK_BOOTTIME in nanoseconds: the database's are brought there by how far both clocks were apart when
they were read together, which was done all along.
"""

from __future__ import annotations

import bisect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.journal import Line

SECOND = 1_000_000_000
FOREVER = 1 << 62


@dataclass(slots=True)
class Injury:
    """What a fault did: ``host`` is empty where it hit everybody; process facts are 0 where it hit no single one."""

    number: int
    what: str
    host: str = ""
    role: str = ""
    begun: int = 0
    ended: int = FOREVER
    scope: int = 0
    pid: int = 0
    start_time: int = 0
    nonce: str = ""
    title: str = ""


@dataclass(slots=True)
class Life:
    """One life of a host, between two starts of its first process; ``scope`` is its PID namespace's inode."""

    host: str
    scope: int
    begun: int
    ended: int = FOREVER


@dataclass(frozen=True, slots=True)
class Job:
    """A job's row."""

    id: str
    kind: str
    state: str
    idempotent: bool
    attempt_count: int = 0
    current_attempt: str | None = None
    batch: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Graph:
    """A batch's row; ``moves`` are its states in their order, each with the ledger row that brought it."""

    id: str
    state: str
    finished: bool
    policy: str
    threshold: float | None = None
    moves: Sequence[tuple[int, str]] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """``job`` waits for ``upstream`` to succeed, or with ``any_end`` to end."""

    job: str
    upstream: str
    any_end: bool


@dataclass(frozen=True, slots=True)
class Hold:
    """A batch that somebody held: nothing of it may start between these instants."""

    batch: str
    begun: int
    ended: int = FOREVER


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt's row; ``scope`` is the inode of its PID namespace."""

    id: str
    job: str
    number: int
    state: str
    token: int
    created: int
    finished: int | None = None
    scope: int = 0
    pid: int = 0
    start_time: int = 0
    nonce: str = ""
    isolation: str = "fork"
    purpose: str = "run"


@dataclass(frozen=True, slots=True)
class Event:
    """A ledger row."""

    id: int
    job: str
    at: int
    to_state: str
    from_state: str | None = None
    attempt: str | None = None
    level: str = "job"
    attempt_from: str | None = None
    attempt_to: str | None = None
    actor: str = "system"
    reason: str | None = None
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process that was alive after everything had settled, and the nonce it carries."""

    scope: int
    pid: int
    start_time: int
    nonce: str
    title: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """How the campaign was set up: seconds of the fence's and the death budget; how far instants may be off.

    ``settle`` is how many seconds everything had to settle after the last fault, ``took`` how many it took.
    """

    fence: float
    budget: float
    settle: float
    took: float
    blur: float = 0.05


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything of one campaign; ``findings`` is what the engine's own health check says at the end, by id.

    ``planned`` are the acknowledged batches by id: of each member its key, and the keys of those that must succeed and
    of those that must end before it starts.
    """

    acknowledged: Sequence[str]
    jobs: Sequence[Job]
    attempts: Sequence[Attempt]
    events: Sequence[Event]
    lines: Sequence[Line]
    injuries: Sequence[Injury]
    lives: Sequence[Life]
    leftovers: Sequence[Leftover]
    bounds: Bounds
    counters: Mapping[str, int] | None = None
    findings: Sequence[tuple[str, str]] = ()
    graphs: Sequence[Graph] = ()
    edges: Sequence[Edge] = ()
    planned: Mapping[str, Sequence[tuple[str, Sequence[str], Sequence[str]]]] = field(default_factory=dict)
    holds: Sequence[Hold] = ()


@dataclass(slots=True)
class Clocks:
    """The wall clock beside the boot clock, read together again and again."""

    walls: list[int] = field(default_factory=list)
    boots: list[int] = field(default_factory=list)

    def note(self, wall: int, boot: int) -> None:
        """One reading of both."""
        self.walls.append(wall)
        self.boots.append(boot)

    def boot(self, wall: int) -> int:
        """The boot clock at that moment of the wall clock, by the reading nearest to it."""
        place = bisect.bisect_left(self.walls, wall)
        near = min(place, len(self.walls) - 1)
        return wall - (self.walls[near] - self.boots[near])

    @property
    def drift(self) -> float:
        """Seconds by which both clocks went apart during the campaign."""
        apart = [wall - boot for wall, boot in zip(self.walls, self.boots, strict=True)]
        return (max(apart) - min(apart)) / SECOND if apart else 0.0
