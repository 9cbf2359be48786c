"""The palette, searches that are kept, completion, rows, themes; and graphs: dragged, followed, folded, in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden import JobWarden
from jobwarden.store import schema
from tests.console.conftest import Window
from tests.console.scene import set_up
from tests.support.factories import Factories
from tests.support.jobs import build
from tests.support.waiting import eventually

Opened = Callable[..., Window]


def test_the_palette_goes_finds_and_acts_by_keys_alone(database_url: str, factories: Factories, window: Window) -> None:
    scene = set_up(database_url, factories)
    page = window.go("/")
    page.keyboard.press("Control+k")
    page.keyboard.type("go park")
    page.keyboard.press("Enter")
    page.wait_for_url("**/parked")
    failed = scene.jobs["failed"]["id"]
    page.keyboard.press("Control+k")
    page.keyboard.type(failed[-12:])
    assert page.get_by_role("option").first.inner_text() == f"Open job {failed[-12:]}"
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/jobs/{failed[-12:]}")
    page.keyboard.press("Control+k")
    page.keyboard.type("retry")
    page.keyboard.press("Enter")
    page.keyboard.type("the host is back")
    page.keyboard.press("Enter")
    assert "retry:" in window.told()
    page.get_by_role("button", name="all that can be done").click()
    page.keyboard.type("state:canceled")
    page.get_by_role("option", name="Find jobs: state:canceled").click()
    page.wait_for_url("**/jobs?q=state%3Acanceled")
    page.keyboard.press("Control+k")
    page.keyboard.press("Escape")
    assert not page.locator("#palette").is_visible()


def test_a_search_is_kept_and_forgotten(database_url: str, factories: Factories, window: Window) -> None:
    set_up(database_url, factories)
    page = window.go("/jobs?q=state:failed+lane:imports")
    page.get_by_role("button", name="Keep this search").click()
    window.go("/jobs")
    page.locator("#kept").get_by_role("link", name="state:failed lane:imports").click()
    page.wait_for_url("**/jobs?q=state*")
    assert page.locator("#kept a").get_attribute("aria-current") == "true"
    page.get_by_role("button", name="Forget this search").click()
    assert window.go("/jobs").locator("#kept a").count() == 0


def test_what_is_typed_is_completed(database_url: str, factories: Factories, window: Window) -> None:
    set_up(database_url, factories)
    page = window.go("/jobs")

    def offers(text: str, *words: str) -> None:
        page.locator("#q").fill(text)
        given = "[...document.querySelectorAll('#completions option')].map((each) => each.value)"
        eventually(lambda: page.evaluate(given) == list(words), 30)

    offers("state:fail", "state:failed")
    offers("lane:imports sto", "lane:imports store:")
    offers("lane:imports store:4", "lane:imports store:42")


def test_rows_are_wide_or_narrow_and_a_theme_is_given_back(window: Window) -> None:
    page = window.go("/")
    html = page.locator("html")
    page.get_by_role("button", name="wider or narrower rows").click()
    window.go("/jobs")
    assert html.get_attribute("data-density") == "comfortable"
    page.get_by_role("button", name="dark theme").click()
    page.get_by_role("button", name="theme of the system").click()
    window.go("/jobs")
    assert html.get_attribute("data-theme") is None


def test_lines_of_a_log_are_sifted(database_url: str, factories: Factories, window: Window) -> None:
    scene = set_up(database_url, factories)
    job_id = scene.jobs["succeeded"]["id"]
    with factories.database.write() as transaction:
        for seq, line in enumerate(("one apple", "two pears", "three apples"), 1):
            row = {"job_id": job_id, "attempt_id": job_id, "seq": seq, "ts": transaction.now(), "level": "info"}
            transaction.execute(sa.insert(schema.logs).values(**row, source="log", body_ref=line))
    page = window.go(f"/jobs/{job_id}")
    page.get_by_label("Has").fill("APPLE")
    assert page.locator("#sifted").inner_text() == "2 of 3 lines"
    assert page.locator("#log > div:visible").count() == 2


# -- graphs -----------------------------------------------------------------------------------------------------------


def _batch(jw: JobWarden, parts: int) -> str:
    batch = jw.batch("wide")
    call = jw.bind("succeed", {"value": 1})
    first = batch.add(call, "first")
    between = [batch.add(jw.bind("charge"), f"part-{n}", after=[first]) for n in range(parts)]
    batch.add(jw.bind("ask_batch"), "last", after=between)
    return str(batch.enqueue().id)


@pytest.fixture
def jw(database_url: str) -> Any:
    jw = build(database_url=database_url, nudge=False, notify=False)
    yield jw
    jw.database.dispose()


def _set(factories: Factories, batch: str, key: str, **columns: Any) -> None:
    with factories.database.write() as transaction:
        member = (schema.jobs.c.batch_id == batch, schema.jobs.c.batch_key == key)
        transaction.connection.execute(sa.update(schema.jobs).where(*member).values(**columns))


def _box(window: Window) -> list[float]:
    given = window.page.locator("svg.graph").get_attribute("viewBox")
    assert given is not None
    return [float(number) for number in given.split()]


def test_a_graph_stays_where_it_was_dragged_while_its_states_change(
    jw: JobWarden, factories: Factories, window: Window
) -> None:
    batch = _batch(jw, 9)
    page = window.go(f"/batches/{batch}")
    assert page.locator("svg.graph g").count() == 3, "what is alike is one"
    whole = _box(window)
    page.get_by_role("button", name="enlarge").click()
    near = _box(window)
    assert near[2] < whole[2]
    page.locator("svg.graph").scroll_into_view_if_needed()
    place = page.locator("svg.graph").bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + 40, place["y"] + 40)
    page.mouse.down()
    page.mouse.move(place["x"] + 100, place["y"] + 70)
    page.mouse.up()
    dragged = _box(window)
    assert (dragged[0] < near[0], dragged[1] < near[1]) == (True, True)
    assert page.locator("svg.minimap rect.seen").get_attribute("x") == str(dragged[0])
    _set(factories, batch, "part-4", state="failed")
    page.mouse.move(5, 5)
    page.locator("svg.graph g.n-failed").wait_for(state="attached")
    assert "1 failed" in (page.locator("svg.graph g.n-failed title").text_content() or "")
    assert page.locator("svg.graph .strip").count() == 2
    assert _box(window) == dragged
    page.get_by_role("button", name="All", exact=True).click()
    assert _box(window) == whole
    page.locator("svg.minimap").click(position={"x": 5, "y": 5})
    assert _box(window) != whole


def test_what_runs_is_followed(jw: JobWarden, factories: Factories, window: Window) -> None:
    batch = _batch(jw, 3)
    page = window.go(f"/batches/{batch}?unfold=true")
    page.get_by_role("button", name="Follow what runs").click()
    before = _box(window)
    _set(factories, batch, "last", state="running")
    page.mouse.move(5, 5)
    page.locator("svg.graph g.n-running").wait_for(state="attached")
    eventually(lambda: _box(window) != before, 30)
    assert page.get_by_role("button", name="Follow what runs").get_attribute("aria-pressed") == "true"


def test_the_path_that_took_the_time_is_marked(jw: JobWarden, factories: Factories, window: Window) -> None:
    batch = _batch(jw, 3)
    with factories.database.read() as transaction:
        begin = transaction.now() - timedelta(seconds=100)
    for key, since, until in (
        ("first", 0, 10),
        ("part-0", 10, 20),
        ("part-1", 11, 70),
        ("part-2", 12, 15),
        ("last", 70, 80),
    ):
        moments = {"started_at": begin + timedelta(seconds=since), "finished_at": begin + timedelta(seconds=until)}
        _set(factories, batch, key, state="succeeded", **moments)
    page = window.go(f"/batches/{batch}?tab=time")
    assert [row.inner_text().split()[1] for row in page.locator("tr.critical").all()] == ["first", "part-1", "last"]
    assert page.locator("main tbody tr").count() == 5
    assert "The whole took 80 s" in page.locator("main").inner_text()


def test_a_large_graph_is_drawn_beside_its_page(jw: JobWarden, window: Window) -> None:
    batch = _batch(jw, 3000)
    page = window.go(f"/batches/{batch}")
    page.locator("svg.graph").wait_for(timeout=30_000)
    assert "× 3,000" in (page.locator("svg.graph").text_content() or "")
    assert page.locator("svg.graph g").count() == 3
