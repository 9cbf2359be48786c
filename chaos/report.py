"""The report of a campaign as JSON data and as Markdown, with the full story of each job that broke an invariant."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from chaos.checker import Verdict
from chaos.evidence import SECOND, Evidence
from chaos.plan import Fault, save

_STORIES = 12
_LINES = 60
_LISTED = 40


@dataclass(slots=True)
class Facts:
    """How a campaign was run and what it counted."""

    engine: str
    seed: int
    hosts: int
    settings: dict[str, Any]
    seconds: float = 0.0
    server: str = ""
    faults: dict[str, int] = field(default_factory=dict)
    signals: int = 0
    missed: int = 0
    operator: dict[str, int] = field(default_factory=dict)
    daemons: dict[str, int] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)


def data(facts: Facts, plan: Sequence[Fault], evidence: Evidence, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Everything, as JSON data."""
    return {
        "facts": asdict(facts),
        "jobs": dict(Counter(job.state for job in evidence.jobs)),
        "attempts": dict(Counter(attempt.state for attempt in evidence.attempts)),
        "kinds": dict(Counter(job.kind for job in evidence.jobs)),
        "acknowledged": len(evidence.acknowledged),
        "journal_lines": len(evidence.lines),
        "bounds": asdict(evidence.bounds),
        "verdicts": [asdict(verdict) for verdict in verdicts],
        "stories": {job: story(job, evidence) for job in _first_jobs(verdicts)},
        "plan": save(plan),
        "injuries": [asdict(injury) for injury in evidence.injuries],
    }


def story(job: str, evidence: Evidence) -> list[str]:
    """All that is known of a job, in the order of time: ledger, attempts, journal, and what hit its processes."""
    told: list[tuple[int, str]] = []
    attempts = [attempt for attempt in evidence.attempts if attempt.job == job]
    for event in evidence.events:
        if event.job == job:
            moves = f"{event.from_state} -> {event.to_state}"
            if event.attempt:
                moves += f", attempt {event.attempt[-8:]} {event.attempt_from} -> {event.attempt_to}"
            context = json.dumps(event.context, separators=(",", ":")) if event.context else ""
            told.append((event.at, f"ledger   {moves} by {event.actor}: {event.reason or ''} {context}"))
    for attempt in attempts:
        stamp = f"pid {attempt.pid} in {attempt.scope}, nonce {attempt.nonce}, {attempt.isolation}"
        told.append((attempt.created, f"attempt  {attempt.id} number {attempt.number} ({attempt.state}): {stamp}"))
    for line in [line for line in evidence.lines if line.job == job][:_LINES]:
        whose = "grandchild" if line.grandchild else "process"
        words = f"{line.event} by {whose} {line.pid} on {line.host}, attempt {line.attempt[-8:]} {line.more or ''}"
        told.append((line.at, f"journal  {words}"))
    told.extend(_injured(evidence, {attempt.nonce for attempt in attempts}, _span(told)))
    begun = min((at for at, _ in told), default=0)
    return [f"{(at - begun) / SECOND:9.3f}  {words}" for at, words in sorted(told)]


def markdown(found: dict[str, Any]) -> str:
    """The report for people."""
    facts = found["facts"]
    broken = sum(len(verdict["violations"]) for verdict in found["verdicts"])
    outcome = f"{broken} violations" if broken else "All invariants hold"
    hosts = f"{facts['hosts']} host{'s' if facts['hosts'] > 1 else ''}"
    counts = (
        f"{facts['signals']} kills and stops, {found['acknowledged']:,} jobs, {found['journal_lines']:,} journal lines"
    )
    lines = [
        f"# Kill campaign on {facts['engine']}, seed {facts['seed']}",
        "",
        f"{outcome}: {counts}, {hosts}, {facts['seconds']:.0f} s on {facts['server']}.",
        "",
        *_table(("invariant", "cases", "violations"), _verdict_rows(found["verdicts"])),
        *_table(("fault", "times"), sorted(facts["faults"].items())),
        *_table(("jobs that are", "number"), sorted(found["jobs"].items())),
        *_table(("attempts that are", "number"), sorted(found["attempts"].items())),
        *_table(("daemon ended by itself", "times"), sorted(facts["daemons"].items())),
        *_table(("also", "value"), sorted({**facts["notes"], **facts["operator"], "missed": facts["missed"]}.items())),
        *_table(("setting", "value"), sorted(facts["settings"].items())),
    ]
    for verdict in found["verdicts"]:
        lines += [f"- {one['invariant']} {one['job']}: {one['words']}" for one in verdict["violations"][:_LISTED]]
    for job, told in found["stories"].items():
        lines += ["", f"## {job}", "", *(f"    {line}" for line in told)]
    return "\n".join(lines).rstrip() + "\n"


def write(found: dict[str, Any], folder: Path) -> Path:
    """Both forms into a folder, named by engine and seed; the path of the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    base = folder / f"{found['facts']['engine']}-{found['facts']['seed']}"
    base.with_suffix(".json").write_text(_compact(found))
    base.with_suffix(".md").write_text(markdown(found))
    return base.with_suffix(".md")


def _compact(found: dict[str, Any]) -> str:
    """JSON with a line for each entry of a list: to be compared, and not to be scrolled for ever."""
    parts = []
    for key, value in found.items():
        if isinstance(value, list):
            rows = ",\n  ".join(json.dumps(row, default=str) for row in value)
            parts.append(f"{json.dumps(key)}: [\n  {rows}\n ]")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value, default=str)}")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def _first_jobs(verdicts: Iterable[Verdict]) -> list[str]:
    """The jobs whose stories are told: some of each invariant."""
    chosen: dict[str, None] = {}
    for verdict in verdicts:
        jobs = dict.fromkeys(one.job for one in verdict.violations if one.job)
        chosen.update(dict.fromkeys(list(jobs)[:_STORIES]))
    return list(chosen)


def _span(told: Sequence[tuple[int, str]]) -> tuple[int, int]:
    instants = [at for at, _ in told]
    return (min(instants, default=0) - SECOND, max(instants, default=0) + SECOND)


def _injured(evidence: Evidence, nonces: set[str], span: tuple[int, int]) -> Iterable[tuple[int, str]]:
    """What happened meanwhile: to a process of the job, to a daemon or a host, to the database."""
    for injury in evidence.injuries:
        own = injury.nonce in nonces and bool(injury.nonce)
        if not (own or injury.role not in ("child", "seat")) or not span[0] <= injury.begun <= span[1]:
            continue
        lasted = f" for {(injury.ended - injury.begun) / SECOND:.1f} s" if injury.what != "kill" else ""
        whom = f"{injury.role} {injury.pid or ''} on {injury.host}" if injury.host else "the database"
        yield injury.begun, f"fault    {injury.what} {whom}{lasted}{' (ITS OWN)' if own else ''} [{injury.number}]"


def _verdict_rows(verdicts: Iterable[dict[str, Any]]) -> Iterable[tuple[str, Any, Any]]:
    for verdict in verdicts:
        yield f"{verdict['invariant']} {verdict['rule']}", f"{verdict['examined']:,}", len(verdict["violations"])


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    body = [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *body, ""] if body else []
