"""A database that is down for everybody, for a minute: what it costs, with the settings as they come.

    python -m chaos.outage --engine postgresql --seconds 60

Two workers and a global reaper are kept busy; the server is killed, stays down, and is started again. The figures are
read from the database afterwards, by its own clock. The exit code is 1 if a promise was broken: nothing orphaned,
nothing lost, nothing twice, nobody declared dead or started anew, throughput back to 95 % within half a minute.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa

from chaos.site import migrate_at
from jobwarden import JobWarden
from jobwarden.store import schema
from jobwarden.store.database import age
from tests.support.hosts import Reaper, Worker
from tests.support.jobs import build
from tests.support.servers import SERVERS, NetworkServer, fast_folder
from tests.support.waiting import eventually

_SECONDS = 0.2  # what a job takes: the seats are the limit, not the machine
_BEFORE, _AFTER = 20.0, 60.0
_WINDOW = 5.0
_DEADLINE = 30.0
_SHARE = 0.95
_TITLES = ("jobwarden: supervisor", "jobwarden: zygote", "jobwarden: local reaper")


@dataclass
class Figures:
    """What was seen. Rates are jobs per second; ``back_after`` counts from the server's first answer."""

    engine: str
    seconds_down: float
    jobs: int
    before: float
    after: float
    back_after: float | None
    orphaned: int
    lost: int
    twice: int
    declared_dead: int
    registered: int
    restarted: list[str]

    @property
    def broken(self) -> list[str]:
        """The promises that were not kept."""
        none = ("orphaned", "lost", "twice", "declared_dead", "restarted")
        found = [name for name in none if getattr(self, name)]
        if self.back_after is None or self.back_after > _DEADLINE:
            found.append("back_after")
        return found


def main() -> int:
    """Run it once and print the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--engine", choices=("postgresql", "mariadb"), default="postgresql")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    figures = run(given.engine, given.seconds)
    print(json.dumps({**asdict(figures), "broken": figures.broken}, indent=2))
    return 1 if figures.broken else 0


def run(engine: str, seconds: float) -> Figures:
    """One outage of so many seconds."""
    folder = Path(tempfile.mkdtemp(prefix="jobwarden-outage-", dir=fast_folder()))
    kind = SERVERS[engine]
    assert issubclass(kind, NetworkServer)
    try:
        with kind() as server:
            server.prepare(migrate_at)
            app = build(database_url=server.create_database())
            try:
                return _run(server, app, folder, seconds)
            finally:
                app.database.dispose()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(server: NetworkServer, app: JobWarden, folder: Path, seconds: float) -> Figures:
    url, marks = app.settings.database_url, folder / "marks"
    with ExitStack() as stack:
        workers = [
            stack.enter_context(Worker(url, folder, env={"JOBWARDEN_BEAT_INTERVAL": "2"}, capacity=4)) for _ in range(2)
        ]
        env = {"JOBWARDEN_BEAT_INTERVAL": "2"}
        stack.enter_context(Reaper(url, folder, "global", env=env)).await_lease()
        for worker in workers:
            worker.await_ready()
        count = int((_BEFORE + _AFTER + 30) * 8 / _SECONDS)
        calls = (
            app.bind("append", {"path": str(marks), "text": f"{n}", "seconds": _SECONDS}, isolation="pool")
            for n in range(count)
        )
        app.enqueue_many(calls)
        eventually(marks.exists, 30)
        time.sleep(_BEFORE + _WINDOW)
        pids = _pids(workers)
        before = _rate(_ages(app), _BEFORE, 0)
        server.kill()
        time.sleep(seconds)
        server.start()
        app.database.dispose()
        begun = time.monotonic()
        time.sleep(_AFTER)
        ages, passed = _ages(app), time.monotonic() - begun
        back, after = _recovery(ages, before, passed)
        restarted = sorted(f"{title}: {pid}" for pid, title in pids.items() if pid not in _pids(workers))
        return _figures(server.engine, seconds, app, marks, (before, after, back), restarted, workers)


def _pids(workers: list[Worker]) -> dict[int, str]:
    """The processes that must outlive it, by pid."""
    found = {}
    for worker in workers:
        assert worker.running, worker.log
        found[worker.pid] = "supervisor"
        for title in _TITLES[1:]:
            found.update({proc.pid: title for proc in worker.titled(title)})
    return found


def _ages(app: JobWarden) -> list[float]:
    """How many seconds ago each job succeeded, all at one look."""
    query = sa.select(age(schema.jobs.c.finished_at)).where(schema.jobs.c.state == "succeeded")
    with app.database.read() as transaction:
        return [float(seconds) for seconds in transaction.execute(query).scalars()]


def _rate(ages: list[float], since: float, until: float) -> float:
    """Jobs that succeeded each second, between so many and so many seconds ago."""
    return sum(until < seconds <= since for seconds in ages) / (since - until)


def _recovery(ages: list[float], before: float, passed: float) -> tuple[float | None, float]:
    """After how many seconds the rate was back, and what it was in the last half of the time."""
    ends = (second + _WINDOW for second in range(int(passed - _WINDOW)))
    back = (end for end in ends if _rate(ages, passed - end + _WINDOW, passed - end) >= _SHARE * before)
    return next(back, None), _rate(ages, passed / 2, 0)


def _figures(
    engine: str,
    seconds: float,
    app: JobWarden,
    marks: Path,
    rates: tuple[float, float, float | None],
    restarted: list[str],
    workers: list[Worker],
) -> Figures:
    for worker in workers:
        worker.drain()
    with app.database.read() as transaction:
        jobs = Counter(transaction.execute(sa.select(schema.jobs.c.state)).scalars())
        attempts = Counter(transaction.execute(sa.select(schema.attempts.c.state)).scalars())
        daemons = transaction.execute(sa.select(schema.workers.c.state, schema.workers.c.role)).all()
    left = Counter(marks.read_text().split())
    before, after, back = rates
    return Figures(
        engine=engine,
        seconds_down=seconds,
        jobs=jobs["succeeded"],
        before=round(before, 1),
        after=round(after, 1),
        back_after=back,
        orphaned=attempts["orphaned"] + jobs["orphaned"],
        lost=abs(len(left) - jobs["succeeded"]) + jobs["failed"] + jobs["running"],
        twice=sum(times - 1 for times in left.values()),
        declared_dead=sum(state == "dead" for state, _ in daemons),
        registered=len(daemons),
        restarted=restarted,
    )


if __name__ == "__main__":
    sys.exit(main())
