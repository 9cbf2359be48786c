"""Death certificates: for each attempt that is over, of what it ended, on what evidence, and who decided what then.

All of it stands in the ledger; here it is put together from the row that ended the attempt and from its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from jobwarden.domain.states import IN_FLIGHT
from jobwarden.views.jobs import AttemptView, EventView, JobView

#: What a certificate has under names of its own.
_SHOWN = frozenset({"token", "cause", "exit_code", "signal"})


@dataclass(frozen=True, slots=True)
class Certificate:
    """One attempt's end. ``became`` is the job's state by it, ``why`` the reason that was given, ``by`` who gave it.

    ``token`` is the fencing token that was valid until then, ``token_after`` the one of the next attempt (None: there
    is none); nothing that still writes with the former is taken. ``decided`` is what a person made of it later.
    """

    at: datetime
    cause: str | None
    exit_code: int | None
    term_signal: int | None
    evidence: dict[str, Any]
    became: str
    why: str | None
    actor_type: str
    actor_id: str | None
    token: int
    token_after: int | None
    decided: EventView | None


def certificates(job: JobView) -> dict[str, Certificate]:
    """Of all attempts that are over, by the attempt's id."""
    found = {}
    for place, attempt in enumerate(job.attempts):
        if (end := _end(job.events, attempt)) is not None:
            following = job.attempts[place + 1] if place + 1 < len(job.attempts) else None
            found[attempt.id] = _certificate(job.events, attempt, end, following)
    return found


def _certificate(
    events: Sequence[EventView], attempt: AttemptView, end: EventView, following: AttemptView | None
) -> Certificate:
    later = (event for event in events if event.id > end.id and (following is None or event.attempt_id != following.id))
    decided = next((event for event in later if event.actor_type == "operator" and event.level == "job"), None)
    if following is not None and decided is not None and decided.created_at > following.created_at:
        decided = None
    return Certificate(
        at=end.created_at,
        cause=attempt.cause,
        exit_code=attempt.exit_code,
        term_signal=attempt.term_signal,
        evidence={
            name: value for name, value in (end.context or {}).items() if name not in _SHOWN and value is not None
        },
        became=end.to_state,
        why=end.reason,
        actor_type=end.actor_type,
        actor_id=end.actor_id,
        token=attempt.fencing_token,
        token_after=following.fencing_token if following is not None else None,
        decided=decided,
    )


def _end(events: Sequence[EventView], attempt: AttemptView) -> EventView | None:
    """The row that ended the attempt."""
    in_flight = {state.value for state in IN_FLIGHT}
    ends = (
        event
        for event in events
        if event.attempt_id == attempt.id and event.attempt_from in in_flight and event.attempt_to not in in_flight
    )
    return next((event for event in ends if event.attempt_to is not None), None)
