"""The handle of one job: its id, and what the database says of it when asked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, overload

from jobwarden.domain.draft import Enqueued
from jobwarden.domain.orders import Order, Verb
from jobwarden.domain.states import ENDED, JobState
from jobwarden.errors import WaitTimeout

_SETTLED = ENDED | {JobState.ORPHANED}
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.02, 1.0, 1.5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the database said of a job at one moment; ``result`` and ``error`` are JSON data."""

    state: JobState
    result: Any = None
    error: dict[str, Any] | None = None


class Desk(Protocol):
    """Where a handle asks."""

    def look(self, job_id: str) -> Snapshot:
        """The job as it is now; raises `JobNotFound`."""
        ...

    def order(self, order: Order, job_id: str) -> JobState:
        """Carry out what a person asks of the job; raises what refuses it."""
        ...


class JobHandle:
    """One job. ``created`` is False where an earlier job with the same idempotency key was found instead.

    `state`, `result` and `error` are as of the last look; the first use looks by itself, `refresh` looks again.
    """

    __slots__ = ("_desk", "_seen", "created", "id")

    def __init__(self, job_id: str, created: bool, desk: Desk) -> None:
        self.id, self.created, self._desk = job_id, created, desk
        self._seen: Snapshot | None = None

    def __repr__(self) -> str:
        return f"JobHandle({self.id!r}, {self._seen.state.value if self._seen else 'not looked at yet'})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobHandle) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    @property
    def state(self) -> JobState:
        """Where the job is in its life."""
        return self._last().state

    @property
    def result(self) -> Any:
        """What the handler returned, as JSON data; None until the job has succeeded."""
        return self._last().result

    @property
    def error(self) -> dict[str, Any] | None:
        """The last failure: class, message, location, trace and previous; None if there was none."""
        return self._last().error

    def refresh(self) -> JobHandle:
        """Look again."""
        self._seen = self._desk.look(self.id)
        return self

    def wait(self, timeout: float | None = None) -> JobHandle:
        """Return when the job has ended, or waits for a person (``orphaned``); None waits for ever.

        Raises `WaitTimeout` after ``timeout`` seconds. Inside a transaction that joined this job, commit first.
        """
        for pause in self._pauses(timeout):
            if self.refresh().state in _SETTLED:
                break
            time.sleep(pause)
        return self

    async def await_(self, timeout: float | None = None) -> JobHandle:  # noqa: ASYNC109 - the twin of wait
        """`wait` for async code: looks from a thread, pauses in the loop."""
        for pause in self._pauses(timeout):
            if (await asyncio.to_thread(self.refresh)).state in _SETTLED:
                break
            await asyncio.sleep(pause)
        return self

    def cancel(self, reason: str | None = None, actor: str | None = None) -> JobHandle:
        """End the job: at once if it waits, by its worker if it runs. Raises `WrongState` if it is over."""
        return self._ordered(Order(Verb.CANCEL, reason, actor))

    def stop(self, reason: str | None = None, actor: str | None = None) -> JobHandle:
        """Ask the job to stop at its next checkpoint; one that waits is canceled. Raises `WrongState` if it is over."""
        return self._ordered(Order(Verb.STOP, reason, actor))

    def retry(
        self,
        reason: str | None = None,
        actor: str | None = None,
        *,
        force: bool = False,
        attempts: int | None = None,
    ) -> JobHandle:
        """Queue the job again that failed or is parked, with ``attempts`` more tries, or with one at least.

        Raises `WrongState`, or `ForceRequired` if it is not idempotent.
        """
        return self._ordered(Order(Verb.RETRY, reason, actor, force, attempts))

    def restart(
        self,
        reason: str | None = None,
        actor: str | None = None,
        *,
        force: bool = False,
        attempts: int | None = None,
    ) -> JobHandle:
        """`retry`, also for a job that was stopped."""
        return self._ordered(Order(Verb.RESTART, reason, actor, force, attempts))

    def _ordered(self, order: Order) -> JobHandle:
        self._desk.order(order, self.id)
        self._seen = None
        return self

    def _last(self) -> Snapshot:
        if self._seen is None:
            self._seen = self._desk.look(self.id)
        return self._seen

    def _pauses(self, timeout: float | None) -> Iterator[float]:
        """Growing pauses, one after each look; the look after the time is the last, then `WaitTimeout` is raised."""
        begun, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            left = None if timeout is None else begun + timeout - time.monotonic()
            yield pause if left is None else max(0.0, min(pause, left))
            if left is not None and left <= 0:
                raise WaitTimeout(id=self.id, state=self.state.value, seconds=timeout)
            pause = min(_LONGEST_PAUSE, pause * _GROWTH)


class Handles(Sequence[JobHandle]):
    """The handles of many jobs in the order of their calls, each made when it is asked for."""

    def __init__(self, enqueued: Sequence[Enqueued], make: Callable[[Enqueued], JobHandle]) -> None:
        self._enqueued, self._make = enqueued, make

    def __len__(self) -> int:
        return len(self._enqueued)

    def __iter__(self) -> Iterator[JobHandle]:
        return map(self._make, self._enqueued)

    @overload
    def __getitem__(self, index: int) -> JobHandle: ...
    @overload
    def __getitem__(self, index: slice) -> Handles: ...
    def __getitem__(self, index: int | slice) -> JobHandle | Handles:
        if isinstance(index, slice):
            return Handles(self._enqueued[index], self._make)
        return self._make(self._enqueued[index])

    @property
    def ids(self) -> list[str]:
        """The jobs' ids, without making handles."""
        return [enqueued.id for enqueued in self._enqueued]

    @property
    def created(self) -> int:
        """How many of them these calls made."""
        return sum(enqueued.created for enqueued in self._enqueued)
