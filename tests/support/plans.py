"""How an engine would find what is asked for: the plans of selects, and whether one reads the whole table of jobs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from jobwarden.store.database import Database

_SIGNS = ("Seq Scan on jobwarden_jobs", "SCAN jobwarden_jobs", " jobwarden_jobs ALL ")


@contextmanager
def explained(database: Database) -> Iterator[list[str]]:
    """The plans of all selects that are run meanwhile."""
    plans: list[str] = []
    engine = database.engine
    busy: list[int] = []
    word = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"

    def explain(conn: Any, cursor: Any, sql: str, parameters: Any, context: Any, many: bool) -> None:
        if busy or not sql.lstrip().startswith(("SELECT", "WITH")):
            return
        busy.append(1)
        beside = conn.connection.cursor()
        beside.execute(f"{word} {sql}", parameters)
        plans.append("\n".join(" ".join(map(str, row)) for row in beside.fetchall()))
        beside.close()
        busy.pop()

    sa.event.listen(engine, "before_cursor_execute", explain)
    try:
        yield plans
    finally:
        sa.event.remove(engine, "before_cursor_execute", explain)


def scans(plan: str) -> bool:
    """Whether a plan reads all rows of the jobs, in whatever words an engine says so."""
    return any(sign in line for line in plan.splitlines() for sign in _SIGNS if _without_an_index(line))


def _without_an_index(line: str) -> bool:
    return "USING" not in line or "jobwarden_jobs ALL" in line
