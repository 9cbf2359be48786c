"""The real `serve` as a process of its own, on a free port of this machine; nothing of it is left afterwards."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.jobs import APP
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
_SAID = re.compile(r"serving (http://\S+)/api")


class Web:
    """A server of the API on the database at ``url``; ``address`` is where, once it is entered."""

    def __init__(
        self, url: str, folder: Path, app: str = APP, env: Mapping[str, str] | None = None, host: str = "127.0.0.1"
    ) -> None:
        self._log = folder / f"serve-{os.urandom(4).hex()}.log"
        self._command = [sys.executable, "-m", "jobwarden.cli", "-A", app, "serve", "--host", host, "--port", "0"]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._env = {**os.environ, "JOBWARDEN_DATABASE_URL": url, "PYTHONPATH": path, **(env or {})}
        self.address = ""

    @property
    def log(self) -> str:
        """What it said so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        eventually(lambda: _SAID.search(self.log) or self.process.poll() is not None, 60, why=lambda: self.log)
        said = _SAID.search(self.log)
        assert said is not None, self.log
        self.address = said[1]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if error is not None:
            print(f"--- log of serve\n{self.log}")
