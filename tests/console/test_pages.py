"""Every page, in both themes, on a desktop and a phone: it answers, the browser has nothing against it, nor has axe."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Route

from jobwarden.domain.states import JobState
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.store.ids import new_id
from tests.console.conftest import DESKTOP, PHONE, Window
from tests.console.scene import HOSTILE, Scene, set_up
from tests.support.factories import Factories
from tests.support.waiting import eventually

Opened = Callable[..., Window]


def pages(scene: Scene) -> Iterator[str]:
    """Where one can go."""
    yield from ("/", "/jobs", "/jobs?q=state:failed+lane:imports", "/jobs?q=lane:nowhere", "/jobs?q=state:asleep")
    yield from (
        "/jobs/new",
        "/jobs/new?job=succeed",
        "/jobs/new?job=unknown",
        "/parked",
        "/errors",
        "/batches",
        "/schedules",
        "/schedules/new",
        "/lanes",
        "/workers",
    )
    yield from ("/schedules/by-name?name=nightly", "/schedules/new?like=nightly", "/lanes?lane=imports&back=7d")
    yield from ("/audit", "/health", "/settings", "/login", "/workers?everyone=true", "/batches?state=running")
    for job in scene.jobs.values():
        yield f"/jobs/{job['id']}"
    for tab in ("attempts", "ledger", "result", "process"):
        yield f"/jobs/{scene.jobs['failed']['id']}?tab={tab}"
    yield f"/jobs/{scene.jobs['running']['id']}?tab=process"
    for tab in ("graph", "time", "members", "graph&unfold=true"):
        yield f"/batches/{scene.batch}?tab={tab}"


@pytest.mark.timeout(300)
def test_every_page_answers(database_url: str, factories: Factories, window: Window) -> None:
    scene = set_up(database_url, factories)
    for path in pages(scene):
        page = window.go(path)
        assert page.locator("h1").count() == 1, path
        assert page.title().endswith("JobWarden"), path


@pytest.mark.any_engine
@pytest.mark.timeout(600)
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_nothing_serious_stands_in_anybodys_way(
    database_url: str, factories: Factories, site: str, opened: Opened, theme: str, size: tuple[int, int]
) -> None:
    scene = set_up(database_url, factories)
    window = opened(site, size, color_scheme=theme)
    for path in pages(scene):
        page = window.go(path)
        found = [each for each in Axe().run(page).response["violations"] if each["impact"] in ("serious", "critical")]
        told = [(each["id"], [node["html"][:200] for node in each["nodes"][:3]]) for each in found]
        assert told == [], path
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{path} is wider than the window"
    assert window.said == []


def test_what_jobs_say_is_shown_and_does_nothing(database_url: str, factories: Factories, window: Window) -> None:
    scene = set_up(database_url, factories)
    hostile = scene.jobs["hostile"]["id"]
    _say(factories, hostile, HOSTILE, "y" * 1_000_000)
    for path in ("/jobs?q=lane:odd", f"/jobs/{hostile}", f"/jobs/{hostile}?tab=ledger", f"/jobs/new?like={hostile}"):
        page = window.go(path)
        assert page.title() != "owned"
        assert "<script>document" in page.content() or "&lt;script&gt;" in page.content(), path
    window.go(f"/jobs/{hostile}")
    assert "y" * 1000 in window.page.locator("#log").inner_text()


def _say(factories: Factories, job_id: str, *lines: str) -> None:
    with factories.database.write() as transaction:
        for seq, line in enumerate(lines, 1):
            row = {"job_id": job_id, "attempt_id": job_id, "seq": seq, "ts": transaction.now(), "level": "info"}
            transaction.execute(sa.insert(schema.logs).values(**row, source="log", body_ref=line))


@pytest.mark.any_engine
def test_all_of_it_works_without_scripts(database_url: str, factories: Factories, site: str, opened: Opened) -> None:
    scene = set_up(database_url, factories)
    window = opened(site, java_script_enabled=False)
    page = window.go("/")
    page.get_by_role("link", name="Jobs").first.click()
    page.locator("#q").fill("state:failed lane:imports")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="nightly import").click()
    assert "retry: " in window.act("retry", "the host is back")
    assert factories.read(schema.jobs, scene.jobs["failed"]["id"])["state"] == "queued"
    window.go("/jobs?q=state:canceled")
    page.locator("input[name=ids]").first.check()
    page.locator("select[name=verb]").select_option("retry")
    page.get_by_role("button", name="to the chosen").click()
    assert "0 done, 1 refused" in window.told()


@pytest.mark.any_engine
def test_what_was_seen_goes_on_by_itself_and_holds_still_under_the_pointer(
    database_url: str, factories: Factories, window: Window
) -> None:
    set_up(database_url, factories)
    page = window.go("/jobs?q=lane:fresh")
    factories.job(JobState.QUEUED, id=new_id(), lane="fresh", name="came later")
    page.get_by_role("link", name="came later").wait_for()
    page.locator("tbody tr").first.hover()
    factories.job(JobState.QUEUED, id=new_id(), lane="fresh", name="came last")
    page.locator("#held").wait_for(state="visible")
    assert page.get_by_role("link", name="came last").count() == 0
    page.mouse.move(5, 5)
    page.get_by_role("link", name="came last").wait_for()


@pytest.mark.any_engine
def test_a_page_looks_again_when_its_last_answer_said_to(window: Window) -> None:
    """An open page costs a hundredth of a core at most: what took long is asked for less often."""
    looks: list[str] = []

    def hasty(route: Route) -> None:
        answer = route.fetch()
        looks.append(answer.headers["x-look-again"])
        route.fulfill(response=answer, headers={**answer.headers, "x-look-again": "1.0" if len(looks) < 4 else "60.0"})

    page = window.page
    page.route(lambda address: address == f"{window.base}/health", hasty)
    window.go("/health")
    eventually(lambda: page.evaluate("1") and len(looks) >= 4, 60)
    assert {float(seconds) >= 5 for seconds in looks} == {True}


@pytest.mark.any_engine
def test_a_theme_is_kept_and_drawn_from_the_start(window: Window) -> None:
    page = window.go("/")
    page.get_by_role("button", name="dark theme").click()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert 'data-theme="dark"' in window.go("/jobs").content()


@pytest.mark.any_engine
def test_keys_go_everywhere_and_choose_and_act(database_url: str, factories: Factories, window: Window) -> None:
    scene = set_up(database_url, factories)
    page = window.go("/")
    page.keyboard.press("?")
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("Escape")
    for key, path in (("j", "/jobs"), ("p", "/parked"), ("e", "/errors"), ("l", "/lanes"), ("w", "/workers")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        page.wait_for_url(f"{window.base}{path}")
    window.go("/jobs")
    page.keyboard.press("/")
    page.keyboard.type("store:42")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/jobs/{scene.jobs['failed']['id']}")
    window.go("/jobs?q=state:failed")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("x")
    assert page.locator("#chosen").inner_text() == "1 chosen"
    page.locator("body").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/jobs/*-*")
    page.keyboard.press("r")
    page.keyboard.type("the host is back")
    page.keyboard.press("Enter")
    assert "retry:" in window.told()


def test_pages_load_nothing_from_elsewhere(database: Database, window: Window) -> None:
    asked: list[str] = []
    window.page.on("request", lambda request: asked.append(request.url))
    page = window.go("/")
    policy = page.request.get(window.base + "/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert {url.partition("?")[0].startswith(window.base) for url in asked} == {True}
    assert len(asked) >= 5
