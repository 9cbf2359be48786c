"""Graphs as the checker sees them: who may start when, and what a batch must have come to. Pure, and its own oracle."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from chaos.evidence import SECOND, Edge, Event, Evidence, Graph, Job

PARKED = "orphaned"
BADLY = frozenset({"failed", "canceled", "stopped"})
ENDED = BADLY | {"succeeded"}
Found = tuple[str, str]


class Graphs:
    """The batches of a campaign with their members, edges and ledgers."""

    def __init__(self, evidence: Evidence, events: Mapping[str, Sequence[Event]]) -> None:
        self._evidence, self._events = evidence, events
        self.members: dict[str, list[Job]] = defaultdict(list)
        for job in evidence.jobs:
            if job.batch:
                self.members[job.batch].append(job)
        self._waits: dict[str, list[Edge]] = defaultdict(list)
        for edge in evidence.edges:
            self._waits[edge.job].append(edge)
        self._states = {job.id: job.state for job in evidence.jobs}
        self._graphs = {graph.id: graph for graph in evidence.graphs}

    # -- what was acknowledged is there --------------------------------------------------------------------------------

    def missing(self) -> Iterator[Found]:
        """Members and edges that were acknowledged, and of which there is no row."""
        for batch, nodes in self._evidence.planned.items():
            ids = {job.key: job.id for job in self.members[batch]}
            for key, after, ends in nodes:
                if key not in ids:
                    yield batch, f"its member {key} was acknowledged, and there is no row of it"
                    continue
                there = {(edge.upstream, edge.any_end) for edge in self._waits[ids[key]]}
                wanted = {(ids.get(up, up), False) for up in after} | {(ids.get(up, up), True) for up in ends}
                if not wanted <= there:
                    yield ids[key], f"{len(wanted - there)} of its edges were acknowledged and are not there"

    # -- nothing starts before its time --------------------------------------------------------------------------------

    def early(self, job: Job) -> Iterator[Found]:
        """Starts of a member before all that it waits for was over, or while its batch was held."""
        for event in self._events[job.id]:
            if event.attempt_to != "dispatched" or event.attempt_from:
                continue
            for edge in self._waits[job.id]:
                if not any(self._satisfies(edge, before) for before in self._before(edge.upstream, event.id)):
                    yield job.id, f"it started before {edge.upstream}, for which it waits, was over"
            if self._held(job.batch, event.at):
                yield job.id, "it started while its batch was held"

    def _before(self, job: str, event_id: int) -> Iterator[Event]:
        return (event for event in self._events[job] if event.id < event_id)

    @staticmethod
    def _satisfies(edge: Edge, event: Event) -> bool:
        return event.to_state == "succeeded" or (edge.any_end and event.to_state in ENDED)

    def _held(self, batch: str | None, at: int) -> bool:
        blur = int(self._evidence.bounds.blur * SECOND)
        return any(hold.batch == batch and hold.begun + blur < at < hold.ended - blur for hold in self._evidence.holds)

    # -- what each has come to -----------------------------------------------------------------------------------------

    def wrong(self, graph: Graph) -> Iterator[Found]:
        """Members that are not where the rules put them, and a batch that has not come to what they make of it."""
        members = self.members[graph.id]
        for job in members:
            if words := self._misplaced(job, graph):
                yield job.id, words
        states = [job.state for job in members]
        live = [state for state in states if state not in ENDED]
        if graph.finished and live:
            yield graph.id, f"it is over, and {len(live)} of its members are not"
        if not graph.finished and PARKED not in states:
            yield graph.id, f"it is {graph.state} and not over, and none of its members waits for a person"
        expected = self._expected(graph, states, bool(live))
        if graph.state != expected:
            yield graph.id, f"it is {graph.state}, and its members make it {expected}"

    def _misplaced(self, job: Job, graph: Graph) -> str | None:
        """Why a member should not be in the state that it is in; None: it should."""
        waits = self._waits[job.id]
        unreachable = any(not edge.any_end and self._states[edge.upstream] in BADLY for edge in waits)
        open_edges = [edge for edge in waits if not self._is_satisfied(edge)]
        if job.state == "pending":
            if unreachable:
                return "it waits for what will never succeed"
            return None if open_edges else "it waits, and all that it waits for is over"
        if unreachable and job.state != "canceled":
            return f"it is {job.state}, and something that it waits for did not succeed"
        if job.state == "canceled" and not (unreachable or self._was_wished(job, graph)):
            return "it is canceled, and nobody and nothing called it off"
        return None

    def _is_satisfied(self, edge: Edge) -> bool:
        state = self._states[edge.upstream]
        return state == "succeeded" or (edge.any_end and state in ENDED)

    def _was_wished(self, job: Job, graph: Graph) -> bool:
        by_a_person = any(event.actor == "operator" or event.context.get("wish") for event in self._events[job.id])
        return by_a_person or was_called_off(graph)

    def _expected(self, graph: Graph, states: Sequence[str], live: bool) -> str:
        """What the rules make of a batch: a person's word, then its policy, then how its members ended."""
        if any(state == "canceled" for _, state in graph.moves):
            return "canceled"
        if _too_many(graph, states.count("failed"), len(states)):
            return "failed"
        if live:
            return "running"
        return "partial" if BADLY & set(states) else "succeeded"


def was_called_off(graph: Graph, before: int | None = None) -> bool:
    """Whether its policy tripped, or a person canceled it, before a row of the ledger."""
    return any(state in ("failed", "canceled") for id, state in graph.moves if before is None or id < before)


def _too_many(graph: Graph, failed: int, total: int) -> bool:
    if graph.policy == "fail_fast":
        return failed > 0
    if graph.policy != "threshold" or graph.threshold is None:
        return False
    return failed > (graph.threshold * total if 0 < graph.threshold < 1 else graph.threshold)
