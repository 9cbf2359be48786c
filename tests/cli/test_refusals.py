"""What cannot be done is said in one sentence on standard error, with the exit code that scripts rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_wrong_usage_is_2(bare: Cli) -> None:
    bare("nonsense", code=2)
    bare("show", code=2)
    bare("jobs", "--state", "nice", code=2)
    bare("jobs", "--batch", "nightly", code=2)
    bare("migrate", "--check", "--sql", code=2)
    bare("enqueue", "x", "--params", "{", code=2)
    bare("enqueue", "x", "--params", "[]", code=2)
    refused = bare("enqueue", "x", code=2)
    assert "-A module:attribute, or JOBWARDEN_APP" in refused.err
    bare("work", code=2)


@pytest.mark.parametrize("command", ["status", "jobs", "ps", "workers"])
def test_a_database_that_is_not_there_is_not_made_by_looking(bare: Cli, command: str) -> None:
    refused = bare(command, code=1)
    assert "run `jobwarden migrate`" in refused.err
    assert refused.err.count("\n") == 1
    assert list(bare.folder.iterdir()) == []


def test_a_wrong_address_is_one_sentence(bare: Cli) -> None:
    for url, words in {
        "postgres:/typo": "cannot be used",
        "oracle://x/y": "no engine that JobWarden knows",
        "postgresql://ada:secret@127.0.0.1:1/none": "cannot be reached",
        "sqlite:///no/such/folder/x.db": "run `jobwarden migrate`",
    }.items():
        bare.env["JOBWARDEN_DATABASE_URL"] = url
        refused = bare("status", code=1)
        assert words in refused.err
        assert "secret" not in refused.err
        assert refused.err.count("\n") == 1


def test_an_unmigrated_database_is_named(bare: Cli) -> None:
    (bare.folder / "jobwarden.db").touch()
    assert "run `jobwarden migrate`" in bare("jobs", code=1).err
    assert "run `jobwarden migrate`" in bare("migrate", "--check", code=1).err
    assert "CREATE TABLE jobwarden_jobs" in bare("migrate", "--sql").out
    assert "applied" in bare("migrate").out
    assert "nothing to do" in bare("migrate").out
    bare("migrate", "--check")
    assert "No such job." in bare("jobs").out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("import nothere", "ModuleNotFoundError: No module named 'nothere'"),
        ("def f(:", "SyntaxError"),
        ("raise RuntimeError('not today')", "RuntimeError: not today"),
        ("raise SystemExit(3)", "SystemExit"),
        ("other = 1", "no attribute 'app'"),
        ("app = 1", "int"),
    ],
)
def test_an_application_that_does_not_import_is_one_sentence(bare: Cli, text: str, words: str) -> None:
    (bare.folder / "broken.py").write_text(text)
    refused = bare("-A", "broken:app", "enqueue", "x", code=1)
    assert words in refused.err
    assert "Traceback" not in refused.err


def test_the_application_may_come_from_the_environment(bare: Cli) -> None:
    bare.env["JOBWARDEN_APP"] = "nothere:app"
    assert "nothere:app" in bare("status", code=1).err


def test_what_nobody_thought_of_is_70(bare: Cli) -> None:
    text = "class Odd:\n    jobs, find = {}, print\n    @property\n    def settings(self): return 1 / 0\napp = Odd()\n"
    (bare.folder / "odd.py").write_text(text)
    broken = bare("-A", "odd:app", "status", code=70)
    assert "internal error: ZeroDivisionError" in broken.err
    assert "Traceback" not in broken.err
    assert "Traceback" in bare("--debug", "-A", "odd:app", "status", code=70).err


def test_a_reader_that_left_is_no_error(bare: Cli) -> None:
    process = bare.start("--help")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 0


def test_init_overwrites_nothing(bare: Cli) -> None:
    bare("init")
    text = (bare.folder / "jobs.py").read_text()
    (bare.folder / "jobs.py").write_text("mine")
    assert "would be overwritten" in bare("init", code=1).err
    assert (bare.folder / "jobs.py").read_text() == "mine"
    bare("init", "sub/folder")
    assert Path(bare.folder / "sub/folder/jobs.py").read_text() == text
