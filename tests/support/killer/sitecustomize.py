"""Put first on a worker's path: notes each statement of its supervisor, and kills it where a file says so.

The folder ``STATEMENTS`` has the notes in ``said``, one statement a line; ``kill`` there is a JSON object: die before a
statement with this ``text``, or after it if ``after`` (a commit has no other statement after it), once ``mark`` was in
a statement of the same transaction.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Pool, event

_BEGINS = ("BEGIN", "BEGIN IMMEDIATE")


class Killer:
    """Looks over the shoulder of every connection."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._texts: list[str] = []
        event.listen(Engine, "before_cursor_execute", self._said)
        event.listen(Engine, "commit", lambda connection: self._say("COMMIT"))
        event.listen(Pool, "checkin", lambda raw, record: self._check("COMMIT", after=True))

    def _said(self, connection: Any, cursor: Any, text: str, *rest: Any) -> None:
        self._say(text)

    def _say(self, text: str) -> None:
        text = " ".join(text.split())
        if text in _BEGINS:
            self._texts.clear()
        self._check(text, after=False)
        self._texts.append(text)
        with (self._folder / "said").open("a") as file:
            file.write(f"{text}\n")

    def _check(self, text: str, *, after: bool) -> None:
        try:
            order = json.loads((self._folder / "kill").read_text())
        except OSError:
            return
        marked = any(order["mark"] in said for said in self._texts)
        if order["text"] == text and order["after"] is after and marked:
            (self._folder / "kill").unlink()
            os.kill(os.getpid(), signal.SIGKILL)


if "STATEMENTS" in os.environ and any("import work" in word for word in sys.orig_argv):
    Killer(Path(os.environ["STATEMENTS"]))
