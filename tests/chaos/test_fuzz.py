"""The fuzzing of the API, a short one on each engine; and that it finds what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from chaos.fuzz import fuzz
from jobwarden.store.database import Database


def test_a_short_run_finds_nothing(database_url: str, tmp_path: Path) -> None:
    told = fuzz(database_url, tmp_path, examples=2, seed=7, phases="examples,fuzzing,stateful")
    assert told.passed, told.words
    assert told.cases > 200, told.words


@pytest.mark.any_engine
def test_a_fault_of_the_server_is_found(database: Database, database_url: str, tmp_path: Path) -> None:
    with database.write() as transaction:
        transaction.connection.execute(sa.text("DROP TABLE jobwarden_lanes"))
    told = fuzz(database_url, tmp_path, examples=1, seed=7, phases="fuzzing")
    assert not told.passed, told.words
    assert "GET /api/lanes" in told.words
