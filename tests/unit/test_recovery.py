"""What happens to a job when an attempt of it is over."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwarden.domain.claims import Purpose
from jobwarden.domain.recovery import Backoff, Decision, JobFacts, OnLost, Wish, decide
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import Actor, AttemptState, JobState
from jobwarden.domain.transitions import ATTEMPT, JOB

SAFE = JobFacts(idempotent=True, max_attempts=3, spent=1, backoff=Backoff(base=4, factor=3, cap=100, jitter=False))
ONCE = replace(SAFE, idempotent=False)
SPENT = replace(SAFE, spent=3)
ASKS = replace(ONCE, reconciles=True)
ASKING = replace(ASKS, purpose=Purpose.RECONCILE)
J, A = JobState, AttemptState

facts = st.builds(
    JobFacts,
    idempotent=st.booleans(),
    max_attempts=st.integers(1, 10),
    spent=st.integers(1, 12),
    unspent=st.integers(0, 5),
    backoff=st.builds(
        Backoff,
        base=st.floats(0.1, 60),
        factor=st.floats(1, 10),
        cap=st.floats(0.1, 3600),
        jitter=st.booleans(),
    ),
    on_lost=st.sampled_from(OnLost),
    wish=st.sampled_from([None, *Wish]),
    reconciles=st.booleans(),
    purpose=st.sampled_from(Purpose),
)
reports = st.builds(
    Report,
    attempt_id=st.just("a"),
    outcome=st.sampled_from(Outcome),
    retryable=st.sampled_from([None, True, False]),
    delay=st.none() | st.floats(0, 1000),
)
chances = st.floats(0, 1, exclude_max=True)


def _report(outcome: Outcome, **more: object) -> Report:
    return Report("a", outcome, **more)  # type: ignore[arg-type]


CASES = {
    "success": (SAFE, _report(Outcome.SUCCEEDED), J.SUCCEEDED, A.SUCCEEDED),
    "success although a cancel was wished": (
        replace(SAFE, wish=Wish.CANCEL),
        _report(Outcome.SUCCEEDED),
        J.SUCCEEDED,
        A.SUCCEEDED,
    ),
    "failure within the budget": (SAFE, _report(Outcome.FAILED), J.RETRYING, A.FAILED),
    "failure at the end of the budget": (SPENT, _report(Outcome.FAILED), J.FAILED, A.FAILED),
    "failure that the handler calls final": (SAFE, _report(Outcome.FAILED, retryable=False), J.FAILED, A.FAILED),
    "failure that the handler calls passing": (SAFE, _report(Outcome.FAILED, retryable=True), J.RETRYING, A.FAILED),
    "failure of what must not run twice": (ONCE, _report(Outcome.FAILED), J.FAILED, A.FAILED),
    "failure of what must not run twice, called passing": (
        ONCE,
        _report(Outcome.FAILED, retryable=True),
        J.FAILED,
        A.FAILED,
    ),
    "failure while a cancel was wished": (
        replace(SAFE, wish=Wish.CANCEL),
        _report(Outcome.FAILED),
        J.CANCELED,
        A.CANCELED,
    ),
    "failure while a stop was wished": (replace(SAFE, wish=Wish.STOP), _report(Outcome.FAILED), J.STOPPED, A.STOPPED),
    "loss": (SAFE, _report(Outcome.LOST), J.RETRYING, A.FAILED),
    "loss at the end of the budget": (SPENT, _report(Outcome.LOST), J.FAILED, A.FAILED),
    "loss of what must not run twice": (ONCE, _report(Outcome.LOST), J.ORPHANED, A.FAILED),
    "loss of what must not run twice, told to retry": (
        replace(ONCE, on_lost=OnLost.RETRY),
        _report(Outcome.LOST),
        J.RETRYING,
        A.FAILED,
    ),
    "loss, told to park": (replace(SAFE, on_lost=OnLost.PARK), _report(Outcome.LOST), J.ORPHANED, A.FAILED),
    "loss, told to fail": (replace(SAFE, on_lost=OnLost.FAIL), _report(Outcome.LOST), J.FAILED, A.FAILED),
    "loss while a cancel was wished": (
        replace(ONCE, wish=Wish.CANCEL),
        _report(Outcome.LOST),
        J.CANCELED,
        A.CANCELED,
    ),
    "loss while a stop was wished": (replace(ONCE, wish=Wish.STOP), _report(Outcome.LOST), J.STOPPED, A.STOPPED),
    "stop honoured": (SAFE, _report(Outcome.STOPPED), J.STOPPED, A.STOPPED),
    "raise Cancel": (SAFE, _report(Outcome.CANCELED), J.CANCELED, A.CANCELED),
    "raise Park": (SAFE, _report(Outcome.PARKED), J.ORPHANED, A.FAILED),
    "raise Snooze": (SAFE, _report(Outcome.SNOOZED, delay=60.0), J.PENDING, A.STOPPED),
    "raise Snooze at the end of the budget": (SPENT, _report(Outcome.SNOOZED, delay=60.0), J.PENDING, A.STOPPED),
    "loss of what can ask": (ASKS, _report(Outcome.LOST), J.RETRYING, A.FAILED),
    "loss of what can ask, told to park": (
        replace(ASKS, on_lost=OnLost.PARK),
        _report(Outcome.LOST),
        J.ORPHANED,
        A.FAILED,
    ),
    "the hook found that all was done": (ASKING, _report(Outcome.SUCCEEDED), J.SUCCEEDED, A.SUCCEEDED),
    "the hook found that nothing was done": (ASKING, _report(Outcome.DID_NOT_RUN), J.QUEUED, A.SUCCEEDED),
    "the hook found that nothing was done, at the end of the budget": (
        replace(ASKING, spent=4),
        _report(Outcome.DID_NOT_RUN),
        J.FAILED,
        A.SUCCEEDED,
    ),
    "the hook found that it had failed": (ASKING, _report(Outcome.DID_FAIL), J.FAILED, A.SUCCEEDED),
    "the hook was stopped by a drain": (ASKING, _report(Outcome.DRAINED), J.QUEUED, A.STOPPED),
    "the hook was not entered": (ASKING, _report(Outcome.UNSTARTED), J.QUEUED, A.CANCELED),
    "the hook found that nothing was done, while a cancel was wished": (
        replace(ASKING, wish=Wish.CANCEL),
        _report(Outcome.DID_NOT_RUN),
        J.CANCELED,
        A.CANCELED,
    ),
    "the hook cannot tell": (ASKING, _report(Outcome.PARKED), J.ORPHANED, A.FAILED),
    "the hook raised": (ASKING, _report(Outcome.FAILED), J.ORPHANED, A.FAILED),
    "the hook was lost": (ASKING, _report(Outcome.LOST), J.ORPHANED, A.FAILED),
    "stopped at a checkpoint by a drain": (SAFE, _report(Outcome.DRAINED), J.QUEUED, A.STOPPED),
    "stopped by a drain, and must not run twice": (ONCE, _report(Outcome.DRAINED), J.ORPHANED, A.STOPPED),
    "stopped by a drain, and can ask": (ASKS, _report(Outcome.DRAINED), J.RETRYING, A.STOPPED),
    "never began": (ONCE, _report(Outcome.UNSTARTED), J.QUEUED, A.CANCELED),
    "never began, to be tried later": (ONCE, _report(Outcome.UNSTARTED, delay=5.0), J.PENDING, A.CANCELED),
}


@pytest.mark.parametrize("case", CASES)
def test_where_the_job_and_its_attempt_go(case: str) -> None:
    job, report, job_state, attempt_state = CASES[case]
    decision = decide(job, report, 0.5)
    assert (decision.job, decision.attempt) == (job_state, attempt_state)


def test_a_retry_waits_as_the_backoff_says() -> None:
    assert decide(SAFE, _report(Outcome.FAILED), 0.5).delay == 4
    assert decide(replace(SAFE, spent=2), _report(Outcome.FAILED), 0.5).delay == 12


def test_a_delay_asked_for_by_the_handler_wins_over_the_backoff() -> None:
    assert decide(SAFE, _report(Outcome.FAILED, delay=77.0), 0.5).delay == 77


@pytest.mark.parametrize("outcome", [Outcome.SNOOZED, Outcome.UNSTARTED, Outcome.DRAINED])
def test_what_did_not_count_spends_no_budget(outcome: Outcome) -> None:
    assert decide(SPENT, _report(outcome), 0.5).unspent


def test_the_reason_is_kept() -> None:
    for outcome in Outcome:
        assert decide(SAFE, _report(outcome, reason="because"), 0.5).reason == "because"
        assert "because" in str(decide(ASKING, _report(outcome, reason="because"), 0.5).reason)
    assert decide(replace(SAFE, wish=Wish.CANCEL), _report(Outcome.LOST), 0.5).reason == "cancel requested"
    assert decide(replace(SAFE, wish=Wish.STOP), _report(Outcome.LOST), 0.5).reason == "stop requested"


@given(facts, reports, chances)
def test_success_is_never_overridden_and_never_invented(job: JobFacts, report: Report, chance: float) -> None:
    decision = decide(job, report, chance)
    succeeded = report.outcome is Outcome.SUCCEEDED
    told = report.outcome in (Outcome.DID_NOT_RUN, Outcome.DID_FAIL)
    answered = job.purpose is Purpose.RECONCILE and told and job.wish is None
    assert (decision.job is J.SUCCEEDED) == succeeded
    assert (decision.attempt is A.SUCCEEDED) == (succeeded or answered)


@given(facts, reports, chances)
def test_a_wish_wins_over_everything_but_success(job: JobFacts, report: Report, chance: float) -> None:
    if job.wish is not None and report.outcome is not Outcome.SUCCEEDED:
        wanted = {Wish.CANCEL: J.CANCELED, Wish.STOP: J.STOPPED}[job.wish]
        assert decide(job, report, chance).job is wanted


@given(facts, reports, chances)
def test_the_budget_is_never_exceeded(job: JobFacts, report: Report, chance: float) -> None:
    decision = decide(job, report, chance)
    if decision.job is J.RETRYING and decision.next is Purpose.RUN:
        assert job.spent < job.max_attempts


@given(facts, reports, chances)
def test_what_must_not_run_twice_is_run_again_only_if_somebody_said_so(
    job: JobFacts, report: Report, chance: float
) -> None:
    decision = decide(job, report, chance)
    again = decision.job in (J.RETRYING, J.QUEUED, J.PENDING) and decision.next is Purpose.RUN
    if not job.idempotent and again:
        if job.purpose is Purpose.RECONCILE and report.outcome is Outcome.DID_NOT_RUN:
            return
        told = job.on_lost is OnLost.RETRY and report.outcome is Outcome.LOST
        assert told or report.outcome in (Outcome.SNOOZED, Outcome.UNSTARTED)


@given(facts, reports, chances)
def test_asking_spends_no_budget_and_is_not_retried_when_it_fails(job: JobFacts, report: Report, chance: float) -> None:
    decision = decide(replace(job, purpose=Purpose.RECONCILE, wish=None), report, chance)
    if report.outcome not in (Outcome.SUCCEEDED, Outcome.STOPPED, Outcome.CANCELED):
        assert decision.unspent
    asked_again = (Outcome.SNOOZED, Outcome.UNSTARTED, Outcome.DRAINED)
    assert (decision.next is Purpose.RECONCILE) == (report.outcome in asked_again)


@given(st.integers(1, 10), st.integers(1, 40))
def test_a_job_whose_every_attempt_is_lost_before_it_does_anything_comes_to_an_end(budget: int, rounds: int) -> None:
    spent = 0
    for _ in range(rounds):
        spent += 1
        lost = decide(replace(ASKS, max_attempts=budget, spent=spent), _report(Outcome.LOST), 0.5)
        assert lost.next is Purpose.RECONCILE
        asking = replace(ASKING, max_attempts=budget, spent=spent + 1)
        if decide(asking, _report(Outcome.DID_NOT_RUN), 0.5).job is J.FAILED:
            break
    assert spent <= budget


@given(facts, reports, chances)
def test_only_what_can_ask_is_asked(job: JobFacts, report: Report, chance: float) -> None:
    decision = decide(job, report, chance)
    if decision.next is Purpose.RECONCILE:
        assert job.reconciles or job.purpose is Purpose.RECONCILE
        assert decision.job in (J.RETRYING, J.QUEUED, J.PENDING)


@given(facts, reports, chances)
def test_every_decision_is_an_edge_that_a_supervisor_and_a_reaper_may_take(
    job: JobFacts, report: Report, chance: float
) -> None:
    decision = decide(job, report, chance)
    for actor in (Actor.SUPERVISOR, Actor.WORKER, Actor.REAPER):
        assert actor in JOB[J.RUNNING, decision.job]
        assert actor in ATTEMPT[A.RUNNING, decision.attempt]
        assert actor in ATTEMPT[A.DISPATCHED, decision.attempt]


@given(facts, reports, chances)
def test_only_what_will_run_again_has_a_delay(job: JobFacts, report: Report, chance: float) -> None:
    decision: Decision = decide(job, report, chance)
    if decision.delay is not None:
        assert decision.delay >= 0
        assert decision.job in (J.RETRYING, J.PENDING, J.QUEUED)
    if decision.job in (J.RETRYING, J.PENDING):
        assert decision.delay is not None


@given(st.floats(0.001, 1e6), st.floats(1, 1e3), st.floats(0.001, 1e6), st.integers(-3, 10**9), chances)
def test_a_backoff_stays_within_its_bounds(
    base: float, factor: float, cap: float, failures: int, chance: float
) -> None:
    plain = Backoff(base, factor, cap, jitter=False).delay(failures, chance)
    drawn = Backoff(base, factor, cap, jitter=True).delay(failures, chance)
    assert min(base, cap) <= plain <= cap
    assert plain / 2 <= drawn <= plain


@given(st.integers(1, 200), chances)
def test_a_backoff_never_shrinks(failures: int, chance: float) -> None:
    backoff = Backoff(jitter=False)
    assert backoff.delay(failures, chance) <= backoff.delay(failures + 1, chance)


def test_the_default_backoff() -> None:
    waits = [Backoff(jitter=False).delay(n, 0.0) for n in range(1, 9)]
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300]
