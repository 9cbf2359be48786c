"""Kinds of errors are left by the step that settles an attempt; retag gives jobs the tags they lack."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from jobwarden.domain.errorprint import ErrorPrint, print_of
from jobwarden.domain.report import Outcome
from jobwarden.lifecycle.retag import retag
from jobwarden.store import errors, schema
from jobwarden.store.database import Database
from jobwarden.store.ids import new_id
from jobwarden.views.errors import ErrorLine, listed
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories
from tests.views.test_jobs import tag


def lines(database: Database) -> list[ErrorLine]:
    with database.read() as transaction:
        return listed(transaction).errors


def test_a_failure_leaves_its_kind_and_a_success_keeps_it(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    jobs = [factories.job(max_attempts=1) for _ in range(3)]
    claims = {claim.job_id: claim for claim in claimant.claim(database, 3)}
    for number, job in enumerate(jobs):
        error = {"class": "OSError", "message": f"disk {number} is full", "trace": "..."}
        claimant.settle(database, claims[job["id"]], Outcome.FAILED, error=error)
    [line] = lines(database)
    assert (line.class_name, line.message, line.failed, line.more) == ("OSError", "disk # is full", 3, False)
    assert line.last_job == max(job["id"] for job in jobs)
    assert {factories.read(schema.jobs, job["id"])["error_print"] for job in jobs} == {line.print}


def test_a_job_that_runs_again_as_a_new_one_does_not_take_the_error_along(
    database: Database, factories: Factories
) -> None:
    from jobwarden.domain.orders import Order, Verb
    from jobwarden.domain.states import JobState
    from jobwarden.lifecycle.operate import carry_out

    kind = print_of({"class": "OSError", "message": "x"})
    old = factories.job(JobState.FAILED, error_print=kind.print, last_error={"class": "OSError", "message": "x"})
    [answer] = carry_out(database, Order(Verb.RERUN, None, "ada"), [old["id"]])
    assert answer.new is not None
    assert factories.read(schema.jobs, answer.new)["error_print"] is None


def test_first_and_last_are_told_to_the_minute(database: Database) -> None:
    kind = print_of({"class": "OSError", "message": "x"})
    _see(database, kind)
    [first] = lines(database)
    _see(database, kind)
    assert lines(database) == [first]
    with database.write() as transaction:
        early = transaction.now() - timedelta(seconds=61)
        transaction.execute(sa.update(schema.errors).values(first_seen=early, last_seen=early))
    _see(database, kind)
    [line] = lines(database)
    assert line.first_seen == early
    assert line.last_seen > early + timedelta(seconds=60)


def _see(database: Database, *kinds: ErrorPrint) -> None:
    with database.write() as transaction:
        errors.seen(transaction, kinds)


def test_many_who_see_the_same_at_once_do_not_stand_in_each_others_way(database: Database) -> None:
    kinds = [print_of({"class": "OSError", "message": letter}) for letter in "abcdefgh"]
    failures: list[BaseException] = []

    def see(turn: int) -> None:
        try:
            for n in range(8):
                _see(database, *(kinds[(n + turn) % 8 :] + kinds[: (n + turn) % 8]))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=see, args=(turn,)) for turn in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(lines(database)) == 8


# -- retag ------------------------------------------------------------------------------------------------------------


def _store(params: Mapping[str, Any]) -> dict[str, str]:
    return {"store": str(params["store"])} if "store" in params else {}


def test_jobs_get_the_tags_that_they_lack_once(database: Database, factories: Factories) -> None:
    made = [factories.job(id=new_id(), job="pay", params={"store": f"s{n}"}) for n in range(7)]
    kept = factories.job(id=new_id(), job="pay", params={"store": "new"}, tags={"store": "old"})
    tag(database, kept["id"], store="old")
    other, none = factories.job(job="other", params={"store": "x"}), factories.job(job="pay", params={})
    told: list[int] = []
    dry = retag(database, "pay", _store, bite=3, dry_run=True)
    assert (dry.scanned, dry.jobs, dry.tags) == (9, 7, 7)
    assert factories.count(schema.tags) == 1
    done = retag(database, "pay", _store, bite=3, told=lambda so_far: told.append(so_far.scanned))
    assert (done.scanned, done.jobs, done.tags) == (9, 7, 7)
    assert told[:3] == [3, 6, 9]
    assert [factories.read(schema.jobs, job["id"])["tags"] for job in made] == [{"store": f"s{n}"} for n in range(7)]
    assert factories.read(schema.jobs, kept["id"])["tags"] == {"store": "old"}
    assert [factories.read(schema.jobs, job["id"])["tags"] for job in (other, none)] == [None, None]
    assert factories.count(schema.tags) == 8
    again = retag(database, "pay", _store)
    assert (again.scanned, again.jobs) == (9, 0)
