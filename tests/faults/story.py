"""What must be true of jobs after whatever happened: one accepted end each, effects once, a ledger without gaps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobwarden import JobHandle, JobWarden
from jobwarden.store import schema
from tests.support.factories import Factories
from tests.support.hosts import await_state

_REJECTED = "stale_write_rejected"


def enqueue_marks(client: JobWarden, marks: Path, count: int, seconds: float = 0.01) -> dict[str, JobHandle]:
    """So many jobs that each leave a mark, of each kind: idempotent and not, in seats of their own and in pools."""
    made = {}
    for n in range(count):
        name, isolation = ("append", "append_guarded")[n % 2], ("fork", "pool")[n // 2 % 2]
        made[f"{n}"] = client.enqueue(
            name, {"path": str(marks), "text": f"{n}", "seconds": seconds}, isolation=isolation
        )
    return made


def marks_in(path: Path) -> Counter[str]:
    """How often each mark was left."""
    return Counter(path.read_text().split()) if path.exists() else Counter()


def all_succeeded_once(rows: Factories, jobs: dict[str, JobHandle], marks: Path) -> None:
    """Each job ends, with one effect, one accepted outcome and a whole ledger; and no budget was spent on faults."""
    for job in jobs.values():
        await_state(job, "succeeded", "failed", "orphaned", "stopped", "canceled")
    assert Counter(job.state.value for job in jobs.values()) == {"succeeded": len(jobs)}
    assert marks_in(marks) == Counter(list(jobs))
    for job in jobs.values():
        row = rows.read(schema.jobs, job.id)
        assert row["attempt_count"] - row["unspent_count"] == 1, "no budget is spent on a fault"
        ended = [attempt["state"] for attempt in rows.attempts_of(job.id)]
        assert ended.count("succeeded") == 1
        assert set(ended) <= {"succeeded", "canceled"}, "nothing was orphaned, nothing failed"
        whole_ledger(rows.events_of(job.id))
    assert rows.counted()["default", "succeeded"] == len(jobs)


def whole_ledger(events: Iterable[dict[str, Any]]) -> None:
    """Each row of a job's ledger begins where the one before ended, for the job and for each of its attempts."""
    job: str | None = None
    attempts: dict[str, str] = {}
    for event in events:
        if event["reason"] == _REJECTED:
            continue
        if event["level"] == "job":
            assert job is None or event["from_state"] == job, event
            job = event["to_state"]
        if event["attempt_to"] is not None:
            assert attempts.get(event["attempt_id"]) == event["attempt_from"], event
            attempts[event["attempt_id"]] = event["attempt_to"]
    assert not set(attempts.values()) & {"dispatched", "running"}, "an attempt's end is missing"
