"""What an application declares, asked of a process of its own: an answer, or a sentence and another try."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import pytest

from jobwarden.daemons.declarations import Declarations, Declared
from jobwarden.daemons.narrator import Narrator
from tests.support.waiting import eventually

_APP = """
from jobwarden import JobWarden
jw = JobWarden()
@jw.job(idempotent=False, name="bill")
def bill(month: int) -> None: ...
print("an application may say what it likes")
import atexit, threading, time
atexit.register(print, "also at its end")
threading.Thread(target=time.sleep, args=(60,)).start()
jw.schedule("monthly", "0 4 1 * *", bill.using(priority=3, timeout=60).bind(7), timezone="Europe/Oslo")
"""


def test_an_application_that_cannot_be_imported_is_said_and_asked_again_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    module = tmp_path / "declaring.py"
    module.write_text("1 / 0")
    now = [0.0]
    asked = Declarations("declaring:jw", Narrator(), lambda: now[0])
    with caplog.at_level(logging.ERROR, "jobwarden"):
        eventually(lambda: asked.fresh() or caplog.messages)
    assert "what declaring:jw declares is not known" in caplog.messages[0]
    assert "ZeroDivisionError" in caplog.messages[0]
    module.write_text(_APP)
    now[0] += 100
    found = eventually(asked.fresh)
    assert isinstance(found, Declared)
    assert found.owner == "declaring:jw"
    [schedule] = found.schedules
    assert (schedule.name, schedule.job, schedule.params, schedule.priority) == ("monthly", "bill", '{"month":7}', 3)
    assert (schedule.timing.cron, schedule.timing.zone) == ("0 4 1 * *", "Europe/Oslo")
    assert (schedule.options["timeout_sec"], schedule.idempotent) == (60.0, False)
    assert asked.fresh() is None, "it is asked once"
    asked.close()


def test_an_import_that_never_ends_is_ended_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "endless.py").write_text("import time\ntime.sleep(600)")
    hours = itertools.count(step=3600)
    asked = Declarations("endless:jw", Narrator(), lambda: float(next(hours)))
    with caplog.at_level(logging.ERROR, "jobwarden"):
        eventually(lambda: asked.fresh() or caplog.messages)
    assert "its process ended with code -9" in caplog.messages[0]
    asked.close()
