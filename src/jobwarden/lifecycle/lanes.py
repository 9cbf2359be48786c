"""Lanes as people steer them: pause, resume, and how many of one may run at once; `store.lanes.EVERY` means all.

A pause stops claims at once, and what runs goes on. A cap holds from the moment it is set: what runs already goes on,
and nothing begins until there is room. Each change is a ledger row, in its own transaction.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from jobwarden.domain.audit import Action
from jobwarden.domain.orders import By
from jobwarden.errors import InvalidOption, WrongLaneState
from jobwarden.store import lanes
from jobwarden.store.audit import record_act
from jobwarden.store.database import Transaction, now
from jobwarden.store.ledger import note

_LONGEST = 100
_MOST = 1_000_000
_OPEN, _PAUSED = "open", "paused"
_ACTIONS = {"pause": Action.LANE_PAUSE, "resume": Action.LANE_RESUME, "cap": Action.LANE_CAP}


@dataclass(frozen=True, slots=True)
class LaneState:
    """What was said of a lane: whether it is paused, and how many may run at once (None: as many as find a seat)."""

    name: str
    paused: bool
    max_running: int | None


def pause(transaction: Transaction, name: str, by: By) -> LaneState:
    """Have nothing more of the lane begin. Raises `WrongLaneState` if it is paused, `InvalidOption` for no name."""
    row = _locked(transaction, name)
    if row.paused:
        by_whom = f" by {row.paused_by}" if row.paused_by else ""
        raise WrongLaneState(name=name, state=f"paused{by_whom}", action="paused", way_out="resume it first")
    given = {"paused": True, "paused_by": by.actor, "paused_reason": by.reason, "paused_at": now()}
    return _changed(transaction, row, by, "pause", given)


def resume(transaction: Transaction, name: str, by: By) -> LaneState:
    """Let it go on. Raises `WrongLaneState` if it is not paused."""
    row = _locked(transaction, name)
    if not row.paused:
        raise WrongLaneState(name=name, state="not paused", action="resumed", way_out="pause it first")
    given = {"paused": False, "paused_by": None, "paused_reason": None, "paused_at": None}
    return _changed(transaction, row, by, "resume", given)


def cap(transaction: Transaction, name: str, most: int | None, by: By) -> LaneState:
    """Let at most so many jobs of the lane run at once, on all hosts together; None: no limit.

    Raises `InvalidOption` for what is no number from 0 to 1,000,000.
    """
    whole = most is None or (isinstance(most, int) and not isinstance(most, bool) and 0 <= most <= _MOST)
    if not whole:
        raise InvalidOption(option="cap", value=most, job=name, rule=f"a whole number from 0 to {_MOST:,}, or none")
    return _changed(transaction, _locked(transaction, name), by, "cap", {"max_running": most})


def _locked(transaction: Transaction, name: str) -> Any:
    fits = isinstance(name, str) and name.strip() and len(name) <= _LONGEST and "\0" not in name
    if not fits:
        raise InvalidOption(option="lane", value=name, job="lanes", rule=f"a text of 1 to {_LONGEST} characters")
    return lanes.lock(transaction, name)


def _changed(transaction: Transaction, row: Any, by: By, wish: str, given: dict[str, Any]) -> LaneState:
    lanes.store(transaction, row.name, given)
    before = LaneState(row.name, bool(row.paused), row.max_running)
    after = LaneState(row.name, given.get("paused", before.paused), given.get("max_running", before.max_running))
    context = {"lane": row.name, "wish": wish, "before": _said(before), "after": _said(after)}
    state = _PAUSED if after.paused else _OPEN
    said = {"level": "lane", "state": state, "reason": by.reason, "context": json.dumps(context)}
    note(transaction, [said], by.kind, by.actor)
    record_act(transaction, _ACTIONS[wish], row.name, by, _said(before), _said(after))
    return after


def _said(state: LaneState) -> dict[str, Any]:
    return {"paused": state.paused, "max_running": state.max_running}
