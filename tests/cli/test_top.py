"""The live screen: what it shows, that it follows, what can be done on it; driven by keys, on every engine."""

from __future__ import annotations

import asyncio
import os
import pty
import select
import subprocess
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Input, Static

from jobwarden.cli.top_screen import Ask, Details, Top
from jobwarden.domain.states import JobState
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.cli.conftest import SCRIPT, Cli
from tests.support.factories import Factories

Play = Callable[[Pilot[None]], Awaitable[None]]
_PATIENCE = 30.0


def play(database: Database, script: Play, query: str = "") -> None:
    """Run the screen without a terminal and play on its keys."""

    async def on_stage() -> None:
        app = Top(database, 0.2, query)
        async with app.run_test(size=(160, 50)) as pilot:
            await script(pilot)

    asyncio.run(on_stage())


async def until(pilot: Pilot[None], holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f"not so after {_PATIENCE:.0f} s: {what}"
        await pilot.pause(0.05)


def rows(pilot: Pilot[None], name: str) -> list[list[str]]:
    table: DataTable[Any] = pilot.app.query_one(f"#{name}", DataTable)
    return [[str(cell) for cell in table.get_row_at(n)] for n in range(table.row_count)]


def test_it_shows_lanes_what_runs_and_what_needs_a_person_and_follows(database: Database, factories: Factories) -> None:
    factories.job(JobState.RUNNING, name="nightly import", lane="a")
    failed = factories.job(JobState.FAILED, name="order 7", lane="b", attempt_count=3)

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: len(rows(pilot, "lanes")) == 2, "two lanes")
        [running] = rows(pilot, "running")
        assert running[1:4] == ["nightly import", "a", "· elsewhere"]
        [line] = rows(pilot, "found")
        assert line[:5] == [failed["id"][-8:], "order 7", "b", "✗ failed", "3/4"]
        assert "▶ running 1" in str(pilot.app.query_one("#summary", Static).render())
        factories.job(JobState.ORPHANED, lane="c")
        await until(pilot, lambda: len(rows(pilot, "found")) == 2, "the parked job too")
        assert {line[3] for line in rows(pilot, "found")} == {"✗ failed", "‼ parked"}

    play(database, script)


def test_a_job_is_retried_with_a_reason_and_a_refusal_is_told(database: Database, factories: Factories) -> None:
    job = factories.job(JobState.FAILED, idempotent=False)

    async def asked(pilot: Pilot[None]) -> None:
        await pilot.press("r")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask), "it asks")
        await pilot.press(*"why", "enter") if not forced else await pilot.press("tab", "space", "shift+tab", "enter")

    forced = False

    async def script(pilot: Pilot[None]) -> None:
        nonlocal forced
        await until(pilot, lambda: bool(rows(pilot, "found")), "the job")
        await pilot.press("tab")
        await asked(pilot)
        await until(pilot, lambda: _told(pilot, "is not idempotent"), "a refusal")
        assert factories.read(schema.jobs, job["id"])["state"] == "failed"
        forced = True
        await asked(pilot)
        await until(pilot, lambda: factories.read(schema.jobs, job["id"])["state"] == "queued", "queued again")
        await until(pilot, lambda: not rows(pilot, "found"), "gone from the list")

    play(database, script)


def test_a_running_job_is_asked_to_end_and_a_changed_mind_does_nothing(
    database: Database, factories: Factories
) -> None:
    job = factories.job(JobState.RUNNING)

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: bool(rows(pilot, "running")), "the job")
        await pilot.press("s")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask), "it asks")
        await pilot.press("escape")
        await pilot.press("c")
        await until(pilot, lambda: isinstance(pilot.app.screen, Ask), "it asks")
        await pilot.press(*"wrong file", "enter")
        await until(pilot, lambda: "asked to cancel" in rows(pilot, "running")[0], "the wish")

    play(database, script)
    [event] = factories.events_of(job["id"])
    assert event["reason"] == "wrong file"
    assert event["actor_id"].startswith("cli")


