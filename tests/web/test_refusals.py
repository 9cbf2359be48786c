"""Everything that can be asked wrongly, with the status and the words that it is answered with."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from jobwarden import JobWarden
from jobwarden.domain.states import BatchState, JobState, WorkerState
from jobwarden.store.schema import jobs
from tests.support.factories import Factories
from tests.support.jobs import build
from tests.web.conftest import client_of, refused

NOWHERE = "00000000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", f"/api/jobs/{NOWHERE}", None),
        ("GET", f"/api/jobs/{NOWHERE}/attempts", None),
        ("GET", f"/api/jobs/{NOWHERE}/events", None),
        ("GET", f"/api/jobs/{NOWHERE}/explain", None),
        ("GET", f"/api/jobs/{NOWHERE}/logs", None),
        ("GET", f"/api/jobs/{NOWHERE}/logs/stream", None),
        ("GET", f"/api/jobs/{NOWHERE}/artifacts", None),
        ("GET", f"/api/jobs/{NOWHERE}/artifacts/{NOWHERE}", None),
        ("POST", f"/api/jobs/{NOWHERE}/cancel", {}),
        ("POST", f"/api/jobs/{NOWHERE}/retry", {"force": True}),
        ("POST", f"/api/jobs/{NOWHERE}/resolve", {"verdict": "ran", "reason": "seen"}),
        ("GET", f"/api/batches/{NOWHERE}", None),
        ("GET", f"/api/batches/{NOWHERE}/members", None),
        ("GET", f"/api/batches/{NOWHERE}/graph", None),
        ("POST", f"/api/batches/{NOWHERE}/cancel", {}),
        ("POST", f"/api/batches/{NOWHERE}/retry", {}),
        ("GET", "/api/schedules/nightly", None),
        ("POST", "/api/schedules/nightly/run", {}),
        ("POST", "/api/schedules/nightly/disable", {}),
        ("DELETE", "/api/schedules/nightly", None),
        ("POST", f"/api/workers/{NOWHERE}/drain", {}),
        ("DELETE", "/api/tokens/nobody", None),
        ("GET", "/api/nothing", None),
        ("POST", "/nothing", {}),
    ],
)
@pytest.mark.any_engine
def test_what_is_not_there_is_404_and_named(api: TestClient, method: str, path: str, body: Any) -> None:
    told = refused(api.request(method, path, json=body), 404)
    assert told["instance"] == path
    named = {"nightly", "nobody", NOWHERE} & set(path.split("/"))
    assert all(name in told["detail"] for name in named)


@pytest.mark.parametrize(
    ("state", "verb", "body", "words"),
    [
        (JobState.SUCCEEDED, "cancel", {}, ("succeeded",)),
        (JobState.CANCELED, "stop", {}, ("canceled",)),
        (JobState.RUNNING, "retry", {}, ("running",)),
        (JobState.QUEUED, "restart", {}, ("queued",)),
        (JobState.QUEUED, "rerun", {}, ("queued",)),
        (JobState.FAILED, "resolve", {"verdict": "ran", "reason": "seen"}, ("failed",)),
    ],
)
def test_an_action_in_the_wrong_state_is_409_with_the_state(
    api: TestClient, factories: Factories, state: JobState, verb: str, body: Any, words: tuple[str, ...]
) -> None:
    job = factories.job(state, idempotent=True)
    told = refused(api.post(f"/api/jobs/{job['id']}/{verb}", json=body), 409, *words)
    assert told["state"] == state.value
    assert factories.read(jobs, job["id"]) == job


def test_work_that_is_not_idempotent_is_repeated_only_with_force(api: TestClient, factories: Factories) -> None:
    job_id = factories.job(JobState.FAILED, idempotent=False)["id"]
    refused(api.post(f"/api/jobs/{job_id}/retry", json={}), 409, "force")
    assert api.post(f"/api/jobs/{job_id}/retry", json={"force": True}).json()["state"] == "queued"


def test_an_id_that_fits_several_is_409_with_the_candidates(api: TestClient, factories: Factories) -> None:
    alike = [f"0{n}000000-0000-7000-8000-00000000aaaa" for n in (1, 2)]
    for job_id in alike:
        factories.job(id=job_id)
    told = refused(api.get("/api/jobs/aaaa"), 409, *alike)
    assert told["type"] == "AmbiguousId"
    assert api.post("/api/jobs/01000000/cancel", json={}).json()["id"] == alike[0]


def test_a_name_that_is_taken_is_409(api: TestClient) -> None:
    body = {"name": "ci", "role": "admin"}
    secret = api.post("/api/tokens", json=body).json()["secret"]
    api.headers["Authorization"] = f"Bearer {secret}"
    refused(api.post("/api/tokens", json=body), 409, "'ci'")
    assert [line["name"] for line in api.get("/api/tokens").json()] == ["ci"]


def test_batches_lanes_and_workers_in_the_wrong_state_are_409(api: TestClient, factories: Factories) -> None:
    over = factories.batch(BatchState.SUCCEEDED)["id"]
    for verb in ("cancel", "hold", "release"):
        refused(api.post(f"/api/batches/{over}/{verb}", json={}), 409)
    refused(api.post("/api/lanes/default/resume", json={}), 409, "default")
    gone = factories.worker(WorkerState.STOPPED)["id"]
    refused(api.post(f"/api/workers/{gone}/drain", json={}), 409, "stopped")


@pytest.mark.parametrize(
    "query",
    [
        {"state": "sleeping"},
        {"limit": "0"},
        {"limit": "201"},
        {"limit": "many"},
        {"before": "x"},
        {"batch": "not-an-id"},
        {"lane": "l" * 101},
    ],
)
@pytest.mark.any_engine
def test_a_bad_filter_is_422_with_the_field(api: TestClient, query: dict[str, str]) -> None:
    told = refused(api.get("/api/jobs", params=query), 422)
    [name] = query
    assert told["errors"][0]["field"].startswith(f"query.{name}")


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "job"),
        ({"job": "nothing"}, "'nothing'"),
        ({"job": "succeed", "params": {"value": "x"}}, "value"),
        ({"job": "succeed", "params": {"other": 1}}, "other"),
        ({"job": "succeed", "params": []}, "params"),
        ({"job": "succeed", "lane": " "}, "lane"),
        ({"job": "succeed", "priority": 1.5}, "priority"),
        ({"job": "succeed", "priority": 40000}, "priority"),
        ({"job": "succeed", "delay": -1}, "delay"),
        ({"job": "succeed", "available_at": "2030-01-01T00:00:00"}, "available_at"),
        ({"job": "succeed", "delay": 1, "available_at": "2030-01-01T00:00:00Z"}, "available_at"),
        ({"job": "succeed", "max_attempts": 0}, "max_attempts"),
        ({"job": "succeed", "tags": {"a": 1}}, "tags"),
        ({"job": "succeed", "created_by": "somebody else"}, "created_by"),
        ({"job": "succeed", "idempotent": True}, "idempotent"),
        ({"job": "succeed", "label": "nul\0"}, "label"),
    ],
)
@pytest.mark.any_engine
def test_a_body_that_does_not_fit_is_422_and_nothing_is_written(
    api: TestClient, factories: Factories, body: Any, word: str
) -> None:
    told = refused(api.post("/api/jobs", json=body), 422)
    assert word in told["detail"] + str(told.get("errors"))
    assert factories.count(jobs) == 0


@pytest.mark.any_engine
def test_schedules_that_cannot_be_are_422(api: TestClient) -> None:
    for more, words in (
        ({"cron": "every day"}, "every day"),
        ({}, "nightly"),
        ({"cron": "0 3 * * *", "timezone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"cron": "0 3 * * *", "missed": "ignore"}, "ignore"),
        ({"cron": "0 3 * * *", "job": "rm -rf /"}, "rm -rf /"),
    ):
        refused(api.put("/api/schedules/nightly", json={"job": "succeed", **more}), 422, words)
    assert api.get("/api/schedules").json()["data"] == []


@pytest.mark.any_engine
def test_requests_that_are_no_requests(api: TestClient) -> None:
    refused(api.get("/api/jobs/%00"), 400, "NUL")
    refused(api.get("/api/jobs?lane=a%00b"), 400, "NUL")
    refused(api.post("/api/jobs", content=b"{", headers={"Content-Type": "application/json"}), 422)
    refused(api.post("/api/jobs", content=b"x" * (5 << 20)), 413, "4,194,304")
    answer = api.put("/api/jobs", json={})
    refused(answer, 405, "PUT", "GET")
    assert answer.headers["allow"] == "GET, HEAD, POST"


@pytest.mark.any_engine
def test_a_database_without_tables_says_how_to_get_them(empty_database_url: str) -> None:
    jw: JobWarden = build(database_url=empty_database_url)
    refused(client_of(jw).get("/api/jobs"), 503, "jobwarden migrate")
    jw.database.dispose()
