"""A log as JSON: one object a line, whatever is said, with a name for the event that wording does not change."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import logging
from jobwarden.config import LogFormat
from jobwarden.daemons.log import configure
from jobwarden.daemons.narrator import Narrator
configure(LogFormat({form!r}), "supervisor", "0001")
Narrator().leads("a lease\\nwith a second line")
try:
    raise ValueError("no")
except ValueError:
    logging.getLogger("jobwarden").exception("it broke")
"""


def said(form: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", SCRIPT.format(form=form)], capture_output=True, text=True, check=True)
    return done.stderr.splitlines()


def test_each_line_is_an_object() -> None:
    first, second = (json.loads(line) for line in said("json"))
    assert (first["event"], first["role"], first["daemon"], first["level"]) == ("leads", "supervisor", "0001", "info")
    assert first["message"] == "holds the lease a lease\nwith a second line"
    assert "ValueError: no" in second["trace"]


def test_for_people_it_is_lines_of_text() -> None:
    lines = said("text")
    assert lines[0].endswith("INFO holds the lease a lease")
    assert lines[-1] == "ValueError: no"
