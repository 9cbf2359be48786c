"""Looks that people ask for: what the process of an attempt is and does now, and its Python stack.

A process gets some time to write its stack; meanwhile nobody waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.watch import AnyHold, Watched
from jobwarden.domain.claims import Isolation
from jobwarden.process.stack import Call
from jobwarden.store import looks
from jobwarden.views.processes import look_at

_PATIENCE = 2.0


@dataclass(slots=True)
class _Open:
    """A look that was asked for: of which attempt, and since when (monotonic) its process was asked."""

    hold: AnyHold
    watched: Watched
    asked_at: datetime
    since: float
    call: Call | None = None
    told: bool = False


class Looks:
    """Looks under way, by attempt, until their answers are committed. ``by`` names this daemon; times are monotonic
    seconds."""

    def __init__(self, outbox: Outbox, by: str) -> None:
        self._outbox, self._by = outbox, by
        self._open: dict[str, _Open] = {}

    def asked(self, hold: AnyHold, watched: Watched, asked_at: datetime, now: float) -> None:
        """Somebody asks for a look at this attempt, which the database goes on saying until it is answered."""
        if watched.id in self._open:
            return
        call = Call(hold.seat.body.process) if watched.started is not None else None
        self._open[watched.id] = _Open(hold, watched, asked_at, now, call)

    def answer(self, now: float) -> None:
        """Write down those that are done; called a few times a second."""
        for look in self._open.values():
            if not look.told and self._done(look, now):
                look.told = True
                self._tell(look)

    def _done(self, look: _Open, now: float) -> bool:
        call = look.call
        return call is None or call.unable is not None or now - look.since > _PATIENCE or call.complete

    def _tell(self, look: _Open) -> None:
        watched, body = look.watched, look.hold.seat.body
        unable, stack = "its handler has not begun", ""
        if look.call is not None:
            stack = look.call.heard()
            unable = look.call.unable or f"its process said nothing in {_PATIENCE:g} s"
            look.call.close()
        seen = look_at(body.process, watched.nonce, watched.claim.isolation is Isolation.POOL, self._by)
        found: dict[str, Any] = replace(seen, stack=stack or None, unable=None if stack else unable).dump()
        self._outbox.ask(
            lambda transaction: looks.answer(transaction, watched.id, watched.claim.token, look.asked_at, found),
            lambda _: self._forget(watched.id),
        )

    def _forget(self, attempt_id: str) -> None:
        self._open.pop(attempt_id, None)
