"""Every test begins with a database of its own: migrated, empty, and shared with nobody."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from jobwarden.config import Settings
from jobwarden.store import schema
from jobwarden.store.database import Database


@pytest.mark.parametrize("time", ["once", "again"])
def test_a_database_is_fresh(database: Database, settings: Settings, time: str) -> None:
    assert settings.runtime_dir is not None
    assert settings.runtime_dir.is_dir()
    with database.write() as transaction:
        transaction.execute(sa.insert(schema.lanes).values(name="default", updated_at=transaction.now()))
    with database.read() as transaction:
        assert transaction.execute(sa.select(sa.func.count()).select_from(schema.lanes)).scalar_one() == 1


def test_the_right_server_answers(database: Database, engine_name: str) -> None:
    assert engine_name in str(database.server()).lower()
