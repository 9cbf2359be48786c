"""``python -m bench.drills``: what an operator has to do, in a real browser, by mouse and by keys alone.

Beside a million jobs, with a real worker: find one running job by its tag and stop it; look at a parked one and decide;
revive a failed graph; drain a host. An action is a click, a command key (a sequence such as ``g p`` is one), or a text
that is typed. The seconds are those of a hand that does not hesitate: from the first action until the page says that
it is done.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator, Page, sync_playwright
from rich.console import Console
from rich.table import Table

from bench.app import APP, operators
from bench.million import fill
from bench.site import Site, Store
from jobwarden import JobHandle, JobWarden
from tests.support.binaries import browser
from tests.support.hosts import Worker
from tests.support.waiting import eventually
from tests.support.web import Web

MOST = 5
_PATIENCE = 60.0
_ROOT = Path(__file__).parents[1]


class Hand:
    """Acts on a page, and counts."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.actions = 0

    def click(self, place: Locator) -> None:
        """One click."""
        place.click()
        self.actions += 1

    def press(self, *keys: str) -> None:
        """One command key, or a sequence of them."""
        for key in keys:
            self.page.keyboard.press(key)
        self.actions += 1

    def write(self, text: str) -> None:
        """One text."""
        self.page.keyboard.type(text)
        self.actions += 1

    def opens(self, path: str) -> None:
        """Wait until the page of that path is there."""
        self.page.wait_for_url(f"**{path}", wait_until="load")


@dataclass(frozen=True)
class Scene:
    """What is there to be acted on, and the worker that runs it."""

    app: JobWarden
    tag: str
    running: JobHandle
    parked: JobHandle
    batch: str
    worker: Worker


@dataclass(frozen=True)
class Done:
    """One drill: how, how many actions, and how long it took (seconds)."""

    drill: str
    by: str
    actions: int
    seconds: float


@contextmanager
def scene(store: Store, tag: str) -> Iterator[Scene]:
    """A worker that runs a job with a tag of its own, a parked job, and a batch that failed."""
    app = JobWarden(database_url=store.url, nudge=False)
    operators(app)
    with Worker(store.url, store.folder, app=APP, cwd=_ROOT, capacity=4) as worker:
        worker.await_ready()
        running = app.enqueue("synchronise", {"store": tag}, tags={"store": tag})
        parked = app.enqueue("pay", {"amount": 7})
        batch = app.batch(f"load {tag}", "fail_fast")
        parts = [batch.add(app.bind("load", {"part": str(part)}), f"part-{part}") for part in range(3)]
        batch.add(app.bind("load", {"part": "all"}), "all", after=parts)
        made = str(batch.enqueue().id)
        _await(running, "running")
        _await(parked, "orphaned")
        _await_batch(app, made, "failed")
        yield Scene(app, tag, running, parked, made, worker)
    app.database.dispose()


def _await(job: JobHandle, state: str) -> None:
    eventually(lambda: job.refresh().state == state, _PATIENCE, why=lambda: f"{job.id} is {job.state}")


def _await_batch(app: JobWarden, batch_id: str, state: str) -> None:
    batch = app.batch_handle(batch_id)
    eventually(lambda: batch.refresh().state == state, _PATIENCE, why=lambda: f"{batch.id} is {batch.state}")


# -- find one by its tag, and stop it


def stop_by_mouse(hand: Hand, given: Scene) -> None:
    """The search box leads to the job itself, as it is the only one."""
    hand.click(hand.page.locator("#q"))
    hand.write(f"store:{given.tag}")
    hand.press("Enter")
    hand.opens(f"/jobs/{given.running.id}")
    hand.click(_act(hand, "stop"))
    hand.click(_confirm(hand))
    _await(given.running, "stopped")


def stop_by_keys(hand: Hand, given: Scene) -> None:
    """The same."""
    hand.press("/")
    hand.write(f"store:{given.tag}")
    hand.press("Enter")
    hand.opens(f"/jobs/{given.running.id}")
    hand.press("s")
    hand.press("Enter")
    _await(given.running, "stopped")


# -- look at a parked one, and decide


def decide_by_mouse(hand: Hand, given: Scene) -> None:
    """Evidence, parameters and what to check stand where it is decided."""
    hand.click(hand.page.get_by_role("link", name="Parking lot"))
    hand.opens("/parked")
    lot = hand.page.locator(f"#parked-{given.parked.id}")
    assert "look for the payment at the bank" in lot.inner_text()
    hand.click(lot.get_by_label("How it is known"))
    hand.write("the bank has it")
    hand.click(lot.get_by_role("button", name="It ran to its end"))
    _await(given.parked, "succeeded")


