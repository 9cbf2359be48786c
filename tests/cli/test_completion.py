"""Completion in the shell: the script that a shell reads, and the names that a database has."""

from __future__ import annotations

import subprocess

import pytest

from tests.cli.conftest import SCRIPT, Cli
from tests.support.factories import Factories


def completed(cli: Cli, line: str, word: int) -> list[str]:
    """What a shell would offer for a word of a line."""
    asked = {"_JOBWARDEN_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(word)}
    done = subprocess.run(
        [str(SCRIPT)], cwd=cli.folder, env={**cli.env, **asked}, capture_output=True, text=True, check=True
    )
    return [entry.partition(",")[2] for entry in done.stdout.split()]


def test_lanes_are_completed_from_the_database(cli: Cli, factories: Factories) -> None:
    for lane in ("imports", "invoices", "mail"):
        factories.job(lane=lane)
    assert completed(cli, "jobwarden pause i", 2) == ["imports", "invoices"]
    assert completed(cli, "jobwarden cap ", 2) == ["imports", "invoices", "mail"]


@pytest.mark.any_engine
def test_a_database_that_cannot_be_asked_offers_nothing(cli: Cli) -> None:
    cli.env["JOBWARDEN_DATABASE_URL"] = "sqlite:////nowhere/x.db"
    assert completed(cli, "jobwarden pause i", 2) == []
    assert "prune" in completed(cli, "jobwarden pr", 1)


@pytest.mark.any_engine
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_asks_us(cli: Cli, shell: str) -> None:
    script = cli("completion", shell).out
    assert f"_JOBWARDEN_COMPLETE={shell}_complete" in script
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)


@pytest.mark.any_engine
def test_another_shell_is_refused(cli: Cli) -> None:
    assert "'tcsh' is not one of 'bash', 'fish', 'zsh'" in cli("completion", "tcsh", code=2).err
