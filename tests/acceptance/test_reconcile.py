"""A job that must not run twice and has lost its attempt asks the outside world, in an attempt of its own."""

from __future__ import annotations

import importlib.util
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jobwarden import JobHandle, JobWarden
from jobwarden.store import schema
from jobwarden.views.jobs import shown
from tests.acceptance.conftest import Start
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, ROOT, await_said, await_state
from tests.support.processes import Proc
from tests.support.waiting import eventually

Row = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """How a job is enqueued, and what its hook makes of it: the attempts after the one that was killed."""

    params: dict[str, str]
    state: str
    reason: str
    attempts: tuple[tuple[str, str], ...]
    options: tuple[tuple[str, Any], ...] = ()


ASKED = "its reconcile hook did not tell what the lost attempt did: "
CASES = {
    "ran": Case({}, "succeeded", "", (("reconcile", "succeeded"),)),
    "did not run": Case(
        {"when": "after"}, "succeeded", "nothing is in the book", (("reconcile", "succeeded"), ("run", "succeeded"))
    ),
    "did not run, at the end of the budget": Case(
        {"when": "after"},
        "failed",
        "the budget of 1 attempts is spent, and the last was lost: nothing is in the book",
        (("reconcile", "succeeded"),),
        (("max_attempts", 1),),
    ),
    "failed": Case({"hook": "failed"}, "failed", "the card was refused", (("reconcile", "succeeded"),)),
    "unknown": Case({"hook": "unknown"}, "orphaned", ASKED + "two payments look alike", (("reconcile", "failed"),)),
    "no outcome": Case({"hook": "nothing"}, "orphaned", ASKED, (("reconcile", "failed"),)),
    "raised": Case({"hook": "raise"}, "orphaned", ASKED + "the bank does not answer", (("reconcile", "failed"),)),
    "killed": Case({"hook": "die"}, "orphaned", ASKED, (("reconcile", "failed"),)),
    "too slow": Case({"hook": "wait"}, "orphaned", ASKED, (("reconcile", "failed"),), (("timeout", 2.0),)),
    "asked twice": Case(
        {"hook": "snooze"}, "orphaned", ASKED + "the bank was open", (("reconcile", "stopped"), ("reconcile", "failed"))
    ),
    "told to park": Case({}, "orphaned", "", (), (("on_lost", "park"),)),
    "told to fail": Case({}, "failed", "", (), (("on_lost", "fail"),)),
}


def _lose(rows: Factories, job: JobHandle) -> Row:
    """Kill the attempt of a job that has begun; gives its row."""
    await_said(rows, job)
    lost = rows.attempts_of(job.id)[-1]
    child = Proc.of(lost["child_pid"])
    assert child is not None
    child.signal(signal.SIGKILL)
    return lost


def _await_asking(rows: Factories, job: JobHandle) -> Row:
    """Wait until the hook is being asked; gives the attempt that asks."""

    def asking() -> Row | None:
        attempt = rows.attempts_of(job.id)[-1]
        said = any(line["attempt_id"] == attempt["id"] for line in rows.logs_of(job.id))
        return attempt if said and attempt["purpose"] == "reconcile" else None

    found = eventually(asking, PATIENCE)
    assert found is not None
    return found


def test_what_the_hook_finds_is_what_becomes_of_the_job(
    app: JobWarden, rows: Factories, start: Start, tmp_path: Path
) -> None:
    worker, gate = start(capacity=len(CASES)), tmp_path / "gate"
    jobs: dict[str, JobHandle] = {}
    for name, case in CASES.items():
        params = {"book": str(tmp_path / f"book of {name}"), "gate": str(gate), **case.params}
        jobs[name] = app.enqueue("Pay", params, **dict(case.options))
    lost = {name: _lose(rows, job) for name, job in jobs.items()}
    gate.touch()
    for name, case in CASES.items():
        await_state(jobs[name], case.state)
        _check(rows, jobs[name], lost[name], case)
    assert jobs["ran"].result == {"found": ["1"]}
    assert jobs["did not run"].result == {"paid by": 3}
    assert (tmp_path / "book of did not run").read_text() == "3\n", "paid once, by the run that was let go"
    for name in set(CASES) - {"did not run", "did not run, at the end of the budget"}:
        assert (tmp_path / f"book of {name}").read_text() == "1\n", "the handler was entered once"
    worker.drain()


