"""What answers are like whatever they say: tags for who polls, HEAD, streams, downloads, probes, the description."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from starlette.testclient import TestClient

from jobwarden import JobWarden
from jobwarden.domain.states import AttemptState, JobState
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.web import create_app
from tests.support.factories import Factories, Values
from tests.views.test_logs import say
from tests.web.conftest import client_of, refused


def test_who_polls_gets_an_answer_only_when_something_has_changed(api: TestClient, factories: Factories) -> None:
    job_id = factories.job(JobState.PENDING, lane="a")["id"]
    for path in ("/api/jobs", "/api/lanes", "/api/stats", f"/api/jobs/{job_id}/events"):
        first = api.get(path)
        tag = first.headers["etag"]
        again = api.get(path, headers={"If-None-Match": f'"other", {tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag), path
        assert first.headers["cache-control"] == "private, no-cache"
    tag = api.get("/api/jobs").headers["etag"]
    factories.job(lane="b")
    assert api.get("/api/jobs", headers={"If-None-Match": tag}).status_code == 200


def test_a_job_at_rest_has_one_tag_however_often_it_is_asked_for(api: TestClient, factories: Factories) -> None:
    job_id = factories.job(JobState.SUCCEEDED)["id"]
    tags = {api.get(f"/api/jobs/{job_id}").headers["etag"] for _ in range(3)}
    assert len(tags) == 1


@pytest.mark.any_engine
def test_head_is_get_without_a_body(api: TestClient) -> None:
    answer = api.head("/api/jobs")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["etag"] == api.get("/api/jobs").headers["etag"]


# -- logs -------------------------------------------------------------------------------------------------------------


def test_lines_come_by_cursor(api: TestClient, database: Database, factories: Factories) -> None:
    job = factories.job(JobState.RUNNING)
    say(database, factories.attempts_of(job["id"])[0], "one", "two", "three")
    path = f"/api/jobs/{job['id']}/logs"
    first, second = api.get(path, params={"limit": 2}).json()
    [third] = api.get(path, params={"after": second["id"]}).json()
    assert [line["message"] for line in (first, second, third)] == ["one", "two", "three"]
    assert api.get(path, params={"after": third["id"]}).json() == []


def test_a_stream_tells_lines_as_they_come_and_ends_when_the_job_is_at_rest(
    jw: JobWarden, database: Database, factories: Factories
) -> None:
    job = factories.job(JobState.RUNNING)
    [attempt] = factories.attempts_of(job["id"])
    say(database, attempt, "one", "two\nlines")
    came: list[dict[str, Any]] = []
    reader = threading.Thread(target=lambda: came.extend(_events(client_of(jw), job["id"])))
    reader.start()
    say(database, attempt, "three", begin=3)
    _end(database, job)
    reader.join(timeout=30)
    assert not reader.is_alive()
    assert [event["data"].get("message") for event in came] == ["one", "two\nlines", "three", None]
    assert came[-1]["event"] == "end"
    rest = list(_events(client_of(jw), job["id"], {"Last-Event-ID": came[1]["id"]}))
    assert [event["data"].get("message") for event in rest] == ["three", None]


def _events(client: TestClient, job_id: str, headers: dict[str, str] | None = None) -> Iterator[dict[str, Any]]:
    with client.stream("GET", f"/api/jobs/{job_id}/logs/stream", headers=headers or {}) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        event: dict[str, Any] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "data":
                event["data"] = json.loads(value)
            elif name:
                event[name] = value
            elif event:
                yield event
                event = {}


def _end(database: Database, job: Values) -> None:
    with database.write() as transaction:
        over = {"state": JobState.SUCCEEDED.value, "finished_at": transaction.now()}
        transaction.execute(sa.update(schema.jobs).where(schema.jobs.c.id == job["id"]).values(over))
        ended = {"state": AttemptState.SUCCEEDED.value, "finished_at": transaction.now()}
        transaction.execute(sa.update(schema.attempts).where(schema.attempts.c.job_id == job["id"]).values(ended))


# -- artifacts --------------------------------------------------------------------------------------------------------


def _artifact(database: Database, job: Values, **columns: Any) -> str:
    artifact_id = f"00000000-0000-7000-8000-{columns.pop('n', 1):012d}"
    with database.write() as transaction:
        row = {"id": artifact_id, "job_id": job["id"], "type": "report", "created_at": transaction.now()} | columns
        transaction.execute(sa.insert(schema.artifacts).values(row))
    return artifact_id


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("report.csv", "report.csv"),
        ("../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ('a"; filename="b.exe', "a_filename_b.exe"),
        ("x\r\nSet-Cookie: a=b", "x_Set-Cookie_a_b"),
        (".bashrc", "bashrc"),
        ("Übersicht ✓.txt", "_bersicht_.txt"),
        ("..", "artifact"),
    ],
)
@pytest.mark.any_engine
def test_an_artifact_is_saved_under_a_name_that_is_only_a_name(
    api: TestClient, database: Database, factories: Factories, name: str, plain: str
) -> None:
    job = factories.job(JobState.SUCCEEDED)
    artifact_id = _artifact(database, job, name=name, content=b"<script>", content_type="text/html")
    answer = api.get(f"/api/jobs/{job['id']}/artifacts/{artifact_id}")
    assert answer.content == b"<script>"
    assert answer.headers["content-disposition"].startswith(f'attachment; filename="{plain}"; ')
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox")
    assert "set-cookie" not in answer.headers


def test_an_artifact_that_is_a_file_or_of_another_job(
    api: TestClient, database: Database, factories: Factories, tmp_path: Path
) -> None:
    file = tmp_path / "big.bin"
    file.write_bytes(bytes(range(256)) * 5000)
    job, other = factories.job(JobState.SUCCEEDED), factories.job()
    kept = _artifact(database, job, name="big.bin", path=str(file), size_bytes=file.stat().st_size)
    gone = _artifact(database, job, name="gone", path=str(tmp_path / "gone"), n=2)
    bytes_kept = _artifact(database, job, name="small", content=b"\x00\xff", n=3)
    listed = api.get(f"/api/jobs/{job['id']}/artifacts").json()
    assert [line["name"] for line in listed] == ["big.bin", "gone", "small"]
    assert api.get(f"/api/jobs/{job['id']}/artifacts/{kept}").content == file.read_bytes()
    assert api.get(f"/api/jobs/{job['id']}/artifacts/{bytes_kept}").content == b"\x00\xff"
    refused(api.get(f"/api/jobs/{job['id']}/artifacts/{gone}"), 404, "gone")
    refused(api.get(f"/api/jobs/{other['id']}/artifacts/{kept}"), 404, kept)


# -- beside the API ---------------------------------------------------------------------------------------------------


def test_it_says_that_it_lives_that_it_can_serve_and_what_it_counts(api: TestClient, factories: Factories) -> None:
    factories.jobs(3, lane="a")
    assert api.get("/healthz").text == "alive\n"
    assert api.get("/readyz").text == "ready\n"
    metrics = api.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert 'jobwarden_jobs{lane="a",state="queued"} 3.0' in metrics.text


@pytest.mark.any_engine
def test_the_description_is_whole(api: TestClient) -> None:
    told = api.get("/api/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    operations = [operation for path in told["paths"].values() for operation in path.values()]
    assert all(operation.get("description") for operation in operations)
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names)) > 50
    assert told["components"]["schemas"]["EnqueueBody"]["examples"]


@pytest.mark.any_engine
def test_it_can_be_mounted_under_a_prefix(jw: JobWarden) -> None:
    outer = FastAPI()
    outer.mount("/ops/jobs", create_app(jw))
    client = TestClient(outer, base_url="http://localhost", client=("127.0.0.1", 1))
    assert client.get("/ops/jobs/api/jobs").json() == {"data": [], "next": None}
    refused(client.get("/ops/jobs/api/jobs/none"), 404, "none")
    assert client.get("/ops/jobs/healthz").status_code == 200
