"""Who may send which form: nobody a forged one, no viewer any; and where a form, a login or a prefix may lead."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from httpx2 import Response
from starlette.testclient import TestClient

from jobwarden import JobWarden
from jobwarden.domain.access import Role
from jobwarden.domain.orders import By
from jobwarden.domain.states import JobState
from jobwarden.lifecycle.access import create_user
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.web import create_app
from jobwarden.web.console import batches, fleet, jobs, login, overview, schedules, settings
from tests.support.factories import Factories
from tests.support.jobs import build

PASSWORD = "correct horse battery"
#: The least role for each form, by its path.
FORMS = {
    "/jobs/new": Role.OPERATOR,
    "/jobs/act": Role.OPERATOR,
    "/jobs/matching": Role.OPERATOR,
    "/jobs/{job_id}/{verb}": Role.OPERATOR,
    "/jobs/{job_id}/look": Role.OPERATOR,
    "/parked/{job_id}": Role.OPERATOR,
    "/batches/{batch_id}/{verb}": Role.OPERATOR,
    "/lanes/{verb}": Role.OPERATOR,
    "/workers/{worker_id}/drain": Role.OPERATOR,
    "/hosts/drain": Role.OPERATOR,
    "/schedules/{verb}": Role.OPERATOR,
    "/schedules/new": Role.ADMIN,
    "/settings/tokens": Role.ADMIN,
    "/settings/tokens/revoke": Role.ADMIN,
}
OPEN = {"/login", "/logout"}


@pytest.fixture
def jw(database_url: str) -> Iterator[JobWarden]:
    jw = build(database_url=database_url, nudge=False, notify=False)
    yield jw
    jw.database.dispose()


@pytest.fixture
def client(jw: JobWarden) -> TestClient:
    return TestClient(create_app(jw), base_url="http://127.0.0.1", client=("127.0.0.1", 5), follow_redirects=False)


@pytest.fixture
def logged_in(database: Database, client: TestClient) -> Callable[[Role], TestClient]:
    """Logs somebody of a role in."""

    def made(role: Role) -> TestClient:
        with database.write() as transaction:
            create_user(transaction, role.value, PASSWORD, role, By("test"))
        client.get("/login")
        answer = send(client, "/login", name=role.value, password=PASSWORD)
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        return client

    return made


def send(client: TestClient, path: str, **fields: str) -> Response:
    """Send a form of ours; ``site``: as a browser says where from."""
    given: dict[str, str] = {"proof": client.cookies.get("jobwarden_form") or "", **fields}
    told = {"Content-Type": "application/x-www-form-urlencoded", "Sec-Fetch-Site": given.pop("site", "same-origin")}
    return client.post(path, content=urlencode(given), headers=told)


def forms() -> set[str]:
    """The paths of all forms."""
    return {
        route.path
        for part in (batches, fleet, jobs, login, overview, schedules, settings)
        for route in part.router.routes
        if isinstance(route, APIRoute) and "POST" in (route.methods or ())
    }


def _filled(path: str, job: str) -> tuple[str, dict[str, str]]:
    """A form that would do something if it were let."""
    names = {"{job_id}": job, "{batch_id}": job, "{worker_id}": job, "{verb}": "cancel"}
    if path.startswith("/lanes"):
        names["{verb}"] = "pause"
    if path.startswith("/schedules"):
        names["{verb}"] = "run"
    for name, value in names.items():
        path = path.replace(name, value)
    fields = {"verb": "cancel", "ids": job, "reason": "x", "lane": "a", "name": "n", "job": "succeed", "host": "h"}
    fields["params"] = '{"value": 1}'
    return path, {**fields, "verdict": "ran", "cron": "0 3 * * *", "q": "lane:a", "role": "admin"}


def test_the_table_has_every_form() -> None:
    assert forms() == set(FORMS) | OPEN


@pytest.mark.any_engine
@pytest.mark.parametrize("path", sorted(FORMS))
@pytest.mark.parametrize("forgery", ["no proof", "another proof", "another site"])
def test_a_forged_form_is_refused_and_does_nothing(
    client: TestClient, factories: Factories, path: str, forgery: str
) -> None:
    job = factories.job(JobState.QUEUED, lane="a")["id"]
    client.get("/")
    where, fields = _filled(path, job)
    proof = {"no proof": "", "another proof": "x" * 32}.get(forgery, client.cookies["jobwarden_form"])
    fields |= {"proof": proof, "site": "cross-site" if forgery == "another site" else "same-origin"}
    answer = send(client, where, **fields)
    assert answer.status_code == 403, answer.text
    assert "not from a page of ours" in answer.text
    assert factories.read(schema.jobs, job)["state"] == "queued"
    assert factories.count(schema.audit) == 0


@pytest.mark.any_engine
def test_without_the_cookie_a_form_is_worth_nothing(client: TestClient, factories: Factories) -> None:
    job = factories.job(JobState.QUEUED)["id"]
    answer = client.post(f"/jobs/{job}/cancel", content="proof=", headers={"Content-Type": "text/plain"})
    assert answer.status_code == 403
    assert factories.read(schema.jobs, job)["state"] == "queued"


@pytest.mark.any_engine
@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_no_role_does_more_by_form_than_it_may(
    logged_in: Callable[[Role], TestClient], factories: Factories, role: Role
) -> None:
    job = factories.job(JobState.QUEUED, lane="a")["id"]
    client = logged_in(role)
    for path, needed in FORMS.items():
        if role.covers(needed):
            continue
        before = factories.count(schema.audit)
        where, fields = _filled(path, job)
        answer = send(client, where, **fields)
        assert answer.status_code == 403, (path, answer.text)
        assert "needs the role" in answer.text or needed.value in answer.text
        assert factories.count(schema.audit) == before, path
    assert factories.read(schema.jobs, job)["state"] == "queued"


@pytest.mark.any_engine
@pytest.mark.parametrize("there", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_nobody_is_led_elsewhere(client: TestClient, database: Database, factories: Factories, there: str) -> None:
    job = factories.job(JobState.QUEUED)["id"]
    client.get("/")
    answer = send(client, f"/jobs/{job}/cancel", back=there)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    with database.write() as transaction:
        create_user(transaction, "ann", PASSWORD, "viewer", By("test"))
    answer = send(client, "/login", name="ann", password=PASSWORD, next=there)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.any_engine
def test_who_guesses_at_passwords_has_to_wait(client: TestClient, database: Database) -> None:
    with database.write() as transaction:
        create_user(transaction, "ann", PASSWORD, "viewer", By("test"))
    client.get("/login")
    answers = [send(client, "/login", name="ann", password=f"wrong {n}") for n in range(11)]
    assert [answer.status_code for answer in answers] == [401] * 10 + [429]
    answer = send(client, "/login", name="ann", password=PASSWORD)
    assert answer.status_code == 429


@pytest.mark.any_engine
def test_sessions_are_no_tokens_and_cookies_are_kept_from_scripts(
    logged_in: Callable[[Role], TestClient], client: TestClient
) -> None:
    client.get("/login")
    logged_in(Role.ADMIN)
    answer = client.get("/settings")
    assert "session:" not in answer.text
    assert client.get("/api/tokens").json() == []
    made = client.post("/api/tokens", json={"name": "session:mine", "role": "admin"})
    assert made.status_code == 422
    assert "the console's" in made.text


@pytest.mark.any_engine
def test_under_a_prefix_every_address_has_it(jw: JobWarden, factories: Factories) -> None:
    job = factories.job(JobState.QUEUED)["id"]
    outer = FastAPI()
    outer.mount("/ops/jobs", create_app(jw))
    client = TestClient(outer, base_url="http://127.0.0.1", client=("127.0.0.1", 5), follow_redirects=False)
    page = client.get(f"/ops/jobs/jobs/{job}")
    assert page.status_code == 200
    for address in re.findall(r'(?:href|src|action)="([^"]+)"', page.text):
        assert address.startswith(("/ops/jobs/", "#")), address
        if "/static/" in address:
            assert client.get(address).status_code == 200, address
    answer = send(client, f"/ops/jobs/jobs/{job}/cancel", back=f"/ops/jobs/jobs/{job}")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/ops/jobs/jobs/{job}")
    assert client.get("/ops/jobs/jobs?q=state:canceled").text.count(f"/ops/jobs/jobs/{job}") >= 1


def test_what_is_not_there_is_a_page_too(client: TestClient) -> None:
    answer = client.get("/jobs/ffffffffffff")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "no job" in answer.text.lower()
    for odd in ("/lanes?back=1y", "/jobs?before=x", "/parked?before=1", "/batches?before=x", "/audit?before=-1"):
        assert client.get(odd).status_code == 422, odd
    client.get("/")
    strange = {"verb": "retry", "q": "lane:\0a", "after": "x", "count": "x", "back": "/jobs", "reason": "a\0b"}
    assert send(client, "/jobs/matching", **strange).status_code == 303
