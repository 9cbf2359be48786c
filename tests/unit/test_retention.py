"""How long things are kept: what the entries of the setting mean, and what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jobwarden.config import Settings
from jobwarden.domain.retention import RUNS, WORKERS, retention
from jobwarden.domain.states import BatchState, JobState
from jobwarden.errors import ConfigurationError

DAY = timedelta(days=1)


def test_what_is_not_said_is_kept_as_by_default() -> None:
    told = retention([])
    assert told.of_state(JobState.SUCCEEDED) == told.of_state(JobState.CANCELED) == 30 * DAY
    assert told.of_state(JobState.FAILED) == told.of_state(JobState.STOPPED) == 90 * DAY
    assert (told.spans[WORKERS], told.spans[RUNS]) == (7 * DAY, 90 * DAY)
    assert (told.shortest, told.longest_failure) == (30 * DAY, 90 * DAY)


def test_later_entries_win_and_a_lanes_win_over_those_for_all() -> None:
    told = retention(["*=2w", "failed=never", "a:b:*=12h", "a:b:stopped=90m", "runs=never"])
    assert told.of_state(JobState.SUCCEEDED) == 14 * DAY
    assert told.of_state(JobState.FAILED) is None
    assert told.lanes[("a:b", JobState.FAILED)] == timedelta(hours=12)
    assert told.lanes[("a:b", JobState.STOPPED)] == timedelta(minutes=90)
    assert told.spans[RUNS] is None
    assert told.shortest == timedelta(minutes=90)
    assert told.longest_failure is None


def test_a_batch_is_kept_as_long_as_a_job_with_its_verdict() -> None:
    told = retention(["succeeded=1d", "failed=2d", "canceled=3d"])
    kept = {state: told.of_batch(state) for state in BatchState}
    assert kept == {
        BatchState.RUNNING: None,
        BatchState.SUCCEEDED: DAY,
        BatchState.PARTIAL: 2 * DAY,
        BatchState.FAILED: 2 * DAY,
        BatchState.CANCELED: 3 * DAY,
    }


def test_nothing_goes_where_everything_is_kept_for_good() -> None:
    assert retention(["*=never"]).shortest is None


@pytest.mark.parametrize(
    "entry", ["", "failed", "failed=", "failed=0d", "failed=30", "queued=1d", "a:workers=1d", "failed=1y"]
)
def test_what_is_no_entry_is_refused_before_anything(entry: str) -> None:
    with pytest.raises(ConfigurationError, match=r"retain.*failed=90d, imports:succeeded=12h"):
        retention([entry])
    if entry:
        with pytest.raises(ConfigurationError, match=r"retain.*failed=90d, imports:succeeded=12h"):
            Settings(retain=[entry])


def test_the_environment_takes_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBWARDEN_RETAIN", "succeeded=1d, imports:*=never")
    assert Settings().retain == ("succeeded=1d", "imports:*=never")
