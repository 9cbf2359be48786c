"""`token`, `user` and `audit` at the command line, on every engine."""

from __future__ import annotations

import subprocess

import sqlalchemy as sa

from jobwarden.store.database import Database
from jobwarden.store.schema import audit
from tests.cli.conftest import SCRIPT, Cli


def test_a_secret_is_all_of_standard_output_and_every_act_is_told(cli: Cli, database: Database) -> None:
    done = cli("token", "create", "ci", "--role", "operator", "--expires", "90d", "--reason", "for the pipeline")
    assert done.out.startswith("jw_")
    assert done.out.count("\n") == 1
    assert "not shown again" in done.err
    assert done.out.strip() not in cli("token", "list", "--json").out
    assert "already" in cli("token", "create", "ci", "--role", "viewer", code=1).err
    assert "like 90d" in cli("token", "create", "x", "--role", "viewer", "--expires", "soon", code=2).err
    assert cli("token", "revoke", "ci").out == "ci is revoked\n"
    assert "jobwarden token list" in cli("token", "revoke", "other", code=1).err
    seen = cli("audit", "--json").json
    assert [entry["action"] for entry in seen["data"]] == ["token.revoke", "token.create"]
    assert "for the pipeline" in cli("audit", "--action", "token.create").out
    verified = cli("audit", "--verify", "--json").json
    assert verified["holds"]
    assert verified["head"]["hash"] == seen["data"][0]["hash"]
    assert cli("audit", "--verify", "--expect", seen["data"][1]["hash"]).code == 0
    assert "rewritten" in cli("audit", "--verify", "--expect", "0" * 64, code=1).out
    with database.write() as transaction:
        transaction.execute(sa.update(audit).where(audit.c.seq == 1).values(reason="for myself"))
    assert "broken at row 1" in cli("audit", "--verify", code=1).out
    assert cli("audit", "--expect", "x", code=2).code == 2


def test_a_user_with_a_password_from_standard_input(cli: Cli) -> None:
    def piped(words: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(SCRIPT), *arguments, "--password-stdin"]
        return subprocess.run(
            command, cwd=cli.folder, env=cli.env, input=words, capture_output=True, text=True, timeout=60
        )

    assert "from 12" in piped("short\n", "user", "create", "ben", "--role", "viewer").stderr
    assert piped("correct horse battery\n", "user", "create", "ben", "--role", "viewer").returncode == 0
    assert piped("another horse battery\n", "user", "password", "ben").returncode == 0
    assert cli("user", "role", "ben", "admin").out == "ben is admin now\n"
    assert cli("user", "disable", "ben", "--json").json["disabled_at"]
    assert cli("user", "enable", "ben").out == "ben is enabled\n"
    [line] = cli("user", "list", "--json").json["data"]
    assert (line["name"], line["role"], line["disabled_at"]) == ("ben", "admin", None)
    assert "jobwarden user list" in cli("user", "disable", "other", code=1).err