def _check(rows: Factories, job: JobHandle, lost: Row, case: Case) -> None:
    first, *others = rows.attempts_of(job.id)
    assert (first["id"], first["purpose"], first["state"]) == (lost["id"], "run", "failed")
    assert tuple((attempt["purpose"], attempt["state"]) for attempt in others) == case.attempts
    row = rows.read(schema.jobs, job.id)
    asked = [attempt for attempt in others if attempt["purpose"] == "reconcile"]
    ran = case.attempts == CASES["ran"].attempts and case.state == "succeeded"
    assert (row["unspent_count"], row["purpose"]) == (0 if ran else len(asked), "run"), "asking costs no budget"
    if not asked:
        return
    last = asked[-1]
    said = [line["body_ref"] for line in rows.logs_of(job.id) if line["attempt_id"] == last["id"]]
    assert f"asked about attempt 1, {lost['id']}" in said, "its lines are those of its own attempt"
    [told] = [
        event
        for event in rows.events_of(job.id)
        if (event["attempt_id"], event["attempt_to"]) == (last["id"], last["state"])
    ]
    assert case.reason in (told["reason"] or ""), "the ledger says why"
    assert last["child_start_time"] is not None
    assert (last["child_pid"], last["proc_nonce"]) != (lost["child_pid"], lost["proc_nonce"])


@pytest.mark.parametrize("wish", ["cancel", "stop"])
def test_a_wish_wins_while_the_hook_is_asked(
    app: JobWarden, rows: Factories, start: Start, tmp_path: Path, gate: Path, wish: str
) -> None:
    start(capacity=1)
    job = app.enqueue("Pay", {"book": str(tmp_path / "book"), "gate": str(gate), "hook": "wait"})
    _lose(rows, job)
    _await_asking(rows, job)
    getattr(app, wish)(job.id, "never mind", "ann")
    ended = {"cancel": "canceled", "stop": "stopped"}[wish]
    await_state(job, ended)
    assert [attempt["state"] for attempt in rows.attempts_of(job.id)] == ["failed", ended]


def test_a_hook_whose_supervisor_is_killed_answers_all_the_same(
    app: JobWarden, rows: Factories, start: Start, tmp_path: Path, gate: Path
) -> None:
    worker = start(capacity=1)
    job = app.enqueue("Pay", {"book": str(tmp_path / "book"), "gate": str(gate), "hook": "gate"})
    _lose(rows, job)
    asking = _await_asking(rows, job)
    worker.kill()
    gate.touch()
    assert await_state(job, "succeeded").result == {"found": ["1"]}
    assert [attempt["id"] for attempt in rows.attempts_of(job.id)][1:] == [asking["id"]]
    worker.gone()


def test_what_a_reaper_finds_lost_is_asked_too(
    app: JobWarden, rows: Factories, start: Start, tmp_path: Path, gate: Path
) -> None:
    first = start(capacity=1)
    job = app.enqueue("Pay", {"book": str(tmp_path / "book"), "gate": str(gate)})
    await_said(rows, job)
    first.signal(signal.SIGSTOP)  # so that it cannot see its child die
    lost = _lose(rows, job)
    first.kill()
    await_state(job, "retrying", "queued")
    start(capacity=1)
    assert await_state(job, "succeeded").result == {"found": ["1"]}
    found, asked = rows.attempts_of(job.id)
    assert (found["state"], found["purpose"], asked["purpose"]) == ("orphaned", "run", "reconcile")
    assert found["fencing_token"] > lost["fencing_token"], "whoever held it is fenced out"
    assert (tmp_path / "book").read_text() == "1\n"
    with app.database.read() as transaction:
        view = shown(transaction, job.id)
    assert (view.reconciles, [attempt.purpose for attempt in view.attempts]) == (True, ["run", "reconcile"])


