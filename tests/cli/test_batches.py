"""Batches at the command line, on every engine: the list, one with its picture, calling off and running again."""

from __future__ import annotations

import pytest

from jobwarden import JobWarden
from jobwarden.domain.states import BatchState
from jobwarden.errors import BatchRefused
from jobwarden.store.database import Database
from tests.cli.conftest import Cli
from tests.support.factories import Factories
from tests.support.jobs import build


@pytest.fixture
def app(database: Database) -> JobWarden:
    """All test jobs on the database that the command line reads."""
    return build(database_url=database.options.database_url)


def _nightly(app: JobWarden) -> str:
    succeed = app.find("succeed")
    batch = app.batch("nightly", params={"day": "monday"})
    first = batch.add(succeed.bind(0), "first")
    wide = batch.fan_out([succeed.bind(n) for n in range(8)], after=first)
    batch.add(succeed.bind(9), "last", after_completion=wide)
    return str(batch.enqueue().id)


def test_a_list_one_and_its_picture(cli: Cli, app: JobWarden) -> None:
    batch = _nightly(app)
    assert "nightly" in cli("batches").out
    listed = cli("batches", "--json", "--state", "running").json
    assert [(line["id"], line["counts"]["total"], line["counts"]["pending"]) for line in listed["data"]] == [
        (batch, 10, 10)
    ]
    shown = cli("batch", batch[-8:], "--members", "--graph").out
    assert "10: 10 pending" in shown
    assert "succeed × 8" in shown, "what is alike is drawn as one"
    assert "last (finalizer)" in shown
    told = cli("batch", batch, "--graph", "--json").json
    assert len(told["members"]) == 10
    assert len(told["edges"]) == 16
    assert "no member has the key 'x'" in cli("batch", batch, "--graph", "--focus", "x", code=2).err


def test_holding_and_releasing(cli: Cli, app: JobWarden) -> None:
    batch = _nightly(app)
    assert "no member starts until" in cli("batch-hold", batch, "--reason", "look first").out
    assert "running (held)" in cli("batches").out
    shown = cli("batch", batch).out
    assert "look first" in shown
    assert cli("batch", batch, "--json").json["batch"]["held_reason"] == "look first"
    assert cli("batch-hold", batch, "--json").json == {"id": batch, "held": True, "reached": 0}
    assert "goes on" in cli("batch-release", batch[-8:]).out
    assert "is running and not held, and release needs it to be held" in cli("batch-release", batch, code=1).err
    assert cli("batch", batch, "--json").json["batch"]["held_at"] is None


def test_batches_are_found_by_their_labels(cli: Cli, app: JobWarden) -> None:
    made = {
        (team, day): app.batch("b", labels={"team": team, "day": day}).enqueue().id
        for team in ("red", "blue")
        for day in ("monday", "friday")
    }

    def found(*labels: str) -> set[str]:
        options = [word for label in labels for word in ("--label", label)]
        return {line["id"] for line in cli("batches", "--json", *options).json["data"]}

    assert found("team=red") == {made["red", "monday"], made["red", "friday"]}
    assert found("team=red", "day=friday") == {made["red", "friday"]}
    assert found("team=green") == set()
    assert "team=red, day=friday" in cli("batch", made["red", "friday"]).out
    assert "NAME=VALUE" in cli("batches", "--label", "red", code=2).err
    with pytest.raises(BatchRefused, match="its labels"):
        app.batch("b", labels={"": "x"})


def test_calling_off_and_what_is_refused(cli: Cli, app: JobWarden, factories: Factories) -> None:
    batch = _nightly(app)
    assert cli("batch-cancel", batch, "--reason", "not tonight", "--json").json == {
        "id": batch,
        "state": "canceled",
        "canceled": 10,
    }
    assert "not tonight" in cli("batch", batch).out
    assert "is canceled, and retry needs it to be" in cli("batch-retry", batch, code=1).err
    over = factories.batch(BatchState.RUNNING)
    assert cli("batch-retry", over["id"]).out == "no member has failed\n"
    assert (
        cli("batch", "0000", code=1).err
        == "jobwarden: No batch has the id '0000': check it with `jobwarden batches`.\n"
    )
