"""``python -m bench``: every figure beside its bare limit, in one run; see ``--help``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import Any

from bench.batches import cancel, chain, fan_out, join
from bench.figures import Line
from bench.machine import machine
from bench.report import show
from bench.schedules import tick
from bench.site import Site
from bench.steps import bulk, ledger, single
from bench.whole import backlog, fork, latency, pool

MEASURES: dict[str, Any] = {
    "single": single,
    "bulk": bulk,
    "ledger": ledger,
    "pool": pool,
    "fork": fork,
    "latency": latency,
    "backlog": backlog,
    "fan-out": fan_out,
    "join": join,
    "chain": chain,
    "cancel": cancel,
    "schedules": tick,
}


def main(words: list[str]) -> int:
    """Measure what was asked for; 0 whatever the figures say, since they are for people to judge."""
    wishes = _parser().parse_args(words)
    rounds, scale = (3, 0.25) if wishes.quick else (wishes.rounds, 1.0)
    begin = monotonic()
    with Site(wishes.engine) as site:
        facts = machine(site.disk)
        with site.store() as store:
            facts |= store.facts()
        lines = list(_measured(site, wishes.only or MEASURES, rounds, scale))
    facts |= {"rounds": rounds, "seconds": round(monotonic() - begin, 1)}
    _say(lines, facts, wishes)
    return 0


def _measured(site: Site, names: Iterable[str], rounds: int, scale: float) -> Iterator[Line]:
    """The lines, each said to the terminal as it comes."""
    for name in names:
        for line in MEASURES[name](site, rounds, scale):
            print(f"  {line.name}: {line.ours.middle:,.4g} {line.unit}", file=sys.stderr, flush=True)
            yield line if site.engine == "postgresql" else replace(line, target=None)


def _say(lines: list[Line], facts: dict[str, Any], wishes: argparse.Namespace) -> None:
    data = {"machine": facts, "lines": [line.data() for line in lines]}
    if wishes.out:
        wishes.out.write_text(json.dumps(data, indent=2))
    if wishes.json:
        print(json.dumps(data, indent=2))
    else:
        show(lines, facts)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--engine", choices=("postgresql", "mariadb", "sqlite"), default="postgresql")
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="this measure alone; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="rounds that count, after one that does not (default 3)")
    parser.add_argument("--quick", action="store_true", help="a quarter of the jobs: the shape, not the figures")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.add_argument("--out", type=Path, help="also write the JSON to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
