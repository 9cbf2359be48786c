"""The demonstration's folder: settings, database, chart and the supervisor's log; anybody else's is refused."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from jobwarden.config import Settings
from jobwarden.errors import JobWardenError

_MARK = "# Made by `jobwarden demo`; the next demo in this folder begins anew.\n"
_SETTINGS = "jobwarden.toml"


@dataclass(frozen=True, slots=True)
class Folder:
    """Where a demonstration plays; ``path`` is absolute."""

    path: Path

    @property
    def chart(self) -> Path:
        """Where the chart is drawn."""
        return self.path / "census.svg"

    @property
    def report(self) -> Path:
        """Where the finalizer tells what became of the whole."""
        return self.path / "census.txt"

    @property
    def log(self) -> Path:
        """What the supervisor says."""
        return self.path / "supervisor.log"

    def prepare(self, url: str | None) -> str:
        """Make it ready for a new run and give the database's address; raises `JobWardenError` if it is not ours."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._clear()
            return self._settle(url or str(Settings.model_fields["database_url"].default))
        except OSError as error:
            raise JobWardenError(
                f"The folder {self.path} cannot be used ({error.strerror}): choose another with --dir."
            ) from error

    def _clear(self) -> None:
        settings = self.path / _SETTINGS
        ours = settings.is_file() and settings.read_text("utf-8", "replace").startswith(_MARK)
        if not ours and any(self.path.iterdir()):
            raise JobWardenError(f"The folder {self.path} has other files in it: choose another with --dir.")
        for file in (*self.path.glob("jobwarden.db*"), self.chart, self.report, self.log):
            file.unlink(missing_ok=True)

    def _settle(self, url: str) -> str:
        """Written for its owner alone, since an address may hold a password."""
        fd = os.open(self.path / _SETTINGS, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(fd, "w", encoding="utf-8") as file:
            quoted = url.replace("\\", "\\\\").replace('"', '\\"')
            file.write(f'{_MARK}database_url = "{quoted}"\n')
        return url
