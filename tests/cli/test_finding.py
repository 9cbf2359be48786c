"""Searching at the command line, and acting on all that is found, on every engine."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from jobwarden import JobWarden
from jobwarden.domain.errorprint import print_of
from jobwarden.domain.states import JobState
from jobwarden.store import errors, schema
from jobwarden.store.database import Database
from tests.cli.conftest import Cli
from tests.support.factories import Factories
from tests.support.jobs import build
from tests.support.waiting import eventually
from tests.views.test_jobs import tag

_APP = """
from jobwarden import JobWarden
jw = JobWarden()

@jw.job(idempotent=True, name="pay", promote=("store",))
def pay(store: str) -> None: ...

@jw.job(idempotent=True, name="plain")
def plain(store: str) -> None: ...
"""


def test_jobs_are_listed_by_words(cli: Cli, factories: Factories, database: Database) -> None:
    wanted = factories.job(JobState.FAILED, lane="a", name="order 7")["id"]
    factories.job(JobState.FAILED, lane="b")
    tag(database, wanted, store="42")
    for query in (["state:failed", "store:42"], ['label:"order 7"'], ["-lane:b"], ["--lane", "a", "store:4*"]):
        assert [line["id"] for line in cli("jobs", *query, "--json").json["data"]] == [wanted], query
    assert cli("jobs", "store:43").out == "No such job.\n"
    assert "No such option '--stat'" in cli("jobs", "--stat", "failed", code=2).err
    refused = cli("jobs", "state:asleep", code=1)
    assert "'state:asleep' (character 1): a state is one of pending, queued" in refused.err


def test_all_that_match_are_counted_asked_about_and_acted_on(cli: Cli, factories: Factories) -> None:
    made = [factories.job(JobState.FAILED, lane="a", idempotent=n > 0) for n in range(5)]
    other = factories.job(JobState.FAILED, lane="b")
    dry = cli("retry", "--matching", "lane:a", "--dry-run")
    assert dry.out == "retry would be asked of 5 jobs that match lane:a\n"
    assert "nobody can be asked here" in cli("retry", "--matching", "lane:a", code=2).err
    assert all(factories.read(schema.jobs, job["id"])["state"] == "failed" for job in made)
    done = cli("retry", "--matching", "lane:a", "--yes", "--reason", "fixed", code=1)
    assert done.out == "retry: 4 done, 1 refused\n"
    assert "use --force" in done.err
    assert factories.read(schema.jobs, made[0]["id"])["state"] == "failed"
    [event] = factories.events_of(made[1]["id"])
    assert (event["reason"], event["to_state"]) == ("fixed", "queued")
    told = cli("cancel", "--matching", "lane:a state:queued", "--yes", "--json").json
    assert told == {"matched": 4, "done": 4, "refused": 0, "errors": [], "interrupted": False}
    assert factories.read(schema.jobs, other["id"])["state"] == "failed"


@pytest.mark.any_engine
def test_which_jobs_must_be_said_one_way(cli: Cli) -> None:
    for words in ([], ["--matching", "lane:a", "0abc"]):
        assert "say which jobs" in cli("cancel", *words, code=2).err
    assert "all jobs" in cli("cancel", "--matching", " ", "--yes", code=2).err
    assert "--matching" in cli("cancel", "0abc", "--yes", code=2).err


def test_who_interrupts_hears_how_many_were_done_and_the_rest_is_as_it_was(
    cli: Cli, database: Database, factories: Factories, database_url: str
) -> None:
    jw: JobWarden = build(database_url=database_url)
    jw.enqueue_many(jw.bind("succeed", {"value": n}, lane="bulk") for n in range(20_000))
    jw.database.dispose()
    process = cli.start("cancel", "--matching", "lane:bulk", "--yes")

    def canceled() -> int:
        return factories.counted().get(("bulk", "canceled"), 0)

    eventually(lambda: canceled() >= 500, 60)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "interrupted after cancel: " in out
    said = int(out.partition("interrupted after cancel: ")[2].partition(" done")[0].replace(",", ""))
    assert 500 <= said <= canceled() <= said + 500 < 20_000


def test_tags_errors_and_retag(cli: Cli, factories: Factories, database: Database, tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(_APP)
    paid = [factories.job(job="pay", params={"store": f"s{n % 2}"})["id"] for n in range(4)]
    factories.job(job="plain", params={"store": "s9"})
    assert "would get 4 tags" in cli("-A", "shop:jw", "retag", "--dry-run").out
    assert cli("-A", "shop:jw", "retag", "--json").json == {
        "dry_run": False, "promoting": ["pay"], "scanned": 4, "jobs": 4, "tags": 4,
    }  # fmt: skip
    assert cli("tags", "--json").json == {"data": [{"name": "store", "jobs": 4, "more": False}]}
    page = cli("tags", "store", "--limit", "1", "--json").json
    assert page == {"data": [{"value": "s0", "jobs": 2}], "next": "s0"}
    assert cli("tags", "store", "--after", "s0").out.split() == ["store", "jobs", "s1", "2"]
    assert {line["id"] for line in cli("jobs", "store:s1", "--json").json["data"]} == {paid[1], paid[3]}
    kind = print_of({"class": "OSError", "message": "disk 5 is full"})
    factories.job(JobState.FAILED, error_print=kind.print)
    with database.write() as transaction:
        errors.seen(transaction, [kind])
    assert "OSError: disk # is full" in cli("errors").out
    assert cli("errors", "--json").json["data"][0]["failed"] == 1
