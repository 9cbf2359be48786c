"""``python -m jobwarden.cli``: the command line of exactly this interpreter."""

from __future__ import annotations

import sys

from jobwarden.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
