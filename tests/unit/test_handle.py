"""A handle looks when asked, waits with growing pauses, and says when it has waited long enough."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from jobwarden.domain.orders import Order, Verb
from jobwarden.domain.states import JobState
from jobwarden.errors import WaitTimeout
from jobwarden.handle import JobHandle, Snapshot


class Desk:
    """Says the states that it was given, the last one for ever."""

    def __init__(self, *states: JobState) -> None:
        self.states, self.looks = list(states), 0
        self.orders: list[tuple[Order, str]] = []

    def look(self, job_id: str) -> Snapshot:
        self.looks += 1
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return Snapshot(state, {"by": job_id} if state is JobState.SUCCEEDED else None)

    def order(self, order: Order, job_id: str) -> JobState:
        self.orders.append((order, job_id))
        self.states = [JobState.CANCELED]
        return JobState.CANCELED


Waiter = Callable[[JobHandle, float | None], JobHandle]


def _wait(handle: JobHandle, timeout: float | None) -> JobHandle:
    return handle.wait(timeout)


def _await(handle: JobHandle, timeout: float | None) -> JobHandle:
    return asyncio.run(handle.await_(timeout))


both = pytest.mark.parametrize("wait", [_wait, _await])


def test_the_first_use_looks_and_the_next_ones_remember() -> None:
    desk = Desk(JobState.QUEUED, JobState.RUNNING)
    handle = JobHandle("7", True, desk)
    assert desk.looks == 0
    assert (handle.state, handle.result, handle.error) == (JobState.QUEUED, None, None)
    assert desk.looks == 1
    assert handle.refresh().state == "running"
    assert handle == JobHandle("7", False, desk)


@both
@pytest.mark.parametrize("end", [JobState.SUCCEEDED, JobState.FAILED, JobState.ORPHANED])
def test_waiting_ends_when_the_job_has_ended_or_waits_for_a_person(wait: Waiter, end: JobState) -> None:
    handle = wait(JobHandle("7", True, Desk(JobState.QUEUED, JobState.RUNNING, end)), None)
    assert handle.state is end
    assert handle.result == ({"by": "7"} if end is JobState.SUCCEEDED else None)


@both
def test_waiting_ends_with_the_time(wait: Waiter) -> None:
    desk = Desk(JobState.RUNNING)
    with pytest.raises(TimeoutError, match=r"Job 7 was still running after 0\.5 seconds") as caught:
        wait(JobHandle("7", True, desk), 0.5)
    assert isinstance(caught.value, WaitTimeout)
    assert desk.looks >= 2, "one at least before the time is over, and one then"


@both
def test_no_time_is_one_look(wait: Waiter) -> None:
    desk = Desk(JobState.RUNNING)
    with pytest.raises(WaitTimeout):
        wait(JobHandle("7", True, desk), 0)
    assert desk.looks == 1
    assert wait(JobHandle("7", True, Desk(JobState.SUCCEEDED)), 0).state == "succeeded"


def test_canceling_forgets_what_was_seen() -> None:
    desk = Desk(JobState.QUEUED)
    handle = JobHandle("7", True, desk)
    assert handle.state == "queued"
    assert handle.cancel(reason="late").state == "canceled"
    assert desk.orders == [(Order(Verb.CANCEL, "late"), "7")]


def test_a_handle_asks_for_what_a_person_can_ask_for() -> None:
    desk = Desk(JobState.RUNNING)
    handle = JobHandle("7", True, desk)
    handle.stop("enough", "ann").retry("again", "ben", force=True, attempts=2).restart("and again")
    assert desk.orders == [
        (Order(Verb.STOP, "enough", "ann"), "7"),
        (Order(Verb.RETRY, "again", "ben", force=True, attempts=2), "7"),
        (Order(Verb.RESTART, "and again"), "7"),
    ]
