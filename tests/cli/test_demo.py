"""The demonstration, as a newcomer runs it: into a pipe, in a folder of its own, to its end, or interrupted."""

from __future__ import annotations

import json
import os
import re
import signal
import urllib.request
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from jobwarden.demo import source
from tests.cli.conftest import Cli
from tests.support.processes import descendants
from tests.support.waiting import eventually

_SERVED = re.compile(r"console at (http://\S+?)/ ")


@pytest.mark.timeout(300)
def test_the_census_is_taken_a_child_is_killed_and_recovered(bare: Cli) -> None:
    out = _played_and_served(bare)
    assert "SIGKILL to process" in out
    assert "runs again" in out
    assert "running → retrying" in out
    assert "signal 9 (SIGKILL)" in out
    folder = bare.folder / "jobwarden-demo"
    drawn = ET.fromstring((folder / "census.svg").read_text())
    parts = source.parts()
    assert len(drawn.findall(".//{*}rect[@class='bar']")) == len(parts)
    inside = Cli(folder)
    jobs = inside("jobs", "--limit", "1000", "--json").json["data"]
    assert {job["state"] for job in jobs} == {"succeeded"}
    assert len(jobs) == len(parts) + 2
    [merge] = [job["id"] for job in jobs if job["job"] == "census.merge"]
    merged = inside("show", merge, "--json").json
    counted = merged["result"]["total"]
    assert counted["modules"] + counted["refused"] == sum(part.files for part in parts)
    assert [artifact["name"] for artifact in merged["artifacts"]] == ["census.svg"]
    [killed] = [job for job in jobs if job["attempt_count"] > 1]
    attempts = inside("show", killed["id"], "--json").json["attempts"]
    assert [(attempt["state"], attempt["term_signal"]) for attempt in attempts] == [("failed", 9), ("succeeded", None)]
    assert len({attempt["child_pid"] for attempt in attempts}) == 2

    [batch] = inside("batches", "--json").json["data"]
    assert (batch["state"], batch["counts"]["succeeded"]) == ("succeeded", len(jobs))
    picture = out.partition("The batch: what waited for what")[2].partition("The ledger of the job")[0]
    assert f"{len(parts)}" in picture
    assert picture.index("census.part") < picture.index("merge") < picture.index("report")
    assert (folder / "census.txt").read_text() == f"{len(parts) + 1} of {len(parts) + 1} members succeeded\n"


def _played_and_served(bare: Cli) -> str:
    """All that it said until its console served, which then shows what it left; and Ctrl-C ends all of it."""
    demo = bare.start("demo", "--console")
    assert demo.stdout is not None
    said = ""
    while (served := _SERVED.search(said)) is None:
        line = demo.stdout.readline()
        assert line, said
        said += line
    with urllib.request.urlopen(f"{served[1]}/batches", timeout=30) as answer:
        assert "census" in answer.read().decode()
    for process in (demo.pid, *(proc.pid for proc in descendants(demo.pid))):
        os.kill(process, signal.SIGINT)
    demo.communicate(timeout=60)
    assert demo.returncode == 0
    return said


def test_a_folder_of_somebody_else_is_left_alone(bare: Cli) -> None:
    (bare.folder / "mine").mkdir()
    (bare.folder / "mine" / "jobwarden.db").write_text("precious")
    assert "choose another with --dir" in bare("demo", "--dir", "mine", code=1).err
    assert (bare.folder / "mine" / "jobwarden.db").read_text() == "precious"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_demo_leaves_no_process(bare: Cli, number: signal.Signals) -> None:
    demo = bare.start("demo")
    inside = Cli(bare.folder / "jobwarden-demo")
    eventually(lambda: Path(inside.folder, "jobwarden.db").exists(), 60)
    eventually(lambda: inside("ps", "--json", code=None).out.strip() not in ("", "[]"), 60, interval=0.2)
    below = descendants(demo.pid)
    assert below
    demo.send_signal(number)
    demo.communicate(timeout=60)
    assert demo.returncode == 130
    eventually(lambda: not [proc for proc in below if proc.alive], 20)
    assert json.loads(inside("workers", "--json").out) == []


def test_what_a_file_comes_to(tmp_path: Path) -> None:
    path = tmp_path / "sample.py"
    path.write_text(
        "class A:\n"
        "    def f(self):\n"
        "        if 1:\n            pass\n        elif 2:\n            pass\n        elif 3:\n            pass\n"
        "        try:\n            pass\n        except OSError:\n            for x in ():\n                pass\n"
        "async def g(): pass"
    )
    assert source.count(path) == source.Count(lines=14, functions=2, classes=1, nesting=4, line=12)
