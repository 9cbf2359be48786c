"""From an empty folder to a job that ran, with nothing but the command; on every engine."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request

import pytest

from tests.cli.conftest import Cli, ended
from tests.support.waiting import eventually

APP = ("-A", "jobs:app")
_SCHEDULE = """
from datetime import timedelta
app.schedule("greeting", None, greet.bind("you all", 0.1), every=timedelta(seconds=1))
"""
QUICK = json.dumps({"name": "world", "seconds": 0.5})


def test_init_enqueue_work_and_look(cli: Cli) -> None:
    cli("init")
    job_id = cli(*APP, "enqueue", "greet", "--params", QUICK, "--label", "first", "--tag", "who=world").out.strip()
    assert "needs the parameter 'name'" in cli(*APP, "enqueue", "greet", code=1).err
    assert "No job is registered as 'great'" in cli(*APP, "enqueue", "great", code=1).err
    cli(*APP, "work", "--burst")
    shown = cli("show", job_id[-8:], "--json").json
    assert (shown["state"], shown["result"], shown["tags"]) == ("succeeded", {"greeted": "world"}, {"who": "world"})
    assert shown["created_by"].startswith("cli:")
    [attempt] = shown["attempts"]
    assert attempt["child_pid"]
    assert attempt["child_start_time"]
    said = cli("logs", job_id).out
    assert re.search(r"info +about to greet world\n.*info +hello, world\n", said)
    page = cli("show", job_id).out
    for words in ("✓ succeeded", "queued → running", '"greeted": "world"', f"pid {attempt['child_pid']}"):
        assert words in page
    eventually(lambda: _fleet(cli) == {"supervisor": "stopped", "local_reaper": "stopped"}, 30, interval=0.2)


def test_a_key_is_enqueued_once(cli: Cli) -> None:
    cli("init")
    first = cli(*APP, "enqueue", "greet", "--params", QUICK, "--key", "k", "--json").json
    again = cli(*APP, "enqueue", "greet", "--params", QUICK, "--key", "k", "--json").json
    assert (first["created"], again) == (True, {"id": first["id"], "created": False})


def test_up_serves_until_told_and_a_follower_sees_the_job_to_its_end(bare: Cli) -> None:
    """The database is not there: `up` makes it, and fires what the application declares."""
    bare("init")
    with (bare.folder / "jobs.py").open("a") as file:
        file.write(_SCHEDULE)
    up = bare.start(*APP, "up", "--capacity", "2", "--no-console")
    try:
        eventually(lambda: bare("workers", "--json", code=None).out.strip() not in ("", "[]"), 60, interval=0.2)
        params = json.dumps({"name": "you", "seconds": 12})
        job_id = bare(*APP, "enqueue", "greet", "--params", params).out.strip()
        follower = bare.start("logs", job_id, "-f")
        [flight] = eventually(lambda: bare("ps", "--json").json, 30, interval=0.1)
        assert (flight["job_id"], flight["seen"]) == (job_id, "verified")
        said, _ = follower.communicate(timeout=60)
        assert follower.returncode == 0
        assert "hello, you" in said
        eventually(lambda: "✓ succeeded" in bare("schedules").out, 60)
    finally:
        code, out = ended(up)
    assert code == 0, out


def _fleet(cli: Cli) -> dict[str, str]:
    """Every daemon that there ever was, by its role; a reaper goes a moment after its supervisor."""
    return {worker["role"]: worker["state"] for worker in cli("workers", "--all", "--json").json}


@pytest.mark.any_engine
def test_up_has_the_console_beside_it_and_takes_it_along_however_it_ends(bare: Cli) -> None:
    bare("init")
    up = bare.start(*APP, "up", "--capacity", "1", "--port", "0")
    assert up.stdout is not None
    try:
        address = next(found[1] for line in up.stdout if (found := re.search(r"console at (\S+)/", line)))
        with urllib.request.urlopen(f"{address}/workers", timeout=30) as page:
            assert "supervisor" in page.read().decode()
    finally:
        up.kill()
        up.wait()
    eventually(lambda: _refuses(address), 30)


def _refuses(address: str) -> bool:
    """Whether nobody listens there any more."""
    try:
        urllib.request.urlopen(address, timeout=5).close()
    except urllib.error.URLError:
        return True
    return False
