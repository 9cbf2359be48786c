"""Metrics that a daemon serves itself: scraped by a real parser, also while the database is away."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from jobwarden import JobWarden
from jobwarden.config import Settings
from jobwarden.daemons.exporter import exporting
from jobwarden.store.database import Database
from tests.acceptance.conftest import QUICK, Start
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, await_state
from tests.support.waiting import eventually

LISTEN = {"JOBWARDEN_METRICS_LISTEN": "127.0.0.1:0"}
Scraped = dict[str, list[tuple[dict[str, str], float]]]


def scraped(address: str) -> Scraped:
    """All samples by name."""
    with urllib.request.urlopen(address, timeout=PATIENCE) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        found: Scraped = {}
        for family in families:
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found


def address_in(log: Callable[[], str]) -> str:
    pattern = re.compile(r"metrics are at (\S+)")
    eventually(lambda: pattern.search(log()) is not None, PATIENCE)
    found: str = pattern.findall(log())[0]
    return found


def test_a_daemon_tells_what_the_database_knows(app: JobWarden, rows: Factories, reaper: Any, start: Start) -> None:
    worker = start(capacity=1)
    for number in range(3):
        await_state(app.enqueue("succeed", {"value": number}), "succeeded")
    leader = reaper("global", env={**QUICK, **LISTEN})
    address = address_in(lambda: leader.log)
    told = scraped(address)
    assert told["jobwarden_database_reachable"] == [({}, 1.0)]
    counted = {(labels["lane"], labels["state"]): value for labels, value in told["jobwarden_jobs"]}
    assert counted["default", "succeeded"] == 3
    assert rows.counted()["default", "succeeded"] == 3
    assert {labels["role"] for labels, _ in told["jobwarden_workers"]} >= {"supervisor", "global_reaper"}
    worker.end()
    leader.end()
    with pytest.raises(urllib.error.URLError):
        scraped(address)


def test_a_database_that_does_not_answer_is_all_that_is_told(database: Database, rows: Factories) -> None:
    settings = Settings(database_url=database.url.render_as_string(hide_password=False), metrics_listen="0")
    with exporting(settings, "test") as address:
        assert address is not None
        _rename(database, "jobwarden_workers", "elsewhere")
        assert scraped(address) == {"jobwarden_database_reachable": [({}, 0.0)]}
        _rename(database, "elsewhere", "jobwarden_workers")
        assert scraped(address)["jobwarden_database_reachable"] == [({}, 1.0)]


def _rename(database: Database, table: str, name: str) -> None:
    with database.write() as transaction:
        transaction.connection.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")
