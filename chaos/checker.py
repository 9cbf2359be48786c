"""The checker: journal, ledger and state compared, one invariant after another. A pure function of the evidence.

An execution without an end line is taken to live until its last line or its tree's. A verdict about an attempt that
its kind does not explain needs a fault that hit its process, its tree or its host, or a wish of the operator: the
death of a supervisor, a zygote or a reaper explains nothing, since children outlive them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

from chaos.evidence import SECOND, Attempt, Event, Evidence, Job
from chaos.excuses import Excuses
from chaos.graphs import Graphs, was_called_off
from chaos.journal import Line
from chaos.kinds import KINDS, WISHED_AGAIN

IN_FLIGHT = frozenset({"dispatched", "running"})
PARKED = "orphaned"
ENDED = frozenset({"succeeded", "failed", "canceled", "stopped"})


@dataclass(frozen=True, slots=True)
class Violation:
    """One invariant broken by one job (or by none in particular)."""

    invariant: str
    job: str
    words: str


@dataclass(slots=True)
class Verdict:
    """What became of one invariant: how many cases were looked at, and those that broke it."""

    invariant: str
    rule: str
    examined: int = 0
    violations: list[Violation] = field(default_factory=list)

    def broken(self, job: str, words: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(self.invariant, job, words))


class Case:
    """The evidence by job and by attempt."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.jobs: dict[str, Job] = {job.id: job for job in evidence.jobs}
        self.attempts: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in sorted(evidence.attempts, key=lambda attempt: attempt.number):
            self.attempts[attempt.job].append(attempt)
        self.events: dict[str, list[Event]] = defaultdict(list)
        for event in evidence.events:
            self.events[event.job].append(event)
        self.lines: dict[str, list[Line]] = defaultdict(list)
        for line in evidence.lines:
            if line.attempt:
                self.lines[line.attempt].append(line)

    @cached_property
    def graphs(self) -> Graphs:
        """Batches with their members and edges."""
        return Graphs(self.evidence, self.events)

    @cached_property
    def ends(self) -> dict[str, Event]:
        """The event that ended each attempt: the first of them."""
        found: dict[str, Event] = {}
        for event in self.evidence.events:
            if event.attempt and event.attempt_to and event.attempt_to not in IN_FLIGHT:
                found.setdefault(event.attempt, event)
        return found

    @cached_property
    def executions(self) -> dict[str, list[tuple[str, int, int]]]:
        """Of each job: attempt, first moment and last moment of life, in the order of their beginnings."""
        found: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
        for attempt, lines in self.lines.items():
            instants = [line.at for line in lines]
            found[lines[0].job].append((attempt, min(instants), max(instants)))
        return {job: sorted(runs, key=lambda run: run[1]) for job, runs in found.items()}


def check(evidence: Evidence) -> list[Verdict]:
    """Every invariant's verdict."""
    case = Case(evidence)
    return [_judge(case, name, rule, judge) for name, rule, judge in _INVARIANTS]


def _judge(case: Case, name: str, rule: str, judge: Callable[[Case, Verdict], None]) -> Verdict:
    verdict = Verdict(name, rule)
    judge(case, verdict)
    return verdict


def fate(event: Event) -> str:
    """What became of an attempt, by the event that ended it: what was reported, else the state."""
    return str(event.context.get("outcome") or event.attempt_to)


# -- the invariants ---------------------------------------------------------------------------------------------------


def _nothing_is_lost(case: Case, verdict: Verdict) -> None:
    for job_id in case.evidence.acknowledged:
        verdict.examined += 1
        job = case.jobs.get(job_id)
        if job is None:
            verdict.broken(job_id, "it was acknowledged, and there is no row of it")
        elif job.state not in ENDED and job.state != PARKED:
            verdict.broken(job_id, f"it is {job.state}, which is no end")
    verdict.examined += sum(len(nodes) for nodes in case.evidence.planned.values())
    for about, words in case.graphs.missing():
        verdict.broken(about, words)


def _no_two_at_once(case: Case, verdict: Verdict) -> None:
    for job, runs in case.executions.items():
        verdict.examined += len(runs)
        first, last = "", 0
        for attempt, begun, ended in runs:
            if begun < last:
                overlap = (last - begun) / SECOND
                verdict.broken(job, f"attempt {attempt} began {overlap:.3f} s before the last sign of life of {first}")
            if ended > last:
                first, last = attempt, ended


