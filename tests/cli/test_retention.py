"""`prune` and `export` at the command line, on every engine: counted, archived, removed; and what is refused."""

from __future__ import annotations

import json
import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from jobwarden.cli.archive import to_parquet
from jobwarden.domain.ids import first_at
from jobwarden.domain.states import JobState
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.cli.conftest import Cli
from tests.support.factories import Factories, new_id
from tests.support.waiting import eventually
from tests.views.test_jobs import tag

NOTHING = {"jobs": 0, "batches": 0, "workers": 0, "runs": 0, "errors": 0, "lines": 0, "files": 0}


def old(factories: Factories, number: int, days: int = 100, **columns: Any) -> list[str]:
    """Jobs that failed so many days ago."""
    with factories.database.read() as transaction:
        at = transaction.now() - timedelta(days=days)
    ids = [first_at(at)[:-12] + new_id()[-12:] for _ in range(number)]
    given = {"created_at": at, "finished_at": at, **columns}
    return [str(factories.job(JobState.FAILED, id=job_id, **given)["id"]) for job_id in ids]


def left(factories: Factories) -> int:
    return factories.count(schema.jobs)


def test_what_would_go_is_told_and_then_goes(cli: Cli, factories: Factories) -> None:
    old(factories, 3)
    factories.job(JobState.FAILED)
    dry = cli("prune", "--dry-run", "--json").json
    assert dry == {"dry_run": True, "interrupted": False, **NOTHING, "jobs": 3, "exported": 0}
    assert cli("prune", "--dry-run").out.startswith("would go: 3 jobs, 0 batches")
    assert left(factories) == 4
    assert cli("prune", "--reason", "spring cleaning").out.startswith("removed: 3 jobs, 0 batches")
    assert left(factories) == 1
    [entry] = cli("audit", "--action", "fleet.prune", "--json").json["data"]
    assert (entry["reason"], entry["after"]["failed"]) == ("spring cleaning", "90 days, 0:00:00")


def test_what_is_kept_is_what_the_settings_say_and_then_what_is_asked_for(cli: Cli, factories: Factories) -> None:
    old(factories, 2, days=100, lane="law")
    old(factories, 3, days=20)
    cli.env["JOBWARDEN_RETAIN"] = "law:*=never, failed=30d"
    assert cli("prune", "--dry-run", "--json").json["jobs"] == 0
    assert cli("prune", "--dry-run", "--keep", "failed=10d", "--json").json["jobs"] == 3
    assert cli("prune", "--keep", "failed=10d", "--keep", "law:failed=99d", "--json").json["jobs"] == 5


