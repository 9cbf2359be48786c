"""The API while its database cannot be reached: it says so, and goes on when it can."""

from __future__ import annotations

from jobwarden import JobWarden
from jobwarden.store import schema
from tests.support.factories import Factories
from tests.support.jobs import build
from tests.support.proxy import Proxy
from tests.support.waiting import eventually
from tests.web.conftest import client_of, refused


def test_a_database_that_is_out_of_reach_is_503_until_it_is_back(through: str, proxy: Proxy) -> None:
    jw: JobWarden = build(database_url=through, nudge=False, notify=False, connect_timeout=1, statement_timeout=2)
    client = client_of(jw)
    job_id = client.post("/api/jobs", json={"job": "succeed"}).json()["id"]
    proxy.refuse()
    proxy.cut_all()
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    for answer in (client.get("/api/jobs"), client.post("/api/jobs", json={"job": "succeed"}), client.get("/metrics")):
        refused(answer, 503)
        assert int(answer.headers["retry-after"]) > 0
    proxy.heal()
    eventually(lambda: client.get("/readyz").status_code == 200, timeout=60)
    assert [line["id"] for line in client.get("/api/jobs").json()["data"]] == [job_id]
    jw.database.dispose()


def test_an_enqueue_whose_answer_is_lost_is_asked_again_by_its_key_and_is_there_once(
    through: str, proxy: Proxy, rows: Factories
) -> None:
    jw: JobWarden = build(database_url=through, nudge=False, notify=False)
    client = client_of(jw)
    trap = proxy.trap(lambda seen: seen.text == "COMMIT" and seen.wrote("jobwarden_audit"), after=True)
    body, key = {"job": "succeed"}, {"Idempotency-Key": "once"}
    refused(client.post("/api/jobs", json=body, headers=key), 503)
    assert trap.sprung.is_set()
    told = client.post("/api/jobs", json=body, headers=key)
    assert (told.status_code, told.json()["created"]) == (200, False)
    assert (rows.count(schema.jobs), rows.count(schema.audit)) == (1, 1)
    jw.database.dispose()
