"""Lanes on the command line: `lanes`, `pause`, `resume`, `cap`."""

from __future__ import annotations

from collections.abc import Callable

import click

from jobwarden.cli import completion, output
from jobwarden.cli.opening import Opening, told
from jobwarden.cli.operate import actor
from jobwarden.cli.output import Cell, duration, say, table
from jobwarden.cli.read import json_option
from jobwarden.domain.orders import By
from jobwarden.lifecycle import lanes as verbs
from jobwarden.lifecycle.lanes import LaneState
from jobwarden.store.database import Transaction
from jobwarden.views.lanes import LaneView, listed

_STATES = ("queued", "running", "pending", "retrying", "orphaned", "failed")
_reason = click.option("--reason", help="Why, for the ledger.")
_lane = click.argument("lane", shell_complete=completion.lanes)


@click.command()
@json_option
@click.pass_obj
def lanes(opening: Opening, as_json: bool) -> None:
    """Lanes: what waits and runs in each.

    With caps, pauses, and how long the first in line has waited; the lane * stands for all.
    """
    found = opening.read(listed)
    if as_json:
        output.as_json(found)
        return
    if not found:
        say("No lane: nothing was enqueued, and no worker lives.")
        return
    headings = ["lane", *("parked" if state == "orphaned" else state for state in _STATES), "waits", "cap", "workers"]
    table([*headings, "paused"], [_row(lane) for lane in found], right=headings[1:])


def _row(lane: LaneView) -> list[Cell]:
    waits = duration(lane.oldest) if lane.oldest is not None else ""
    cap = "" if lane.max_running is None else f"{lane.max_running:,}"
    counts = (f"{lane.states.get(state, 0):,}" for state in _STATES)
    return [lane.name, *counts, waits, cap, str(lane.workers) if lane.name != "*" else "", _paused(lane)]


def _paused(lane: LaneView) -> str:
    if not lane.paused:
        return ""
    why = f": {lane.paused_reason}" if lane.paused_reason else ""
    return f"by {lane.paused_by or 'somebody'}{why}"


@click.command()
@_lane
@_reason
@json_option
@click.pass_obj
def pause(opening: Opening, lane: str, reason: str | None, as_json: bool) -> None:
    """Have nothing more of a lane begin.

    What runs goes on. LANE may be '*': all lanes.
    """
    _do(opening, lambda transaction: verbs.pause(transaction, lane, By(actor(), reason)), as_json)


@click.command()
@_lane
@_reason
@json_option
@click.pass_obj
def resume(opening: Opening, lane: str, reason: str | None, as_json: bool) -> None:
    """Let a paused lane go on."""
    _do(opening, lambda transaction: verbs.resume(transaction, lane, By(actor(), reason)), as_json)


def _most(context: click.Context, option: click.Parameter, text: str) -> int | None:
    if text == "none":
        return None
    if not text.isdecimal() or len(text) > 9:
        raise click.BadParameter(f"{text!r} is neither a whole number nor none.")
    return int(text)


@click.command()
@_lane
@click.argument("most", callback=_most, metavar="N|none")
@_reason
@json_option
@click.pass_obj
def cap(opening: Opening, lane: str, most: int | None, reason: str | None, as_json: bool) -> None:
    """Let at most N jobs of a lane run at once.

    On all hosts together; none lifts the cap. LANE may be '*': all lanes together.
    """
    _do(opening, lambda transaction: verbs.cap(transaction, lane, most, By(actor(), reason)), as_json)


def _do(opening: Opening, work: Callable[[Transaction], LaneState], as_json: bool) -> None:
    database = opening.database()
    with told(database):
        state = database.attempt(work)
    database.announce()
    if as_json:
        output.as_json(state)
        return
    most = "" if state.max_running is None else f", at most {state.max_running:,} at once"
    click.echo(f"{state.name}: {'paused' if state.paused else 'open'}{most}")


COMMANDS = (lanes, pause, resume, cap)
