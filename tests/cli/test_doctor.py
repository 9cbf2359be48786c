"""The doctor looks at everything that the engine needs, changes nothing, and says what to do."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa

from jobwarden.store.database import Database
from tests.cli.conftest import Cli


def findings(cli: Cli, *before: str, code: int = 0) -> dict[str, Any]:
    return {found["name"]: found for found in cli(*before, "doctor", "--json", code=code).json}


def test_all_is_well(cli: Cli, database: Database, engine_name: str) -> None:
    cli("init")
    found = findings(cli, "-A", "jobs:app")
    assert [finding for finding in found.values() if finding["standing"] == "fail"] == []
    assert "2 job(s)" in found["application"]["says"]
    assert "no thread" in found["zygote"]["says"]
    assert {"schema", "may write", "may create tables", "/proc", "assurance", "runtime directory"} <= set(found)
    assert ("notifications" in found) == (engine_name == "postgresql")
    if engine_name == "postgresql":
        assert found["notifications"]["says"] == "one was sent and heard"
    with database.engine.connect() as connection:
        tables = sa.inspect(connection).get_table_names()
    assert [name for name in tables if "doctor" in name] == []


def test_what_is_in_the_way_fails_and_comes_with_a_way_out(bare: Cli) -> None:
    (bare.folder / "broken.py").write_text("import nothere")
    found = findings(bare, "-A", "broken:app", code=1)
    assert "No module named 'nothere'" in found["application"]["says"]
    assert "jobwarden migrate" in found["database"]["fix"]
    assert found["/proc"]["standing"] == "ok"
    assert not (bare.folder / "jobwarden.db").exists()
    page = bare("doctor", code=1).out
    assert "✗ fail  database:" in page


def test_a_thread_of_the_application_is_named(bare: Cli) -> None:
    text = "import threading\nfrom jobwarden import JobWarden\napp = JobWarden()\n"
    text += "threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    (bare.folder / "threaded.py").write_text(text)
    bare("-A", "threaded:app", "migrate")
    zygote = findings(bare, "-A", "threaded:app")["zygote"]
    assert zygote["standing"] == "warn"
    assert "2 threads" in zygote["says"]


def test_an_import_that_ends_the_process_is_told(bare: Cli) -> None:
    (bare.folder / "gone.py").write_text("import os\nos._exit(5)\n")
    found = findings(bare, "-A", "gone:app", code=1)
    assert "exit code 5" in found["application"]["says"]


def test_a_wrong_setting_is_the_first_thing_said(bare: Cli) -> None:
    bare.env["JOBWARDEN_CAPACITY"] = "many"
    found = json.loads(bare("doctor", "--json", code=1).out)
    settings = next(finding for finding in found if finding["name"] == "settings")
    assert settings["standing"] == "fail"
    assert "capacity" in settings["says"]
