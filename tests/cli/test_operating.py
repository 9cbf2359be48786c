"""What a person does at the command line, on every engine: the sentences, the JSON and the exit codes."""

from __future__ import annotations

import json
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.states import JobState, WorkerState
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.cli.conftest import Cli
from tests.support.factories import Factories

FIRST = "0197aaaa-0000-7000-8000-0000c0ffee01"
SECOND = "0197aaaa-0000-7000-8000-0000c0ffee02"
WHY = ("--reason", "checked by hand")


def lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_retry_and_restart(cli: Cli, factories: Factories) -> None:
    failed = factories.job(JobState.FAILED, max_attempts=1)
    stopped, parked = factories.job(JobState.STOPPED), factories.job(JobState.ORPHANED, idempotent=False)
    assert cli("retry", failed["id"][-8:], *WHY, "--attempts", "3").out == f"{failed['id']} queued\n"
    row = factories.read(schema.jobs, failed["id"])
    assert row["max_attempts"] == 4
    [event] = factories.events_of(failed["id"])
    assert event["actor_id"].startswith("cli:")
    assert (event["reason"], event["context"]["attempts"]) == ("checked by hand", 3)

    refused = cli("restart", stopped["id"], parked["id"], "--json", code=1)
    told = {line["id"]: line for line in lines(refused.out)}
    assert told[stopped["id"]] == {"id": stopped["id"], "state": "queued"}
    assert told[parked["id"]]["state"] == "orphaned"
    assert "use --force" in told[parked["id"]]["error"]
    assert refused.err == f"jobwarden: {told[parked['id']]['error']}\n"
    assert cli("restart", parked["id"], "--force", *WHY).out == f"{parked['id']} queued\n"


@pytest.mark.any_engine
def test_w32_the_wrong_state_is_one_sentence_with_the_state(cli: Cli, factories: Factories) -> None:
    running = factories.job(JobState.RUNNING)
    refused = cli("retry", running["id"], code=1)
    assert refused.out == ""
    assert refused.err == f"jobwarden: Job {running['id']} is running, and retry needs it to be failed or parked.\n"
    assert "is running, and resolve needs it to be parked" in cli("resolve", running["id"], "--ran", *WHY, code=1).err


def test_w41_what_is_final_runs_again_as_a_new_job(cli: Cli, factories: Factories) -> None:
    done, canceled = factories.job(JobState.SUCCEEDED, params={"n": 1}), factories.job(JobState.CANCELED)
    assert "`--as-new` runs it again as a new job" in cli("retry", done["id"], code=1).err
    out = cli("retry", done["id"], "--as-new", *WHY).out
    new = out.split()[0]
    assert out == f"{new} queued: runs {done['id']} again\n"
    row = factories.read(schema.jobs, new)
    assert (row["rerun_of"], row["params"], row["state"]) == (done["id"], {"n": 1}, "queued")
    [told] = lines(cli("restart", canceled["id"], "--as-new", "--json").out)
    assert (told["id"], told["state"]) == (canceled["id"], "canceled")
    assert factories.read(schema.jobs, told["new"])["rerun_of"] == canceled["id"]
    shown = cli("show", new, "--json").json
    assert shown["rerun_of"] == done["id"]


@pytest.mark.parametrize(
    ("verdict", "state"),
    [("--ran", "succeeded"), ("--did-not-run", "queued"), ("--ran-partly", "failed"), ("--failed", "failed")],
)
def test_resolve(cli: Cli, factories: Factories, verdict: str, state: str) -> None:
    parked = factories.job(JobState.ORPHANED, idempotent=False)
    assert cli("resolve", parked["id"], verdict, *WHY).out == f"{parked['id']} {state}\n"
    assert factories.events_of(parked["id"])[-1]["reason"] == "checked by hand"
    assert f"is {state}" in cli("resolve", parked["id"], verdict, *WHY, code=1).err


def test_a_host_is_drained(cli: Cli, factories: Factories) -> None:
    here, there = (factories.worker(hostname=name)["id"] for name in ("here", "there"))
    reaper = factories.worker(hostname="here", role="local_reaper")["id"]
    assert cli("drain", "--host", "here", *WHY).out == f"{here}: drain is asked for\n"
    wishes = [factories.read(schema.workers, worker)["wish"] for worker in (here, there, reaper)]
    assert wishes == ["drain", None, None]
    assert "No supervisor lives on the host 'nowhere'" in cli("drain", "--host", "nowhere", code=1).err
    assert "--host NAME" in cli("drain", code=2).err
    assert "--host NAME" in cli("drain", here, "--host", "here", code=2).err


@pytest.mark.any_engine
def test_wrong_usage_is_2(cli: Cli, factories: Factories) -> None:
    job = factories.job(JobState.ORPHANED)["id"]
    assert "--ran, --did-not-run, --ran-partly or --failed" in cli("resolve", job, *WHY, code=2).err
    assert "--reason" in cli("resolve", job, "--ran", code=2).err
    cli("retry", job, "--attempts", "0", code=2)
    cli("retry", job, "--attempts", "many", code=2)
    for command in ("retry", "restart", "drain", "resolve"):
        cli(command, code=2)
    assert "the option reason".casefold() in cli("resolve", job, "--ran", "--reason", " ", code=1).err.casefold()
    assert factories.events_of(job) == []