def _one_start_that_counts(case: Case, verdict: Verdict) -> None:
    for job in case.evidence.jobs:
        if job.idempotent:
            continue
        verdict.examined += 1
        started = [run.id for run in case.attempts[job.id] if _could_have_acted(case.lines[run.id])]
        allowed = 1 + sum(_acted_again(event) for event in case.events[job.id]) + _asked(case, job.id, started)
        if len(started) > allowed:
            verdict.broken(job.id, f"its handler was entered {len(started)} times: {', '.join(started)}")


def _could_have_acted(lines: Iterable[Line]) -> bool:
    lines = list(lines)
    entered = any(line.event == "start" for line in lines)
    return entered and not any(line.event == "end" and line.more.get("fate") in WISHED_AGAIN for line in lines)


def _asked(case: Case, job: str, started: Iterable[str]) -> int:
    """How many starts had no effect, and were asked about before the job ran again."""
    answers = len([event for event in case.events[job] if event.context.get("outcome") == "did not run"])
    harmless = sum(not any(line.event == "effect" for line in case.lines[attempt]) for attempt in started)
    return min(answers, harmless)


def _acted_again(event: Event) -> bool:
    """Whether an operator had the job run again."""
    rested = event.from_state in (PARKED, "failed", "stopped", "canceled")
    return event.actor == "operator" and rested and event.to_state in ("queued", "retrying", "pending")


def _no_old_token(case: Case, verdict: Verdict) -> None:
    for attempt in case.evidence.attempts:
        ends = [event for event in case.events[attempt.job] if _ends(event, attempt.id)]
        verdict.examined += 1
        for event in ends:
            token = event.context.get("token", attempt.number)
            if token != attempt.number:
                verdict.broken(attempt.job, f"attempt {attempt.id} was ended with token {token}, not {attempt.number}")
        if len(ends) > 1:
            states = ", ".join(str(event.attempt_to) for event in ends)
            verdict.broken(attempt.job, f"attempt {attempt.id} was ended {len(ends)} times: {states}")
        moved = 1 if attempt.state == "orphaned" else 0
        if attempt.token != attempt.number + moved:
            verdict.broken(attempt.job, f"attempt {attempt.id} ({attempt.state}) has token {attempt.token}")


def _ends(event: Event, attempt: str) -> bool:
    return event.attempt == attempt and event.attempt_to is not None and event.attempt_to not in IN_FLIGHT


def _ledger_explains(case: Case, verdict: Verdict) -> None:
    for job in case.evidence.jobs:
        verdict.examined += 1
        events = case.events[job.id]
        moved = [event for event in events if event.level == "job" or event.attempt_to]
        _follow(verdict, job.id, "the job", [(e.from_state, e.to_state) for e in moved], job.state)
        for attempt in case.attempts[job.id]:
            verdict.examined += 1
            moves = [(e.attempt_from, e.attempt_to) for e in events if e.attempt == attempt.id and e.attempt_to]
            _follow(verdict, job.id, f"attempt {attempt.id}", moves, attempt.state)
        opened = [event.attempt for event in events if event.attempt_to == "dispatched" and not event.attempt_from]
        if len(opened) != job.attempt_count:
            verdict.broken(job.id, f"it counts {job.attempt_count} attempts, and the ledger opened {len(opened)}")
        if opened and opened[-1] != job.current_attempt:
            verdict.broken(job.id, f"its current attempt is {job.current_attempt}, the ledger's last is {opened[-1]}")
    _counted(case, verdict)
    for about, words in case.evidence.findings:
        verdict.broken(about if about in case.jobs else "", f"health: {words}")


def _follow(verdict: Verdict, job: str, whose: str, moves: Sequence[tuple[str | None, str | None]], state: str) -> None:
    """Each step begins where the one before it ended, the first from nothing, and the last ends in the state."""
    if not moves:
        verdict.broken(job, f"{whose} is {state}, and the ledger says nothing")
        return
    if moves[0][0] is not None:
        verdict.broken(job, f"{whose} begins in the ledger at {moves[0][0]}")
    for (_, left), (entered, onwards) in pairwise(moves):
        if left != entered:
            verdict.broken(job, f"{whose} was left in {left} and moves from {entered} to {onwards}")
    if moves[-1][1] != state:
        verdict.broken(job, f"{whose} is {state}, and the ledger ends at {moves[-1][1]}")


def _counted(case: Case, verdict: Verdict) -> None:
    if case.evidence.counters is None:
        return
    states: dict[str, int] = defaultdict(int)
    for job in case.evidence.jobs:
        states[job.state] += 1
    for state in {*states, *case.evidence.counters}:
        verdict.examined += 1
        said = case.evidence.counters.get(state, 0)
        if said != states[state]:
            verdict.broken("", f"the counters say that {said} jobs are {state}, and {states[state]} are")


