"""The diagrams in the documentation are those of the code."""

from __future__ import annotations

import runpy
from pathlib import Path

from jobwarden.domain.states import AttemptState, JobState

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "explanation" / "lifecycle.md"


def test_the_page_shows_the_tables_as_they_are() -> None:
    drawn = runpy.run_path(str(ROOT / "docs" / "diagrams.py"))["drawn"]
    page = PAGE.read_text()
    assert page == drawn(page), "run: python3 dev.py run python docs/diagrams.py"
    assert page.count("```mermaid") == 2


def test_the_page_explains_every_state_of_a_job() -> None:
    page = PAGE.read_text()
    for state in JobState:
        assert f"| `{state}` |" in page
    assert f"`{AttemptState.DISPATCHED}`" in page