def test_a_lane_is_paused_and_goes_on(database: Database, factories: Factories) -> None:
    factories.job(lane="a")

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: bool(rows(pilot, "lanes")), "the lane")
        await pilot.press("p")
        await until(pilot, lambda: _told(pilot, "Move the cursor to a lane first"), "a hint")
        pilot.app.query_one("#lanes").focus()
        for word in ("⏸ a (paused)", "a"):
            await pilot.press("p")
            await until(pilot, lambda: isinstance(pilot.app.screen, Ask), "it asks")
            await pilot.press("enter")
            await until(pilot, lambda wanted=word: rows(pilot, "lanes")[0][0] == wanted, word)  # type: ignore[misc]

    play(database, script)


def test_words_find_jobs_and_wrong_ones_are_refused(database: Database, factories: Factories) -> None:
    factories.job(JobState.SUCCEEDED, name="order 7")
    factories.job(JobState.FAILED, name="order 8")

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: [line[1] for line in rows(pilot, "found")] == ["order 8"], "what failed")
        await pilot.press("slash")
        await pilot.press(*"state:done", "enter")
        await until(pilot, lambda: _told(pilot, "a state is one of"), "a refusal")
        pilot.app.query_one("#search", Input).value = "label:order* state:succeeded"
        await pilot.press("enter")
        await until(pilot, lambda: [line[1] for line in rows(pilot, "found")] == ["order 7"], "what is looked for")

    play(database, script)


def test_enter_shows_the_job_whole_with_what_it_said(database: Database, factories: Factories) -> None:
    job = factories.job(
        JobState.FAILED, name="order 7", last_error={"class": "OSError", "message": "disk \x1b[2J full"}
    )

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: bool(rows(pilot, "found")), "the job")
        await pilot.press("tab", "enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, Details), "the details")
        words = str(pilot.app.screen.query_one(Static).render())
        for part in (job["id"], "order 7", "OSError", "Attempts", "Nothing was written."):
            assert part in words
        assert "\x1b" not in words
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, Details), "back")

    play(database, script)


def test_a_database_that_does_not_answer_is_said_and_looked_at_again(database: Database, factories: Factories) -> None:
    factories.job()

    async def script(pilot: Pilot[None]) -> None:
        await until(pilot, lambda: bool(rows(pilot, "lanes")), "the lane")
        with factories.database.write() as transaction:
            transaction.connection.exec_driver_sql("ALTER TABLE jobwarden_jobs RENAME TO elsewhere")
        await until(pilot, lambda: "does not answer" in str(pilot.app.query_one("#summary", Static).render()), "said")
        with factories.database.write() as transaction:
            transaction.connection.exec_driver_sql("ALTER TABLE elsewhere RENAME TO jobwarden_jobs")
        await until(pilot, lambda: "○ queued" in str(pilot.app.query_one("#summary", Static).render()), "and again")

    play(database, script)


@pytest.mark.any_engine
def test_in_a_terminal_it_draws_and_leaves_by_q(cli: Cli, factories: Factories) -> None:
    factories.job(lane="imports")
    ours, theirs = pty.openpty()
    env = {**cli.env, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    running = subprocess.Popen(
        [str(SCRIPT), "top"], cwd=cli.folder, env=env, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        assert "imports" in _read(ours, "failed or parked")
        os.write(ours, b"q")
        _read(ours, None)
        assert running.wait(_PATIENCE) == 0
    finally:
        running.kill()
        running.wait()
        os.close(ours)


def _read(descriptor: int, word: str | None) -> str:
    """What is drawn until a word is there; None: until the end."""
    seen, deadline = "", time.monotonic() + _PATIENCE
    while word is None or word not in seen:
        assert time.monotonic() < deadline, f"not so after {_PATIENCE:.0f} s: {word} in {seen[-2000:]!r}"
        if select.select([descriptor], [], [], 0.2)[0]:
            try:
                seen += os.read(descriptor, 65536).decode("utf-8", "replace")
            except OSError:  # what Linux says at the end of a terminal
                break
    return seen


@pytest.mark.any_engine
def test_without_its_library_it_says_what_to_install(cli: Cli) -> None:
    code = "import sys; sys.modules['textual'] = None; from jobwarden.cli.main import main; sys.exit(main(['top']))"
    python = SCRIPT.with_name("python")
    done = subprocess.run(
        [str(python), "-c", code], cwd=cli.folder, env=cli.env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'jobwarden[top]'" in done.stderr


def _told(pilot: Pilot[None], words: str) -> bool:
    """Whether a notice with these words was shown."""
    return any(words in notice.message for notice in pilot.app._notifications)
