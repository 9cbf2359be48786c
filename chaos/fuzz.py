"""``python -m chaos.fuzz``: requests that nobody would send, thousands of them, against the API of a real server.

Schemathesis makes them from the API's own description: examples, the edges of every value, random ones that fit and
that do not, and sequences in which one answer feeds the next request. A server error, an undescribed answer, or a
refusal that should have been (or the other way round) is a finding. What fits the description and is refused because
of the database's state (a name that no job has) is none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobwarden import JobWarden
from jobwarden.config import Settings
from jobwarden.domain.access import Role
from jobwarden.domain.orders import By
from jobwarden.lifecycle.access import create_token
from jobwarden.store.database import Database
from jobwarden.store.migrate import migrate
from tests.support.servers import SERVERS
from tests.support.web import Web

PHASES = "examples,coverage,fuzzing,stateful"
_TOOL = Path(sys.executable).with_name("schemathesis")


def import_catalog(store_id: str, mode: str = "full") -> dict[str, str]:
    """The job that the description's own examples enqueue."""
    return {store_id: mode}


def build(**settings: Any) -> JobWarden:
    """An app with that job."""
    app = JobWarden(**settings)
    app.job(idempotent=True, name="import_catalog")(import_catalog)
    return app


jw = build()


@dataclass(frozen=True)
class Fuzzed:
    """What came of it: how many requests were tried, the tool's verdict and its words."""

    cases: int
    passed: bool
    words: str


def fuzz(url: str, folder: Path, examples: int, seed: int, phases: str = PHASES) -> Fuzzed:
    """Try the API on a migrated database, in each phase ``examples`` of each kind for each operation."""
    app = build(database_url=url, nudge=False, notify=False)
    secret = _seeded(app)
    app.database.dispose()
    report = folder / "fuzz.json"
    with Web(url, folder, "chaos.fuzz:jw") as web:
        done = subprocess.run(
            [
                str(_TOOL), "run", f"{web.address}/api/openapi.json",
                "-H", f"Authorization: Bearer {secret}",
                "--phases", phases, "--max-examples", str(examples), "--seed", str(seed), "--continue-on-failure",
                "--exclude-checks", "positive_data_acceptance",
                "--report", "json", "--report-json-path", str(report),
            ],
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
    return Fuzzed(_cases(report), done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:])


def _seeded(app: JobWarden) -> str:
    """Something of everything that can be asked for; gives the secret of a token that may do all."""

    def call(number: int, **options: Any) -> Any:
        return app.bind("import_catalog", {"store_id": str(number)}, **options)

    app.enqueue_many(call(n, lane=f"lane-{n % 3}", tags={"n": str(n)}) for n in range(30))
    batch = app.batch("fan-out")
    first = batch.add(call(0), key="first")
    for n in range(5):
        batch.add(call(n), key=f"next-{n}", after=[first])
    batch.enqueue()
    app.schedules.put("nightly", "0 3 * * *", call(0))
    with app.database.write() as transaction:
        return create_token(transaction, "fuzz", Role.ADMIN, By("fuzz"), None)[1]


def _cases(report: Path) -> int:
    told = json.loads(report.read_text())
    return int(told["test_cases"]["generated"])


def main(words: Sequence[str]) -> int:
    """Fuzz one engine and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m chaos.fuzz", description=__doc__)
    parser.add_argument("--engine", choices=sorted(SERVERS), default="sqlite")
    parser.add_argument("--examples", type=int, default=60, help="of each kind for each operation (default 60)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(words)
    with ExitStack() as stack:
        server = stack.enter_context(SERVERS[given.engine]())
        server.prepare(_migrate)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jobwarden-fuzz-")))
        told = fuzz(server.create_database(), folder, given.examples, given.seed)
    print(told.words)
    print(f"{given.engine}, seed {given.seed}: {told.cases:,} requests, {'all well' if told.passed else 'FINDINGS'}")
    return 0 if told.passed else 1


def _migrate(url: str) -> None:
    database = Database(Settings(database_url=url))
    migrate(database)
    database.dispose()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
