"""The entry of a daemon that a worker starts beside itself; its argument is the pipe that says which."""

from __future__ import annotations

import sys

from jobwarden.daemons.roles import run_beside
from jobwarden.errors import JobWardenError

if __name__ == "__main__":
    try:
        sys.exit(run_beside(int(sys.argv[1])))
    except JobWardenError as error:
        sys.exit(str(error))
