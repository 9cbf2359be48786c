"""The tables say what may happen, to the last edge; everything else is refused."""

from __future__ import annotations

import itertools

import pytest

from jobwarden.domain.states import ENDED, IN_FLIGHT, LIVE, WAITING, Actor, AttemptState, JobState
from jobwarden.domain.transitions import ATTEMPT, JOB, check_attempt, check_job
from jobwarden.errors import IllegalTransition

JOB_STEPS = list(itertools.product(JobState, JobState, Actor))
ATTEMPT_STEPS = list(itertools.product(AttemptState, AttemptState, Actor))
_WORK = (Actor.WORKER, Actor.SUPERVISOR, Actor.REAPER, Actor.SYSTEM)

#: Written a second time, by hand, so that an edge is never added or lost by accident.
JOB_EDGES = """
    pending > queued canceled
    queued > running canceled pending
    running > succeeded failed retrying orphaned canceled stopped queued pending
    retrying > queued canceled
    orphaned > retrying failed stopped canceled succeeded queued pending
    stopped > queued pending
    failed > queued pending
    canceled > pending
"""
ATTEMPT_EDGES = """
    dispatched > running orphaned canceled stopped succeeded failed
    running > succeeded failed orphaned canceled stopped
"""


def _edges(text: str) -> set[tuple[str, str]]:
    lines = [line.split(">") for line in text.strip().splitlines()]
    return {(origin.strip(), target) for origin, targets in lines for target in targets.split()}


def test_the_edges_of_a_job() -> None:
    assert {(origin.value, target.value) for origin, target in JOB} == _edges(JOB_EDGES)


def test_the_edges_of_an_attempt() -> None:
    assert {(origin.value, target.value) for origin, target in ATTEMPT} == _edges(ATTEMPT_EDGES)


@pytest.mark.parametrize(
    ("origin", "target", "actor"), [step for step in JOB_STEPS if step[2] in JOB.get(step[:2], ())]
)
def test_an_edge_of_a_job_may_be_taken(origin: JobState, target: JobState, actor: Actor) -> None:
    check_job(origin, target, actor)


def test_every_other_step_of_a_job_is_refused() -> None:
    refused = [step for step in JOB_STEPS if step[2] not in JOB.get(step[:2], ())]
    assert len(refused) > 450
    for origin, target, actor in refused:
        with pytest.raises(IllegalTransition, match=f"a job may not go from {origin} to {target} by {actor}"):
            check_job(origin, target, actor)


@pytest.mark.parametrize(
    ("origin", "target", "actor"), [step for step in ATTEMPT_STEPS if step[2] in ATTEMPT.get(step[:2], ())]
)
def test_an_edge_of_an_attempt_may_be_taken(origin: AttemptState, target: AttemptState, actor: Actor) -> None:
    check_attempt(origin, target, actor)


def test_every_other_step_of_an_attempt_is_refused() -> None:
    for origin, target, actor in ATTEMPT_STEPS:
        if actor not in ATTEMPT.get((origin, target), ()):
            with pytest.raises(IllegalTransition, match=f"an attempt may not go from {origin} to {target} by {actor}"):
                check_attempt(origin, target, actor)


def test_success_is_final() -> None:
    assert not [edge for edge in JOB if edge[0] is JobState.SUCCEEDED]


def test_an_attempt_that_is_over_stays_over() -> None:
    assert {origin for origin, _ in ATTEMPT} == IN_FLIGHT


def test_only_a_person_or_a_batch_brings_an_ended_job_back() -> None:
    revivers = set().union(*(actors for (origin, _), actors in JOB.items() if origin in ENDED))
    assert revivers == {Actor.OPERATOR, Actor.SYSTEM}


def test_a_client_moves_nothing() -> None:
    assert not [edge for edge, actors in (*JOB.items(), *ATTEMPT.items()) if Actor.CLIENT in actors]


def test_every_state_can_be_reached_and_every_live_state_can_end() -> None:
    reached = {JobState.PENDING, JobState.QUEUED}
    for _ in JobState:
        reached |= {target for origin, target in JOB if origin in reached}
    assert reached == set(JobState)
    for state in LIVE:
        assert _ends(state), f"{state} has no way out"


def test_the_sets_of_states() -> None:
    assert WAITING < LIVE
    assert set(JobState) == ENDED | LIVE
    assert not ENDED & LIVE


@pytest.mark.parametrize("target", [JobState.SUCCEEDED, JobState.FAILED, JobState.RETRYING, JobState.QUEUED])
def test_whoever_reports_may_settle_a_running_job(target: JobState) -> None:
    assert JOB[JobState.RUNNING, target].issuperset(_WORK)


def _ends(state: JobState) -> bool:
    reached = {state}
    for _ in JobState:
        reached |= {target for origin, target in JOB if origin in reached}
    return bool(reached & ENDED)
