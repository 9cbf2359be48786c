"""The checker finds nothing in a clean campaign, and each forged violation under its own invariant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.checker import check
from chaos.evidence import Bounds, Edge, Hold, Leftover
from tests.chaos.tales import HOST, SCOPE, Tale, broken, clean, instant


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
    first = next(attempt for attempt in tale.attempts if attempt.id == "once.1")
    tale.attempts.append(replace(first, id="once.2", number=2, token=2))


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
    tale.injuries[0].begun = tale.injuries[0].ended = instant(20)


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


def lose_a_member(tale: Tale) -> None:
    tale.planned["b"].append(("vanished", [], []))


def lose_an_edge(tale: Tale) -> None:
    tale.edges = [edge for edge in tale.edges if edge.job != "next"]


def start_before_a_success(tale: Tale) -> None:
    tale.edges.append(Edge("next", "bad", any_end=False))


def start_before_an_end(tale: Tale) -> None:
    ends = next(event for event in tale.events if event.job == "bad" and event.to_state == "failed")
    tale.events.remove(ends)
    tale.events.append(replace(ends, id=1000))


def start_while_held(tale: Tale) -> None:
    tale.holds.append(Hold("b", instant(5.5), instant(7)))


def run_what_is_unreachable(tale: Tale) -> None:
    tale.change(tale.jobs, "off", state="succeeded")


def cancel_a_member_for_nothing(tale: Tale) -> None:
    tale.edges = [edge for edge in tale.edges if edge.job != "off"]


def forget_who_waits(tale: Tale) -> None:
    tale.change(tale.jobs, "parked", state="succeeded")


def leave_what_is_unreachable_waiting(tale: Tale) -> None:
    tale.change(tale.jobs, "parked", state="failed")


def end_a_batch_too_early(tale: Tale) -> None:
    tale.change(tale.graphs, "waits", finished=True)


def never_end_a_batch(tale: Tale) -> None:
    tale.change(tale.graphs, "b", finished=False)


def praise_a_batch(tale: Tale) -> None:
    tale.change(tale.graphs, "b", state="succeeded")


def forget_a_policy(tale: Tale) -> None:
    tale.change(tale.graphs, "b", policy="fail_fast")


@pytest.mark.parametrize(
    ("forge", "invariant", "job"),
    [
        (lose_a_member, "I1", "b"),
        (lose_an_edge, "I1", "next"),
        (start_before_a_success, "I9", "next"),
        (start_before_an_end, "I9", "next"),
        (start_while_held, "I9", "next"),
        (run_what_is_unreachable, "I10", "off"),
        (cancel_a_member_for_nothing, "I10", "off"),
        (forget_who_waits, "I10", "blocked"),
        (leave_what_is_unreachable_waiting, "I10", "blocked"),
        (end_a_batch_too_early, "I10", "waits"),
        (never_end_a_batch, "I10", "b"),
        (praise_a_batch, "I10", "b"),
        (forget_a_policy, "I10", "b"),
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
    assert [len(verdict.violations) for verdict in check(evidence)] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]


def test_counters_that_are_wrong_break_the_ledger() -> None:
    evidence = clean().evidence()
    right = dict(evidence.counters or {})
    wrong = replace(evidence, counters={**right, "succeeded": right["succeeded"] + 1})
    assert [len(verdict.violations) for verdict in check(wrong)] == [0, 0, 0, 0, 1, 0, 0, 0, 0, 0]


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
    tale.injuries = tale.injuries[1:]
    tale.injure(what, begun, ended, **more)
    assert broken(tale) == {}


def test_a_worker_that_is_told_to_end_once_excuses_nothing_and_twice_what_it_ran() -> None:
    tale = clean()
    tale.injuries = tale.injuries[1:]
    worker: dict[str, Any] = {"host": HOST, "role": "supervisor", "scope": SCOPE, "pid": 3, "start_time": 1}
    tale.injure("term", 4.0, 4.0, **worker)
    assert broken(tale) == {"I7": ["killed"]}
    tale.injure("term", 4.2, 4.2, **worker)
    assert broken(tale) == {}


def test_the_same_pid_in_another_namespace_explains_nothing() -> None:
    tale = clean()
    tale.injuries = tale.injuries[1:]
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


@pytest.mark.parametrize(
    ("called_off", "kind", "found"), [(2, "growing", {}), (1 << 40, "growing", ["more"]), (2, "slow", ["more"])]
)
def test_a_batch_that_was_called_off_explains_that_a_member_could_not_grow_it(
    called_off: int, kind: str, found: list[str]
) -> None:
    tale = Tale()
    tale.batch("b", "failed", "fail_fast")
    tale.graphs[0] = replace(tale.graphs[0], moves=[(0, "running"), (called_off, "failed")])
    tale.member("b", "more", "failed")
    tale.change(tale.jobs, "more", kind=kind)
    tale.attempt("more", 1, 2, 5, "failed", "failed", "failed")
    assert broken(tale).get("I7", {}) == found
