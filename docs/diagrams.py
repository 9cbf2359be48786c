"""Draws the diagrams of the documentation from the tables in the code: ``python3 dev.py run python docs/diagrams.py``.

A drawn block stands between two comment lines in a page; a test compares it with the table, so that no page is ever
behind the code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from jobwarden.domain.states import ENDED, Actor, AttemptState, JobState
from jobwarden.domain.transitions import ATTEMPT, JOB

PAGE = Path(__file__).parent / "explanation" / "lifecycle.md"
_State = TypeVar("_State", bound=StrEnum)
_BLOCK = re.compile(r"(<!-- drawn: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def drawn(page: str) -> str:
    """The page with every drawn block as the tables have it now."""
    return _BLOCK.sub(lambda block: f"{block[1]}```mermaid\n{_diagrams()[block[2]]}\n```\n{block[3]}", page)


def _diagrams() -> dict[str, str]:
    in_the_end = [state for state in AttemptState if not any(origin is state for origin, _ in ATTEMPT)]
    return {
        "job": _diagram(JOB, begin=(JobState.PENDING, JobState.QUEUED), end=[s for s in JobState if s in ENDED]),
        "attempt": _diagram(ATTEMPT, begin=(AttemptState.DISPATCHED,), end=in_the_end),
    }


def _diagram(
    edges: Mapping[tuple[_State, _State], frozenset[Actor]], begin: Iterable[_State], end: Iterable[_State]
) -> str:
    lines = [f"[*] --> {state}" for state in begin]
    lines += [f"{origin} --> {target}: {_named(actors)}" for (origin, target), actors in edges.items()]
    lines += [f"{state} --> [*]" for state in end]
    return "\n    ".join(["stateDiagram-v2", *lines])


def _named(actors: frozenset[Actor]) -> str:
    return ", ".join(actor.value for actor in Actor if actor in actors)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text()))
