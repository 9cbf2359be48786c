"""Health on a fleet that works: a busy one raises no false alarm, even while a person interferes with it."""

from __future__ import annotations

from jobwarden import JobHandle, JobWarden
from tests.acceptance.conftest import Start
from tests.support.hosts import await_state

ROUNDS, JOBS = 12, 40


def test_w42_a_busy_fleet_raises_no_false_alarm(app: JobWarden, start: Start) -> None:
    start(capacity=4)
    handles: list[JobHandle] = []
    for _ in range(ROUNDS):
        handles += app.enqueue_many([app.bind("succeed", isolation="pool")] * JOBS)
        handles += [app.enqueue("succeed"), app.enqueue("charge"), app.enqueue("async_sleep", {"seconds": 0.3})]
        assert app.health() == []
        app.operate("cancel", [handle.id for handle in handles[-3:]], "a person in between", "ann")
        assert app.health(deep=True) == []
    for handle in handles:
        await_state(handle, "succeeded", "canceled")
    assert app.health(deep=True) == []
