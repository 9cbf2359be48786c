"""The settings page is the one that the declarations give."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_page_lists_the_settings_as_they_are_declared() -> None:
    page = runpy.run_path(str(ROOT / "docs" / "settings.py"))["page"]
    written = (ROOT / "docs" / "reference" / "settings.md").read_text()
    assert written == page(), "run: python3 dev.py run python docs/settings.py"
