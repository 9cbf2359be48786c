"""What becomes of due occurrences: every policy against a plain reading of the rules, and the cases that matter."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwarden.domain.occurrences import (
    BITE,
    MANY,
    Action,
    Active,
    Due,
    Missed,
    Overlap,
    Rules,
    Ruling,
    decide,
    lookahead,
)
from jobwarden.domain.states import JobState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LATE = timedelta(seconds=60)
RUNS = Active("j1", JobState.RUNNING)
PARKED = Active("j2", JobState.ORPHANED)


def minutes_ago(*ages: float) -> list[datetime]:
    return [NOW - age * MINUTE for age in ages]


def actions(rules: Rules, *ages: float, active: list[Active] | None = None, waiting: int = 0) -> list[str]:
    found = decide(rules, Due(minutes_ago(*ages), NOW, LATE), active or [], waiting)
    return [ruling.action.value for ruling in found]


# -- against a plain reading ------------------------------------------------------------------------------------------


def expected(rules: Rules, moments: list[datetime], active: list[Active], waiting: int) -> dict[datetime, Action]:
    """Occurrence by occurrence, straight from the words of the rules."""
    late = [at for at in moments if NOW - at > LATE]
    on_time = [at for at in moments if at not in late]
    told = {at: _missed(rules, at, len(late) - 1 - place, bool(on_time)) for place, at in enumerate(late)}
    runs = sorted([*(at for at, action in told.items() if action is None), *on_time])
    busy = any(rules.parked_counts or job.state is not JobState.ORPHANED for job in active)
    found = {at: action for at, action in told.items() if action is not None}
    for place, at in enumerate(runs):
        first, last = place == 0, place == len(runs) - 1
        queued = rules.overlap is Overlap.QUEUE and (busy or bool(waiting) or not first)
        lapped = rules.overlap is Overlap.SKIP and (busy or not last)
        found[at] = Action.QUEUED if queued else Action.OVERLAPPED if lapped else Action.ENQUEUED
    return found


def _missed(rules: Rules, at: datetime, newer: int, on_time: bool) -> Action | None:
    """What the missed policy makes of a late one, of which so many late ones are newer; None: it runs."""
    if rules.window is not None and NOW - at > rules.window:
        return Action.OUTSIDE_WINDOW
    if rules.missed is Missed.SKIP:
        return Action.SKIPPED
    if rules.missed is Missed.RUN_ALL:
        return Action.SKIPPED if rules.most is not None and newer >= rules.most else None
    if not newer and not on_time:
        return None
    return Action.COALESCED if rules.missed is Missed.COALESCE else Action.SKIPPED


@given(
    rules=st.builds(
        Rules,
        missed=st.sampled_from(list(Missed)),
        overlap=st.sampled_from(list(Overlap)),
        window=st.one_of(st.none(), st.integers(0, 600).map(lambda m: m * MINUTE)),
        most=st.one_of(st.none(), st.integers(1, 12)),
        parked_counts=st.booleans(),
    ),
    ages=st.sets(st.integers(0, 36_000), max_size=60),
    active=st.lists(st.sampled_from([RUNS, PARKED]), max_size=2),
    waiting=st.integers(0, 2),
)
def test_every_occurrence_gets_what_the_rules_say(
    rules: Rules, ages: set[int], active: list[Active], waiting: int
) -> None:
    moments = [NOW - timedelta(seconds=age) for age in sorted(ages, reverse=True)]
    rulings = decide(rules, Due(moments, NOW, LATE), active, waiting)
    assert {ruling.moment: ruling.action for ruling in rulings} == expected(rules, moments, active, waiting)
    assert [ruling.moment for ruling in rulings] == moments, "each exactly once, in order"
    assert [ruling for ruling in rulings if not ruling.reason and ruling.action is not Action.ENQUEUED] == []


@given(
    rules=st.builds(
        Rules,
        missed=st.sampled_from(list(Missed)),
        overlap=st.sampled_from([Overlap.ALLOW, Overlap.SKIP]),
        window=st.one_of(st.none(), st.integers(60, 2000).map(lambda s: timedelta(seconds=s))),
        most=st.one_of(st.none(), st.integers(1, 9)),
    ),
    step=st.sampled_from([5, 7, 30, 61]),
    bite=st.integers(5, 40),
)
def test_a_backlog_decided_bite_by_bite_comes_to_the_same(rules: Rules, step: int, bite: int) -> None:
    moments = [NOW - timedelta(seconds=age) for age in range(2000, -1, -step)]
    found: dict[datetime, Action] = {}
    rest = moments
    ahead = lookahead(rules, LATE)
    while rest:
        more = len(rest) > bite + ahead
        taken = rest[:bite] if more else rest
        active = [RUNS] if rules.overlap is Overlap.SKIP and Action.ENQUEUED in found.values() else []
        for ruling in decide(rules, Due(taken, NOW, LATE, more), active):
            found |= dict.fromkeys(_spread(ruling, moments), ruling.action)
        rest = rest[len(taken) :]
    assert found == expected(rules, moments, [], 0)


def _spread(ruling: Ruling, moments: list[datetime]) -> list[datetime]:
    covered = [at for at in moments if ruling.moment <= at <= (ruling.last or ruling.moment)]
    assert len(covered) == ruling.number
    return covered


# -- cases ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missed", list(Missed))
def test_w06_what_is_on_time_always_runs(missed: Missed) -> None:
    assert actions(Rules(missed), 0.1) == ["enqueued"]
    assert actions(Rules(missed, Overlap.ALLOW), 30, 20, 0.5)[-1] == "enqueued"


def test_w06_skip_makes_up_for_nothing() -> None:
    assert actions(Rules(Missed.SKIP), 30, 20, 0.1) == ["skipped", "skipped", "enqueued"]


def test_the_newest_stands_for_those_before_it() -> None:
    assert actions(Rules(Missed.RUN_LATEST), 30, 20, 10) == ["skipped", "skipped", "enqueued"]
    assert actions(Rules(Missed.COALESCE), 30, 20, 10) == ["coalesced", "coalesced", "enqueued"]
    assert actions(Rules(Missed.COALESCE), 30, 0.2) == ["coalesced", "enqueued"]


def test_the_window_and_the_cap_keep_the_newest() -> None:
    rules = Rules(Missed.RUN_ALL, Overlap.ALLOW, window=25 * MINUTE, most=2)
    assert actions(rules, 40, 24, 20, 10, 5, 0) == [
        "outside_window",
        "skipped",
        "skipped",
        "enqueued",
        "enqueued",
        "enqueued",
    ]


def test_w53_what_is_made_up_for_does_not_start_all_at_once() -> None:
    assert actions(Rules(Missed.RUN_ALL, Overlap.QUEUE), 30, 20, 10) == ["enqueued", "queued", "queued"]
    assert actions(Rules(Missed.RUN_ALL, Overlap.SKIP), 30, 20, 10) == ["overlapped", "overlapped", "enqueued"]


def test_w54_queue_waits_and_skip_says_overlapped() -> None:
    assert actions(Rules(overlap=Overlap.QUEUE), 0, active=[RUNS]) == ["queued"]
    assert actions(Rules(overlap=Overlap.QUEUE), 0, waiting=1) == ["queued"]
    assert actions(Rules(overlap=Overlap.SKIP), 0, active=[RUNS]) == ["overlapped"]
    assert actions(Rules(overlap=Overlap.ALLOW), 0, active=[RUNS]) == ["enqueued"]


def test_w09_a_parked_job_counts_only_where_that_is_asked_for_and_is_named() -> None:
    [runs] = decide(Rules(), Due(minutes_ago(0), NOW, LATE), [PARKED])
    assert (runs.action, runs.reason) == (Action.ENQUEUED, "job j2 is parked, which does not count as active here")
    [waits] = decide(Rules(parked_counts=True), Due(minutes_ago(0), NOW, LATE), [PARKED])
    assert waits.action is Action.OVERLAPPED
    assert waits.reason == "job j2 is parked, which counts as active here, and waits for a person"


def test_very_many_alike_share_one_record() -> None:
    ages = range(60 * 2 * MANY, 120, -60)
    moments = [NOW - timedelta(seconds=age) for age in ages]
    found = decide(Rules(Missed.SKIP), Due(moments, NOW, LATE))
    assert [(ruling.number, ruling.moment, ruling.last) for ruling in found] == [
        (len(moments), moments[0], moments[-1])
    ]
    assert BITE > MANY
