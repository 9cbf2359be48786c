"""Schedules for people: the list, and one with its history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from jobwarden.cli import output
from jobwarden.cli.output import compact, duration, fields, heading, instant, say, since, table
from jobwarden.views.ids import short
from jobwarden.views.schedules import RunLine, ScheduleLine


def schedules(found: Sequence[ScheduleLine], now: datetime) -> None:
    """All schedules."""
    if not found:
        say("No schedule. Declare one in the application, or make one: jobwarden schedule-put.")
        return
    rows: list[list[output.Cell]] = [
        [line.name, line.job, _when(line), _due(line, now), _last(line.last, now)] for line in found
    ]
    table(["schedule", "job", "when", "due next", "last run"], rows)
    for line in found:
        if line.last_error:
            say(f"{line.name}: {line.last_error}")


def schedule(line: ScheduleLine, runs: Sequence[RunLine], now: datetime) -> None:
    """One schedule."""
    window = line.catch_up_window_sec
    missed = line.missed_policy + (f", not older than {duration(window)}" if window is not None else "")
    missed += f", {line.max_catch_up} at most" if line.max_catch_up is not None else ""
    fields(
        [
            ("schedule", line.name),
            ("job", line.job),
            ("params", compact(line.params) if line.params else None),
            ("when", _when(line)),
            ("due next", _due(line, now)),
            ("from", instant(line.starts_at)),
            ("until", instant(line.ends_at)),
            ("not on", ", ".join(line.excluded) if line.excluded else None),
            ("jitter", duration(line.jitter_sec) if line.jitter_sec else None),
            ("missed", missed),
            ("overlap", line.overlap_policy),
            ("lane", line.lane),
            ("tags", compact(line.tags) if line.tags else None),
            ("defined", f"in the code of {line.owner}" if line.source == "code" else "at run time"),
            ("wrong", line.last_error),
        ]
    )
    if not runs:
        return
    heading("Runs")
    rows: list[list[output.Cell]] = [
        [
            instant(run.occurrence_time) or "",
            run.action + (f" ({run.number} of them)" if run.number > 1 else ""),
            short(run.job_id) if run.job_id else "",
            output.state(run.state) if run.state else "",
            run.reason or "",
        ]
        for run in runs
    ]
    table(["occurrence", "action", "job", "state", "because"], rows)


def _when(line: ScheduleLine) -> str:
    return line.when if line.timezone == "UTC" or line.kind == "one_time" else f"{line.when} ({line.timezone})"


def _due(line: ScheduleLine, now: datetime) -> str:
    if not line.enabled:
        return "disabled"
    if line.next_due_at is None:
        return "never again"
    left = (line.next_due_at - now).total_seconds()
    return f"in {duration(left)}" if left > 0 else f"now, for {duration(-left)}"


def _last(run: RunLine | None, now: datetime) -> output.Cell:
    if run is None:
        return ""
    if run.state is None:
        return f"{run.action} {since(run.occurrence_time, now)} ago"
    return output.state(run.state).append(f" {since(run.occurrence_time, now)} ago")
