"""A lane that is steered while real workers serve it: two of them share a cap, and a pause stops the next start."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jobwarden import JobWarden
from tests.acceptance.conftest import PATIENT, Start
from tests.support.factories import Factories
from tests.support.waiting import eventually

COUNT = 12


def overlapping(attempts: list[dict[str, Any]]) -> int:
    """The most that ran at the same time, by the database's clock."""
    turns: list[tuple[datetime, int]] = []
    for attempt in attempts:
        turns += [(attempt["created_at"], 1), (attempt["finished_at"], -1)]
    now = most = 0
    for _, step in sorted(turns):
        now += step
        most = max(most, now)
    return most


def test_two_workers_share_a_cap_and_heed_a_pause(app: JobWarden, rows: Factories, start: Start) -> None:
    app.lanes.cap("default", 2)
    for _ in range(2):
        start(capacity=4, env=PATIENT)
    handles = [app.enqueue("async_sleep", {"seconds": 0.4}) for _ in range(COUNT)]
    eventually(lambda: sum(handle.refresh().state == "succeeded" for handle in handles) >= 1)
    app.lanes.pause("default", reason="a look")
    eventually(lambda: all(handle.refresh().state != "running" for handle in handles))
    left = [handle for handle in handles if handle.refresh().state == "queued"]
    assert left
    app.lanes.resume("default")
    eventually(lambda: all(handle.refresh().state == "succeeded" for handle in handles), 60)
    attempts = [attempt for handle in handles for attempt in rows.attempts_of(handle.id)]
    assert len(attempts) == COUNT
    assert overlapping(attempts) <= 2