def decide_by_keys(hand: Hand, given: Scene) -> None:
    """The same, of the first in the lot."""
    hand.press("g", "p")
    hand.opens("/parked")
    hand.press("d")
    hand.write("the bank has it")
    hand.press("Tab")
    hand.press("Enter")
    _await(given.parked, "succeeded")


# -- revive a failed graph


def revive_by_mouse(hand: Hand, given: Scene) -> None:
    """What failed runs again, and what was called off for it."""
    hand.click(hand.page.get_by_role("link", name="Batches"))
    hand.opens("/batches")
    hand.click(hand.page.get_by_role("link", name=f"load {given.tag}"))
    hand.opens(f"/batches/{given.batch}")
    hand.click(_act(hand, "retry"))
    hand.click(_confirm(hand))
    _await_batch(given.app, given.batch, "succeeded")


def revive_by_keys(hand: Hand, given: Scene) -> None:
    """The same, of the newest batch."""
    hand.press("g", "b")
    hand.opens("/batches")
    hand.press("j")
    hand.press("Enter")
    hand.opens(f"/batches/{given.batch}")
    hand.press("r")
    hand.press("Enter")
    _await_batch(given.app, given.batch, "succeeded")


# -- drain a host


def drain_by_mouse(hand: Hand, given: Scene) -> None:
    """Every supervisor of it takes no more, and goes when it has none."""
    hand.click(hand.page.get_by_role("link", name="Fleet"))
    hand.opens("/workers")
    hand.click(_act(hand, f"drain {socket.gethostname()}"))
    hand.click(_confirm(hand))
    given.worker.wait(_PATIENCE)


def drain_by_keys(hand: Hand, given: Scene) -> None:
    """The same, by name."""
    hand.press("g", "w")
    hand.opens("/workers")
    hand.press("Control+k")
    hand.write(f"drain {socket.gethostname()}")
    hand.press("Enter")
    hand.press("Enter")
    given.worker.wait(_PATIENCE)


def _act(hand: Hand, label: str) -> Locator:
    return hand.page.locator("main .acts details.act summary", has_text=label).first


def _confirm(hand: Hand) -> Locator:
    return hand.page.locator("details.act[open] form button")


DRILLS: dict[str, dict[str, Callable[[Hand, Scene], None]]] = {
    "find one by its tag and stop it": {"mouse": stop_by_mouse, "keys": stop_by_keys},
    "look at a parked one and decide": {"mouse": decide_by_mouse, "keys": decide_by_keys},
    "revive a failed graph": {"mouse": revive_by_mouse, "keys": revive_by_keys},
    "drain a host": {"mouse": drain_by_mouse, "keys": drain_by_keys},
}


def drilled(page: Page, address: str, store: Store, by: str) -> Iterator[Done]:
    """All drills, each from the first page on."""
    with scene(store, f"of-{by}") as given:
        for name, ways in DRILLS.items():
            page.goto(address + "/")
            hand, begun = Hand(page), time.monotonic()
            ways[by](hand, given)
            yield Done(name, by, hand.actions, time.monotonic() - begun)


def main(words: Sequence[str]) -> int:
    """Drill on one engine; 1 if a drill takes more than five actions."""
    parser = argparse.ArgumentParser(prog="python -m bench.drills", description=__doc__)
    parser.add_argument("--engine", choices=("postgresql", "mariadb", "sqlite"), default="postgresql")
    parser.add_argument("--jobs", type=int, default=1_000_000, help="how many others there are")
    wishes = parser.parse_args(words)
    with Site(wishes.engine) as site, site.store() as store, sync_playwright() as playwright:
        fill(store, wishes.jobs)
        with Web(store.url, store.folder, app=APP) as web:
            chromium = playwright.chromium.launch(executable_path=str(browser()), args=["--no-sandbox"])
            page = chromium.new_page()
            page.set_default_timeout(1000 * _PATIENCE)
            found = [done for by in ("mouse", "keys") for done in drilled(page, web.address, store, by)]
            chromium.close()
    table = Table("drill", "by", "actions", "seconds", title=f"{wishes.engine}, beside {wishes.jobs:,} jobs")
    for done in found:
        table.add_row(done.drill, done.by, str(done.actions), f"{done.seconds:.1f}")
    Console().print(table)
    return int(any(done.actions > MOST for done in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
