"""``python -m jobwarden.cli.app_probe module:attr``: import an application as a zygote does, and tell what came of it.

It runs in a process of its own, since what an import does to a process cannot be undone. The last line is JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from jobwarden.errors import ApplicationImportError
from jobwarden.process import probe
from jobwarden.runner.application import describe, load_application, one_sentence, prepare


def look(spec: str) -> dict[str, Any]:
    """Whether the application imports, how long it takes, its settings and jobs, and the threads that it starts."""
    begun = time.monotonic()
    try:
        app = load_application(spec)
        prepare(app)
        described = describe(app)
    except ApplicationImportError as error:
        cause = error.__cause__
        return {"error": str(error), "at": place_of(cause) if cause is not None else None}
    except Exception as error:
        return {"error": one_sentence(error), "at": place_of(error)}
    seconds = time.monotonic() - begun
    threads = sorted(probe.threads().values())
    return {
        "seconds": seconds,
        "threads": threads,
        "jobs": sorted(described["jobs"]),
        "settings": described["settings"],
    }


def place_of(error: BaseException) -> str | None:
    """Where the application's own code was when it failed, or what could not be parsed."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    at, place = error.__traceback__, None
    while at is not None:
        name = at.tb_frame.f_code.co_filename
        if not name.startswith("<"):
            place = f"{name}:{at.tb_lineno}"
        at = at.tb_next
    return place


if __name__ == "__main__":
    answer = look(sys.argv[1])
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    sys.stdout.flush()
