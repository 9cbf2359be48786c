"""Jobs found by the words of a search: what fits, in pages; and that no search walks through the table of jobs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.errorprint import print_of
from jobwarden.domain.ids import first_at
from jobwarden.domain.search import parse
from jobwarden.domain.states import JobState
from jobwarden.store import errors, schema
from jobwarden.store.database import Database
from jobwarden.store.ids import new_id, new_ids
from jobwarden.views import search as searching
from jobwarden.views.jobs import Filter, counted, ids_of, listed
from tests.support.factories import Factories
from tests.support.plans import explained, scans
from tests.views.test_jobs import tag


def found(database: Database, text: str) -> set[str]:
    """What a search finds: the same newest first, oldest first and counted."""
    wanted = Filter(search=parse(text), limit=200)
    with database.read() as transaction:
        newest = [line.id for line in listed(transaction, wanted).jobs]
        oldest, _ = ids_of(transaction, wanted, None, 200)
        assert newest == oldest[::-1] == sorted(newest, reverse=True)
        assert counted(transaction, wanted) == len(newest)
    return set(newest)


@pytest.fixture
def zoo(database: Database, factories: Factories) -> dict[str, str]:
    """Jobs that differ in everything that can be searched for, by a short name."""
    error = {"class": "ConnectionError", "message": "host 10 is down: Connection reset"}
    worker = factories.worker(hostname="alpha")
    batch, schedule = factories.batch(), _schedule(database)
    columns: dict[str, dict[str, Any]] = {
        "planned": {"lane": "c", "job": "report", "schedule_id": schedule, "id": _three_days_ago(database)},
        "plain": {"lane": "a", "job": "shop:pay", "name": "order 7", "created_by": "ada"},
        "failed": {"lane": "b", "job": "shop:ship", "last_error": error, "error_print": print_of(error).print},
        "batched": {"lane": "b", "job": "shop:pay", "batch_id": batch["id"]},
        "running": {"lane": "c", "job": "report", "max_runtime_sec": 3600.0},
        "stuck": {"lane": "c", "job": "report", "max_runtime_sec": 60.0},
    }
    states = {"plain": "queued", "batched": "pending", "planned": "succeeded", "stuck": "running"}
    made = {
        name: factories.job(JobState(states.get(name, name)), **{"id": new_id(), **given})
        for name, given in columns.items()
    }
    tag(database, made["plain"]["id"], store="42", kind="big")
    tag(database, made["failed"]["id"], store="421")
    with database.write() as transaction:
        errors.seen(transaction, [print_of(error)])
        early = transaction.now() - timedelta(minutes=5)
        at = sa.update(schema.attempts)
        transaction.execute(at.where(schema.attempts.c.job_id == made["stuck"]["id"]).values(started_at=early))
        ran = at.where(schema.attempts.c.job_id.in_([made["failed"]["id"], made["running"]["id"]]))
        transaction.execute(ran.values(worker_id=worker["id"]))
        old = sa.update(schema.jobs).where(schema.jobs.c.id == made["planned"]["id"])
        transaction.execute(old.values(created_at=transaction.now() - timedelta(days=3)))
    named = {name: row["id"] for name, row in made.items()}
    return named | {"worker": worker["id"], "batch": batch["id"]}


def _three_days_ago(database: Database) -> str:
    with database.read() as transaction:
        return first_at(transaction.now() - timedelta(days=3))


def _schedule(database: Database) -> str:
    schedule_id = new_id()
    with database.write() as transaction:
        now = transaction.now()
        row = {"id": schedule_id, "name": "nightly", "job": "report", "created_at": now, "updated_at": now}
        transaction.execute(sa.insert(schema.schedules).values(row))
    return schedule_id


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", "plain failed batched planned running stuck"),
        ("state:failed", "failed"),
        ("state:queued,pending", "plain batched"),
        ("state:running", "running stuck"),
        ("-state:running", "plain failed batched planned"),
        ("lane:a,b", "plain failed batched"),
        ("job:shop:pay", "plain batched"),
        ("job:shop*", "plain failed batched"),
        ("job:nothing*", ""),
        ('label:"order 7"', "plain"),
        ("label:order*", "plain"),
        ("label:Order*", ""),
        ("-label:order*", "failed batched planned running stuck"),
        ("by:ada", "plain"),
        ("host:alpha", "failed running"),
        ("host:beta", ""),
        ("-host:alpha lane:c", "planned stuck"),
        ("worker:{worker}", "failed running"),
        ("batch:{batch}", "batched"),
        ("batch:zzz", ""),
        ("schedule:nightly", "planned"),
        ("schedule:night*", "planned"),
        ("store:42", "plain"),
        ("store:42*", "plain failed"),
        ("store:", "plain failed"),
        ("-store: lane:b", "batched"),
        ("tag:kind=big", "plain"),
        ("shop:pay", "plain batched"),
        ('error:"connection RESET"', "failed"),
        ("error:ConnectionError", "failed"),
        ('error:"host 10 is"', "failed"),
        ('error:"host 11 is"', ""),
        ("error:100%", ""),
        ("id:{plain}", "plain"),
        ("id:zzz", ""),
        ("older:2d", "planned"),
        ("-older:2d lane:c", "running stuck"),
        ("newer:1h lane:c", "running stuck"),
        ("newer:2999-01-01", ""),
        ("older:2999-01-01 lane:a", "plain"),
        ("stuck", "stuck"),
        ("-stuck lane:c", "planned running"),
        ("SHIP", "failed"),
        ('"order 7"', "plain"),
        ("order*", "plain"),
        ("shop:* state:pending store:", ""),
    ],
)
def test_what_fits_is_found(database: Database, zoo: dict[str, str], text: str, names: str) -> None:
    assert found(database, text.format(**zoo)) == {zoo[name] for name in names.split()}


# -- many -------------------------------------------------------------------------------------------------------------

_MANY = 6000


@pytest.fixture
def many(database: Database) -> list[str]:
    """Thousands of jobs: every fiftieth failed with one of three errors, each has one of a thousand stores."""
    ids = new_ids(_MANY)
    kinds = [print_of({"class": "OSError", "message": f"disk {letter} is full"}) for letter in "abc"]
    with database.write() as transaction:
        now = transaction.now()
        base = {"params": {}, "priority": 0, "available_at": now, "created_at": now, "updated_at": now}
        base |= {"idempotent": True, "max_attempts": 1}
        rows = [
            {
                **base, "id": job_id, "lane": f"lane-{n % 4}", "job": f"job-{n % 7}", "name": f"label {n % 500}",
                "created_by": f"user-{n % 300}", "state": "failed" if n % 50 == 0 else "succeeded",
                "error_print": kinds[n % 3].print if n % 50 == 0 else None,
            }
            for n, job_id in enumerate(ids)
        ]  # fmt: skip
        for begin in range(0, _MANY, 1000):
            transaction.connection.execute(sa.insert(schema.jobs), rows[begin : begin + 1000])
        tagged = [{"job_id": job_id, "name": "store", "value": str(n % 1000)} for n, job_id in enumerate(ids)]
        for begin in range(0, _MANY, 1000):
            transaction.connection.execute(sa.insert(schema.tags), tagged[begin : begin + 1000])
        errors.seen(transaction, kinds)
    _analyze(database)
    return ids


def _analyze(database: Database) -> None:
    names = ("jobs", "job_tags", "job_attempts")
    with database.write() as transaction:
        word = "ANALYZE TABLE" if database.engine.dialect.name in ("mysql", "mariadb") else "ANALYZE"
        for name in names:
            transaction.connection.execute(sa.text(f"{word} jobwarden_{name}"))


def test_pages_of_a_search_hold_each_job_once_whatever_leads(database: Database, many: list[str]) -> None:
    for text, fits in (
        ("state:failed", lambda n: n % 50 == 0),
        ("lane:lane-1,lane-2 -state:failed", lambda n: n % 4 in (1, 2) and n % 50),
        ("store:7*", lambda n: str(n % 1000).startswith("7")),
        ("-store:7*", lambda n: not str(n % 1000).startswith("7")),
        ('error:"disk b"', lambda n: n % 50 == 0 and n % 3 == 1),
    ):
        expected = [job_id for n, job_id in enumerate(many) if fits(n)]
        assert _walked(database, text, oldest_first=False) == expected[::-1]
        assert _walked(database, text, oldest_first=True) == expected


def _walked(database: Database, text: str, oldest_first: bool) -> list[str]:
    seen: list[str] = []
    cursor: str | None = None
    while True:
        with database.read() as transaction:
            if oldest_first:
                ids, cursor = ids_of(transaction, Filter(search=parse(text)), cursor, 100)
            else:
                page = listed(transaction, Filter(search=parse(text), before=cursor, limit=100))
                ids, cursor = [line.id for line in page.jobs], page.next
        seen += ids
        if cursor is None:
            return seen


def test_a_search_that_finds_nothing_gives_up_after_so_many_and_says_where(
    database: Database, many: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_MOST_LOOKED_AT", 1000)
    with database.read() as transaction:
        page = listed(transaction, Filter(search=parse("-state:failed -state:succeeded"), limit=50))
    assert page.jobs == []
    assert page.next is not None
    assert many[0] < page.next <= many[-1000]
    assert _walked(database, "-state:failed -state:succeeded", oldest_first=False) == []


@pytest.mark.parametrize(
    "text",
    [
        "state:failed",
        "lane:lane-1",
        "job:job-3",
        "job:job-*",
        '"job-3"',
        'label:"label 77"',
        "by:user-7",
        "store:77",
        "other:77",
        'error:"disk b"',
        "host:none",
        "worker:{0}",
        "batch:{0}",
        "schedule:none",
        "id:{0}",
        "stuck",
        "state:running",
        "",
    ],
)
def test_no_search_reads_the_table_of_jobs_from_end_to_end(database: Database, many: list[str], text: str) -> None:
    with explained(database) as plans, database.read() as transaction:
        listed(transaction, Filter(search=parse(text.format(many[77])), limit=20))
    assert plans
    assert [plan for plan in plans if scans(plan)] == []


def test_a_reading_of_the_whole_table_would_be_seen(database: Database, many: list[str]) -> None:
    query = sa.select(schema.jobs.c.id).where(schema.jobs.c.wait_reason.like("%x%"))
    with explained(database) as plans, database.read() as transaction:
        transaction.execute(query).all()
    assert [scans(plan) for plan in plans] == [True]
