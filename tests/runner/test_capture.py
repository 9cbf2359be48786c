"""What a job says reaches its spool: all of it, in order."""

from __future__ import annotations

import signal

from tests.runner.stage import Stage, claim, claim_frame


def test_everything_is_said_in_order_whoever_says_it(stage: Stage) -> None:
    _, seat = stage.run(claim("mixed"))
    said = stage.said(seat)
    assert [line.message for line in said] == [
        "1 print",
        "2 log",
        "3 stderr",
        "4 subprocess",
        "5 native",
        "6 in a step",
        "7 after it",
        "8 half",
        "9 no newline",
        "10 after the fragment",
        "report.json",
        "native on fd 2",
    ], "raw fd 2 is a file of its own; all else is in one order"
    assert [line.source for line in said] == [
        *("stdout", "log", "stderr", "stdout", "stdout", "log"),
        *("log", "progress", "stdout", "log", "artifact", "stderr"),
    ]
    assert said[1].context == {"store": 42}
    assert said[5][2:4] == ("load", {"logger": "some.library"}), "logged once, though the app has a handler for it"
    assert said[6].step is None
    artifact = said[10].context or {}
    assert (artifact["type"], artifact["size_bytes"], artifact["content_type"]) == ("report", 10, "application/json")


def test_ten_thousand_lines_come_without_a_gap(stage: Stage) -> None:
    _, seat = stage.run(claim("talk", lines=10_000))
    assert [line.message for line in stage.said(seat)] == [f"line {n}" for n in range(10_000)]


def test_bytes_that_are_no_text_lose_nothing_else(stage: Stage) -> None:
    _, seat = stage.run(claim("bytes_out"))
    assert [line.message for line in stage.said(seat)] == [
        "good",
        "bad \ufffd\ufffd and \u2400 nul",
        "héllo",
        "last without newline",
    ]


def test_lines_are_readable_while_the_job_runs(stage: Stage) -> None:
    seat = stage.seat()
    seat.send(claim_frame(claim("nap", seconds=600)))
    stage.wait_said(seat, "napping")
    assert [line.message for line in stage.said(seat)] == ["napping"]
    seat.kill_tree()
    assert stage.wait_exit(seat).signal == signal.SIGKILL, "it was still at it"
