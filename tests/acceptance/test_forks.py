"""What a handler forks by itself is its own affair, and never speaks for the attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobwarden import JobWarden
from tests.acceptance.conftest import Start
from tests.support.factories import Factories
from tests.support.hosts import await_state


@pytest.mark.any_engine
@pytest.mark.parametrize("isolation", ["fork", "pool", "exec"])
def test_what_a_handler_forks_has_no_outcome_to_tell(
    app: JobWarden, rows: Factories, start: Start, tmp_path: Path, isolation: str
) -> None:
    start(capacity=1)
    job = app.enqueue("forks_that_come_back", {"path": str(tmp_path / "mark")}, isolation=isolation)
    assert await_state(job, "succeeded", "failed", "orphaned").result == "its own"
    said = [line["body_ref"] for line in rows.logs_of(job.id) if "forked by the handler" in line["body_ref"]]
    assert len(said) == 2
    assert "this is not the attempt's own end" in said[1]


@pytest.mark.any_engine
def test_a_worker_says_nothing_but_its_own_log(app: JobWarden, start: Start) -> None:
    worker = start(capacity=1)
    assert "rehears" not in worker.log
