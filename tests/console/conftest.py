"""The console of a real server in a real browser: everything that is said against it is kept and fails the test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.support.binaries import browser
from tests.support.web import Web

DESKTOP, PHONE = (1280, 800), (390, 844)


class Window:
    """A page of a browser on a site; ``said`` is what the browser complained about."""

    def __init__(self, page: Page, base: str) -> None:
        self.page, self.base = page, base
        self.said: list[str] = []
        page.on("console", lambda told: self.said.append(told.text) if told.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.set_default_timeout(30_000)

    def go(self, path: str, status: int = 200) -> Page:
        """Open a page, with this status."""
        answer = self.page.goto(self.base + path)
        assert answer is not None
        assert answer.status == status, f"{path}: {answer.status}\n{self.page.content()[:2000]}"
        return self.page

    def told(self) -> str:
        """What the page says came of the last act."""
        return self.page.locator(".told").first.inner_text()

    def act(self, label: str, reason: str | None = None, within: str = "main") -> str:
        """Open an act, say why, do it; what the page says then."""
        opened = self.page.locator(f"{within} details.act", has=self.page.locator("summary", has_text=label)).first
        opened.locator("summary").click()
        if reason is not None:
            opened.locator("input[name=reason]").fill(reason)
        opened.locator("form button").click()
        return self.told()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for the tests of a module.

    Not for all of a process: Playwright's event loop counts as the running one of its thread for as long as it is
    started, and tests elsewhere that run a loop of their own would be refused.
    """
    found = browser()
    assert found is not None, "no Chromium: python3 dev.py setup installs it"
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(found), args=["--no-sandbox"])
        yield started
        started.close()
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The address of a real server on a fresh database."""
    with Web(database_url, tmp_path) as web:
        yield web.address


#: Each engine's tests see the console in another way, so that everything is done in all of them.
_LOOKS: dict[str, tuple[tuple[int, int], Literal["light", "dark"]]] = {
    "sqlite": (DESKTOP, "light"),
    "postgresql": (PHONE, "dark"),
    "mysql": (DESKTOP, "dark"),
}


@pytest.fixture
def window(chromium: Browser, site: str, database_url: str) -> Iterator[Window]:
    """A browser's window on the site; nothing may be said against what it shows."""
    (wide, high), theme = _LOOKS[database_url.partition(":")[0].partition("+")[0]]
    context = chromium.new_context(viewport={"width": wide, "height": high}, color_scheme=theme)
    shown = Window(context.new_page(), site)
    yield shown
    context.close()
    assert shown.said == []


@pytest.fixture
def opened(chromium: Browser) -> Iterator[Callable[..., Window]]:
    """Open windows that differ: theme, size, scripts; all are closed afterwards."""
    contexts: list[Any] = []

    def open_one(base: str, size: tuple[int, int] = DESKTOP, **wishes: Any) -> Window:
        context = chromium.new_context(viewport={"width": size[0], "height": size[1]}, **wishes)
        contexts.append(context)
        return Window(context.new_page(), base)

    yield open_one
    for context in contexts:
        context.close()
