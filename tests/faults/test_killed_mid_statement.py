"""The supervisor is killed at every statement of its verbs: what was begun is nothing or whole, and its jobs go on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobwarden import JobWarden
from tests.faults.conftest import QUICK
from tests.faults.story import all_succeeded_once
from tests.support.engines import Engines
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, ROOT, Worker, await_state
from tests.support.jobs import build
from tests.support.waiting import eventually

MARKS = {
    "claim": "attempt_count + 1 AS number",
    "start": "coalesce(jobwarden_job_attempts.state, '') IN ('dispatched') ",
    "settle": "coalesce(jobwarden_job_attempts.state, '') IN ('dispatched', 'running') ",
}


@pytest.fixture
def file(sqlite_alone: str, engines: Engines) -> Iterator[str]:
    """A database that no proxy can stand before."""
    with engines.database(sqlite_alone) as url:
        yield url


@pytest.fixture
def client(file: str) -> Iterator[JobWarden]:
    app = build(database_url=file)
    yield app
    app.database.dispose()


def _story(said: Path, mark: str) -> list[str]:
    """The shortest transaction with that mark."""
    stories: list[list[str]] = [[]]
    for text in said.read_text().splitlines():
        if text.startswith("BEGIN"):
            stories.append([])
        stories[-1].append(text)
    whole = [story for story in stories if story[-1:] == ["COMMIT"] and any(mark in text for text in story)]
    return min(whole, key=len)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("verb", MARKS)
def test_a_supervisor_killed_at_any_statement_loses_nothing(
    client: JobWarden, file: str, runtime_dir: Path, tmp_path: Path, verb: str
) -> None:
    marks, folder, jobs, rows = tmp_path / "marks", tmp_path / "statements", {}, Factories(client.database)
    folder.mkdir()
    env = {
        **QUICK,
        "PYTHONPATH": f"{ROOT / 'tests/support/killer'}:{ROOT}",
        "STATEMENTS": str(folder),
        "JOBWARDEN_POLL_IDLE": "0.2",
    }

    def run(name: str) -> None:
        jobs[name] = client.enqueue("append_guarded", {"path": str(marks), "text": name, "seconds": 0.3})

    def worker() -> Worker:
        return Worker(file, runtime_dir, env=env, capacity=2)

    with worker() as calm:
        calm.await_ready()
        for name in ("calm", "quiet", "still"):
            run(name)
            await_state(jobs[name], "succeeded")
        calm.drain()
    story = _story(folder / "said", MARKS[verb])
    marked = next(number for number, text in enumerate(story) if MARKS[verb] in text)
    boundaries = [(text, False) for text in story[marked + 1 :]] + [("COMMIT", True)]
    for number, (text, after) in enumerate(boundaries):
        with worker() as doomed:
            doomed.await_ready()
            (folder / "new").write_text(json.dumps({"text": text, "after": after, "mark": MARKS[verb]}))
            (folder / "new").rename(folder / "kill")  # who reads it finds all of it or nothing
            run(f"{number}")
            eventually(lambda: not doomed.running, PATIENCE, why=f"{text} was never said")
            with worker() as heir:
                await_state(jobs[f"{number}"], "succeeded", "failed", "orphaned")
                heir.await_ready()
                heir.drain()
            doomed.gone()
    all_succeeded_once(rows, jobs, marks)
