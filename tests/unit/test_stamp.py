"""A pid alone names nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwarden.domain.stamp import ProcessId

ONE = ProcessId(pid=7, start_time=100, inode=55)
processes = st.builds(ProcessId, st.integers(1, 3), st.integers(1, 3), st.integers(0, 2))


def test_a_process_is_itself() -> None:
    assert ONE.same_process(replace(ONE))


@pytest.mark.parametrize("other", [replace(ONE, pid=8), replace(ONE, start_time=101), replace(ONE, inode=56), None])
def test_a_process_that_differs_in_anything_known_is_another(other: ProcessId | None) -> None:
    assert not ONE.same_process(other)


def test_an_unknown_inode_leaves_pid_and_start_time_to_decide() -> None:
    assert ONE.same_process(replace(ONE, inode=0))
    assert replace(ONE, inode=0).same_process(ONE)
    assert not replace(ONE, inode=0).same_process(replace(ONE, start_time=101))


@given(processes, processes)
def test_it_does_not_matter_who_is_asked(one: ProcessId, other: ProcessId) -> None:
    assert one.same_process(other) == other.same_process(one)


@given(processes)
def test_every_process_is_the_same_as_itself(one: ProcessId) -> None:
    assert one.same_process(one)
