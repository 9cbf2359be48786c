"""Makes the pictures of the console: ``python3 dev.py run python -m docs.screenshots``. What they show is the demo's.

The demo runs on a database of its own; then its console is served, and each page is drawn by a headless Chromium.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any, Literal

from playwright.sync_api import sync_playwright

from tests.support.binaries import browser
from tests.support.web import Web

PICTURES = Path(__file__).parent / "pictures"
_SIZE = {"width": 1280, "height": 800}


def main() -> None:
    """Play the demo, and draw its console."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        jobwarden = str(Path(sys.executable).with_name("jobwarden"))
        subprocess.run([jobwarden, "demo", "--dir", "demo"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        [database] = Path(folder, "demo").glob("*.db")
        with Web(f"sqlite:///{database}", Path(folder)) as web, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(executable_path=str(browser()), args=["--no-sandbox"])
            for name, (path, theme) in _pages(web.address).items():
                page = chromium.new_page(viewport=_SIZE, color_scheme=theme)
                page.goto(web.address + path)
                page.wait_for_load_state("networkidle")
                page.screenshot(path=str(PICTURES / f"{name}.png"), full_page=name == "job")
            chromium.close()


def _pages(address: str) -> dict[str, tuple[str, Literal["light", "dark"]]]:
    """What is drawn, and in which theme: the job is the one whose process the demo killed."""
    batch = _asked(f"{address}/api/batches")["data"][0]["id"]
    jobs = _asked(f"{address}/api/jobs?limit=200")["data"]
    killed = max(jobs, key=lambda job: int(job["attempt_count"]))["id"]
    return {
        "overview": ("/", "light"),
        "jobs": ("/jobs?q=state:succeeded", "light"),
        "job": (f"/jobs/{killed}?tab=attempts", "dark"),
        "batch": (f"/batches/{batch}", "dark"),
        "time": (f"/batches/{batch}?tab=time", "light"),
        "lanes": ("/lanes", "light"),
        "logs": (f"/jobs/{killed}", "light"),
        "enqueue": (f"/jobs/new?like={killed}", "light"),
        "parked": ("/parked", "light"),
        "errors": ("/errors", "light"),
        "batches": ("/batches", "light"),
        "schedules": ("/schedules", "light"),
        "fleet": ("/workers?everyone=true", "light"),
        "audit": ("/audit", "light"),
        "health": ("/health", "light"),
        "settings": ("/settings", "light"),
    }


def _asked(address: str) -> Any:
    with urllib.request.urlopen(address) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
