"""Births and deaths of seats, as the supervisor hears of them."""

from __future__ import annotations

import os
import signal

import pytest

from jobwarden.domain.report import Outcome
from jobwarden.process import probe
from jobwarden.process.seats import SeatBorn, SeatClosed, ZygoteBroken, ZygoteGone, ZygoteReady
from tests.runner.conftest import make_stage
from tests.runner.stage import Stage, claim, claim_frame
from tests.support.waiting import eventually


def test_a_ready_zygote_tells_settings_and_jobs_as_data() -> None:
    for stage in make_stage():
        ready = stage.wait_event(ZygoteReady)
        assert (ready.process.pid, ready.app) == (stage.zygote.pid, "tests.runner.jobs:jw")
        assert ready.jobs["add"]["idempotent"] is True
        assert ready.settings["results_max_bytes"] == 65536
        assert probe.alive(ready.process)
        assert probe.command_line(ready.process.pid) == "jobwarden: zygote tests.runner.jobs:jw"


def test_a_seat_is_a_process_of_its_own_known_by_everything_we_have(stage: Stage) -> None:
    seat = stage.seat()
    found = probe.stat(seat.process.pid)
    assert found is not None
    assert found.start_time == seat.process.start_time
    assert found.parent == stage.zygote.pid
    assert seat.process.inode == os.fstat(seat.pidfd).st_ino or not seat.process.inode
    assert seat.fallback is None
    eventually(lambda: os.getsid(seat.process.pid) == seat.process.pid)
    eventually(lambda: probe.nonce(seat.process.pid) == seat.nonce, why="a fork shows its own nonce")
    eventually(lambda: probe.command_line(seat.process.pid) == "jobwarden: seat (idle)")
    seat.send({"op": "bye"})
    end = stage.wait_exit(seat)
    assert (end.process, end.code, end.leftovers) == (seat.process, 0, ())
    assert end.user_ms is not None
    assert end.peak_rss is not None
    assert end.peak_rss > 1 << 20
    assert seat.ended
    assert not seat.signal(signal.SIGTERM), "a signal to a process that ended reaches nobody"
    with pytest.raises(SeatClosed):
        eventually(seat.receive)


def test_many_seats_at_once(stage: Stage) -> None:
    stage.zygote.fork(20)
    born = [stage.wait_event(SeatBorn).seat for _ in range(20)]
    assert len({seat.nonce for seat in born}) == 20
    for seat in born:
        stage.seats.append(seat)
        seat.send({"op": "bye"})
    assert [stage.wait_exit(seat).code for seat in born] == [0] * 20


def test_an_idle_seat_goes_on_term_and_says_nothing(stage: Stage) -> None:
    seat = stage.seat()
    eventually(lambda: probe.command_line(seat.process.pid) == "jobwarden: seat (idle)")
    assert seat.signal(signal.SIGTERM)
    assert stage.wait_exit(seat).code == 0


def test_an_idle_seat_goes_when_its_supervisor_is_gone(stage: Stage) -> None:
    seat = stage.seat()
    seat.sock.close()
    assert stage.wait_exit(seat).code == 0


def test_a_retired_zygote_stays_until_its_last_seat_is_gone(own_stage: Stage) -> None:
    seat = own_stage.seat()
    own_stage.zygote.retire()
    own_stage.zygote.fork(1)
    report, _ = own_stage.run(claim("add", a=1, b=2), seat)
    assert report.result == "3"
    own_stage.wait_exit(seat)
    assert own_stage.wait_event(ZygoteGone).status == 0
    assert not any(isinstance(event, SeatBorn) for event in own_stage.events)


def test_the_signals_of_a_service_manager_do_not_end_a_zygote(stage: Stage) -> None:
    pid = stage.zygote.pid
    assert pid is not None
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
        os.kill(pid, number)
    report, seat = stage.run(claim("add", a=1, b=2))
    assert report.outcome is Outcome.SUCCEEDED
    stage.wait_exit(seat)


def test_the_seats_of_a_killed_zygote_go_on_and_are_reaped_by_us(own_stage: Stage) -> None:
    busy, idle, doomed = own_stage.seat(), own_stage.seat(), own_stage.seat()
    busy.send(claim_frame(claim("nap", seconds=0.3)))
    own_stage.wait_frame(busy, "start")
    own_stage.zygote.kill()
    assert own_stage.wait_event(ZygoteGone).status == 9
    assert own_stage.zygote.seats == 3
    doomed.signal(signal.SIGKILL)
    assert own_stage.wait_exit(doomed).signal == 9
    report = own_stage.report(busy)
    assert report.result == '"rested"'
    busy.send({"op": "ack", "attempt_ids": [report.attempt_id]})
    assert own_stage.wait_exit(busy).code == 0
    idle.send({"op": "bye"})
    end = own_stage.wait_exit(idle)
    assert end.code == 0
    assert end.peak_rss, "reaped by us, so its use is known too"


def test_exits_that_nobody_hears_are_left_in_the_runtime_directory(own_stage: Stage) -> None:
    first, second = own_stage.seat(), own_stage.seat()
    first.send({"op": "bye"})
    own_stage.wait_exit(first)
    own_stage.zygote.close()
    second.signal(signal.SIGKILL)
    end = eventually(lambda: own_stage.runtime.read_exit(second.process))
    assert end is not None
    assert (end.signal, end.nonce) == (9, second.nonce)
    assert own_stage.runtime.read_exit(first.process) is not None, "what was told before may not have been heard"


def test_what_a_killed_seat_left_behind_is_ended_and_named(stage: Stage) -> None:
    seat = stage.seat()
    seat.send(claim_frame(claim("leave_orphan_and_die")))
    end = stage.wait_exit(seat)
    assert end.signal == 9
    (left,) = end.leftovers
    assert left.ended
    assert probe.stat(left.pid) is None


def test_a_thread_in_the_zygote_means_fresh_interpreters_and_says_so() -> None:
    for stage in make_stage("tests.runner.threaded:jw"):
        stage.wait_event(ZygoteReady)
        seat = stage.seat()
        assert seat.fallback is not None
        assert "metrics-exporter" in seat.fallback
        assert "unsafe" in seat.fallback
        report, _ = stage.run(claim("who"), seat)
        assert report.result == str(seat.process.pid)
        assert stage.wait_exit(seat).code == 0


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("tests.runner.broken:jw", "RuntimeError: no such service: 'billing'"),
        ("tests.runner.nowhere:jw", "No module named"),
        ("tests.runner.jobs:nothing", "has no attribute 'nothing'"),
        ("tests.runner.jobs:os", "which has no jobs"),
        ("tests.runner.jobs", "not of the form module:attribute"),
    ],
)
def test_an_application_that_cannot_be_had_is_told_with_its_traceback(app: str, words: str) -> None:
    for stage in make_stage(app):
        broken = stage.wait_event(ZygoteBroken)
        assert words in broken.error
        assert "Traceback" in broken.trace or "Error" in broken.trace
        assert "jobwarden/runner/__main__" not in broken.trace or "nowhere" not in app
        assert stage.wait_event(ZygoteGone).status == 1 << 8
