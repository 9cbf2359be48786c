"""A seed says everything that will be done, and a file can say it instead."""

from __future__ import annotations

import json
from pathlib import Path

from chaos import plan
from chaos.plan import FREEZES, Scale

SCALE = Scale(lease=2.0, fence=6.0, budget=11.0, pause=0.7)


def test_the_same_seed_draws_the_same_faults() -> None:
    assert plan.draw(7, 200, 2, True, SCALE) == plan.draw(7, 200, 2, True, SCALE)
    assert plan.draw(7, 200, 2, True, SCALE) != plan.draw(8, 200, 2, True, SCALE)


def test_a_plan_is_read_back_from_a_report_and_from_a_list(tmp_path: Path) -> None:
    faults = plan.draw(7, 50, 2, True, SCALE)
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"plan": plan.save(faults)}))
    assert plan.load(path) == faults
    path.write_text(json.dumps(plan.save(faults)))
    assert plan.load(path) == faults


def test_every_sort_of_fault_is_drawn_and_lasts_as_long_as_it_should() -> None:
    faults = plan.draw(1, 3000, 2, True, SCALE)
    roles = {"child", "seat", "zygote", "supervisor", "local reaper", "global reaper"}
    assert {fault.role for fault in faults if fault.what == "kill"} == roles
    assert {fault.role for fault in faults if fault.what == "freeze"} == roles
    assert {fault.role for fault in faults if fault.what in ("term", "hup")} == {"supervisor"}
    assert {fault.what for fault in faults if not fault.role} == {
        *("kill host", "kill init", "wipe", "restart", "terminate", "read only", "outage", "hang", "cut")
    }
    frozen = [fault.seconds / SCALE.lease for fault in faults if fault.what == "freeze"]
    assert FREEZES[0] <= min(frozen) < 1
    assert 15 < max(frozen) <= FREEZES[1]
    assert all(fault.seconds > SCALE.budget for fault in faults if fault.what == "cut")
    assert {fault.mode for fault in faults if fault.what == "cut"} == {"in", "out", "both"}


def test_one_host_without_a_network_has_its_file_locked_instead() -> None:
    faults = plan.draw(1, 500, 1, False, SCALE)
    assert {fault.host for fault in faults} == {0}
    assert "lock" in {fault.what for fault in faults}
    assert not {fault.what for fault in faults} & {"cut", "restart", "terminate", "outage"}
