"""Who is let in, and to what: every route and role against one table, and what a page of another site could send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden import JobWarden
from jobwarden.domain.access import Principal, Role
from jobwarden.domain.states import BatchState, JobState
from jobwarden.service import Service
from jobwarden.store.database import Database
from jobwarden.store.schema import attempts, jobs, tokens
from jobwarden.web import create_app, trusted_header
from tests.support.factories import Factories
from tests.support.jobs import build
from tests.web.conftest import OWN, client_of, refused

_OPERATORS = """
    jobs_enqueue jobs_cancel jobs_stop jobs_retry jobs_restart jobs_rerun jobs_resolve jobs_act_on
    jobs_act_on_matching batches_cancel batches_hold batches_release batches_retry schedules_run_now fleet_drain
    fleet_pause fleet_resume fleet_cap access_audit jobs_look
    fleet_drain_host
"""
_ADMINS = """
    schedules_put schedules_create schedules_change schedules_remove schedules_enable schedules_disable
    schedules_backfill access_tokens
    access_create_token access_revoke_token access_users access_verify
"""
#: What may be done by whom beside reading, which every viewer may.
ACTS: dict[str, Role] = {
    "jobs_preview": Role.VIEWER,
    **dict.fromkeys(_OPERATORS.split(), Role.OPERATOR),
    **dict.fromkeys(_ADMINS.split(), Role.ADMIN),
}
BODIES: dict[str, Any] = {
    "jobs_enqueue": {"job": "succeed"},
    "jobs_resolve": {"verdict": "ran", "reason": "seen"},
    "jobs_act_on": {"action": "cancel", "ids": ["0"]},
    "jobs_preview": {"lane": "nowhere"},
    "jobs_act_on_matching": {"action": "cancel", "filter": {"lane": "nowhere"}},
    "schedules_put": {"job": "succeed", "cron": "0 3 * * *"},
    "schedules_create": {"name": "new", "job": "succeed", "cron": "0 3 * * *"},
    "schedules_change": {"cron": "0 4 * * *"},
    "schedules_backfill": {"begin": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00Z"},
    "fleet_cap": {"most": 5},
    "fleet_drain_host": {"host": "host.example"},
    "access_create_token": {"name": "another", "role": "viewer"},
}


QUERIES: dict[str, dict[str, str]] = {"finding_values": {"name": "store"}}


@dataclass(frozen=True)
class Route:
    """One way in, and the least role that it is open to."""

    name: str
    method: str
    path: str
    needs: Role


def _routes(jw: JobWarden) -> Iterator[Route]:
    for path, methods in create_app(jw).openapi()["paths"].items():
        for method, told in methods.items():
            name = told["operationId"]
            needs = ACTS.get(name, Role.VIEWER)
            assert name in ACTS or method == "get", f"{name} changes something and is not in the table"
            yield Route(name, method.upper(), path, needs)


def test_every_route_is_open_to_just_the_roles_that_the_table_says(
    jw: JobWarden, factories: Factories, token: Callable[[Role], str]
) -> None:
    clients = {role: client_of(jw, secret=token(role)) for role in Role}
    ids = {"job_id": factories.job(JobState.SUCCEEDED)["id"], "batch_id": factories.batch(BatchState.FAILED)["id"]}
    ids |= {"worker_id": factories.worker()["id"], "artifact_id": ids["job_id"], "name": "none"}
    wrong, asked = [], 0
    for route in _routes(jw):
        for role, client in clients.items():
            path, body = route.path.format(**ids), BODIES.get(route.name)
            answer = client.request(route.method, path, json=body, params=QUERIES.get(route.name))
            allowed = answer.status_code not in (401, 403)
            asked += 1
            if allowed is not role.covers(route.needs) or answer.status_code in (422, 500):
                wrong.append((route.name, role.value, answer.status_code, answer.text[:100]))
    assert wrong == []
    assert asked > 150


def test_a_refused_role_changes_nothing_and_is_told_what_it_needs(
    jw: JobWarden, factories: Factories, token: Callable[[Role], str]
) -> None:
    viewer = client_of(jw, secret=token(Role.VIEWER))
    job = factories.job()
    told = refused(viewer.post(f"/api/jobs/{job['id']}/cancel", json={}), 403, "operator", "viewer's", "act on jobs")
    assert told["type"] == "RoleRequired"
    assert factories.read(jobs, job["id"]) == job


def test_every_public_method_of_the_service_is_behind_the_gate(jw: JobWarden) -> None:
    free = {"is_configured", "recognise", "log_in", "log_out", "has_users", "ready", "shown_to", "gated"}
    for part in Service(jw).parts:
        public = {name for name in dir(type(part)) if not name.startswith("_")}
        assert public - {name for name, _ in part.gated()} <= free
        assert list(part.gated())


# -- credentials ------------------------------------------------------------------------------------------------------


def test_without_any_token_only_this_machine_is_served(jw: JobWarden, token: Callable[[Role], str]) -> None:
    assert client_of(jw).get("/api/me").json() == {"actor": "api:loopback", "role": "admin"}
    assert client_of(jw, "::1").get("/api/jobs").status_code == 200
    refused(client_of(jw, "10.0.0.7").get("/api/jobs"), 401, "this machine")
    refused(client_of(jw, "testclient").get("/metrics"), 401)
    secret = token(Role.VIEWER)
    answer = client_of(jw).get("/api/jobs")
    refused(answer, 401, "Bearer")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert client_of(jw, "10.0.0.7", secret).get("/api/me").json() == {"actor": "token:viewer's", "role": "viewer"}


def test_what_a_page_of_another_site_can_send_is_refused(jw: JobWarden, factories: Factories) -> None:
    job = factories.job()
    path = f"/api/jobs/{job['id']}/cancel"
    client = client_of(jw)
    refused(client.get("/api/jobs", headers={"Host": "evil.example"}), 403, "Host")
    del client.headers["X-JobWarden"]
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        refused(client.post(path, content=b"", headers={"Content-Type": kind}), 403, "X-JobWarden")
    refused(client.post(path), 403, "X-JobWarden")
    assert factories.read(jobs, job["id"]) == job
    assert client.post(path, headers=OWN).json()["state"] == "canceled"


def test_tokens_that_are_wrong_expired_or_revoked_are_401(
    jw: JobWarden, database: Database, token: Callable[[Role], str]
) -> None:
    admin, secret = client_of(jw, secret=token(Role.ADMIN)), token(Role.OPERATOR)
    client = client_of(jw, secret=secret)
    assert client.get("/api/me").json()["role"] == "operator"
    refused(client_of(jw, secret="jw_guess").get("/api/me"), 401, "not known")
    refused(client_of(jw, secret=secret[:-1]).get("/api/me"), 401)
    with database.write() as transaction:
        past = transaction.now() - timedelta(seconds=1)
        transaction.execute(sa.update(tokens).where(tokens.c.name == "operator's").values(expires_at=past))
    refused(client.get("/api/me"), 401, "expired")
    with database.write() as transaction:
        transaction.execute(sa.update(tokens).where(tokens.c.name == "operator's").values(expires_at=None))
    assert client.get("/api/me").status_code == 200
    assert admin.delete("/api/tokens/operator's", params={"reason": "lost"}).status_code == 200
    refused(client.get("/api/me"), 401, "revoked")
    told = {line["name"]: line for line in admin.get("/api/tokens").json()}
    assert told["operator's"]["revoked_by"] == "token:admin's"
    assert told["admin's"]["last_used_at"] is not None
    assert "hash" not in str(told)


def test_who_guesses_is_made_to_wait_and_nobody_else_is(jw: JobWarden, token: Callable[[Role], str]) -> None:
    app = create_app(jw)
    good = token(Role.VIEWER)

    def ask(secret: str, address: str) -> Any:
        client = client_of(jw, address, secret)
        client.app = app
        client._transport.app = app  # type: ignore[attr-defined]
        return client.get("/api/me")

    assert {ask(f"jw_{n}", "10.0.0.7").status_code for n in range(10)} == {401}
    answer = ask("jw_11", "10.0.0.7")
    refused(answer, 429, "wait")
    assert 0 < int(answer.headers["retry-after"]) <= 60
    refused(ask(good, "10.0.0.7"), 429)
    assert ask(good, "10.0.0.8").status_code == 200


@pytest.mark.any_engine
def test_the_applications_own_word_replaces_all_that(database_url: str) -> None:
    said: list[Any] = [None, False, "viewer", True, Role.OPERATOR, Principal("ada", Role.VIEWER)]
    jw = build(database_url=database_url, auth=lambda request: said[int(request.headers["n"])])
    client = client_of(jw, "10.0.0.7")
    answers = [client.get("/api/me", headers={"n": str(n)}) for n in range(len(said))]
    assert [answer.status_code for answer in answers] == [403, 403, 200, 200, 200, 200]
    assert [answer.json()["role"] for answer in answers[2:]] == ["viewer", "admin", "operator", "viewer"]
    assert answers[-1].json()["actor"] == "ada"
    del client.headers["X-JobWarden"]
    refused(client.post("/api/lanes/hot/pause", headers={"n": "3"}), 403, "X-JobWarden")
    jw.database.dispose()


@pytest.mark.any_engine
@pytest.mark.parametrize(
    ("address", "headers", "who"),
    [
        ("10.0.0.7", {"X-Remote-User": "ada"}, ("ada", "viewer")),
        ("10.0.0.7", {"X-Remote-User": "ada", "X-Remote-Role": "operator"}, ("ada", "operator")),
        ("10.0.0.7", {"X-Remote-User": "ada", "X-Remote-Role": "king"}, None),
        ("10.0.0.7", {"X-Remote-Role": "admin"}, None),
        ("10.0.0.7", {"X-Remote-User": "a" * 201}, None),
        ("10.0.1.7", {"X-Remote-User": "ada"}, None),
        ("testclient", {"X-Remote-User": "ada"}, None),
    ],
)
def test_what_a_trusted_proxy_says_is_believed(
    database_url: str, address: str, headers: dict[str, str], who: tuple[str, str] | None
) -> None:
    auth = trusted_header(role_header="X-Remote-Role", proxies=["10.0.0.0/24"])
    jw = build(database_url=database_url, auth=auth)
    answer = client_of(jw, address).get("/api/me", headers=headers)
    if who is None:
        refused(answer, 403, "The application does not let you in.")
    else:
        assert (answer.json()["actor"], answer.json()["role"]) == who
    jw.database.dispose()


@pytest.mark.any_engine
@pytest.mark.parametrize("wrong", [{"role": "king"}, {"proxies": ["here"]}])
def test_a_wrong_word_about_a_proxy_is_refused_at_once(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"king|here"):
        trusted_header(**wrong)


# -- what is seen -----------------------------------------------------------------------------------------------------


def test_secrets_are_masked_for_who_may_not_see_them(
    jw: JobWarden, factories: Factories, database: Database, token: Callable[[Role], str]
) -> None:
    error = {"class": "OSError", "message": "login failed: password=hunter2", "trace": []}
    params = {"api_key": "hunter2", "nested": [{"db_password": "hunter2"}], "store": "42"}
    job = factories.job(JobState.FAILED, params=params, result={"token": "hunter2"}, last_error=error)
    with database.write() as transaction:
        transaction.execute(sa.update(attempts).where(attempts.c.job_id == job["id"]).values(error=error))
    paths = [f"/api/jobs/{job['id']}", f"/api/jobs/{job['id']}/attempts"]
    clients = {role: client_of(jw, secret=token(role)) for role in Role}
    seen = {role: "".join(client.get(path).text for path in paths) for role, client in clients.items()}
    assert ["hunter2" in seen[role] for role in Role] == [False, False, True]
    assert seen[Role.VIEWER].count("[redacted]") >= 5
    assert '"store":"42"' in seen[Role.VIEWER]
