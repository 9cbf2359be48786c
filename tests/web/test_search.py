"""Searching over HTTP: jobs by words, tags and their values, errors by their kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from jobwarden import JobWarden
from jobwarden.domain.access import Role
from jobwarden.domain.errorprint import print_of
from jobwarden.domain.states import JobState
from jobwarden.store import errors
from jobwarden.store.database import Database
from tests.support.factories import Factories
from tests.views.test_jobs import tag
from tests.web.conftest import client_of, refused


def test_jobs_are_found_by_words_and_acted_on(api: TestClient, factories: Factories, database: Database) -> None:
    wanted, other = factories.job(JobState.FAILED, lane="a")["id"], factories.job(JobState.FAILED, lane="a")["id"]
    tag(database, wanted, store="42")
    found = api.get("/api/jobs", params={"q": "state:failed store:42", "lane": "a"}).json()
    assert [line["id"] for line in found["data"]] == [wanted]
    assert api.post("/api/actions/preview", json={"q": "store:42"}).json() == {"count": 1}
    done = api.post("/api/actions/matching", json={"action": "retry", "force": True, "filter": {"q": "-store:42"}})
    assert done.json() == {"done": 1, "refused": [], "next": None}
    states = {line["id"]: line["state"] for line in api.get("/api/jobs").json()["data"]}
    assert states == {wanted: "failed", other: "queued"}


@pytest.mark.any_engine
def test_words_that_cannot_be_understood_are_422_with_their_place(api: TestClient) -> None:
    told = refused(api.get("/api/jobs", params={"q": "lane:a state:asleep"}), 422, "state:asleep", "queued")
    assert (told["type"], told["position"]) == ("SearchRefused", 8)
    refused(api.post("/api/actions/preview", json={"q": "older:soon"}), 422, "older:soon")
    body = {"action": "cancel", "filter": {"q": 'error:"open'}}
    refused(api.post("/api/actions/matching", json=body), 422, "quotation mark")


def test_tags_and_their_values_are_walked(api: TestClient, factories: Factories, database: Database) -> None:
    for n in range(12):
        tag(database, factories.job()["id"], store=f"s{n % 4}", kind="big")
    told = api.get("/api/tags").json()
    assert told == [{"name": "kind", "jobs": 12, "more": False}, {"name": "store", "jobs": 12, "more": False}]
    first = api.get("/api/tags/values", params={"name": "store", "limit": 3}).json()
    rest = api.get("/api/tags/values", params={"name": "store", "after": first["next"]}).json()
    assert [(line["value"], line["jobs"]) for line in first["data"] + rest["data"]] == [(f"s{n}", 3) for n in range(4)]
    assert api.get("/api/tags/values", params={"name": "store", "prefix": "s3"}).json()["data"][0]["value"] == "s3"
    assert api.get("/api/tags/values", params={"name": "none"}).json() == {"data": [], "next": None}


def test_errors_are_told_by_their_kind_the_last_first(
    api: TestClient, factories: Factories, database: Database
) -> None:
    kinds = [{"class": "OSError", "message": f"disk {letter} has 12 bytes"} for letter in "abc"]
    for n, kind in enumerate(kinds):
        for _ in range(n + 1):
            factories.job(JobState.FAILED, last_error=kind, error_print=print_of(kind).print)
        with database.write() as transaction:
            errors.seen(transaction, [print_of(kind)])
    first = api.get("/api/errors", params={"limit": 2}).json()
    rest = api.get("/api/errors", params={"limit": 2, "after": first["next"]}).json()
    told = [(line["message"], line["failed"], line["more"]) for line in first["data"] + rest["data"]]
    assert told == [(f"disk {letter} has # bytes", n, False) for letter, n in (("c", 3), ("b", 2), ("a", 1))]
    assert api.get(f"/api/jobs/{first['data'][0]['last_job']}").json()["last_error"] == kinds[2]


def test_values_of_a_tag_that_is_masked_are_not_told(
    jw: JobWarden, factories: Factories, database: Database, token: Callable[[Role], str]
) -> None:
    tag(database, factories.job()["id"], api_key="hunter2")
    viewer, admin = (client_of(jw, secret=token(role)) for role in (Role.VIEWER, Role.ADMIN))
    asked = {"name": "api_key"}
    refused(viewer.get("/api/tags/values", params=asked), 403, "api_key")
    assert admin.get("/api/tags/values", params=asked).json()["data"] == [{"value": "hunter2", "jobs": 1}]
