"""``python -m chaos``: run a hostile workload, kill things at random from a seed, and check what came of it."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from chaos import report, sandbox
from chaos.campaign import Campaign, Wishes

ENGINES = ("sqlite", "postgresql", "mariadb")
_SHORT = {"faults": 90, "jobs": 1000, "seconds": 75.0}


def main(words: Sequence[str]) -> int:
    """Run the campaigns that were asked for; 1 if an invariant was broken."""
    given = _parser().parse_args(words)
    if why := sandbox.missing():
        print(f"chaos: {why}", file=sys.stderr)
        return 2
    codes = [sandbox.run(partial(_one, wishes, given.json)) for wishes in _wishes(given)]
    return max(codes)


def _one(wishes: Wishes, as_json: bool) -> int:
    found = Campaign(wishes).run()
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if wishes.report is not None:
        print(f"report: {report.write(found, wishes.report)}", file=sys.stderr)
    print(json.dumps(found, default=str) if as_json else report.markdown(found), flush=True)
    return 1 if any(verdict["violations"] for verdict in found["verdicts"]) else 0


def _wishes(given: argparse.Namespace) -> list[Wishes]:
    engines = [given.engine] if given.engine else list(ENGINES) if given.short else ["sqlite"]
    sizes: dict[str, Any] = {**_SHORT} if given.short else {"faults": 100, "jobs": 1000, "seconds": None}
    sizes |= {name: value for name in sizes if (value := getattr(given, name)) is not None}
    sizes["seconds"] = sizes["seconds"] or max(30.0, sizes["faults"] * 0.7)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 31)
    return [
        Wishes(
            engine=engine,
            seed=seed,
            hosts=given.hosts,
            supervisors=given.supervisors,
            replay=given.replay,
            report=given.report,
            keep=given.keep,
            **sizes,
        )
        for engine in engines
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--engine", choices=ENGINES, help="the database (default: sqlite; with --short: all, in turn)")
    parser.add_argument("--seed", type=int, help="the seed of all faults and jobs (default: a new one, which is shown)")
    parser.add_argument("--faults", type=int, help="how many faults (default 100)")
    parser.add_argument("--jobs", type=int, help="how many jobs (default 1000)")
    parser.add_argument("--seconds", type=float, help="how long the faults go on (default 0.7 s for each)")
    parser.add_argument("--hosts", type=int, default=2, help="how many hosts, where there is a network (default 2)")
    parser.add_argument("--supervisors", type=int, default=2, help="how many workers on each host (default 2)")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="the faults of this report instead of the seed's")
    parser.add_argument("--report", type=Path, metavar="DIR", help="write ENGINE-SEED.md and .json into this folder")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep journal and logs in this folder")
    parser.add_argument("--short", action="store_true", help="about 100 seconds on each engine")
    parser.add_argument("--json", action="store_true", help="JSON instead of Markdown")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
