"""Metrics: a parser of Prometheus' own reads them, and they say what the tables say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from jobwarden.domain.history import SIZES
from jobwarden.domain.states import JobState, WorkerState
from jobwarden.store import leases, workers
from jobwarden.store.database import Database
from jobwarden.views.metrics import exposition
from tests.support.factories import Factories
from tests.views.test_series import leave

Labels = tuple[tuple[str, str], ...]


def read(database: Database) -> dict[str, dict[Labels, float]]:
    """Every sample by name and labels, as a scraper sees them."""
    with database.read() as transaction:
        return samples(exposition(transaction))


def samples(text: str) -> dict[str, dict[Labels, float]]:
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def labelled(found: Iterable[tuple[Labels, float]], **wanted: str) -> list[float]:
    """The samples that have these labels."""
    return [value for labels, value in found if wanted.items() <= dict(labels).items()]


def test_jobs_by_lane_and_state(database: Database, factories: Factories) -> None:
    for state, lane in ((JobState.QUEUED, "a"), (JobState.QUEUED, "a"), (JobState.FAILED, "b")):
        factories.job(state, lane=lane)
    assert read(database)["jobwarden_jobs"] == {
        (("lane", "a"), ("state", "queued")): 2.0,
        (("lane", "b"), ("state", "failed")): 1.0,
    }


def test_ends_recoveries_and_refusals(database: Database) -> None:
    leave(database, timedelta(minutes=1), number=4)
    leave(database, timedelta(minutes=1), number=3, outcome="failed", cause="killed", actor="supervisor")
    leave(database, timedelta(minutes=1), number=2, outcome="orphaned", cause="", actor="reaper")
    leave(database, timedelta(minutes=1), number=5, kind="fenced", outcome="", lane="", job="")
    found = read(database)
    ends = found["jobwarden_attempts_ended_total"].items()
    assert labelled(ends, outcome="succeeded", by="worker") == [4.0]
    assert labelled(ends, outcome="failed", cause="killed") == [3.0]
    assert found["jobwarden_recoveries_total"] == {(("tier", "1"),): 3.0, (("tier", "2"),): 2.0, (("tier", "3"),): 0.0}
    assert list(found["jobwarden_fenced_writes_total"].values()) == [5.0]


def test_a_histogram_counts_each_time_once(database: Database) -> None:
    for seconds in (0.0005, 0.003, 7.0, 1e9):
        leave(database, timedelta(minutes=1), seconds)
    found = read(database)
    buckets = found["jobwarden_attempt_run_seconds_bucket"]
    cumulated = [(float(dict(labels)["le"]), value) for labels, value in buckets.items()]
    assert [value for _, value in sorted(cumulated)] == sorted(value for _, value in cumulated)
    assert max(value for _, value in cumulated) == 4.0
    assert next(value for bound, value in sorted(cumulated) if bound >= 16.0) == 3.0
    assert list(found["jobwarden_attempt_run_seconds_count"].values()) == [4.0]
    assert "jobwarden_attempt_wait_seconds_bucket" not in found


def test_what_daemons_tell_of_themselves(database: Database, factories: Factories) -> None:
    worker = factories.worker(role="supervisor", capacity=8)
    factories.worker(state=WorkerState.DEAD)
    stats: dict[str, Any] = {
        "commits": 12,
        "seconds": 3.5,
        "written": 40,
        "conflicts": 2,
        "faults": 1,
        "sizes": [1] * (len(SIZES) + 1),
        "seats": {"busy": 3, "idle": 5},
    }
    with database.write() as transaction:
        workers.beat(transaction, worker["id"], 3, stats)
        leases.acquire(transaction, "global_reaper", worker["id"], 60)
    found = read(database)
    assert found["jobwarden_workers"] == {(("role", "supervisor"), ("state", worker["state"])): 1.0}
    alone = ("capacity", "load")
    assert [list(found[f"jobwarden_worker_{name}"].values()) for name in alone] == [[8.0], [3.0]]
    assert labelled(found["jobwarden_seats"].items(), state="busy") == [3.0]
    assert list(found["jobwarden_conflicts_total"].values()) == [2.0]
    assert list(found["jobwarden_commit_size_count"].values()) == [float(len(SIZES) + 1)]
    assert list(found["jobwarden_lease_age_seconds"]) == [(("lease", "global_reaper"),)]


def test_odd_names_are_escaped(database: Database) -> None:
    odd = 'a"b\\c\nd é'
    leave(database, timedelta(minutes=1), job=odd)
    assert labelled(read(database)["jobwarden_attempts_ended_total"].items(), job=odd) == [1.0]


def test_the_dashboard_and_the_page_name_metrics_that_there_are(database: Database) -> None:
    folder = Path(__file__).parents[2] / "docs" / "how-to"
    dashboard = json.loads((folder / "grafana.json").read_text())
    asked = " ".join(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])
    with database.read() as transaction:
        there = {family.name for family in text_string_to_metric_families(exposition(transaction))}
    there.add("jobwarden_database_reachable")  # which only daemons tell, see tests/acceptance/test_exporter.py
    page = (folder / "metrics.md").read_text()
    for named in set(re.findall(r"jobwarden_\w+", asked + page)) - {"jobwarden_prom"}:
        assert re.sub(r"_(total|bucket|count)$", "", named) in there, named
    assert there <= {re.sub(r"_total$", "", named) for named in re.findall(r"`(jobwarden_\w+)`", page)}
