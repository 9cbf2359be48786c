"""The page of a job beside a real worker: its process, its stack, its end; and what it left, shown harmlessly."""

from __future__ import annotations

import os
import signal
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden import JobWarden
from jobwarden.domain.states import JobState
from jobwarden.store import schema
from jobwarden.store.ids import new_id
from tests.console.conftest import Window
from tests.support.factories import Factories
from tests.support.hosts import Worker, await_said, await_state
from tests.support.jobs import build

PIXEL = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


@pytest.fixture
def app(database_url: str) -> Iterator[JobWarden]:
    """All test jobs, on the fresh database."""
    app = build(database_url=database_url)
    yield app
    app.database.dispose()


@pytest.fixture
def worker(database_url: str, runtime_dir: Path) -> Iterator[Worker]:
    """A worker that serves."""
    with Worker(database_url, runtime_dir, capacity=2) as worker:
        yield worker.await_ready()


@pytest.mark.timeout(200)
def test_a_running_job_shows_its_process_and_its_stack_and_then_its_end(
    app: JobWarden, worker: Worker, factories: Factories, window: Window, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    job = app.enqueue("charge_at_the_gate", {"gate": str(gate)})
    await_said(factories, job)
    [attempt] = factories.attempts_of(job.id)
    page = window.go(f"/jobs/{job.id}?tab=process")
    assert "verified just now by" in page.locator("main").inner_text()
    for name in ("proc_nonce", "child_pid", "child_start_time"):
        assert str(attempt[name]) in page.locator("main").inner_text(), name
    page.get_by_role("button", name="Show its stack").click()
    stack = page.locator("pre.stack")
    stack.wait_for(timeout=30_000)
    assert "in charge_at_the_gate" in stack.inner_text()
    os.kill(attempt["child_pid"], signal.SIGKILL)
    await_state(job, "orphaned")
    window.go(f"/jobs/{job.id}?tab=process")
    assert "Nothing is left alive." in page.locator("main").inner_text()
    assert page.get_by_role("button", name="Show its stack").count() == 0
    runbook = page.get_by_role("link", name="https://runbook.example/gates")
    assert runbook.get_attribute("href") == "https://runbook.example/gates"
    page.get_by_role("link", name="attempts").click()
    told = page.locator(".certificate").inner_text()
    for words in ("Death certificate", "by SIGKILL", "supervisor", "parked", "none after it"):
        assert words.lower() in told.lower(), told


def test_a_member_shows_what_is_next_to_it(app: JobWarden, factories: Factories, window: Window) -> None:
    batch = app.batch("three")
    call = app.bind("succeed", {"value": 1})
    first = batch.add(call, "first")
    middle = batch.add(call, "middle", after=[first])
    batch.add(call, "last", after_completion=[middle])
    whole = batch.enqueue()
    ids = {line["batch_key"]: line["id"] for line in _members(factories, str(whole.id))}
    page = window.go(f"/jobs/{ids['middle']}")
    near = page.locator(".near")
    assert [each.inner_text().split()[-1] for each in near.get_by_role("link").all()] == ["first", "last"]
    assert "however it ends" in near.nth(1).inner_text()
    near.get_by_role("link", name="first").click()
    page.wait_for_url(f"**/jobs/{ids['first']}")


def _members(factories: Factories, batch: str) -> list[Any]:
    with factories.database.read() as transaction:
        found = transaction.connection.execute(sa.select(schema.jobs).where(schema.jobs.c.batch_id == batch))
        return [dict(row) for row in found.mappings()]


def _artifact(factories: Factories, job_id: str, name: str, content: bytes, content_type: str | None) -> str:
    artifact_id = new_id()
    row: dict[str, Any] = {"id": artifact_id, "job_id": job_id, "type": "file", "name": name, "content": content}
    row |= {"content_type": content_type, "size_bytes": len(content)}
    with factories.database.write() as transaction:
        transaction.execute(sa.insert(schema.artifacts).values(**row, created_at=transaction.now()))
    return artifact_id


def test_what_a_job_left_is_shown_and_does_nothing(factories: Factories, window: Window) -> None:
    job_id = factories.job(JobState.SUCCEEDED, id=new_id())["id"]
    evil = b"<script>document.title='owned'</script>"
    shown = {
        ("chart.png", PIXEL, "image/png"): "img.picture",
        ("rows.csv", b"name,amount\nann,3\n" + evil + b",4\n", "text/csv"): "table.rows",
        ("facts.json", b'{"b": 1, "a": [2]}', "application/json"): "pre",
        ("page.html", evil, "text/html"): "pre",
        ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>", "image/svg+xml"): "pre",
        ("odd.txt", b"\xff\xfe text", "text/plain"): "pre",
        ("fake.png", b"<html>" + evil, "image/png"): "pre",
    }
    for (name, content, content_type), place in shown.items():
        artifact_id = _artifact(factories, job_id, name, content, content_type)
        page = window.go(f"/jobs/{job_id}")
        page.get_by_role("link", name=name).click()
        page.wait_for_url(f"**/artifacts/{artifact_id}")
        assert page.locator(f"main {place}").count() == 1, name
        assert page.title().startswith(name)
    page = window.go(f"/jobs/{job_id}/artifacts/{_artifact(factories, job_id, 'blob', bytes(9), None)}")
    assert "neither a picture nor text" in page.locator("main").inner_text()
    picture = window.go(f"/jobs/{job_id}").get_by_role("link", name="chart.png")
    picture.click()
    page.wait_for_url("**/artifacts/**")
    assert page.locator("img.picture").evaluate("image => image.naturalWidth") == 1
