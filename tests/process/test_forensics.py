"""Deaths in words."""

from __future__ import annotations

import signal

import pytest

from jobwarden.domain.report import Cause, Outcome, Report
from jobwarden.domain.stamp import ProcessId
from jobwarden.process.exits import Exit, Leftover
from jobwarden.process.forensics import Circumstances, OomWatch, explain, signal_name

ME = ProcessId(1, 2)
KILLED_BY_NOBODY = (
    "killed by signal 9 (SIGKILL) after 3.2 s without reporting; "
    "SIGKILL nobody here sent, and no out-of-memory killer of the kernel was seen: a program or a person"
)


def died(status: int | None, *leftovers: Leftover, peak: int | None = None) -> Exit:
    return Exit(ME, "n", status, peak_rss=peak, leftovers=leftovers)


@pytest.mark.parametrize(
    ("end", "seen", "cause", "words"),
    [
        (died(9), Circumstances(3.2), Cause.KILLED, KILLED_BY_NOBODY),
        (died(15), Circumstances(sent=15, why="stop requested"), Cause.KILLED,
         "killed by signal 15 (SIGTERM) without reporting; sent by us: stop requested"),
        (died(11), Circumstances(), Cause.KILLED, "a crash in native code"),
        (died(3 << 8), Circumstances(), Cause.EXITED, "exited with code 3 without reporting"),
        (died(9), Circumstances(5, timeout=4, timed_out=True), Cause.TIMED_OUT, "exceeding its timeout of 4 s"),
        (died(9, peak=3 << 30), Circumstances(memory=2 << 30, over_memory=True), Cause.OUT_OF_MEMORY,
         "by us for exceeding its memory limit of 2.0 GiB (killed by signal 9 (SIGKILL), peak 3.0 GiB)"),
        (died(9), Circumstances(memory=2 << 30, over_memory=True, why="it holds 9 bytes"), Cause.OUT_OF_MEMORY,
         "(killed by signal 9 (SIGKILL)): it holds 9 bytes"),
        (died(9), Circumstances(oom_killed=True), Cause.OUT_OF_MEMORY, "by the kernel, which guards its control group"),
        (died(9), Circumstances(oom_near=True), Cause.OUT_OF_MEMORY, "out-of-memory killer struck on this machine"),
        (died(9), Circumstances(oom_near=True, sent=9, why="stop requested"), Cause.KILLED, "sent by us"),
        (died(11), Circumstances(oom_near=True), Cause.KILLED, "a crash in native code"),
        (died(None), Circumstances(), Cause.KILLED, "nobody saw how it ended"),
        (died(9, Leftover(5, "sleep"), Leftover(6, "stuck", ended=False)), Circumstances(), Cause.KILLED,
         "left 2 processes behind: 5 sleep, 6 stuck; could not end 6"),
    ],
)  # fmt: skip
def test_an_end_is_explained(end: Exit, seen: Circumstances, cause: Cause, words: str) -> None:
    found, sentence = explain(end, None, seen)
    assert found is cause
    assert words in sentence


def test_an_end_that_was_reported_says_so() -> None:
    report = Report("a", Outcome.FAILED, cause=Cause.OUT_OF_MEMORY)
    assert explain(died(256), report)[0] is Cause.OUT_OF_MEMORY
    assert "without reporting" not in explain(died(256), Report("a", Outcome.SUCCEEDED))[1]


def test_a_strike_of_the_kernel_is_noticed_for_a_moment() -> None:
    counted = iter([3, 3, 4, 4, 4])
    watch = OomWatch(lambda: next(counted))
    watch.look(0)
    watch.look(0.5)  # too soon to look again
    assert watch.near(1)
    assert watch.near(10)
    assert not watch.near(12)


def test_signals_have_names() -> None:
    assert signal_name(9) == "SIGKILL"
    assert signal_name(signal.SIGRTMIN + 3) == "SIGRTMIN+3"
