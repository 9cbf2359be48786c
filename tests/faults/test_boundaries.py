"""The connection is cut at every statement of a verb, before the server hears of it and after it has done it.

Each verb is whole or has not happened, and when it is repeated nothing happens twice.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from jobwarden import JobWarden
from jobwarden.config import Settings
from jobwarden.domain.claims import Claim
from jobwarden.domain.orders import Order, Verb
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import Actor
from jobwarden.lifecycle import operate, recover
from jobwarden.lifecycle.settle import Settlement, settle
from jobwarden.lifecycle.start import Start as Begin
from jobwarden.lifecycle.start import start as commit_starts
from jobwarden.store import schema, workers
from jobwarden.store.database import Database, Transaction
from tests.faults.conftest import Start
from tests.faults.story import all_succeeded_once
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, await_state
from tests.support.proxy import Proxy, Seen
from tests.support.waiting import eventually

_REAPER = "00000000-0000-4000-8000-00000000000a"

# -- each verb alone: every message, counted --------------------------------------------------------------------------


class Scene:
    """One job made ready for a verb past the proxy, and the verb through it."""

    def __init__(self, direct: Database, broken: Database, factories: Factories) -> None:
        self.direct, self.broken, self.factories = direct, broken, factories
        lane = uuid.uuid4().hex
        self.claimant = Claimant(lanes=[lane])
        self.job = factories.job(idempotent=False, lane=lane)

    def claimed(self) -> Claim:
        [claim] = self.claimant.claim(self.direct)
        return claim

    def started(self) -> Claim:
        claim = self.claimed()
        assert self.claimant.start(self.direct, claim) == {claim.attempt_id}
        return claim

    def attempt(self, work: Callable[[Transaction], Any]) -> Any:
        return self.broken.attempt(work, tries=10)

    def outcome(self) -> dict[str, Any]:
        """What has become of the job, without what differs from run to run."""
        row = self.factories.read(schema.jobs, self.job["id"])
        events = self.factories.events_of(self.job["id"])
        flow = ("level", "from_state", "to_state", "attempt_from", "attempt_to", "reason", "actor_type")
        return {
            "job": {name: row[name] for name in ("state", "attempt_count", "unspent_count", "cancel_requested")},
            "attempts": [(a["state"], a["fencing_token"]) for a in self.factories.attempts_of(self.job["id"])],
            "ledger": [tuple(event[name] for name in flow) for event in events],
        }


def _claim(scene: Scene) -> Callable[[], Any]:
    """Looks as a supervisor does, until it is there: a look goes past a row that a connection which was cut has locked,
    for as long as the server has not noticed that it is gone."""
    seats = scene.claimant.seats(1)

    def act() -> None:
        def there() -> bool:
            scene.attempt(lambda transaction: scene.claimant.look(transaction, seats))
            return bool(scene.factories.read(schema.jobs, scene.job["id"])["state"] == "running")

        eventually(there, PATIENCE)

    return act


def _start(scene: Scene) -> Callable[[], Any]:
    claim = scene.claimed()
    begin = [Begin(claim.job_id, claim.attempt_id, claim.token)]

    def act() -> None:
        won = scene.attempt(lambda transaction: commit_starts(transaction, begin, scene.claimant.worker_id))
        assert won == {claim.attempt_id}, "a repeated start opens the barrier"

    return act


def _settle(outcome: Outcome) -> Callable[[Scene], Callable[[], Any]]:
    def prepare(scene: Scene) -> Callable[[], Any]:
        claim = scene.started()
        given = [Settlement(claim.job_id, claim.token, Report(claim.attempt_id, outcome, reason="because"))]

        def act() -> None:
            worker = scene.claimant.worker_id
            [settled] = scene.attempt(lambda transaction: settle(transaction, given, Actor.WORKER, worker))
            assert settled.decision is not None, "a repeated report is accepted"

        return act

    return prepare


def _reject(scene: Scene) -> Callable[[], Any]:
    claim = scene.started()
    given = [Settlement(claim.job_id, claim.token + 1, Report(claim.attempt_id, Outcome.SUCCEEDED))]

    def act() -> None:
        [settled] = scene.attempt(lambda transaction: settle(transaction, given, Actor.WORKER, "w"))
        assert settled.decision is None

    return act


def _orphan(scene: Scene) -> Callable[[], Any]:
    scene.started()
    with scene.direct.read() as transaction:
        charges = recover.charges_of(transaction, scene.claimant.worker_id)
    return lambda: scene.attempt(lambda t: recover.orphan(t, charges, _REAPER, "its host is dark", {}))


def _adopt(scene: Scene) -> Callable[[], Any]:
    scene.started()
    with scene.direct.read() as transaction:
        charges = recover.charges_of(transaction, scene.claimant.worker_id)
    return lambda: scene.attempt(lambda t: recover.adopt(t, charges, _REAPER, "its supervisor is gone"))


def _register(scene: Scene) -> Callable[[], Any]:
    row = {
        "id": scene.claimant.worker_id,
        "role": "supervisor",
        "host_id": "host",
        "pid_scope": "host:1",
        "hostname": "host.example",
        "pid": 1,
        "nonce": "n",
    }
    return lambda: scene.attempt(lambda transaction: workers.register(transaction, row))


def _order(verb: Verb, prepare: Callable[[Scene], object]) -> Callable[[Scene], Callable[[], Any]]:
    def prepared(scene: Scene) -> Callable[[], Any]:
        prepare(scene)

        def act() -> None:
            [answer] = operate.carry_out(scene.broken, Order(verb, "enough", "ann"), [scene.job["id"]])
            assert answer.refused is None, "a repeated order is not refused for what it has done itself"

        return act

    return prepared


VERBS: dict[str, Callable[[Scene], Callable[[], Any]]] = {
    "register": _register,
    "claim": _claim,
    "start": _start,
    "settle-succeeded": _settle(Outcome.SUCCEEDED),
    "settle-failed": _settle(Outcome.FAILED),
    "reject": _reject,
    "adopt": _adopt,
    "orphan": _orphan,
    "cancel-waiting": _order(Verb.CANCEL, lambda scene: None),
    "cancel-running": _order(Verb.CANCEL, Scene.started),
}


@pytest.fixture
def broken(through: str, runtime_dir: Path) -> Iterator[Database]:
    """The database through the proxy."""
    database = Database(Settings(database_url=through, runtime_dir=runtime_dir))
    yield database
    database.dispose()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_cut_at_any_statement_happens_once(
    client: JobWarden, rows: Factories, broken: Database, proxy: Proxy, verb: str
) -> None:
    calm = Scene(client.database, broken, rows)
    act = VERBS[verb](calm)
    with broken.read() as transaction:
        transaction.now()  # what an engine asks of a server at first is no part of the verb
    with proxy.record() as seen:
        act()
    said = [unit.text for unit in seen]
    last = max(number for number, text in enumerate(said) if text == "COMMIT")
    expected = calm.outcome()
    for number in range(last + 1):
        for after in (False, True):
            scene = Scene(client.database, broken, rows)
            act = VERBS[verb](scene)
            with broken.read() as transaction:
                transaction.now()
            trap = proxy.trap(_Counted(number), after=after)
            act()
            where = f"cut {'after' if after else 'before'} number {number}, {said[number][:60]!r}"
            assert trap.sprung.is_set(), where
            assert scene.outcome() == expected, where


class _Counted:
    """Matches the n-th unit from now on."""

    def __init__(self, number: int) -> None:
        self._left = number

    def __call__(self, seen: Seen) -> bool:
        self._left -= 1
        return self._left == -1


# -- a worker's verbs, whatever else its transactions hold ------------------------------------------------------------

_VARIES = re.compile(r"'[0-9a-f-]{36}'|JSON_TABLE\('(?:[^'\\]|\\.)*'|LIMIT \d+")
#: What only the transaction that does this says.
MARKS = {
    "claim": "attempt_count + 1 AS number",
    "start": "coalesce(jobwarden_job_attempts.state, '') IN ('dispatched') ",
    "settle": "coalesce(jobwarden_job_attempts.state, '') IN ('dispatched', 'running') ",
}


def _shape(text: str) -> str:
    return " ".join(_VARIES.sub("?", text).split()) + " "


def _story(seen: list[Seen], mark: str) -> list[str]:
    """The statements of a transaction with that mark, from its first to its commit; of the one that has least else."""
    commits = [unit for unit in seen if unit.text == "COMMIT"]
    marked = [unit for unit in commits if any(mark in _shape(text) for text in unit.before)]
    least = min(marked, key=lambda unit: len(unit.before))
    return [_shape(text) for text in (*least.before, least.text)]


#: Jobs to run until one is committed in the very company that a story tells of.
_TRIES = 20


class _Stands:
    """Matches a statement of the transaction with a mark: before the mark by its text alone, from then on with it."""

    def __init__(self, story: list[str], number: int, mark: str) -> None:
        self._text = story[number]
        marked = next(n for n, text in enumerate(story) if mark in text)
        self._mark = mark if number > marked else ""

    def __call__(self, seen: Seen) -> bool:
        if _shape(seen.text) != self._text:
            return False
        return not self._mark or any(self._mark in _shape(text) for text in seen.before)


@pytest.mark.parametrize("verb", MARKS)
def test_a_worker_cut_off_at_any_statement_goes_on(
    client: JobWarden, rows: Factories, launch: Start, proxy: Proxy, tmp_path: Path, verb: str
) -> None:
    marks, jobs = tmp_path / "marks", {}
    worker = launch(capacity=2, env={"JOBWARDEN_NUDGE": "0", "JOBWARDEN_POLL_IDLE": "0.2"})

    def run(name: str) -> None:
        params = {"path": str(marks), "text": name, "seconds": 0.2}
        jobs[name] = client.enqueue("append_guarded", params)
        await_state(jobs[name], "succeeded", "failed", "orphaned")

    with proxy.record() as seen:
        for n in range(8):  # on a busy machine a commit gathers more than it must, and what it must is looked for
            run(f"calm-{n}")
    story = _story(seen, MARKS[verb])
    for (number, text), after in product(enumerate(story), (False, True)):
        trap = proxy.trap(_Stands(story, number, MARKS[verb]), after=after)
        for again in range(_TRIES):
            run(f"{number}-{after}-{again}")
            if trap.sprung.is_set():
                break
        assert trap.sprung.wait(PATIENCE), f"never said: {text}"
    assert worker.running, "it was not restarted"
    worker.drain()
    all_succeeded_once(rows, jobs, marks)
    assert "Traceback" not in worker.log
