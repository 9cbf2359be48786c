"""Every read command on every engine, without an application: JSON for pipes, whole ids and no colours for files."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from jobwarden.config import Settings
from jobwarden.domain.states import JobState
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.cli.conftest import Cli
from tests.support.factories import Factories, Values
from tests.views.test_metrics import samples
from tests.views.test_series import leave

FIRST = "0197aaaa-0000-7000-8000-0000c0ffee01"
SECOND = "0197aaaa-0000-7000-8000-0000c0ffee02"


def say(database: Database, job: Values, attempt: Values, *lines: str) -> None:
    with database.write() as transaction:
        for seq, line in enumerate(lines, 1):
            transaction.execute(
                sa.insert(schema.logs).values(
                    job_id=job["id"],
                    attempt_id=attempt["id"],
                    seq=seq,
                    ts=job["created_at"],
                    level="info",
                    source="log",
                    body_ref=line,
                )
            )


def test_everything_can_be_read(cli: Cli, database: Database, factories: Factories) -> None:
    patient = {"BEAT_INTERVAL": 60, "SELF_FENCE_TTL": 400, "DEATH_BUDGET": 1000}  # the worker's row does not beat
    cli.env |= {f"JOBWARDEN_{name}": str(value) for name, value in patient.items()}
    running = factories.job(JobState.RUNNING, name="store 42", lane="hot")
    queued = factories.job()
    factories.worker(meta={"lanes": ["mail"]})
    [attempt] = factories.attempts_of(running["id"])
    say(database, running, attempt, "one", "\x1b[31mtwo\x07")

    status = cli("status", "--json").json
    by_lane = {lane["name"]: lane["states"] for lane in status["lanes"]}
    assert by_lane == {
        "default": {"queued": 1},
        "hot": {"running": 1},
    }
    assert status["running"][0]["job_id"] == running["id"]
    [flight] = cli("ps", "--json").json
    assert (flight["job_id"], flight["seen"]) == (running["id"], "elsewhere")
    page = cli("jobs", "--lane", "hot", "--json").json
    assert ([job["id"] for job in page["data"]], page["next"]) == ([running["id"]], None)
    shown = cli("show", running["id"][-8:], "--json").json
    assert (shown["label"], shown["attempts"][0]["child_pid"]) == ("store 42", attempt["child_pid"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", shown["created_at"])
    lines = [json.loads(line) for line in cli("logs", running["id"], "--json").out.splitlines()]
    assert [(line["seq"], line["message"]) for line in lines] == [(1, "one"), (2, "\x1b[31mtwo\x07")]
    told = cli("explain", queued["id"], "--json").json
    assert [(reason["code"], reason["words"]) for reason in told["reasons"]] == [
        ("lane_unserved", "No live worker serves lane 'default': they serve mail.")
    ]
    assert [worker["state"] for worker in cli("workers", "--json").json] == ["active"]
    exported = [json.loads(line)["type"] for line in cli("logs", running["id"], "--export").out.splitlines()]
    assert exported == ["job", "attempt", "log", "log"]


def test_a_file_gets_no_colours_and_whole_ids(bare: Cli) -> None:
    bare("migrate")
    database = Database(Settings(database_url=f"sqlite:///{bare.folder}/jobwarden.db"))
    factories = Factories(database)
    running, queued = factories.job(JobState.RUNNING), factories.job()
    factories.worker()
    say(database, running, factories.attempts_of(running["id"])[0], "one", "\x1b[31mtwo\x07")
    for command in (["status"], ["ps"], ["jobs"], ["show", running["id"]], ["explain", queued["id"]], ["workers"]):
        assert "\x1b" not in bare(*command).out
    assert bare("logs", running["id"], "--lines", "1").out.rstrip().endswith("␛[31mtwo")
    assert running["id"] in bare("jobs").out
    assert "▶ running" in bare("jobs").out
    database.dispose()


def test_a_shortened_id_names_one_job_or_is_refused(cli: Cli, factories: Factories) -> None:
    factories.job(id=FIRST)
    factories.job(id=SECOND)
    assert cli("show", "ee02", "--json").json["id"] == SECOND
    refused = cli("cancel", "0197aaaa", code=1)
    assert FIRST in refused.err
    assert SECOND in refused.err
    assert refused.out == ""
    assert cli("show", FIRST, "--json").json["state"] == "queued"
    assert cli("show", "not-an-id", code=1).err.startswith("jobwarden: No job has the id 'not-an-id'")


def test_cancel_says_who_and_why(cli: Cli, factories: Factories) -> None:
    queued, running = factories.job(), factories.job(JobState.RUNNING)
    over = factories.job(JobState.SUCCEEDED)
    done = cli("cancel", queued["id"], running["id"][-8:], "--reason", "wrong day", "--json")
    states = {found["id"]: found["state"] for found in map(json.loads, done.out.splitlines())}
    assert states == {queued["id"]: "canceled", running["id"]: "running"}
    [event] = factories.events_of(queued["id"])
    assert (event["to_state"], event["actor_type"], event["reason"]) == ("canceled", "operator", "wrong day")
    assert event["actor_id"].startswith("cli:")
    assert factories.read(schema.jobs, running["id"])["cancel_mode"] == "cancel"
    assert "is succeeded" in cli("cancel", over["id"], code=1).err


def test_following_a_parked_job_ends_with_a_note(cli: Cli, factories: Factories) -> None:
    job = factories.job(JobState.ORPHANED)
    done = cli("logs", job["id"], "-f")
    assert "parked and waits for a person" in done.err
    parked: Any = cli("explain", job["id"]).out
    assert "waits for a person" in parked


def test_pages_of_jobs(cli: Cli, factories: Factories) -> None:
    made = sorted(job["id"] for job in factories.jobs(3))[::-1]
    page = cli("jobs", "--limit", "2", "--json").json
    assert page["next"] == made[1]
    assert [job["id"] for job in cli("jobs", "--before", page["next"], "--json").json["data"]] == made[2:]


def test_the_history_is_a_picture_and_data(cli: Cli, database: Database) -> None:
    assert "Nothing began and nothing ended" in cli("history").out
    leave(database, timedelta(minutes=5), 0.5, 7)
    leave(database, timedelta(minutes=90), 0.5, 14, lane="slow")
    told = cli("history", "--since", "2h", "--by", "lane").out
    assert re.search(r"default +[ ▁-█]*█", told)
    assert re.search(r"slow .*14", told)
    points = cli("history", "--json", "--lane", "slow").json["points"]
    assert [(point["name"], point["ended"]) for point in points] == [("slow", {"succeeded": 14})]
    for wrong in ("3x", "0m", "91d", "h", "-1h"):
        assert "is no time back" in cli("history", f"--since={wrong}", code=2).err


def test_metrics_are_what_a_collector_reads(cli: Cli, database: Database, factories: Factories) -> None:
    factories.job()
    found = samples(cli("metrics").out)
    assert list(found["jobwarden_jobs"].values()) == [1.0]
