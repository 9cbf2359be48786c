"""Schedules, batches, lanes and workers over HTTP."""

from __future__ import annotations

from starlette.testclient import TestClient

from jobwarden import JobWarden
from jobwarden.domain.states import JobState, WorkerState
from jobwarden.store.schema import jobs, workers
from tests.support.factories import Factories
from tests.web.conftest import refused


def test_a_schedule_is_made_changed_in_part_run_and_removed(api: TestClient) -> None:
    body = {"name": "nightly", "job": "succeed", "params": {"value": 7}, "cron": "0 3 * * *", "priority": 5}
    made = api.post("/api/schedules", json={**body, "timezone": "Europe/Oslo", "ends_at": "2040-01-01T00:00:00Z"})
    assert made.status_code == 201
    assert made.json()["schedule"]["when"] == "0 3 * * *"
    refused(api.post("/api/schedules", json=body), 409, "'nightly'")
    changed = api.patch("/api/schedules/nightly", json={"every": 3600, "ends_at": None, "overlap": "queue"})
    assert changed.json() == {"name": "nightly", "changed": True}
    told = api.get("/api/schedules/nightly").json()["schedule"]
    assert (told["when"], told["ends_at"]) == ("every 3600 s", None)
    assert (told["timezone"], told["overlap_policy"], told["params"]) == ("Europe/Oslo", "queue", {"value": 7})
    again = api.patch("/api/schedules/nightly", json={"params": {"value": 8}, "reason": "more"})
    assert again.json()["changed"]
    assert not api.patch("/api/schedules/nightly", json={"params": {"value": 8}}).json()["changed"]
    job = api.post("/api/schedules/nightly/run", json={"reason": "now"})
    assert job.status_code == 201
    assert (job.json()["params"], job.json()["priority"]) == ({"value": 8}, 5)
    assert api.post("/api/schedules/nightly/disable", json={}).json()["changed"]
    assert api.get("/api/schedules", params={"enabled": "true"}).json()["data"] == []
    window = {"begin": "2026-01-01T00:30:00Z", "end": "2026-01-01T03:30:00Z"}
    assert api.post("/api/schedules/nightly/backfill", json=window).json()["made"] == 3
    assert api.delete("/api/schedules/nightly", params={"reason": "done with it"}).status_code == 204
    refused(api.get("/api/schedules/nightly"), 404, "nightly")
    acts = [entry["action"] for entry in api.get("/api/audit", params={"target": "nightly"}).json()["data"]]
    assert acts[0] == "schedule.remove"
    assert acts.count("schedule.put") == 3


def test_schedules_are_walked_by_name(api: TestClient) -> None:
    for name in "cabed":
        api.put(f"/api/schedules/{name}", json={"job": "succeed", "every": 60})
    first = api.get("/api/schedules", params={"limit": 2}).json()
    second = api.get("/api/schedules", params={"limit": 9, "after": first["next"]}).json()
    assert [line["name"] for line in first["data"] + second["data"]] == list("abcde")
    assert second["next"] is None


def test_a_change_of_a_schedule_that_cannot_be_changes_nothing(api: TestClient) -> None:
    api.put("/api/schedules/a", json={"job": "succeed", "every": 60})
    before = api.get("/api/schedules/a").json()
    refused(api.patch("/api/schedules/a", json={"cron": "sometimes"}), 422, "sometimes")
    refused(api.patch("/api/schedules/a", json={"params": {"value": "x"}}), 422, "value")
    refused(api.patch("/api/schedules/a", json={"job": "none"}), 422, "none")
    refused(api.patch("/api/schedules/b", json={"every": 60}), 404, "'b'")
    assert api.get("/api/schedules/a").json() == before


def test_a_batch_is_seen_held_released_retried_and_called_off(
    api: TestClient, jw: JobWarden, factories: Factories
) -> None:
    batch = jw.batch("sync", labels={"team": "data"})
    first = batch.add(jw.bind("succeed"), key="first")
    batch.add(jw.bind("succeed"), key="second", after=[first])
    batch_id = batch.enqueue().id
    [line] = api.get("/api/batches", params={"label[team]": "data", "state": "running"}).json()["data"]
    assert (line["id"], line["counts"]["total"]) == (batch_id, 2)
    assert api.get("/api/batches", params={"label[team]": "web"}).json()["data"] == []
    page = api.get(f"/api/batches/{batch_id}/members", params={"limit": 1}).json()
    rest = api.get(f"/api/batches/{batch_id}/members", params={"after": page["next"]}).json()
    assert [member["key"] for member in page["data"] + rest["data"]] == ["first", "second"]
    graph = api.get(f"/api/batches/{batch_id}/graph").json()
    assert len(graph["members"]) == 2
    assert (
        api.post(f"/api/batches/{batch_id}/hold", json={"reason": "look first"}).json()["held_reason"] == "look first"
    )
    assert api.post(f"/api/batches/{batch_id}/release", json={}).json()["held_reason"] is None
    assert api.post(f"/api/batches/{batch_id}/cancel", json={"reason": "off"}).json()["state"] == "canceled"
    assert {row["state"] for row in api.get("/api/jobs", params={"batch": batch_id}).json()["data"]} == {"canceled"}
    refused(api.post(f"/api/batches/{batch_id}/retry", json={}), 409, "canceled")


def test_lanes_are_paused_resumed_and_capped(api: TestClient, factories: Factories) -> None:
    factories.job(lane="hot")
    assert api.post("/api/lanes/hot/pause", json={"reason": "broken"}).json()["paused"]
    refused(api.post("/api/lanes/hot/pause", json={}), 409, "hot")
    assert api.put("/api/lanes/hot/cap", json={"most": 3}).json()["max_running"] == 3
    [line] = [line for line in api.get("/api/lanes").json() if line["name"] == "hot"]
    assert (line["paused"], line["paused_reason"], line["max_running"]) == (True, "broken", 3)
    assert line["states"] == {"queued": 1}
    assert not api.post("/api/lanes/hot/resume", json={}).json()["paused"]
    assert api.put("/api/lanes/hot/cap", json={"most": None}).json()["max_running"] is None
    assert api.get("/api/stats").json()["jobs"] == {"queued": 1}


def test_workers_are_seen_and_drained(api: TestClient, factories: Factories) -> None:
    worker, gone = factories.worker(), factories.worker(WorkerState.DEAD)
    assert [line["id"] for line in api.get("/api/workers").json()] == [worker["id"]]
    everyone = {line["id"] for line in api.get("/api/workers", params={"all": True}).json()}
    assert everyone == {worker["id"], gone["id"]}
    told = api.post(f"/api/workers/{worker['id'][:13]}/drain", json={"reason": "upgrade"}).json()
    assert (told["state"], factories.read(workers, worker["id"])["wish"]) == ("active", "drain")
    running = factories.job(JobState.RUNNING)
    assert [flight["job_id"] for flight in api.get("/api/running").json()] == [running["id"]]
    assert api.get("/api/health").status_code == 200
    assert factories.read(jobs, running["id"]) == running
