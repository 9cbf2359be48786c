"""Schedules at the command line, on every engine: made, listed, shown, run, enabled, disabled, backfilled, removed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobwarden import JobWarden
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.cli.conftest import Cli
from tests.support.factories import Factories
from tests.support.hosts import ROOT
from tests.support.jobs import APP, build

NIGHTLY = ("schedule-put", "nightly", "succeed", "--cron", "0 3 * * *", "--params", '{"value": 7}')


@pytest.fixture
def app(database: Database) -> JobWarden:
    """All test jobs on the database that the command line reads."""
    return build(database_url=database.options.database_url)


@pytest.fixture
def there(cli: Cli) -> Cli:
    """The command line with an application."""
    cli.env |= {"JOBWARDEN_APP": APP, "PYTHONPATH": str(ROOT)}
    return cli


def test_from_making_one_to_removing_it(there: Cli, factories: Factories) -> None:
    assert there("schedules").out == (
        "No schedule. Declare one in the application, or make one: jobwarden schedule-put.\n"
    )
    assert there(*NIGHTLY, "--timezone", "Europe/Oslo", "--tag", "team=core").out == "nightly is put\n"
    assert there(*NIGHTLY, "--timezone", "Europe/Oslo", "--tag", "team=core", "--json").json["changed"] is False
    [line] = there("schedules", "--json").json["data"]
    assert (line["name"], line["job"], line["when"], line["timezone"]) == (
        "nightly",
        "succeed",
        "0 3 * * *",
        "Europe/Oslo",
    )
    listed = there("schedules").out
    assert "0 3 * * * (Europe/Oslo)" in listed
    assert " in " in listed
    job_id = there("schedule-run", "nightly", "--reason", "the night was dark").out.strip()
    job = factories.read(schema.jobs, job_id)
    assert (job["job"], job["lane"], job["params"]) == ("succeed", "scheduled", {"value": 7})
    assert (job["tags"]["team"], job["tags"]["schedule"]) == ("core", "nightly")
    shown = there("schedule", "nightly").out
    assert "the night was dark" in shown
    assert "○ queued" in shown
    assert there("schedule-disable", "nightly").out == "nightly is disabled\n"
    assert there("schedule-disable", "nightly").out == "nightly: nothing to change\n"
    assert "disabled" in there("schedules").out
    assert there("schedule-enable", "nightly").out == "nightly is enabled\n"
    assert there("schedule-remove", "nightly").out == "nightly is removed\n"
    assert there("schedule", "nightly", code=1).err == (
        "jobwarden: No schedule has the name 'nightly': check it with `jobwarden schedules`.\n"
    )


def test_backfill_makes_the_runs_of_a_past_window_once(there: Cli, app: JobWarden) -> None:
    app.schedules.put("hourly", "0 * * * *", app.bind("succeed"), overlap="allow")
    window = ("2026-03-01T00:00Z", "2026-03-01T05:30Z")
    assert there("schedule-backfill", "hourly", *window).out == "6 runs are made\n"
    told = there("schedule-backfill", "hourly", *window, "--json").json
    assert (told["made"], told["there"]) == (0, 6)
    runs = there("schedule", "hourly", "--json").json["runs"]
    assert [run["occurrence_time"] for run in runs] == [f"2026-03-01T0{hour}:00:00Z" for hour in range(5, -1, -1)]
    assert {(run["action"], run["cause"], run["state"]) for run in runs} == {("enqueued", "backfill", "queued")}


def test_what_cannot_be_is_refused_before_anything_is_written(there: Cli, app: JobWarden) -> None:
    refusals = {
        ("schedule-put", "x", "succeed", "--cron", "61 * * * *"): "'61 * * * *' cannot be read",
        ("schedule-put", "x", "succeed"): "it has 0 of cron pattern, every= and an instant",
        ("schedule-put", "x", "succeed", "--cron", "@daily", "--every", "60"): "it has 2 of cron pattern",
        ("schedule-put", "x", "succeed", "--cron", "@daily", "--timezone", "Mars/Base"): "'Mars/Base' is not known",
        ("schedule-put", "x", "nonsense", "--cron", "@daily"): "No job is registered as 'nonsense'",
        ("schedule-run", "x"): "No schedule has the name 'x'",
        ("schedule-enable", "x"): "No schedule has the name 'x'",
    }
    for words, why in refusals.items():
        assert why in there(*words, code=1).err
    assert "has no offset" in there("schedule-put", "x", "succeed", "--at", "2030-01-01T00:00", code=2).err
    assert there("schedules", "--json").json == {"data": []}
    app.schedules.put("later", None, app.bind("succeed"), every=timedelta(hours=1))
    late = ("2099-01-01T00:00Z", "2099-01-02T00:00Z")
    assert "is not in the past" in there("schedule-backfill", "later", *late, code=1).err
