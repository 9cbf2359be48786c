"""The app: what it registers, how names are found, and that building one touches nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import jobwarden
from jobwarden import JobWarden
from jobwarden.errors import ConfigurationError, DuplicateJob, MissingParam, UnknownJob


@pytest.fixture
def jw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> JobWarden:
    """An app in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return JobWarden(max_attempts=7, promote=["store"])


def test_declaring_and_binding_touches_nothing(jw: JobWarden, tmp_path: Path) -> None:
    @jw.job(idempotent=True)
    def sample(store: str) -> None: ...

    assert sample.bind("42").promoted == {"store": "42"}
    assert sample.options.max_attempts == 7
    jw.prepare()
    assert list(tmp_path.iterdir()) == []


def test_a_job_is_found_by_name_alias_and_function(jw: JobWarden) -> None:
    @jw.job(idempotent=True, name="reports.daily", aliases=["daily"])
    def report(day: int = 1) -> None: ...

    @jw.job(idempotent=True)
    def clean() -> None: ...

    assert jw.find("reports.daily") is jw.find("daily") is report
    assert jw.find(clean.name) is clean
    assert list(jw.jobs) == ["reports.daily", clean.name]
    assert jw.bind("daily", {"day": 3}, lane="hot").params == '{"day":3}'
    with pytest.raises(UnknownJob, match=r"did you mean reports\.daily"):
        jw.find("reports.dialy")
    with pytest.raises(UnknownJob, match="registered are"):
        jw.find("xyz")
    with pytest.raises(TypeError):
        jw.jobs["x"] = report  # type: ignore[index]


def test_the_functions_name_is_enough_where_only_one_has_it(jw: JobWarden) -> None:
    def sample(n: int) -> None: ...

    def other(n: int) -> None: ...

    sample.__qualname__ = other.__qualname__ = "sample"
    sample.__module__ = "shop"
    definition = jw.job(idempotent=True)(sample)
    assert jw.find("sample") is definition
    other.__module__ = "depot"
    jw.job(idempotent=True)(other)
    with pytest.raises(UnknownJob, match="did you mean shop:sample or depot:sample"):
        jw.find("sample")


def test_a_name_is_given_once(jw: JobWarden) -> None:
    @jw.job(idempotent=True, name="a", aliases=["b"])
    def first() -> None: ...

    for names in ({"name": "a"}, {"name": "b"}, {"name": "c", "aliases": ["a"]}):
        with pytest.raises(DuplicateJob, match=r"is taken by .*first"):
            jw.job(idempotent=True, **names)(lambda: None)


def test_enqueueing_by_name_checks_the_same(jw: JobWarden) -> None:
    @jw.job(idempotent=True, name="sample")
    def sample(n: int) -> None: ...

    with pytest.raises(MissingParam):
        jw.enqueue("sample", {})
    with pytest.raises(UnknownJob):
        jw.enqueue("gone", {})


def test_bad_settings_and_addresses_are_refused_by_name() -> None:
    with pytest.raises(ConfigurationError, match="write poll_idle"):
        JobWarden(poll_idel=3)
    for url in ("postgres//x", "oracle://x/y"):
        with pytest.raises(ConfigurationError, match="database_url = "):
            _ = JobWarden(database_url=url).database


def test_the_public_names_are_these() -> None:
    assert sorted(jobwarden.__all__) == [
        "Backoff",
        "Batch",
        "BatchHandle",
        "BatchState",
        "Bound",
        "Cancel",
        "Context",
        "Fail",
        "Handles",
        "Hooks",
        "JobDefinition",
        "JobHandle",
        "JobState",
        "JobWarden",
        "JobWardenError",
        "Member",
        "Outcome",
        "Park",
        "Provide",
        "Ref",
        "Settings",
        "Snooze",
        "Stopped",
        "Threshold",
    ]
    assert all(hasattr(jobwarden, name) for name in jobwarden.__all__)


def test_importing_the_package_loads_no_database_library() -> None:
    script = "import sys, jobwarden; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    heavy: set[Any] = {"sqlalchemy", "alembic", "click", "rich", "django", "psycopg", "pymysql", "sqlite3"}
    assert heavy & set(loaded) == set()