@pytest.mark.any_engine
@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--keep", "failed=soon"], 1, "'failed=soon' cannot be used: an entry names what is kept and how long"),
        (["--export", "/dev/null/x"], 1, "The archive /dev/null/x/jobwarden-"),
        (["--format", "csv"], 2, "'csv' is not one of 'jsonl', 'parquet'"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_goes(
    cli: Cli, factories: Factories, arguments: list[str], code: int, words: str
) -> None:
    old(factories, 1)
    assert words in " ".join(cli("prune", *arguments, code=code).err.split())
    assert left(factories) == 1


def test_lines_of_an_archive_are_all_that_went(
    cli: Cli, factories: Factories, database: Database, tmp_path: Path
) -> None:
    gone = old(factories, 3)
    tag(database, gone[0], store="42")
    told = cli("prune", "--export", "archive", "--json")
    [path] = (tmp_path / "archive").iterdir()
    assert path.name in told.err
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert told.json["exported"] == len(rows) == 7
    assert {row["data"]["id"] for row in rows if row["type"] == "job"} == set(gone)
    [tagged] = [row["data"] for row in rows if row["type"] == "tag"]
    assert tagged == {"name": "store", "job_id": gone[0], "value": "42"}
    assert left(factories) == 0


def test_parquet_files_have_the_tables_types(
    cli: Cli, factories: Factories, database: Database, tmp_path: Path
) -> None:
    [job] = old(factories, 1, params={"store": "ä"}, timeout_sec=1.5)
    with database.write() as transaction:
        made = {"id": new_id(), "job_id": job, "type": "file", "name": "x", "created_at": transaction.now()}
        transaction.connection.execute(sa.insert(schema.artifacts).values(content=b"\0\xff", **made))
    cli("prune", "--dry-run", "--export", "archive", "--format", "parquet")
    found = {path.name.rpartition("-")[2]: pq.read_table(path) for path in (tmp_path / "archive").iterdir()}
    assert set(found) == {"job.parquet", "attempt.parquet", "artifact.parquet"}
    [row] = found["job.parquet"].to_pylist()
    stored = factories.read(schema.jobs, job)
    assert json.loads(row["params"]) == {"store": "ä"}
    for name in ("id", "timeout_sec", "max_attempts", "idempotent", "finished_at", "priority", "batch_id"):
        assert row[name] == stored[name], name
    assert found["artifact.parquet"].to_pylist()[0]["content"] == b"\0\xff"
    assert left(factories) == 1


@pytest.mark.any_engine
def test_lines_stay_until_all_of_them_are_in_parquet_files(tmp_path: Path) -> None:
    lines = tmp_path / "jobwarden-x.jsonl"
    lines.write_text('{"type": "tag", "data": {"name": "a", "job_id": "b"}}\n', "utf-8")
    with pytest.raises(KeyError, match="value"):
        to_parquet(lines)
    assert lines.exists()


def test_jobs_that_are_found_are_written_with_all_that_belongs_to_them(
    cli: Cli, factories: Factories, tmp_path: Path
) -> None:
    inside = old(factories, 2, days=50)
    old(factories, 1, days=80)
    with factories.database.read() as transaction:
        now = transaction.now()
    begin, end = (f"{now - timedelta(days=days):%Y-%m-%d}" for days in (60, 40))
    told = cli("export", f"newer:{begin}", f"older:{end}", "--out", "out", "--json").json
    [path] = (tmp_path / "out").iterdir()
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert told == {"jobs": 2, "exported": len(rows)}
    assert {row["data"]["id"] for row in rows if row["type"] == "job"} == set(inside)
    assert {row["data"]["job_id"] for row in rows if row["type"] == "attempt"} == set(inside)
    assert left(factories) == 3
    assert "say which jobs" in cli("export", code=2).err


def test_files_go_only_if_asked_for_and_as_they_were_noted(
    cli: Cli, factories: Factories, database: Database, tmp_path: Path
) -> None:
    kept, same, other = (tmp_path / name for name in ("kept", "same", "other"))
    for path in (kept, same, other):
        path.write_bytes(b"12345")
    for days, paths in ((200, [kept]), (100, [same, other])):
        [job] = old(factories, 1, days=days)
        with database.write() as transaction:
            for path in paths:
                made = {"id": new_id(), "job_id": job, "type": "file", "name": path.name, "path": str(path)}
                told = {**made, "size_bytes": 5, "created_at": transaction.now()}
                transaction.connection.execute(sa.insert(schema.artifacts).values(**told))
    assert cli("prune", "--keep", "failed=150d", "--json").json["files"] == 0
    assert kept.exists()
    other.write_bytes(b"changed since")
    assert cli("prune", "--files", "--json").json["files"] == 1
    assert (same.exists(), other.exists()) == (False, True)


def test_a_pass_that_is_interrupted_ends_between_two_bites(cli: Cli, factories: Factories) -> None:
    old(factories, 600)
    running = cli.start("prune", "--json")
    eventually(lambda: left(factories) < 600 or running.poll() is not None, 60)
    running.send_signal(signal.SIGINT)
    out, _ = running.communicate(timeout=60)
    told = json.loads(out)
    assert (running.returncode, told["interrupted"]) in {(130, True), (0, False)}
    assert told["jobs"] + left(factories) == 600
    assert cli("prune", "--json").json["jobs"] == 600 - told["jobs"]
