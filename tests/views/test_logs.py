"""A job's lines: the last ones, what follows a cursor, and the export of one job."""

from __future__ import annotations

import json

import sqlalchemy as sa

from jobwarden.domain.states import AttemptState, JobState
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.views import logs
from tests.support.factories import Factories, Values


def say(database: Database, attempt: Values, *lines: str, begin: int = 1) -> None:
    with database.write() as transaction:
        for seq, line in enumerate(lines, begin):
            transaction.execute(
                sa.insert(schema.logs).values(
                    job_id=attempt["job_id"],
                    attempt_id=attempt["id"],
                    seq=seq,
                    ts=attempt["created_at"],
                    level="info",
                    source="log",
                    step="load",
                    body_ref=line,
                    context={"n": seq},
                )
            )


def test_the_last_lines_come_in_order(database: Database, factories: Factories) -> None:
    job = factories.job(JobState.RUNNING)
    [attempt] = factories.attempts_of(job["id"])
    say(database, attempt, "one", "two", "three")
    with database.read() as transaction:
        found = logs.last(transaction, job["id"], 2)
    assert [(line.seq, line.message, line.step, line.context) for line in found] == [
        (2, "two", "load", {"n": 2}),
        (3, "three", "load", {"n": 3}),
    ]
    assert found[0].attempt_number == 1


def test_a_cursor_gives_each_line_once_over_all_attempts(database: Database, factories: Factories) -> None:
    job, other = factories.job(JobState.RUNNING), factories.job(JobState.RUNNING)
    [first] = factories.attempts_of(job["id"])
    say(database, first, "one", "two")
    say(database, factories.attempts_of(other["id"])[0], "not ours")
    seen: list[logs.LogLine] = []
    with database.read() as transaction:
        while page := logs.after(transaction, job["id"], seen[-1].id if seen else 0, limit=1):
            seen += page
    second = factories.attempt(job, AttemptState.RUNNING)
    say(database, second, "again")
    with database.read() as transaction:
        seen += logs.after(transaction, job["id"], seen[-1].id)
    assert [(line.attempt_number, line.message) for line in seen] == [(1, "one"), (1, "two"), (2, "again")]


def test_an_export_is_lines_of_json_each_whole(database: Database, factories: Factories) -> None:
    job = factories.job(JobState.SUCCEEDED, params={"store": "Ålesund"}, result={"imported": 1})
    [attempt] = factories.attempts_of(job["id"])
    say(database, attempt, "one", "zwei ✓")
    with database.read() as transaction:
        parts = [json.loads(line) for line in logs.export(transaction, job["id"])]
    assert [part["type"] for part in parts] == ["job", "attempt", "log", "log"]
    assert parts[0]["data"]["params"] == {"store": "Ålesund"}
    assert parts[0]["data"]["created_at"].endswith("Z")
    assert parts[1]["data"]["child_pid"] == attempt["child_pid"]
    assert parts[3]["data"]["message"] == "zwei ✓"
