"""A batch played to its end: members claimed, ended, killed, grown, and whatever a person does, in any order."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from jobwarden.domain.claims import Claim
from jobwarden.domain.dag import Node
from jobwarden.domain.orders import Order, Verb
from jobwarden.domain.report import Outcome
from jobwarden.domain.states import JobState
from jobwarden.lifecycle import operate
from jobwarden.lifecycle.batches import hold_batch, release_batch
from tests.lifecycle.runs import Run

J = JobState
BADLY = (J.FAILED, J.CANCELED, J.STOPPED)
_MOST = 300


@dataclass
class Play:
    """One play: how each member ends if it runs, and who was called off by a person.

    ``anew``: a person had members run again, so one that waited for an end may run although that one runs again.
    """

    run: Run
    chance: random.Random
    outcomes: dict[str, JobState]
    canceled: set[str]
    anew: bool = False
    claims: dict[str, Claim] = field(default_factory=dict)

    def to_its_end(self) -> None:
        """Act until nothing is left to do."""
        acts: list[Callable[[], object]] = [
            *(self._claim, self._end, self._end, self.run.advance, self.run.advance),
            *(self._cancel, self._grow, self._kill, self._hold_or_release),
        ]
        idle = 0
        while idle < 2:
            self.chance.choice(acts)()
            idle = 0 if self.run.advance() or self._goes_on() else idle + 1
        self.run.check_counts()

    def _goes_on(self) -> bool:
        moves = any(state in (J.QUEUED, J.RUNNING) for state in self.run.states.values())
        return moves or bool(self.claims) or self.run.line.held_at is not None

    def _claim(self) -> None:
        fresh = self.run.claim(self.chance.randint(1, 20))
        assert not (fresh and self.run.line.held_at), "nothing of a batch that is held starts"
        self._check_admission(set(fresh))
        self.claims |= fresh

    def _check_admission(self, claimed: set[str]) -> None:
        """Nothing is claimed before its edges allow it."""
        states = self.run.states
        for node in self.run.nodes:
            if node.key in claimed:
                assert all(states[up] is J.SUCCEEDED for up in node.after), (node, states)
                ended = all(states[up] in (J.SUCCEEDED, *BADLY) for up in node.after_completion)
                assert self.anew or ended, (node, states)

    def _end(self) -> None:
        some = self._taken(1, len(self.claims)) if self.claims else {}
        self.run.end(some, lambda key: Outcome.FAILED if self.outcomes[key] is J.FAILED else Outcome.SUCCEEDED)
        self.run.check_counts()

    def _kill(self) -> None:
        """Who runs members, and who advances, dies."""
        self.run.lose(self._taken(0, min(2, len(self.claims))))
        self.run.die_advancing()

    def _taken(self, least: int, most: int) -> dict[str, Claim]:
        """Some of what runs, which is taken out."""
        chosen = self.chance.sample(sorted(self.claims), self.chance.randint(least, most))
        return {key: self.claims.pop(key) for key in chosen}

    def _hold_or_release(self) -> None:
        """A person holds the batch, seldom, or lets it go on."""
        line = self.run.line
        if line.held_at is not None:
            release_batch(self.run.database, line.id, "go on", "ann")
        elif line.finished_at is None and self.chance.random() < 0.2:
            hold_batch(self.run.database, line.id, "wait", "ann")

    def _grow(self) -> None:
        """A member that runs adds some, at once or as it succeeds; they wait for any that are there, and each other."""
        chance, run = self.chance, self.run
        if not self.claims or chance.random() > 0.3 or len(run.nodes) >= _MOST:
            return
        grower = chance.choice(sorted(self.claims))
        nodes: list[Node] = []
        for number in range(len(run.nodes), len(run.nodes) + chance.randint(1, 5)):
            there = [*run.ids, *(node.key for node in nodes)]
            ups = sorted(set(chance.sample(there, min(len(there), chance.randint(0, 3)))))
            ends = {up for up in ups if chance.random() < 0.3}
            nodes.append(Node(f"m{number}", tuple(up for up in ups if up not in ends), tuple(sorted(ends))))
        self.outcomes |= {node.key: J.FAILED if chance.random() < 0.2 else J.SUCCEEDED for node in nodes}
        success = self.outcomes[grower] is J.SUCCEEDED and chance.random() < 0.5
        assert run.grow(self.claims[grower], nodes, success=success) == len(nodes)
        if success:
            del self.claims[grower]

    def _cancel(self) -> None:
        """A person calls off one that waits, seldom."""
        waiting = [key for key, state in self.run.states.items() if state in (J.PENDING, J.QUEUED)]
        if not waiting or self.chance.random() > 0.1:
            return
        key = self.chance.choice(sorted(waiting))
        operate.carry_out(self.run.database, Order(Verb.CANCEL, "not this one"), [self.run.ids[key]])
        self.canceled.add(key)