_APP = """
from jobwarden import JobWarden
jw = JobWarden()

@jw.job(idempotent=False, name="Pay")
class Pay:
    book: str
    gate: str
    when: str = "before"
    hook: str = "look"
    def run(self) -> None:
        open(self.book, "a").write("again")
"""


@pytest.mark.any_engine
def test_code_that_has_no_hook_any_more_leaves_it_to_a_person(
    app: JobWarden, rows: Factories, start: Start, tmp_path: Path, gate: Path
) -> None:
    first = start(capacity=1)
    job = app.enqueue("Pay", {"book": str(tmp_path / "book"), "gate": str(gate)})
    await_said(rows, job)
    first.signal(signal.SIGTERM)
    first.expect("draining")
    _lose(rows, job)
    await_state(job, "retrying", "queued")
    first.wait()
    (tmp_path / "hookless.py").write_text(_APP)
    start(capacity=1, app="hookless:jw", cwd=tmp_path)
    await_state(job, "orphaned")
    row = rows.read(schema.jobs, job.id)
    assert "was enqueued with a reconcile hook, and its code here has none" in row["wait_reason"]
    assert (tmp_path / "book").read_text() == "1\n"


def test_another_worker_may_ask(app: JobWarden, rows: Factories, start: Start, tmp_path: Path, gate: Path) -> None:
    worker = start(capacity=1)
    job = app.enqueue("Pay", {"book": str(tmp_path / "book"), "gate": str(gate)})
    await_said(rows, job)
    worker.signal(signal.SIGTERM)
    worker.expect("draining")
    _lose(rows, job)
    worker.wait()
    start(capacity=1)
    assert await_state(job, "succeeded").result == {"found": ["1"]}
    lost, asked = rows.attempts_of(job.id)
    assert lost["worker_id"] != asked["worker_id"]
    assert eventually(lambda: rows.attempts_of(job.id)[1]["exit_code"] == 0, PATIENCE)


_BANK = """
import time
from pathlib import Path
class Refused(Exception): ...
class bank:
    @staticmethod
    def is_open() -> bool:
        return Path("open").exists()
    @staticmethod
    def charge(customer: str, cents: int, reference: str) -> str:
        Path(reference).write_text(f"{customer} paid {cents}")
        print("charged", flush=True)
        time.sleep(600)
        raise AssertionError("unreachable")
    @staticmethod
    def find(reference: str) -> str | None:
        return Path(reference).read_text() if Path(reference).exists() else None
"""


@pytest.mark.any_engine
def test_the_example_on_the_page_does_what_the_page_says(rows: Factories, start: Start, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "explanation" / "idempotency.md").read_text()
    example = page.partition("```python\n")[2].partition("```")[0]
    (tmp_path / "page.py").write_text(example.replace("Snooze(60)", "Snooze(0.1)"))
    (tmp_path / "bank.py").write_text(_BANK)
    spec = importlib.util.spec_from_file_location("page", tmp_path / "page.py")
    assert spec is not None
    assert spec.loader is not None
    sys.path.insert(0, str(tmp_path))
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("bank", None)
    app = JobWarden(database_url=rows.database.url.render_as_string(hide_password=False))
    charge: Any = app.job(idempotent=False, name=module.Charge.name)(module.Charge.target)
    start(capacity=1, app="page:jw", cwd=tmp_path)
    job = charge.enqueue("ann", 500)
    _lose(rows, job)
    eventually(lambda: len(rows.attempts_of(job.id)) > 2, PATIENCE)
    (tmp_path / "open").touch()
    assert await_state(job, "succeeded").result == "ann paid 500"
    purposes = [attempt["purpose"] for attempt in rows.attempts_of(job.id)]
    assert (purposes[0], set(purposes[1:])) == ("run", {"reconcile"})
    app.database.dispose()
