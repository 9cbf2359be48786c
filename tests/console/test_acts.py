"""Everything that can be done on pages, done by mouse in a real browser, and what the database says afterwards."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.orders import By
from jobwarden.domain.states import BatchState, JobState
from jobwarden.lifecycle.access import create_user, disable_user
from jobwarden.store import schema
from jobwarden.store.ids import new_id
from tests.console.conftest import Window
from tests.console.scene import Scene, set_up
from tests.support.factories import Factories

Opened = Callable[..., Window]
PASSWORD = "correct horse battery"
LOGIN = re.compile(r"/login\?next=")


@pytest.fixture
def scene(database_url: str, factories: Factories) -> Scene:
    return set_up(database_url, factories)


def state_of(factories: Factories, job_id: str) -> str:
    return str(factories.read(schema.jobs, job_id)["state"])


def column(factories: Factories, table: sa.Table, name: str) -> list[Any]:
    with factories.database.read() as transaction:
        return list(transaction.execute(sa.select(table.c[name])).scalars())


def test_a_job_is_called_off_with_a_reason(scene: Scene, factories: Factories, window: Window) -> None:
    queued = scene.jobs["queued"]["id"]
    window.go(f"/jobs/{queued}")
    assert window.act("cancel", "not today") == f"cancel: {queued[-8:]} is canceled."
    [event] = factories.events_of(queued)
    assert (event["reason"], event["actor_id"], event["to_state"]) == ("not today", "api:loopback", "canceled")
    window.page.get_by_role("link", name="ledger").click()
    assert "not today" in window.page.locator("main table").inner_text()


def test_what_would_run_twice_needs_a_word_more(scene: Scene, factories: Factories, window: Window) -> None:
    harmful = scene.jobs["harmful"]["id"]
    window.go(f"/jobs/{harmful}")
    assert "is not idempotent" in window.act("retry", "once more")
    assert state_of(factories, harmful) == "failed"
    page = window.page
    page.locator("details.act", has=page.locator("summary", has_text="retry")).locator("summary").click()
    page.get_by_label("also if it is not idempotent").check()
    page.locator("details.act[open] form button").click()
    page.locator(".told").wait_for()
    assert state_of(factories, harmful) == "queued"


def test_a_running_job_is_asked_to_stop_and_one_that_is_over_runs_again_as_a_new_one(
    scene: Scene, factories: Factories, window: Window
) -> None:
    running, over = scene.jobs["running"]["id"], scene.jobs["succeeded"]["id"]
    window.go(f"/jobs/{running}")
    window.act("stop", "wrong file")
    assert "asked to stop by api:loopback" in window.page.locator("main").inner_text()
    assert factories.read(schema.jobs, running)["cancel_mode"] == "stop"
    window.go(f"/jobs/{over}")
    window.act("rerun")
    assert over not in window.page.url
    assert "Runs again" in window.page.locator("main").inner_text()


def test_chosen_jobs_and_then_all_that_match(scene: Scene, factories: Factories, window: Window) -> None:
    many = [factories.job(JobState.FAILED, id=new_id(), lane="many")["id"] for _ in range(12)]
    page = window.go("/jobs?q=lane:many")
    for box in page.locator("input[name=ids]").all()[:3]:
        box.check()
    assert page.locator("#chosen").inner_text() == "3 chosen"
    page.get_by_label("why").fill("by hand")
    page.get_by_role("button", name="to the chosen").click()
    assert "3 done, 0 refused" in window.told()
    assert [state_of(factories, job_id) for job_id in many].count("queued") == 3
    window.go("/jobs?q=lane:many+state:failed")
    page.get_by_role("button", name="to all that match").click()
    assert "retry 9 jobs" in page.locator("main h2").inner_text()
    assert [state_of(factories, job_id) for job_id in many].count("queued") == 3, "asked first"
    page.get_by_role("button", name="Do it").click()
    assert "9 done, 0 refused" in window.told()
    assert {state_of(factories, job_id) for job_id in many} == {"queued"}


@pytest.mark.parametrize(
    ("button", "state"),
    [
        ("It ran to its end", "succeeded"),
        ("It did not run", "queued"),
        ("It ran partly", "failed"),
        ("It failed", "failed"),
    ],
)
def test_a_parked_job_is_decided_in_the_parking_lot(
    scene: Scene, factories: Factories, window: Window, button: str, state: str
) -> None:
    parked = scene.jobs["orphaned"]["id"]
    page = window.go("/parked")
    lot = page.locator(f"#parked-{parked}")
    lot.get_by_role("button", name=button).click()
    assert state_of(factories, parked) == "orphaned", "the browser asks how it is known"
    lot.get_by_label("How it is known").fill("looked at the bank")
    lot.get_by_role("button", name=button).click()
    assert window.told() == f"Decided: {parked[-8:]} is {state}."
    assert state_of(factories, parked) == state
    [event] = [each for each in factories.events_of(parked) if each["actor_type"] == "operator"]
    assert event["reason"] == "looked at the bank"


def test_a_whole_kind_of_error_is_tried_again(scene: Scene, factories: Factories, window: Window) -> None:
    page = window.go("/errors")
    page.get_by_role("button", name="Retry all").click()
    assert "retry 2 jobs" in page.locator("main h2").inner_text()
    page.get_by_role("button", name="Do it").click()
    assert "1 done, 1 refused" in window.told(), "one is not idempotent"
    assert state_of(factories, scene.jobs["failed"]["id"]) == "queued"


def test_a_job_is_enqueued_again_with_other_parameters(scene: Scene, factories: Factories, window: Window) -> None:
    page = window.go("/jobs/new")
    page.locator("select[name=job]").select_option("succeed")
    page.wait_for_url("**/jobs/new?job=succeed")
    value = page.get_by_label("value: ")
    value.fill("[")
    page.get_by_role("button", name="Enqueue").click()
    assert "value" in window.told()
    value.fill("7")
    page.get_by_label("Label").fill("by hand")
    page.get_by_role("button", name="Enqueue").click()
    assert window.told() == "Enqueued."
    made = factories.read(schema.jobs, page.url.rpartition("/")[2])
    assert (made["params"], made["name"], made["created_by"]) == ({"value": 7}, "by hand", "api:loopback")
    page.get_by_role("link", name="Enqueue again, changed").click()
    assert json.loads(page.get_by_label("value: ").input_value()) == 7


def test_a_batch_is_held_released_called_off_and_revived(scene: Scene, factories: Factories, window: Window) -> None:
    window.go(f"/batches/{scene.batch}")
    assert window.act("hold", "look first") == "hold: the batch is held."
    assert factories.read(schema.batches, scene.batch)["held_reason"] == "look first"
    assert window.act("release") == "release: the batch is running."
    assert "cancel: the batch is" in window.act("cancel", "wrong day")
    assert {state_of(factories, job["id"]) for job in _members(factories, scene.batch)} == {"canceled"}


def _members(factories: Factories, batch: str) -> list[Any]:
    with factories.database.read() as transaction:
        found = transaction.connection.execute(sa.select(schema.jobs).where(schema.jobs.c.batch_id == batch))
        return [dict(row) for row in found.mappings()]


def test_failed_members_of_a_batch_run_again(factories: Factories, window: Window) -> None:
    batch = str(factories.batch(BatchState.FAILED, name="broken", total_jobs=1, failed_count=1)["id"])
    member = factories.job(JobState.FAILED, id=new_id(), batch_id=batch, batch_key="a")["id"]
    window.go(f"/batches/{batch}")
    assert "1 members run again" in window.act("retry what failed", "mended")
    assert state_of(factories, member) == "queued"


def test_lanes_are_paused_capped_and_go_on(scene: Scene, factories: Factories, window: Window) -> None:
    page = window.go("/lanes")
    row = page.locator("tbody tr", has_text="odd").first
    row.locator("summary", has_text="pause").click()
    row.locator("input[name=reason]").first.fill("the mail server is down")
    row.locator("form button", has_text="pause").click()
    assert window.told() == "odd is paused."
    row.locator("summary", has_text="cap").click()
    row.locator("input[name=most]").fill("many")
    row.locator("form button", has_text="cap").click()
    assert "a whole number" in window.told()
    row.locator("summary", has_text="cap").click()
    row.locator("input[name=most]").fill("3")
    row.locator("form button", has_text="cap").click()
    row.locator("summary", has_text="resume").click()
    row.locator("form button", has_text="resume").click()
    assert window.told() == "odd goes on."
    with factories.database.read() as transaction:
        lane = transaction.execute(sa.select(schema.lanes).where(schema.lanes.c.name == "odd")).one()
    assert (bool(lane.paused), lane.max_running) == (False, 3)


def test_a_worker_is_drained(scene: Scene, factories: Factories, window: Window) -> None:
    window.go("/workers")
    assert "is asked to drain" in window.act("drain", "a new kernel")
    assert factories.read(schema.workers, scene.worker)["wish"] == "drain"


def test_all_supervisors_of_a_host_are_drained(scene: Scene, factories: Factories, window: Window) -> None:
    other = str(factories.worker(hostname="worker-2")["id"])
    more = str(factories.worker(hostname="worker-1")["id"])
    window.go("/workers")
    assert window.act("drain worker-1", "a new kernel") == "worker-1 is asked to drain: 2 supervisors."
    wishes = {worker: factories.read(schema.workers, worker)["wish"] for worker in (scene.worker, more, other)}
    assert wishes == {scene.worker: "drain", more: "drain", other: None}


def test_enter_alone_decides_nothing(scene: Scene, factories: Factories, window: Window) -> None:
    page = window.go("/parked")
    page.keyboard.press("d")
    page.keyboard.type("looked")
    page.keyboard.press("Enter")
    assert "verdict" in window.told()
    assert state_of(factories, scene.jobs["orphaned"]["id"]) == "orphaned"


def test_a_schedule_is_made_changed_run_and_removed(scene: Scene, factories: Factories, window: Window) -> None:
    page = window.go("/schedules/new")
    page.get_by_label("Name", exact=True).fill("hourly")
    page.get_by_label("Job or command").fill("succeed")
    page.get_by_label("Parameters").fill('{"value": 1}')
    page.get_by_label("Cron pattern").fill("61 * * * *")
    page.get_by_role("button", name="Make it").click()
    assert "hourly" in window.told()
    assert "hourly" not in column(factories, schema.schedules, "name")
    page.get_by_label("Name", exact=True).fill("hourly")
    page.get_by_label("Job or command").fill("succeed")
    page.get_by_label("Parameters").fill('{"value": 1}')
    page.get_by_label("Cron pattern").fill("0 * * * *")
    page.get_by_role("button", name="Make it").click()
    assert window.told() == "It is there."
    _tag(factories, "hourly")
    page.get_by_role("link", name="Change").click()
    page.get_by_label("What overlaps").select_option("queue")
    page.get_by_role("button", name="Change").click()
    assert window.told() == "Changed."
    assert {"customer": "acme"} in column(factories, schema.schedules, "tags"), "what the form does not have stays"
    assert window.act("disable", "not now") == "hourly is disabled."
    window.act("run now")
    assert state_of(factories, page.url.rpartition("/")[2]) in ("queued", "pending")
    window.go("/schedules/by-name?name=hourly")
    assert window.act("remove") == "hourly is removed."
    assert "hourly" not in column(factories, schema.schedules, "name")


def _tag(factories: Factories, schedule: str) -> None:
    with factories.database.write() as transaction:
        tagged = sa.update(schema.schedules).where(schema.schedules.c.name == schedule)
        transaction.connection.execute(tagged.values(tags={"customer": "acme"}))


def test_a_token_is_shown_once_and_closes_the_door(scene: Scene, factories: Factories, window: Window) -> None:
    page = window.go("/settings")
    page.get_by_label("Name").fill("deploy")
    page.get_by_role("button", name="Make a token").click()
    secret = page.locator(".told code").inner_text()
    assert secret.startswith("jw_")
    answer = page.request.get(f"{window.base}/api/me", headers={"Authorization": f"Bearer {secret}"})
    assert answer.json()["role"] == "viewer"
    assert page.request.get(f"{window.base}/jobs").status == 401
    window.said.clear()


def test_people_log_in_and_out_and_see_what_their_role_allows(
    scene: Scene, factories: Factories, window: Window
) -> None:
    with factories.database.write() as transaction:
        create_user(transaction, "vera", PASSWORD, "viewer", By("test"))
    page = window.page
    page.goto(f"{window.base}/jobs?q=state:failed")
    page.wait_for_url(LOGIN)
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    assert "Name or password is wrong" in page.content()
    window.said.clear()  # the browser notes the 401
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(re.compile(r"/jobs\?q=state:failed"))
    assert "user:vera (viewer)" in page.content()
    for path in ("/jobs", f"/jobs/{scene.jobs['failed']['id']}", "/lanes", "/workers", "/parked", "/schedules"):
        window.go(path)
        assert page.locator("main form[method=post], main details.act").count() == 0, path
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.goto(f"{window.base}/jobs")
    page.wait_for_url(LOGIN)
    logged = column(factories, schema.audit, "action")
    assert logged.count("user.login") == logged.count("user.logout") == 1


def test_a_session_ends_with_its_user(scene: Scene, factories: Factories, window: Window) -> None:
    with factories.database.write() as transaction:
        create_user(transaction, "olga", PASSWORD, "operator", By("test"))
    page = window.page
    page.goto(f"{window.base}/")
    page.get_by_label("Name").fill("olga")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_url(f"{window.base}/")
    with factories.database.write() as transaction:
        disable_user(transaction, "olga", By("test"))
        create_user(transaction, "other", PASSWORD, "viewer", By("test"))
    page.goto(f"{window.base}/jobs")
    page.wait_for_url(LOGIN)