def test_w25_an_id_that_fits_several_touches_none(cli: Cli, factories: Factories) -> None:
    for job_id in (FIRST, SECOND):
        factories.job(JobState.FAILED, id=job_id)
    refused = cli("retry", SECOND, "0197aaaa", code=1)
    assert "fits several jobs" in refused.err
    assert FIRST in refused.err
    assert SECOND in refused.err
    assert "No job has the id 'beef'" in cli("retry", SECOND, "beef", code=1).err
    assert [factories.read(schema.jobs, job_id)["state"] for job_id in (FIRST, SECOND)] == ["failed", "failed"]
    cli("retry", SECOND[-2:])
    assert [factories.read(schema.jobs, job_id)["state"] for job_id in (FIRST, SECOND)] == ["failed", "queued"]


@pytest.mark.any_engine
def test_a_wish_about_a_running_job_says_that_it_is_asked_for(cli: Cli, factories: Factories) -> None:
    running = factories.job(JobState.RUNNING)
    assert cli("stop", running["id"], *WHY).out == f"{running['id']} running: stop is asked for\n"
    assert cli("cancel", running["id"]).out == f"{running['id']} running: cancel is asked for\n"
    assert [event["context"]["wish"] for event in factories.events_of(running["id"])] == ["stop", "cancel"]


def test_drain(cli: Cli, factories: Factories) -> None:
    live = factories.worker(id=FIRST)
    dead = factories.worker(WorkerState.DEAD, id=SECOND)
    assert cli("drain", FIRST[-4:], *WHY).out == f"{live['id']} active: drain is asked for\n"
    row = factories.read(schema.workers, live["id"])
    assert (row["wish"], row["wish_reason"]) == ("drain", "checked by hand")
    assert row["wish_actor"].startswith("cli:")
    assert cli("drain", FIRST, "--json").json == {"id": FIRST, "state": "active", "wish": "drain"}
    assert f"Worker {dead['id']} is dead, and only one that is" in cli("drain", SECOND, code=1).err
    assert "fits several workers" in cli("drain", "0197", code=1).err
    assert "No worker has the id 'beef'" in cli("drain", "beef", code=1).err


def test_w42_health_is_an_exit_code_and_a_sentence(cli: Cli, database: Database, factories: Factories) -> None:
    assert "All is well among what is alive" in cli("health").out
    assert cli("health", "--deep").out == "All is well.\n"
    assert cli("health", "--json").json == []
    job = factories.job(JobState.SUCCEEDED)
    assert "All is well" in cli("health").out, "it is over"
    found = cli("health", "--deep", "--json", code=1).json
    assert [(finding["invariant"], finding["id"]) for finding in found] == [("ledger_gap", job["id"])]
    with database.write() as transaction:
        transaction.connection.execute(sa.update(schema.jobs).values(state="orphaned", cancel_requested=True))
    told = cli("health", code=1).out
    for words in ("stray_wish", "ledger_gap", job["id"], "its ledger is empty"):
        assert words in told


@pytest.mark.any_engine
def test_explain_names_what_can_be_done(cli: Cli, factories: Factories) -> None:
    parked = factories.job(JobState.ORPHANED, idempotent=False)["id"]
    steps = cli("explain", parked, "--json").json["next"]
    assert f"jobwarden restart {parked} --force --reason '...'" in steps
    assert f"jobwarden resolve {parked} --ran|--did-not-run|--ran-partly|--failed --reason '...'" in steps
    for state, step in {
        JobState.FAILED: "retry {}",
        JobState.STOPPED: "restart {}",
        JobState.SUCCEEDED: "retry --as-new {}",
        JobState.CANCELED: "retry --as-new {}",
    }.items():
        job = factories.job(state)["id"]
        assert f"jobwarden {step.format(job)} --reason '...'" in cli("explain", job, "--json").json["next"]


def test_lanes_are_steered_and_shown(cli: Cli, factories: Factories) -> None:
    assert "No lane" in cli("lanes").out
    factories.job(lane="hot")
    assert cli("pause", "hot", "--reason", "deploy").out == "hot: paused\n"
    assert cli("cap", "hot", "3").out == "hot: paused, at most 3 at once\n"
    [hot] = cli("lanes", "--json").json
    assert (hot["paused"], hot["paused_reason"], hot["max_running"], hot["states"]) == (
        True,
        "deploy",
        3,
        {"queued": 1},
    )
    assert hot["paused_by"].startswith("cli")
    assert ": deploy" in cli("lanes").out
    assert "hot (paused) (at most 3)" in cli("status").out
    assert "cannot be paused" in cli("pause", "hot", code=1).err
    assert cli("resume", "hot", "--json").json == {"name": "hot", "paused": False, "max_running": 3}
    assert cli("cap", "hot", "none").out == "hot: open\n"
    assert "neither a whole number nor none" in cli("cap", "hot", "many", code=2).err
