"""``jw.lanes``: what is done to lanes at run time, each with who and why for the ledger."""

from __future__ import annotations

from typing import Any, Protocol


class HasLaneClerk(Protocol):
    """What `Lanes` goes through."""

    @property
    def lane_clerk(self) -> Any:
        """Does what is asked, in the database."""
        ...


class Lanes:
    """Pause, resume and cap lanes; the lane ``"*"`` stands for all of them.

    Each gives what is said of the lane afterwards: ``name``, ``paused``, ``max_running``.
    """

    def __init__(self, app: HasLaneClerk) -> None:
        self._app = app

    def pause(self, lane: str, *, reason: str | None = None, actor: str | None = None) -> Any:
        """Have nothing more of a lane begin; what runs goes on. Raises `WrongLaneState` if it is paused."""
        return self._app.lane_clerk.pause(lane, reason, actor)

    def resume(self, lane: str, *, reason: str | None = None, actor: str | None = None) -> Any:
        """Let it go on. Raises `WrongLaneState` if it is not paused."""
        return self._app.lane_clerk.resume(lane, reason, actor)

    def cap(self, lane: str, most: int | None, *, reason: str | None = None, actor: str | None = None) -> Any:
        """Let at most so many jobs of it run at once, on all hosts together; None: no limit."""
        return self._app.lane_clerk.cap(lane, most, reason, actor)

    def all(self) -> Any:
        """Every lane (`views.lanes.LaneView`), by name."""
        return self._app.lane_clerk.all()
