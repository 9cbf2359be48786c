"""The screens for people: what a view found, laid out. They decide nothing and read nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from rich.text import Text

from jobwarden.cli import output
from jobwarden.cli.output import duration, fields, heading, instant, say, since, table
from jobwarden.domain.claims import Purpose
from jobwarden.domain.states import JobState
from jobwarden.domain.words import size
from jobwarden.views.explain import Explanation
from jobwarden.views.fleet import Flight, WorkerLine
from jobwarden.views.ids import short
from jobwarden.views.jobs import AttemptView, EventView, JobLine, JobView, Page
from jobwarden.views.logs import LogLine
from jobwarden.views.overview import LaneLine, Overview
from jobwarden.views.processes import Card

_LEVELS = {"debug": "dim", "warning": "yellow", "error": "red", "critical": "bold red"}
_ID, _DASHES = 36, 4
_STARTERS = ("jobwarden -A module:app work", "jobwarden -A module:app enqueue NAME --params '{...}'")


def status(database: str, revision: str, found: Overview, silent_after: float) -> None:
    """One screen: lanes, workers, what runs, what needs a person, and where to go on."""
    fields([("database", database), ("revision", revision), ("clock", instant(found.now))])
    heading("Jobs by lane")
    lanes(found.lanes)
    heading("Workers")
    workers(found.workers, silent_after)
    if found.running:
        heading("Running")
        _running(found.running)
    if found.attention:
        heading("Failed or parked, newest first")
        _job_table(found.attention, found)
    heading("Next")
    for step in _next(found):
        say(f"  {step}")


def _lane_name(lane: LaneLine) -> str:
    most = f" (at most {lane.max_running:,})" if lane.max_running is not None else ""
    return lane.name + (" (paused)" if lane.paused else "") + most


def lanes(found: Sequence[LaneLine]) -> None:
    """Lanes by states."""
    if not found:
        say("No job yet.")
        return
    used = [state.value for state in JobState if any(lane.states.get(state) for lane in found)]
    rows: list[list[output.Cell]] = [
        [_lane_name(lane), *(str(lane.states.get(state, 0)) for state in used)] for lane in found
    ]
    words = [str(output.state(state)) for state in used]
    table(["lane", *words], rows, right=words)


def workers(found: Sequence[WorkerLine], silent_after: float) -> None:
    """Daemons; one that says it lives and has not been heard of is shown as silent."""
    if not found:
        say("None: start one with `jobwarden -A module:app work`.")
        return
    rows: list[list[output.Cell]] = [
        [
            short(worker.id),
            worker.role,
            output.state(_worker_state(worker, silent_after)),
            worker.hostname or worker.host_id[:8],
            str(worker.pid or ""),
            f"{worker.current_load}/{worker.capacity or 0}",
            worker.assurance or "",
            duration(worker.heartbeat_age),
            worker.last_signal or "",
        ]
        for worker in found
    ]
    headings = ("worker", "role", "state", "host", "pid", "load", "grade", "last beat", "signal")
    table(headings, rows, right=("pid", "load", "last beat"))


def ps(found: Sequence[Flight]) -> None:
    """Attempts in flight with their processes."""
    if not found:
        say("Nothing runs.")
        return
    rows: list[list[output.Cell]] = [
        [
            short(flight.job_id),
            flight.label or flight.job,
            output.state(flight.state),
            output.state(str(flight.seen or "elsewhere")),
            str(flight.child_pid or ""),
            flight.hostname or "",
            duration(flight.age),
            duration(flight.cpu),
            size(flight.rss),
            _wish(flight) or output.progress(flight.progress),
        ]
        for flight in found
    ]
    headings = ("job", "name", "state", "process", "pid", "host", "age", "cpu", "memory", "progress")
    table(headings, rows, right=("pid", "age", "cpu", "memory"))


def jobs(page: Page) -> None:
    """A page of jobs."""
    if not page.jobs:
        say("No such job.")
        return
    _job_table(page.jobs, page)
    if page.next:
        say(f"more: --before {page.next}")


def show(job: JobView) -> None:
    """One job, whole."""
    _head(job)
    if job.last_error and job.state != JobState.SUCCEEDED:
        heading("Last error")
        _error(job.last_error)
    heading("Attempts")
    for attempt in job.attempts:
        _attempt(attempt)
    if not job.attempts:
        say("None yet.")
    heading("Ledger")
    ledger(job.events, job)
    if job.artifacts:
        heading("Artifacts")
        rows = [[a.name, a.type, size(a.size_bytes), a.content_type or "", a.path or ""] for a in job.artifacts]
        table(("name", "type", "size", "content", "path"), rows, right=("size",))
    if job.state == JobState.SUCCEEDED:
        heading("Result")
        say(_pretty(job.result))
    say()
    say(f"logs: jobwarden logs {job.id}")


def ledger(events: Sequence[EventView], job: JobView) -> None:
    """Every move of a job: when, what, by whom, why, on what evidence."""
    numbers = {attempt.id: attempt.attempt_number for attempt in job.attempts}
    for event in events:
        number = numbers.get(event.attempt_id or "")
        by = f"{event.actor_type} {_actor(event.actor_id)}".rstrip()
        attempt = f" #{number}" if number else ""
        say(Text.assemble(f"{instant(event.created_at)}{attempt}  ", (_move(event), "bold"), f"  by {by}"))
        if event.reason:
            say(f"    because {event.reason}")
        if event.context:
            say(Text(f"    evidence {output.compact(event.context)}", style="dim"))


def _actor(actor_id: str | None) -> str:
    """A worker's id shortened as everywhere, anybody else's name whole."""
    if actor_id is None:
        return ""
    return short(actor_id) if len(actor_id) == _ID and actor_id.count("-") == _DASHES else actor_id


def explanation(found: Explanation) -> None:
    """Why a job is not running, and what can be done."""
    say(Text.assemble(f"{found.id}  {found.job}  ", output.state(found.state)))
    for reason in found.reasons:
        say(f"  {reason}")
    for step in found.next:
        say(f"  > {step}")


def log_line(line: LogLine) -> None:
    """One line of a job."""
    step = f"[{line.step}] " if line.step else ""
    context = f"  {output.compact(line.context)}" if line.context else ""
    head = f"{line.ts:%H:%M:%S}.{line.ts.microsecond // 1000:03d} #{line.attempt_number or '?'} {line.level:<8}"
    say(Text(f"{head} {step}{line.message}{context}", style=_LEVELS.get(line.level, "")))


def process(card: Card) -> None:
    """A process as it was seen, what is below it, and its stack."""
    say(output.state(card.seen.value), f" by {card.by}")
    fields(
        (
            ("command", card.command),
            ("cpu", None if card.cpu is None else duration(card.cpu)),
            ("memory", None if card.rss is None else size(card.rss)),
            ("threads", None if card.threads is None else str(card.threads)),
            ("open files", None if card.open_files is None else str(card.open_files)),
            ("parents", " < ".join(f"{one.pid} {one.command}" for one in card.parents) or None),
        )
    )
    if len(card.tree) > 1:
        heading("all of it that can act")
        rows = [(str(one.pid), str(one.parent), one.command, one.state, size(one.rss)) for one in card.tree]
        table(("pid", "parent", "command", "state", "memory"), rows, right=("pid", "parent", "memory"))
    heading("stack")
    for line in (card.stack or card.unable or "").splitlines():
        say(line)


def _next(found: Overview) -> Iterable[str]:
    yield from (() if found.workers else _STARTERS[:1])
    yield from (() if found.states else _STARTERS[1:])
    if found.running:
        yield "jobwarden ps"
        yield f"jobwarden logs {short(found.running[-1].job_id)} -f"
    if found.attention:
        yield f"jobwarden show {short(found.attention[0].id)}"
    yield "jobwarden jobs"


def _running(found: Sequence[Flight]) -> None:
    rows = [
        [
            short(flight.job_id),
            flight.label or flight.job,
            str(flight.child_pid or ""),
            duration(flight.age),
            output.progress(flight.progress),
        ]
        for flight in found
    ]
    table(("job", "name", "pid", "age", "progress"), rows, right=("pid", "age"))


def _job_table(found: Sequence[JobLine], page: Page | Overview) -> None:
    rows: list[list[output.Cell]] = [
        [
            job.id,
            output.state(job.state),
            job.job,
            job.label or "",
            job.lane,
            f"{job.attempt_count}/{job.max_attempts}",
            since(job.created_at, page.now),
            job.wait_reason or "",
        ]
        for job in found
    ]
    headings = ("id", "state", "job", "label", "lane", "attempts", "age", "reason")
    table(headings, rows, right=("attempts", "age"))


def _head(job: JobView) -> None:
    wish = f"{job.cancel_mode} asked by {job.cancel_actor or '?'}: {job.cancel_reason or '-'}"
    took = job.finished_at and job.started_at and (job.finished_at - job.started_at).total_seconds()
    fields(
        [
            ("id", job.id),
            ("job", job.job),
            ("label", job.label),
            ("state", output.state(job.state)),
            ("reason", job.wait_reason),
            ("wish", wish if job.cancel_requested else None),
            ("lane", f"{job.lane}, priority {job.priority}"),
            ("idempotent", "yes" if job.idempotent else "no"),
            ("attempts", f"{job.attempt_count} of {job.max_attempts}{_unspent(job)}"),
            ("params", output.compact(job.params)),
            ("tags", " ".join(f"{name}={value}" for name, value in job.tags.items()) or None),
            ("batch", f"{job.batch.id} {job.batch.name or ''}".rstrip() if job.batch else None),
            ("key", job.idempotency_key),
            ("created", f"{instant(job.created_at)}{f' by {job.created_by}' if job.created_by else ''}"),
            ("due", instant(job.available_at) if job.available_at > job.now else None),
            ("started", instant(job.started_at)),
            ("finished", f"{instant(job.finished_at)}, {duration(took)} after it began" if took else None),
        ]
    )


def _unspent(job: JobView) -> str:
    return f", {job.unspent_count} of them not counted" if job.unspent_count else ""


def _attempt(attempt: AttemptView) -> None:
    say(Text.assemble((f"#{attempt.attempt_number} ", "bold"), output.state(attempt.state), f"  {attempt.id}"))
    child = f"pid {attempt.child_pid}, start time {attempt.child_start_time}"
    if attempt.child_inode:
        child += f", inode {attempt.child_inode}"
    supervisor = f"pid {attempt.supervisor_pid}, start time {attempt.supervisor_start_time}"
    usage = f"{(attempt.user_ms or 0) / 1000:.2f}s user, {(attempt.system_ms or 0) / 1000:.2f}s system"
    fields(
        [
            ("  purpose", None if attempt.purpose == Purpose.RUN else "to ask its reconcile hook what a lost one did"),
            ("  process", f"{child}, nonce {attempt.proc_nonce}"),
            ("  under", f"{supervisor}, worker {attempt.worker_id}"),
            ("  on", f"{attempt.hostname} ({attempt.pid_scope}), token {attempt.fencing_token}"),
            ("  isolation", f"{attempt.isolation}{f': {attempt.isolation_reason}' * bool(attempt.isolation_reason)}"),
            ("  ended", _ending(attempt)),
            ("  took", None if attempt.duration_ms is None else duration(attempt.duration_ms / 1000)),
            ("  cost", f"{usage}, {size(attempt.peak_rss_bytes)} at most" if attempt.user_ms is not None else None),
            ("  progress", output.progress(attempt.progress) or None),
            ("  error", _error_line(attempt.error) if attempt.error else None),
        ]
    )


def _ending(attempt: AttemptView) -> str | None:
    parts = [attempt.cause or ""]
    if attempt.exit_code is not None:
        parts.append(f"exit code {attempt.exit_code}")
    if attempt.term_signal is not None:
        parts.append(f"signal {attempt.term_signal}")
    return ", ".join(part for part in parts if part) or None


def _error(error: dict[str, Any]) -> None:
    say(_error_line(error))
    if error.get("location"):
        say(f"  at {error['location']}")
    for line in str(error.get("trace") or "").splitlines():
        say(f"  {line}")


def _error_line(error: dict[str, Any]) -> str:
    return f"{error.get('class', 'error')}: {error.get('message', '')}"


def _move(event: EventView) -> str:
    job = event.to_state if event.from_state in (None, event.to_state) else f"{event.from_state} → {event.to_state}"
    if event.attempt_to is None:
        return job
    attempt = f"{event.attempt_from} → {event.attempt_to}" if event.attempt_from else event.attempt_to
    return f"{job} (attempt {attempt})"


def _pretty(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _wish(flight: Flight) -> str:
    return f"{flight.cancel_mode} requested" if flight.cancel_mode else ""


def _worker_state(worker: WorkerLine, silent_after: float) -> str:
    return "silent" if worker.heartbeat_age > silent_after and worker.stopped_at is None else worker.state
