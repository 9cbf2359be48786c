"""Jobs over HTTP: enqueued, seen, acted on; one by one, by ids, and by a filter."""

from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from jobwarden import JobWarden
from jobwarden.domain.states import Actor, AttemptState, JobState
from jobwarden.store.ledger import note
from jobwarden.store.schema import audit, jobs
from tests.support.factories import Factories
from tests.web.conftest import refused


def _enqueued(api: TestClient, **more: Any) -> str:
    answer = api.post("/api/jobs", json={"job": "succeed", **more})
    assert answer.status_code == 201, answer.text
    found: str = answer.json()["id"]
    return found


def test_a_job_is_enqueued_with_all_that_was_said_and_its_enqueuer_in_the_audit(
    api: TestClient, factories: Factories
) -> None:
    more = {"params": {"value": 7}, "lane": "hot", "priority": 9, "label": "seven", "tags": {"store": "42"}}
    job_id = _enqueued(api, **more, delay=300, max_attempts=2, timeout=60)
    told = api.get(f"/api/jobs/{job_id}").json()
    expected = {"job": "succeed", "params": {"value": 7}, "lane": "hot", "priority": 9, "label": "seven"}
    assert {name: told[name] for name in expected} == expected
    assert (told["tags"], told["max_attempts"], told["timeout_sec"]) == ({"store": "42"}, 2, 60)
    assert told["created_by"] == "api:loopback"
    [act] = api.get("/api/audit", params={"action": "job."}).json()["data"]
    assert (act["action"], act["target"], act["actor"]) == ("job.enqueue", job_id, "api:loopback")
    assert act["address"] == "127.0.0.1"
    assert factories.count(audit) == 1


