"""``python -m jobwarden.runner.declared module:attr``: import an application and tell what schedules it declares.

The last thing it writes to standard output is one line: JSON, or with exit code 1 what is wrong. Then it ends at once:
what an application does as it exits, and threads that it has left running, could add to that or hold it up.
"""

from __future__ import annotations

import os
import sys

from jobwarden.runner.application import jobs_of, load_application, one_sentence
from jobwarden.schedule import as_json


def tell(spec: str) -> int:
    """Write the line; the exit code."""
    try:
        app = load_application(spec)
        jobs_of(app)
        code, line = 0, as_json(app.schedules.declared.values())
    except Exception as error:
        code, line = 1, " ".join(one_sentence(error).split())
    sys.stdout.write("\n" + line)
    sys.stdout.flush()
    return code


if __name__ == "__main__":
    os._exit(tell(sys.argv[1]))