def _the_tree_is_gone(case: Case, verdict: Verdict) -> None:
    blur = int(case.evidence.bounds.blur * SECOND)
    for attempt, event in case.ends.items():
        verdict.examined += 1
        late = [line for line in case.lines[attempt] if line.at > event.at + blur]
        if late:
            seconds = (late[-1].at - event.at) / SECOND
            whose = "a grandchild" if late[-1].grandchild else "its process"
            words = f"attempt {attempt} became {event.attempt_to}, and {whose} lived {seconds:.3f} s more"
            verdict.broken(event.job, words)
    by_nonce: dict[str, list[Attempt]] = defaultdict(list)
    for run in case.evidence.attempts:
        by_nonce[run.nonce].append(run)
    for left in case.evidence.leftovers:
        verdict.examined += 1
        for run in by_nonce[left.nonce][:1]:
            if run.isolation != "pool" or (run.pid, run.start_time) != (left.pid, left.start_time):
                verdict.broken(run.job, f"process {left.pid} ({left.title}) of attempt {run.id} is still there")


def _healthy_is_left_alone(case: Case, verdict: Verdict) -> None:
    excuses = Excuses(case.evidence, case.ends, case.lines)
    for attempt in case.evidence.attempts:
        end = case.ends.get(attempt.id)
        if end is None or attempt.purpose != "run":
            continue
        verdict.examined += 1
        kind = KINDS[case.jobs[attempt.job].kind]
        if fate(end) in kind.fates(attempt.number) or _wished(case, attempt, end):
            continue
        if not excuses.explains(attempt, end):
            verdict.broken(attempt.job, f"attempt {attempt.id} ({kind.name}) came to {fate(end)}: {end.reason}")


def _wished(case: Case, attempt: Attempt, end: Event) -> bool:
    wished = False
    for event in case.events[attempt.job]:
        if event.id >= end.id:
            break
        wished = (wished or bool(event.context.get("wish"))) and not _acted_again(event)
    if not _was_called_off(case, attempt, end):
        return wished and end.to_state in ("canceled", "stopped")
    could_not_grow = case.jobs[attempt.job].kind == "growing" and end.to_state == "failed"
    return could_not_grow or end.to_state in ("canceled", "stopped")


def _was_called_off(case: Case, attempt: Attempt, end: Event) -> bool:
    batch = case.jobs[attempt.job].batch
    return any(graph.id == batch and was_called_off(graph, end.id) for graph in case.evidence.graphs)


def _everything_settles(case: Case, verdict: Verdict) -> None:
    bounds = case.evidence.bounds
    verdict.examined += 1
    if bounds.took > bounds.settle:
        verdict.broken("", f"{bounds.took:.0f} s after the last fault not everything was settled")
    for attempt in _unended(case):
        verdict.broken(attempt.job, f"attempt {attempt.id} is {attempt.state} after all had ended")
    verdict.examined += len(case.evidence.attempts)


def _edges_are_kept(case: Case, verdict: Verdict) -> None:
    for members in case.graphs.members.values():
        for job in members:
            verdict.examined += 1
            for about, words in case.graphs.early(job):
                verdict.broken(about, words)


def _batches_come_to_their_ends(case: Case, verdict: Verdict) -> None:
    for graph in case.evidence.graphs:
        verdict.examined += 1
        for about, words in case.graphs.wrong(graph):
            verdict.broken(about, words)


def _unended(case: Case) -> Iterator[Attempt]:
    return (attempt for attempt in case.evidence.attempts if attempt.state in IN_FLIGHT)


_INVARIANTS: tuple[tuple[str, str, Callable[[Case, Verdict], None]], ...] = (
    ("I1", "nothing enqueued is lost", _nothing_is_lost),
    ("I2", "no two executions of one job overlap", _no_two_at_once),
    ("I3", "what is not idempotent starts once, unless an operator acted", _one_start_that_counts),
    ("I4", "no outcome is accepted with an old token", _no_old_token),
    ("I5", "the ledger explains every state, without gaps", _ledger_explains),
    ("I6", "after a verdict no process of the tree is alive", _the_tree_is_gone),
    ("I7", "no healthy attempt is orphaned, ended or run again", _healthy_is_left_alone),
    ("I8", "everything settles within bounds", _everything_settles),
    ("I9", "no member starts before its edges allow it, or while its batch is held", _edges_are_kept),
    ("I10", "every batch comes to what its members make of it", _batches_come_to_their_ends),
)
