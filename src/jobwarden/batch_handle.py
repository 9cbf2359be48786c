"""The handle of a batch: what became of it, and the wait for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any, Protocol

from jobwarden.domain.states import BatchState
from jobwarden.errors import BatchUnfinished

_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.02, 1.0, 1.5


class Desk(Protocol):
    """What a handle asks; the app is one."""

    def look_at_batch(self, batch_id: str) -> Any:
        """The batch as it is now."""
        ...

    def cancel_batch(self, batch_id: str, reason: str | None = None, actor: str | None = None) -> int:
        """Call it off."""
        ...

    def hold_batch(self, batch_id: str, reason: str | None = None, actor: str | None = None) -> int:
        """Have no more of it start."""
        ...

    def release_batch(self, batch_id: str, reason: str | None = None, actor: str | None = None) -> None:
        """Let it go on."""
        ...


class BatchHandle:
    """A batch by its id. What it is asked it remembers until `refresh`."""

    def __init__(self, batch_id: str, desk: Desk) -> None:
        self.id, self._desk = batch_id, desk
        self._seen: Any = None

    def __repr__(self) -> str:
        return f"BatchHandle({self.id!r})"

    def refresh(self) -> BatchHandle:
        """Look again; raises `BatchNotFound`."""
        self._seen = self._desk.look_at_batch(self.id)
        return self

    @property
    def state(self) -> BatchState:
        """What it has come to."""
        return BatchState(self._last().state)

    @property
    def counts(self) -> Any:
        """Its members by bucket: total, pending, running, succeeded, failed, canceled."""
        return self._last().counts

    @property
    def finished(self) -> bool:
        """Whether every member has ended and the verdict stands."""
        return self._last().finished_at is not None

    @property
    def summary(self) -> dict[str, Any] | None:
        """Verdict, counts and duration, once it is finished."""
        found: dict[str, Any] | None = self._last().summary
        return found

    def wait(self, timeout: float | None = None) -> BatchHandle:
        """Wait until every member has ended. Raises `BatchUnfinished` after ``timeout`` seconds."""
        for pause in self._pauses(timeout):
            if self.refresh().finished:
                break
            time.sleep(pause)
        return self

    async def await_(self, timeout: float | None = None) -> BatchHandle:  # noqa: ASYNC109 - the twin of wait
        """`wait` for async code: looks from a thread, pauses in the loop."""
        for pause in self._pauses(timeout):
            if (await asyncio.to_thread(self.refresh)).finished:
                break
            await asyncio.sleep(pause)
        return self

    def cancel(self, reason: str | None = None, actor: str | None = None) -> BatchHandle:
        """Call it off with all of its members. Raises `WrongBatchState` if it is over."""
        self._desk.cancel_batch(self.id, reason, actor)
        self._seen = None
        return self

    def hold(self, reason: str | None = None, actor: str | None = None) -> BatchHandle:
        """Have no member start until `release`; who runs goes on. Raises `WrongBatchState` if it is over."""
        self._desk.hold_batch(self.id, reason, actor)
        self._seen = None
        return self

    def release(self, reason: str | None = None, actor: str | None = None) -> BatchHandle:
        """Let it go on. Raises `WrongBatchState` if it is not held."""
        self._desk.release_batch(self.id, reason, actor)
        self._seen = None
        return self

    @property
    def held(self) -> bool:
        """Whether somebody holds it."""
        return self._last().held_at is not None

    def _last(self) -> Any:
        if self._seen is None:
            self.refresh()
        return self._seen

    def _pauses(self, timeout: float | None) -> Iterator[float]:
        begun, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            left = None if timeout is None else begun + timeout - time.monotonic()
            yield pause if left is None else max(0.0, min(pause, left))
            if left is not None and left <= 0:
                raise BatchUnfinished(id=self.id, state=self.state.value, seconds=timeout)
            pause = min(_LONGEST_PAUSE, pause * _GROWTH)
