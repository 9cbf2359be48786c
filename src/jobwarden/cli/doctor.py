"""`doctor`: what the engine needs, looked at one by one; each is fine, or comes with what to do about it."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from rich.text import Text

from jobwarden.cli import output
from jobwarden.cli.checks import Finding, Standing, fail, ok, warn
from jobwarden.cli.checks_database import check_database
from jobwarden.cli.checks_host import check_host
from jobwarden.cli.opening import APP_VARIABLE, Opening
from jobwarden.config import ENV_PREFIX, Settings
from jobwarden.errors import JobWardenError

_OLDEST, _NEWEST = (3, 11), (3, 14)
_IMPORT_TIMEOUT = 120.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def doctor(opening: Opening, as_json: bool) -> int:
    """Check this host and the database.

    Everything that is not as wished comes with what to do about it; exit code 1 if something is in the way.
    """
    found: list[Finding] = []
    for finding in _check_up(opening.app):
        found.append(finding)
        if not as_json:
            _tell(finding)
    if as_json:
        output.as_json(found)
    failed = sum(finding.standing is Standing.FAIL for finding in found)
    if not as_json:
        warned = sum(finding.standing is Standing.WARN for finding in found)
        output.say(f"\n{len(found)} checks: {failed} in the way, {warned} with less than there could be.")
    return 1 if failed else 0


def _check_up(app: str | None) -> Iterator[Finding]:
    yield _python()
    settings, finding = _settings()
    yield finding
    if app is None:
        yield warn("application", "none was named, so none was imported", f"name it: -A module:attr, or {APP_VARIABLE}")
    else:
        described = _import_elsewhere(app)
        yield from _application(app, described)
        settings = Settings(**described["settings"]) if "settings" in described else settings
    if settings is not None:
        yield from check_database(settings)
        yield from check_host(settings)


def _python() -> Finding:
    version = sys.version_info[:2]
    says = f"{platform.python_version()} at {sys.executable}, SQLite {sqlite3.sqlite_version}"
    if version < _OLDEST:
        return fail("python", says, "use Python 3.11 or later")
    if version > _NEWEST:
        return warn("python", says, f"JobWarden is tested up to Python {_NEWEST[0]}.{_NEWEST[1]}")
    return ok("python", says)


def _settings() -> tuple[Settings | None, Finding]:
    try:
        settings = Settings()
    except JobWardenError as error:
        return None, fail("settings", str(error), "correct it where it is written")
    return settings, ok("settings", f"from {', '.join(_sources()) or 'the defaults alone'}")


def _sources() -> list[str]:
    """Where settings come from here: the files that are read, and the variables that are set."""
    fields = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    found = sorted(fields.intersection(os.environ))
    for folder in (here := Path.cwd(), *here.parents):
        files = [folder / name for name in ("jobwarden.toml", "pyproject.toml") if (folder / name).is_file()]
        if files:
            return [*found, *map(str, files)]
    return found


def _import_elsewhere(app: str) -> dict[str, Any]:
    """What an import of the application comes to, in a process of its own."""
    command = [sys.executable, "-m", "jobwarden.cli.app_probe", app]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_IMPORT_TIMEOUT, check=False)
    except subprocess.TimeoutExpired:
        return {"error": f"its import did not end within {_IMPORT_TIMEOUT:.0f} s"}
    lines = done.stdout.strip().splitlines()
    try:
        answer: dict[str, Any] = json.loads(lines[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        answer = {"error": f"its import ended the process: {last}"}
    return answer


def _application(app: str, described: dict[str, Any]) -> Iterator[Finding]:
    if "error" in described:
        place = f" (at {described['at']})" if described.get("at") else ""
        yield fail("application", f"{described['error']}{place}", "make it importable: python -c 'import ...' here")
        return
    jobs = described["jobs"]
    says = f"{app} imports in {described['seconds']:.2f} s, {len(jobs)} job(s)"
    yield ok("application", says) if jobs else warn("application", says, "import the modules that declare its jobs")
    threads = described["threads"]
    if len(threads) > 1:
        fix = "start threads on first use, not on import; until then every attempt gets a fresh interpreter"
        yield warn("zygote", f"importing it leaves {len(threads)} threads: {', '.join(threads)}", fix)
    else:
        yield ok("zygote", "importing it starts no thread, so attempts can be forked")


def _tell(finding: Finding) -> None:
    output.say(Text.assemble(_padded(finding.standing), (f"{finding.name}: ", "bold"), finding.says))
    if finding.fix:
        output.say(f"        {finding.fix}")


def _padded(standing: Standing) -> Text:
    text = output.state(standing.value)
    text.pad_right(8 - len(text))
    return text


COMMANDS = (doctor,)
