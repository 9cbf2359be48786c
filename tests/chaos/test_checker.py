"""The checker finds nothing in a clean campaign, and each forged violation under its own invariant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.checker import check
from chaos.evidence import SECOND, Attempt, Bounds, Event, Evidence, Injury, Job, Leftover, Life
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
        )

    def job(self, id: str, kind: str = "slow", state: str = "succeeded", idempotent: bool = True) -> None:
        """A job that was enqueued at second 1; its attempts follow."""
        self.acknowledged.append(id)
        self.jobs.append(Job(id, kind, state, idempotent))
        self.event(id, 1, "queued", None)

    def event(self, job: str, at: float, to: str, origin: str | None, **more: Any) -> None:
        """One ledger row."""
        self.events.append(Event(len(self.events) + 1, job, _at(at), to, origin, **more))

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
        self.attempts.append(Attempt(id, job, number, state, number + moved, _at(begun), _at(ended), **stamp))
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
        self.lines.append(Line(_at(at), event, job, attempt, **more))

    def injure(self, what: str, begun: float, ended: float, attempt: str = "", **more: Any) -> None:
        """A fault; on the process of an attempt, if one is named."""
        if attempt:
            more = {"host": HOST, "role": "child", "nonce": attempt, "scope": SCOPE, **more}
        self.injuries.append(Injury(1, what, begun=_at(begun), ended=_at(ended), **more))

    def change(self, rows: list[Any], key: str, **columns: Any) -> None:
        """Forge columns of the row with that id."""
        place = next(number for number, row in enumerate(rows) if row.id == key)
        rows[place] = replace(rows[place], **columns)

    def _settle(self, job: str, attempt: str, number: int) -> None:
        self.change(self.jobs, job, attempt_count=number, current_attempt=attempt)


def _at(seconds: float) -> int:
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
    tale.events.insert(-1, Event(0, "canceled", _at(4), "running", "running", actor="operator", context=wish))
    tale.job("once", "dies_once", "orphaned", idempotent=False)
    tale.attempt("once", 1, 2, 5, "failed", "orphaned", "lost")
    return tale


def broken(tale: Tale) -> dict[str, list[str]]:
    """The jobs that broke each invariant."""
    found = {verdict.invariant: [one.job for one in verdict.violations] for verdict in check(tale.evidence())}
    return {invariant: jobs for invariant, jobs in found.items() if jobs}


def test_a_clean_campaign_breaks_nothing_and_every_invariant_had_cases() -> None:
    tale = clean()
    assert broken(tale) == {}
    assert all(verdict.examined for verdict in check(tale.evidence()))


# -- forged violations ------------------------------------------------------------------------------------------------


def lose_a_row(tale: Tale) -> None:
    tale.acknowledged.append("vanished")


def leave_a_job_running(tale: Tale) -> None:
    tale.change(tale.jobs, "good", state="running")
    tale.events.pop(2)
    tale.change(tale.attempts, "good.1", state="running")


def overlap(tale: Tale) -> None:
    tale.line("alive", 7.3, "killed", "killed.1")


def begin_twice_at_once(tale: Tale) -> None:
    tale.line("start", 2.5, "killed", "killed.2")


def start_twice(tale: Tale) -> None:
    tale.line("start", 8, "once", "once.2")
    tale.attempts.append(replace(tale.attempts[-1], id="once.2", number=2, token=2))


def accept_an_old_token(tale: Tale) -> None:
    place = next(n for n, e in enumerate(tale.events) if e.attempt == "killed.2" and e.attempt_to == "succeeded")
    tale.events[place] = replace(tale.events[place], context={"token": 1})


def end_after_orphaning(tale: Tale) -> None:
    tale.event("killed", 8, "succeeded", "succeeded", attempt="killed.1", attempt_from="failed", attempt_to="succeeded")


def forget_to_move_the_token(tale: Tale) -> None:
    tale.change(tale.attempts, "good.1", token=2)


def leave_a_gap(tale: Tale) -> None:
    tale.events = [event for event in tale.events if event.to_state != "retrying" or event.job != "killed"]


def change_a_state_in_silence(tale: Tale) -> None:
    tale.change(tale.jobs, "good", state="failed")


def forget_to_count(tale: Tale) -> None:
    tale.change(tale.jobs, "killed", attempt_count=1)


def live_after_the_verdict(tale: Tale) -> None:
    tale.line("alive", 6.5, "canceled", "canceled.1", grandchild=True)


def leave_a_process(tale: Tale) -> None:
    tale.leftovers.append(Leftover(SCOPE, 999, 8, "canceled.1", "a grandchild"))


def lose_a_healthy_one(tale: Tale) -> None:
    tale.injuries.clear()


def blame_a_supervisor(tale: Tale) -> None:
    tale.injuries.clear()
    tale.injure("kill", 4.9, 4.9, host=HOST, role="supervisor", pid=2)


def blame_another_time(tale: Tale) -> None:
    tale.injuries[0].begun = tale.injuries[0].ended = _at(20)


def blame_a_short_outage(tale: Tale) -> None:
    tale.injuries.clear()
    tale.injure("outage", 3, 5)


def cancel_what_nobody_wished(tale: Tale) -> None:
    tale.events = [event for event in tale.events if "wish" not in event.context]


def misbehave_at_the_second_attempt(tale: Tale) -> None:
    tale.change(tale.jobs, "good", kind="dies", attempt_count=2)
    tale.change(tale.attempts, "good.1", number=2, token=2, state="failed")
    place = next(n for n, e in enumerate(tale.events) if e.attempt == "good.1" and e.attempt_to == "succeeded")
    tale.events[place] = replace(tale.events[place], attempt_to="failed", context={"token": 2, "outcome": "lost"})


def settle_too_late(tale: Tale) -> None:
    tale.bounds = Bounds(fence=6, budget=11, settle=60, took=61)


def leave_an_attempt_in_flight(tale: Tale) -> None:
    tale.change(tale.attempts, "good.1", state="running")


@pytest.mark.parametrize(
    ("forge", "invariant", "job"),
    [
        (lose_a_row, "I1", "vanished"),
        (leave_a_job_running, "I1", "good"),
        (overlap, "I2", "killed"),
        (begin_twice_at_once, "I2", "killed"),
        (start_twice, "I3", "once"),
        (accept_an_old_token, "I4", "killed"),
        (end_after_orphaning, "I4", "killed"),
        (forget_to_move_the_token, "I4", "good"),
        (leave_a_gap, "I5", "killed"),
        (change_a_state_in_silence, "I5", "good"),
        (forget_to_count, "I5", "killed"),
        (live_after_the_verdict, "I6", "canceled"),
        (leave_a_process, "I6", "canceled"),
        (lose_a_healthy_one, "I7", "killed"),
        (blame_a_supervisor, "I7", "killed"),
        (blame_another_time, "I7", "killed"),
        (blame_a_short_outage, "I7", "killed"),
        (cancel_what_nobody_wished, "I7", "canceled"),
        (misbehave_at_the_second_attempt, "I7", "good"),
        (settle_too_late, "I8", ""),
        (leave_an_attempt_in_flight, "I8", "good"),
    ],
)
def test_a_forged_violation_is_found(forge: Callable[[Tale], None], invariant: str, job: str) -> None:
    tale = clean()
    forge(tale)
    assert job in broken(tale).get(invariant, [])


def test_what_the_health_check_finds_breaks_the_ledger() -> None:
    evidence = replace(clean().evidence(), findings=[("good", "a rule: a sentence")])
    assert [len(verdict.violations) for verdict in check(evidence)] == [0, 0, 0, 0, 1, 0, 0, 0]


def test_counters_that_are_wrong_break_the_ledger() -> None:
    evidence = replace(clean().evidence(), counters={"succeeded": 3, "canceled": 1, "orphaned": 1})
    assert [len(verdict.violations) for verdict in check(evidence)] == [0, 0, 0, 0, 1, 0, 0, 0]


# -- what explains a loss ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "begun", "ended", "more"),
    [
        ("kill host", 4.9, 5.0, {"host": HOST, "role": "host"}),
        ("cut", 3.0, 20.0, {"host": HOST, "role": "host"}),
        ("outage", 1.0, 4.5, {}),
        ("freeze", 3.0, 4.0, {"host": HOST, "role": "child", "scope": SCOPE, "pid": 101, "start_time": 7}),
    ],
)
def test_a_fault_that_hit_process_or_host_explains_a_loss(
    what: str, begun: float, ended: float, more: dict[str, Any]
) -> None:
    tale = clean()
    tale.injuries.clear()
    tale.injure(what, begun, ended, **more)
    assert broken(tale) == {}


def test_a_worker_that_is_told_to_end_once_excuses_nothing_and_twice_what_it_ran() -> None:
    tale = clean()
    tale.injuries.clear()
    worker: dict[str, Any] = {"host": HOST, "role": "supervisor", "scope": SCOPE, "pid": 3, "start_time": 1}
    tale.injure("term", 4.0, 4.0, **worker)
    assert broken(tale) == {"I7": ["killed"]}
    tale.injure("term", 4.2, 4.2, **worker)
    assert broken(tale) == {}


def test_the_same_pid_in_another_namespace_explains_nothing() -> None:
    tale = clean()
    tale.injuries.clear()
    tale.injure("kill", 4.9, 4.9, host="host2", role="child", scope=SCOPE + 1, pid=101, start_time=7)
    assert broken(tale) == {"I7": ["killed"]}


def test_what_never_began_may_be_given_back_for_anything_that_happened_on_its_host() -> None:
    tale = Tale()
    tale.job("waiting")
    tale.attempt("waiting", 1, 2, 5, "canceled", "queued", "unstarted", silent=True)
    tale.attempt("waiting", 2, 7, 9)
    assert broken(tale) == {"I7": ["waiting"]}
    tale.injure("kill", 4, 4, host=HOST, role="supervisor")
    assert broken(tale) == {}


def test_a_second_start_is_right_where_the_handler_or_the_operator_asked_for_it() -> None:
    tale = Tale()
    tale.job("snoozed", "snoozing", idempotent=False)
    first = tale.attempt("snoozed", 1, 2, 5, "stopped", "pending", "snoozed", silent=True)
    tale.line("start", 2.1, "snoozed", first)
    tale.line("end", 2.2, "snoozed", first, more={"fate": "snoozed"})
    tale.event("snoozed", 6, "queued", "pending")
    tale.attempt("snoozed", 2, 7, 9)
    tale.job("restarted", "slow_once", idempotent=False)
    lost = tale.attempt("restarted", 1, 2, 5, "failed", "orphaned", "lost")
    tale.injure("kill", 4, 4, lost)
    tale.event("restarted", 6, "queued", "orphaned", actor="operator")
    tale.attempt("restarted", 2, 7, 9)
    assert broken(tale) == {}


@pytest.mark.parametrize(("event", "found"), [("alive", {}), ("effect", {"I3": ["asked"]})])
def test_a_second_start_is_right_after_a_hook_found_that_the_first_had_no_effect(
    event: str, found: dict[str, list[str]]
) -> None:
    tale = Tale()
    tale.job("asked", "reconciling", idempotent=False)
    lost = tale.attempt("asked", 1, 2, 5, "failed", "retrying", "lost", silent=True)
    tale.line("start", 2.1, "asked", lost)
    tale.line(event, 2.2, "asked", lost)
    tale.injure("kill", 4, 4, lost)
    tale.event("asked", 5.1, "queued", "retrying")
    tale.attempt("asked", 2, 5.2, 5.5, "succeeded", "queued", "did not run", silent=True)
    tale.change(tale.attempts, "asked.2", purpose="reconcile")
    tale.attempt("asked", 3, 7, 9)
    assert broken(tale) == found


def test_a_wish_explains_nothing_once_the_operator_had_the_job_run_again() -> None:
    tale = clean()
    tale.event("canceled", 7, "queued", "canceled", actor="operator")
    tale.attempt("canceled", 2, 8, 9, "canceled", "canceled")
    assert broken(tale) == {"I7": ["canceled"]}
