"""Made-up evidence of campaigns: one in which all is well, to be forged in tests of the checker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from chaos.checker import check
from chaos.evidence import (
    SECOND,
    Attempt,
    Bounds,
    Edge,
    Event,
    Evidence,
    Graph,
    Hold,
    Injury,
    Job,
    Leftover,
    Life,
)
from chaos.journal import Line

SCOPE, HOST = 4000, "host1"


class Tale:
    """One campaign's evidence, written job by job; instants are given in seconds."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.attempts: list[Attempt] = []
        self.events: list[Event] = []
        self.lines: list[Line] = []
        self.injuries: list[Injury] = []
        self.leftovers: list[Leftover] = []
        self.acknowledged: list[str] = []
        self.graphs: list[Graph] = []
        self.edges: list[Edge] = []
        self.holds: list[Hold] = []
        self.planned: dict[str, list[tuple[str, list[str], list[str]]]] = {}
        self.bounds = Bounds(fence=6, budget=11, settle=60, took=1)

    def evidence(self) -> Evidence:
        lives = [Life(HOST, SCOPE, 0)]
        counters: dict[str, int] = {}
        for job in self.jobs:
            counters[job.state] = counters.get(job.state, 0) + 1
        return Evidence(
            self.acknowledged,
            self.jobs,
            self.attempts,
            self.events,
            self.lines,
            self.injuries,
            lives,
            self.leftovers,
            self.bounds,
            counters,
            graphs=self.graphs,
            edges=self.edges,
            planned=self.planned,
            holds=self.holds,
        )

    def batch(self, id: str, state: str = "succeeded", policy: str = "continue", finished: bool = True) -> None:
        """A batch; its members follow."""
        moves = [(0, "running")] + ([(1 << 40, state)] if state != "running" else [])
        self.graphs.append(Graph(id, state, finished, policy, moves=moves))
        self.planned[id] = []

    def member(
        self, batch: str, id: str, state: str = "succeeded", after: Sequence[str] = (), ends: Sequence[str] = ()
    ) -> None:
        """A member with its edges; what happens to it follows."""
        self.job(id, state=state)
        self.change(self.jobs, id, batch=batch, key=id)
        self.planned[batch].append((id, list(after), list(ends)))
        self.edges += [Edge(id, up, any_end) for ups, any_end in ((after, False), (ends, True)) for up in ups]

    def job(self, id: str, kind: str = "slow", state: str = "succeeded", idempotent: bool = True) -> None:
        """A job that was enqueued at second 1; its attempts follow."""
        self.acknowledged.append(id)
        self.jobs.append(Job(id, kind, state, idempotent))
        self.event(id, 1, "queued", None)

    def event(self, job: str, at: float, to: str, origin: str | None, **more: Any) -> None:
        """One ledger row."""
        self.events.append(Event(len(self.events) + 1, job, instant(at), to, origin, **more))

    def attempt(
        self,
        job: str,
        number: int,
        begun: float,
        ended: float,
        state: str = "succeeded",
        job_to: str = "succeeded",
        outcome: str | None = None,
        silent: bool = False,
    ) -> str:
        """An attempt from claim to verdict, with the journal of a handler that ended half a second before it."""
        id = f"{job}.{number}"
        moved = 1 if state == "orphaned" else 0
        stamp: dict[str, Any] = {"scope": SCOPE, "pid": 100 + len(self.attempts), "start_time": 7, "nonce": id}
        self.attempts.append(Attempt(id, job, number, state, number + moved, instant(begun), instant(ended), **stamp))
        self.event(job, begun, "running", "queued", attempt=id, attempt_to="dispatched", actor="supervisor")
        self.event(
            job,
            begun,
            "running",
            "running",
            attempt=id,
            level="attempt",
            attempt_from="dispatched",
            attempt_to="running",
        )
        context = {"token": number, **({"outcome": outcome} if outcome else {})}
        self.event(job, ended, job_to, "running", attempt=id, attempt_from="running", attempt_to=state, context=context)
        self._settle(job, id, number)
        if not silent:
            for event, at in (("start", begun + 0.1), ("effect", begun + 0.2), ("end", ended - 0.5)):
                self.line(event, at, job, id)
        return id

    def line(self, event: str, at: float, job: str, attempt: str, **more: Any) -> None:
        """One journal line."""
        self.lines.append(Line(instant(at), event, job, attempt, **more))

    def injure(self, what: str, begun: float, ended: float, attempt: str = "", **more: Any) -> None:
        """A fault; on the process of an attempt, if one is named."""
        if attempt:
            more = {"host": HOST, "role": "child", "nonce": attempt, "scope": SCOPE, **more}
        self.injuries.append(Injury(1, what, begun=instant(begun), ended=instant(ended), **more))

    def change(self, rows: list[Any], which: str, /, **columns: Any) -> None:
        """Forge columns of the row with that id."""
        place = next(number for number, row in enumerate(rows) if row.id == which)
        rows[place] = replace(rows[place], **columns)

    def _settle(self, job: str, attempt: str, number: int) -> None:
        self.change(self.jobs, job, attempt_count=number, current_attempt=attempt)


def instant(seconds: float) -> int:
    return int(seconds * SECOND)


def clean() -> Tale:
    """A job that went well, one whose killed child was retried, one that was canceled and one that parked."""
    tale = Tale()
    tale.job("good")
    tale.attempt("good", 1, 2, 5)
    tale.job("killed")
    lost = tale.attempt("killed", 1, 2, 5, "failed", "retrying", "lost")
    tale.injure("kill", 4.9, 4.9, lost)
    tale.event("killed", 6, "queued", "retrying")
    tale.attempt("killed", 2, 7, 9)
    tale.job("canceled", state="canceled")
    tale.attempt("canceled", 1, 2, 6, "canceled", "canceled")
    wish = {"wish": "cancel"}
    tale.events.insert(-1, Event(0, "canceled", instant(4), "running", "running", actor="operator", context=wish))
    tale.job("once", "dies_once", "orphaned", idempotent=False)
    tale.attempt("once", 1, 2, 5, "failed", "orphaned", "lost")
    _graphs(tale)
    return tale


def _graphs(tale: Tale) -> None:
    """A batch that ended partial, and one that waits for a person."""
    tale.batch("b", "partial")
    tale.member("b", "up")
    tale.attempt("up", 1, 2, 5)
    tale.member("b", "bad", "failed")
    tale.attempt("bad", 1, 2, 5, "failed", "failed", "lost")
    tale.injure("kill", 4.9, 4.9, "bad.1")
    tale.member("b", "next", after=["up"], ends=["bad"])
    tale.attempt("next", 1, 6, 8)
    tale.member("b", "off", "canceled", after=["up", "bad"])
    tale.event("off", 6, "canceled", "queued")
    tale.batch("waits", "running", finished=False)
    tale.member("waits", "parked", "orphaned")
    tale.attempt("parked", 1, 2, 5, "failed", "orphaned", "lost")
    tale.injure("kill", 4.9, 4.9, "parked.1")
    tale.member("waits", "blocked", "pending", after=["parked"])
    tale.events[-1] = replace(tale.events[-1], to_state="pending")
    tale.acknowledged.remove("blocked")


def broken(tale: Tale) -> dict[str, list[str]]:
    """The jobs that broke each invariant."""
    found = {verdict.invariant: [one.job for one in verdict.violations] for verdict in check(tale.evidence())}
    return {invariant: jobs for invariant, jobs in found.items() if jobs}
