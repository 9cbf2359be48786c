"""What explains that an attempt did not come to its own end: a fault that hit its process, its tree or its host.

A database that was away for long, or a machine that let nobody through to it, excuses everybody, because hosts then end
what they run by themselves. A worker that is told to end a second time ends what it runs. What never began may have
been given back for anything that happened on its host, or to the seat that it waited on.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from chaos.evidence import SECOND, Attempt, Event, Evidence, Injury, Life
from chaos.journal import Line

_PROCESS = frozenset({"kill", "freeze"})
_HOST = frozenset({"kill host", "kill init", "wipe", "cut"})
_SLACK = 3 * SECOND
#: Faults of the database less than this apart count as one: nobody may get through between them.
_GAP = 3 * SECOND
#: What share of the fence's budget an outage may take before hosts may end what they run.
_SHARE = 0.5


class Excuses:
    """The injuries of a campaign, by whom they hit."""

    def __init__(self, evidence: Evidence, ends: Mapping[str, Event], lines: Mapping[str, list[Line]]) -> None:
        self._ends, self._lines = ends, lines
        self._lives = evidence.lives
        self._seats: dict[str, list[Attempt]] = defaultdict(list)
        for attempt in evidence.attempts:
            self._seats[attempt.nonce].append(attempt)
        self._by_nonce: dict[str, list[Injury]] = defaultdict(list)
        self._by_process: dict[tuple[int, int, int], list[Injury]] = defaultdict(list)
        self._by_host: dict[str, list[Injury]] = defaultdict(list)
        for injury in evidence.injuries:
            self._sort_in(injury)
        outages = [injury for injury in evidence.injuries if not injury.host]
        self._outages = _merged(outages, int(evidence.bounds.fence * _SHARE * SECOND))

    def explains(self, attempt: Attempt, end: Event) -> bool:
        """Whether something that happened accounts for this end."""
        span = (attempt.created - SECOND, end.at + SECOND)
        if self._process_was_hit(attempt, span) or self._host_was_hit(attempt, span):
            return True
        if self._worker_was_told_twice(attempt, span):
            return True
        if any(_overlaps(span, outage) for outage in self._outages):
            return True
        began = any(line.event == "start" for line in self._lines.get(attempt.id, ()))
        return not began and (self._host_was_touched(attempt, span) or self._seat_was_spent(attempt, end))

    def _sort_in(self, injury: Injury) -> None:
        if injury.what in _PROCESS and injury.role in ("child", "seat"):
            self._by_process[injury.scope, injury.pid, injury.start_time].append(injury)
            if injury.nonce:
                self._by_nonce[injury.nonce].append(injury)
        if injury.host:
            self._by_host[injury.host].append(injury)

    def _process_was_hit(self, attempt: Attempt, span: tuple[int, int]) -> bool:
        own = self._by_process[attempt.scope, attempt.pid, attempt.start_time]
        tree = [injury for injury in self._by_nonce[attempt.nonce] if injury.scope == attempt.scope]
        return any(_overlaps(span, (injury.begun, injury.ended)) for injury in (*own, *tree))

    def _host_was_hit(self, attempt: Attempt, span: tuple[int, int]) -> bool:
        injuries = self._by_host[_host_of(attempt, self._lives)]
        return any(
            injury.what in _HOST and _overlaps(span, (injury.begun, injury.ended + _SLACK)) for injury in injuries
        )

    def _worker_was_told_twice(self, attempt: Attempt, span: tuple[int, int]) -> bool:
        """Whether some worker of its host got a second TERM, which has it end what it runs."""
        told = [i for i in self._by_host[_host_of(attempt, self._lives)] if i.what == "term"]
        times = Counter((injury.scope, injury.pid, injury.start_time) for injury in told if injury.begun <= span[1])
        return any(count > 1 for count in times.values())

    def _host_was_touched(self, attempt: Attempt, span: tuple[int, int]) -> bool:
        injuries = self._by_host[_host_of(attempt, self._lives)]
        return any(_overlaps(span, (injury.begun, injury.ended + _SLACK)) for injury in injuries)

    def _seat_was_spent(self, attempt: Attempt, end: Event) -> bool:
        """Whether another attempt on the same seat ended otherwise than well, and took the seat with it."""
        others = (self._ends.get(other.id) for other in self._seats[attempt.nonce] if other.id != attempt.id)
        return any(other is not None and other.attempt_to != "succeeded" for other in others)


def _host_of(attempt: Attempt, lives: Sequence[Life]) -> str:
    """The host that had this PID namespace at that time: a namespace's number is given out again."""
    for life in lives:
        if life.scope == attempt.scope and life.begun - SECOND <= attempt.created <= life.ended + SECOND:
            return life.host
    return ""


def _overlaps(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _merged(injuries: Iterable[Injury], least: int) -> list[tuple[int, int]]:
    """Spans of time in which the database was troubled, near ones joined, as long as they lasted that long."""
    spans: list[tuple[int, int]] = []
    for injury in sorted(injuries, key=lambda injury: injury.begun):
        if spans and injury.begun - spans[-1][1] <= _GAP:
            spans[-1] = (spans[-1][0], max(spans[-1][1], injury.ended))
        else:
            spans.append((injury.begun, injury.ended))
    return [(begun, ended + _SLACK) for begun, ended in spans if ended - begun >= least]
