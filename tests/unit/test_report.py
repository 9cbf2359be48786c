"""A report crosses sockets and files and comes out as it went in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwarden.domain.report import Cause, Outcome, Report, Usage

numbers = st.none() | st.integers(0, 2**40)
words = st.none() | st.text(st.characters(exclude_categories=["Cs"]))
leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"]))
reports = st.builds(
    Report,
    attempt_id=st.uuids().map(str),
    outcome=st.sampled_from(Outcome),
    result=st.none() | leaves.map(json.dumps),
    error=st.none() | st.dictionaries(st.sampled_from(["class", "message", "location", "trace", "previous"]), leaves),
    reason=words,
    retryable=st.none() | st.booleans(),
    delay=st.none() | st.floats(0, 1e9),
    usage=st.builds(Usage, numbers, numbers, numbers, numbers),
    cause=st.none() | st.sampled_from(Cause),
    exit_code=st.none() | st.integers(0, 255),
    signal=st.none() | st.integers(1, 64),
)


@given(reports)
def test_a_report_survives_the_wire(report: Report) -> None:
    assert Report.load(json.loads(report.to_json())) == report


@given(reports)
def test_a_report_is_one_line(report: Report) -> None:
    assert b"\n" not in report.to_json()


def test_what_is_unknown_is_not_said() -> None:
    assert Report("a", Outcome.LOST).dump() == {"attempt_id": "a", "outcome": "lost", "usage": {}}


@pytest.mark.parametrize(
    "broken",
    [
        {},
        {"attempt_id": "a"},
        {"attempt_id": "a", "outcome": "splendid"},
        {"attempt_id": "a", "outcome": "failed", "cause": "boredom"},
    ],
)
def test_anything_else_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        Report.load(broken)


@pytest.mark.parametrize(
    "broken",
    [
        {"outcome": "failed"},
        {"attempt_id": "a", "outcome": "failed", "mood": "bad"},
        {"attempt_id": "a", "outcome": "failed", "usage": {"joules": 1}},
        {"attempt_id": "a", "outcome": "failed", "usage": None},
    ],
)
def test_a_report_with_other_keys_is_refused_as_load_promises(broken: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        Report.load(broken)
