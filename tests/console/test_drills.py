"""What operators do most, in a real browser beside a real worker: five actions at most, by mouse and by keys alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.app import APP
from bench.drills import DRILLS, MOST, drilled
from bench.million import fill
from bench.site import Store
from jobwarden.store.database import Database
from tests.console.conftest import Window
from tests.support.web import Web

Opened = Callable[..., Window]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("by", ["mouse", "keys"])
def test_every_drill_takes_five_actions_at_most(
    database_url: str, database: Database, opened: Opened, runtime_dir: Path, by: str
) -> None:
    name = database.engine.dialect.name
    store = Store("mariadb" if name == "mysql" else name, database_url, runtime_dir)
    fill(store, 5000)
    with Web(database_url, runtime_dir, app=APP) as web:
        window = opened(web.address)
        done = list(drilled(window.page, web.address, store, by))
        assert window.said == []
    store.database.dispose()
    assert [one.drill for one in done] == list(DRILLS)
    assert {one.drill: one.actions for one in done if one.actions > MOST} == {}
