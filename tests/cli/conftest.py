"""The real console script, run in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(sys.executable).with_name("jobwarden")
_PATIENCE = 90.0


@dataclass(frozen=True)
class Done:
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli:
    """The command in a folder, with settings from the environment."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.env = {**os.environ, **{f"JOBWARDEN_{name.upper()}": str(value) for name, value in settings.items()}}

    def __call__(self, *arguments: str, code: int | None = 0) -> Done:
        """Run it to its end and expect this exit code (None: any)."""
        done = subprocess.run(
            [str(SCRIPT), *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
        assert code is None or done.returncode == code, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start it, in a session of its own as from a shell."""
        return subprocess.Popen(
            [str(SCRIPT), *arguments],
            cwd=self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture
def cli(database_url: str, runtime_dir: Path, tmp_path: Path) -> Cli:
    """The command on a fresh, migrated database of each engine."""
    return Cli(tmp_path, database_url=database_url, runtime_dir=runtime_dir)


@pytest.fixture
def bare(runtime_dir: Path, tmp_path: Path) -> Cli:
    """The command in an empty folder, without settings: on a database file that is not there yet."""
    return Cli(tmp_path, runtime_dir=runtime_dir)


def ended(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> tuple[int, str]:
    """Ask a started command to end; its exit code and output."""
    process.send_signal(number)
    out, _ = process.communicate(timeout=_PATIENCE)
    return process.returncode, out
