"""Schedules whose schedulers are killed and frozen: every instant is accounted for, and the accountant is no fool."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos.accounts import Account, Policy, audit
from chaos.soak import Soak

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.mark.timeout(300)
def test_whatever_is_done_to_schedulers_every_instant_is_accounted_for(database_url: str, runtime_dir: Path) -> None:
    told = Soak(database_url, runtime_dir, seed=7, schedules=60, seconds=25).run()
    assert told.findings == []
    assert told.instants > 150
    assert told.actions["enqueued"] > 100
    assert set(told.faults) == {"kill", "end", "freeze", "dark"}


def run(second: float, action: str = "enqueued", late: float = 0.1, **more: Any) -> Any:
    moment = BEGIN + second * SECOND
    given = {"action": action, "job_id": f"job{second:g}" if action == "enqueued" else None, "number": 1}
    return SimpleNamespace(**{"occurrence_time": moment, "detected_at": moment + late * SECOND, **given, **more})


def job(second: float, begin: float = 0.1, took: float = 1) -> Any:
    moment = BEGIN + second * SECOND
    born = moment + begin * SECOND
    given = {"id": f"job{second:g}", "scheduled_for": moment}
    return SimpleNamespace(**given, created_at=born, finished_at=born + took * SECOND)


def account() -> Account:
    """Four instants, ten seconds apart, each with its job."""
    return Account([run(n) for n in (0, 10, 20, 30)], [job(n) for n in (0, 10, 20, 30)])


def _overlap(seen: Account) -> None:
    seen.runs[1].action = "overlapped"
    del seen.jobs[1]  # type: ignore[attr-defined]


POLICY = Policy("s", 10, False, BEGIN, BEGIN + 30 * SECOND, "run_latest", "allow", None, None, 0.0)
LATE = [run(0, "skipped", 25), run(10, "skipped", 15), run(20, late=5)]


def test_what_is_as_it_should_be_is_not_found_fault_with() -> None:
    assert audit(POLICY, account(), 3.0) == []
    made_up = Account([*LATE, run(30)], [job(20, 5), job(30)])
    assert audit(POLICY, made_up, 3.0) == []
    assert audit(replace(POLICY, overlap="skip"), account(), 3.0) == []
    gathered = run(0, "skipped", 25, number=2)
    assert audit(POLICY, Account([gathered, run(20, late=5), run(30)], [job(20, 5), job(30)]), 3.0) == []


@pytest.mark.parametrize(
    ("harm", "policy", "words"),
    [
        (lambda a: a.runs.pop(1), POLICY, "is recorded nowhere"),
        (lambda a: a.runs.append(run(10)), POLICY, "is recorded 2 times"),
        (lambda a: a.runs.append(run(15, "skipped")), POLICY, "was never due"),
        (lambda a: a.jobs.pop(1), POLICY, "is not there"),
        (lambda a: a.jobs.append(job(11)), POLICY, "belongs to no run"),
        (lambda a: setattr(a.runs[1], "detected_at", BEGIN), POLICY, "was decided early"),
        (lambda a: setattr(a.runs[1], "action", "queued"), POLICY, "still waits"),
        (lambda a: setattr(a.runs[1], "action", "skipped"), POLICY, "and allow runs it"),
        (lambda a: setattr(a.jobs[1], "scheduled_for", BEGIN), POLICY, "is for"),
        (lambda a: setattr(a.jobs[0], "finished_at", BEGIN + 60 * SECOND), replace(POLICY, overlap="queue"), "before"),
        (_overlap, replace(POLICY, overlap="skip"), "nothing was active"),
        (lambda a: setattr(a.runs[1], "action", "skipped"), replace(POLICY, overlap="skip"), "not overlapped"),
    ],
)
def test_what_is_not_is_found(harm: Callable[[Account], Any], policy: Policy, words: str) -> None:
    seen = account()
    harm(seen)
    assert any(words in finding for finding in audit(policy, seen, 3.0))


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({}, "run_latest does not make up for it"),
        ({"missed": "coalesce"}, "coalesce does not make up for it"),
        ({"missed": "skip"}, "skip does not make up for it"),
        ({"missed": "run_all", "most": 2}, "run_all does not make up for it"),
        ({"missed": "run_all", "window": 12.0}, "run_all does not make up for it"),
        ({"missed": "run_all", "overlap": "skip"}, "3 were enqueued at"),
    ],
)
def test_what_was_missed_and_runs_against_the_policy_is_found(changes: dict[str, Any], wrong: str) -> None:
    late = [run(0, late=25), run(10, late=15), run(20, late=5)]
    seen = Account([*late, run(30)], [job(0, 25), job(10, 15), job(20, 5), job(30)])
    assert any(wrong in finding for finding in audit(replace(POLICY, **changes), seen, 3.0))
    if changes.get("missed") == "run_all":
        assert audit(replace(POLICY, missed="run_all"), seen, 3.0) == []