def test_a_repeated_idempotency_key_gives_the_job_that_is_there(api: TestClient, factories: Factories) -> None:
    body = {"job": "succeed", "params": {"value": 1}}
    first = api.post("/api/jobs", json=body, headers={"Idempotency-Key": "k"})
    again = api.post("/api/jobs", json=body, headers={"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {"id": first.json()["id"], "created": False}
    other = api.post("/api/jobs", json=body | {"params": {"value": 2}, "idempotency_key": "k"})
    refused(other, 409, "'k'", "params")
    assert factories.count(jobs) == 1
    assert factories.count(audit) == 1


def test_many_are_enqueued_together_or_none_at_all(api: TestClient, factories: Factories) -> None:
    good = {"job": "succeed", "params": {"value": 1}}
    told = api.post("/api/jobs", json={"jobs": [good, good, good]})
    assert told.status_code == 201
    assert told.json()["created"] == len(set(told.json()["ids"])) == 3
    bad = api.post("/api/jobs", json={"jobs": [good, good | {"params": {"value": "x"}}]})
    assert refused(bad, 422, "value='x'")["index"] == 1
    assert factories.count(jobs) == 3
    assert factories.count(audit) == 1


def test_a_list_is_walked_by_key_and_narrowed(api: TestClient, factories: Factories) -> None:
    mine = [factories.job(lane="a")["id"] for _ in range(5)]
    factories.job(JobState.FAILED, lane="b")
    seen, cursor = [], None
    while True:
        page = api.get("/api/jobs", params={"lane": "a", "limit": 2, **({"before": cursor} if cursor else {})}).json()
        seen += [line["id"] for line in page["data"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == sorted(mine, reverse=True)
    states = api.get("/api/jobs", params={"state": ["failed", "stopped"]}).json()["data"]
    assert [line["lane"] for line in states] == ["b"]
    tagged = _enqueued(api, tags={"store": "42"})
    for value in ("42", "4*", ""):
        found = api.get("/api/jobs", params={"tag[store]": value}).json()["data"]
        assert [line["id"] for line in found] == [tagged]
    assert api.get("/api/jobs", params={"tag[store]": "5*"}).json()["data"] == []


def test_every_action_gives_the_job_as_it_is_then(api: TestClient, factories: Factories) -> None:
    def act(state: JobState, verb: str, **body: Any) -> dict[str, Any]:
        job = factories.job(state, idempotent=True)
        answer = api.post(f"/api/jobs/{job['id']}/{verb}", json={"reason": "because", **body})
        assert answer.status_code in (200, 201), answer.text
        return {"told": answer.json(), "id": job["id"]}

    assert act(JobState.QUEUED, "cancel")["told"]["state"] == "canceled"
    running = act(JobState.RUNNING, "stop")["told"]
    assert (running["cancel_requested"], running["cancel_mode"], running["cancel_reason"]) == (True, "stop", "because")
    assert act(JobState.FAILED, "retry")["told"]["state"] == "queued"
    assert act(JobState.STOPPED, "restart")["told"]["state"] == "queued"
    rerun = act(JobState.SUCCEEDED, "rerun")
    assert rerun["told"]["rerun_of"] == rerun["id"]
    assert act(JobState.ORPHANED, "resolve", verdict="ran")["told"]["state"] == "succeeded"
    acts = api.get("/api/audit").json()["data"]
    assert [entry["reason"] for entry in acts] == ["because"] * 6


def test_an_action_on_ids_answers_for_each_in_order(api: TestClient, factories: Factories) -> None:
    waiting, over = factories.job()["id"], factories.job(JobState.SUCCEEDED)["id"]
    body = {"action": "cancel", "ids": [over, waiting], "reason": "not needed"}
    refusal, done = api.post("/api/actions", json=body).json()
    assert (done["id"], done["state"], done["error"]) == (waiting, "canceled", None)
    assert (refusal["id"], refusal["state"]) == (over, "succeeded")
    assert "succeeded" in refusal["error"]


def test_an_action_on_all_that_a_filter_finds_goes_in_bites_and_its_preview_is_exact(
    api: TestClient, factories: Factories, jw: JobWarden
) -> None:
    jw.enqueue_many(jw.bind("succeed", {"value": n}, lane="bulk") for n in range(1100))
    factories.jobs(2, lane="other")
    wanted = {"lane": "bulk", "states": ["queued"]}
    assert api.post("/api/actions/preview", json=wanted).json() == {"count": 1100}
    done, cursor, bites = 0, None, 0
    while bites == 0 or cursor:
        body = {"action": "cancel", "filter": wanted, "after": cursor}
        told = api.post("/api/actions/matching", json=body).json()
        done, cursor, bites = done + told["done"], told["next"], bites + 1
    assert (done, bites) == (1100, 3)
    assert api.post("/api/actions/preview", json=wanted).json() == {"count": 0}
    assert api.post("/api/actions/preview", json={"lane": "other"}).json() == {"count": 2}


def test_attempts_events_and_an_explanation_have_addresses_of_their_own(api: TestClient, factories: Factories) -> None:
    job_id = factories.job(JobState.FAILED)["id"]
    whole = api.get(f"/api/jobs/{job_id}").json()
    assert whole["attempts"]
    assert api.get(f"/api/jobs/{job_id[-12:]}").json()["id"] == job_id
    for part in ("attempts", "events"):
        assert api.get(f"/api/jobs/{job_id}/{part}").json() == {"data": whole[part], "next": None}
    api.post("/api/lanes/still/pause", json={"reason": "broken"})
    held = _enqueued(api, lane="still")
    reasons = api.get(f"/api/jobs/{held}/explain").json()["reasons"]
    assert reasons[0]["code"] == "lane_paused"
    assert "broken" in reasons[0]["words"]
    assert "succeed" in api.get("/api/job-names").json()


def test_attempts_and_ledgers_come_in_pages(api: TestClient, factories: Factories) -> None:
    job = factories.job(JobState.FAILED)
    for _ in range(4):
        factories.attempt(job, AttemptState.FAILED)
    with factories.database.write() as transaction:
        for reason in "abcde":
            told = {"level": "job", "state": "failed", "reason": reason, "job_id": job["id"]}
            note(transaction, [told], Actor.OPERATOR, "ann")
    for part, key, whole in (("attempts", "attempt_number", [1, 2, 3, 4, 5]), ("events", "reason", list("abcde"))):
        seen, after, pages = [], "0", 0
        while after is not None:
            page = api.get(f"/api/jobs/{job['id']}/{part}", params={"after": after, "limit": 2}).json()
            seen += [each[key] for each in page["data"]]
            after, pages = page["next"], pages + 1
        assert (seen, pages) == (whole, 3)
    refused(api.get(f"/api/jobs/{job['id']}/events", params={"after": -1}), 422, "after")
