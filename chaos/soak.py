"""``python -m chaos.soak``: many schedules, several schedulers that are killed and frozen at random, and a checker that
accounts for every instant at which anything was due.

Time is scaled: seconds between occurrences, and seconds after which one counts as missed. Everything is drawn from the
seed: schedules, faults, pauses. Schedules end by themselves, so that the accounts can be closed.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.progress import Progress

from chaos.accounts import Account, Policy, audit
from jobwarden import JobWarden
from jobwarden.config import Settings
from jobwarden.domain.states import ENDED
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.store.migrate import migrate
from tests.support.hosts import Scheduler, Worker
from tests.support.jobs import build
from tests.support.servers import SERVERS
from tests.support.waiting import eventually

LATE_AFTER = 3.0
_SETTINGS = {
    "JOBWARDEN_BEAT_INTERVAL": "0.3",
    "JOBWARDEN_MISSED_BEATS": "20",
    "JOBWARDEN_LATE_AFTER": str(LATE_AFTER),
}
_PERIODS = (4, 5, 6, 10, 12, 15)
_CREW = 3
_PATIENCE = 180.0


@dataclass
class Soaked:
    """What a soak came to: what contradicts the rules (nothing, if all is well), and how much there was to see."""

    findings: list[str]
    instants: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    latest: float = 0.0

    def dump(self) -> dict[str, Any]:
        """For JSON."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}


class Soak:
    """One soak on a migrated database; ``seconds`` is for how long occurrences are due."""

    def __init__(self, url: str, folder: Path, seed: int, schedules: int, seconds: float) -> None:
        self._url, self._folder = url, folder
        self._random = random.Random(seed)
        self._count, self._seconds = schedules, seconds
        self._app: JobWarden = build(database_url=url)
        self._crew: list[Scheduler] = []
        self.policies: list[Policy] = []
        self._faults: Counter[str] = Counter()

    def run(self, tick: Any = lambda seconds: None) -> Soaked:
        """Make the schedules, do harm while they are due, wait until all is over, and account for it."""
        with ExitStack() as stack:
            stack.callback(self._app.database.dispose)
            wishes: dict[str, Any] = {"env": _SETTINGS, "capacity": 12, "lanes": ["scheduled"]}
            stack.enter_context(Worker(self._url, self._folder, **wishes)).await_ready()
            self._make()
            self._crew = [stack.enter_context(self._scheduler()) for _ in range(_CREW)]
            self._harm(tick)
            self._close()
            return self.account()

    def account(self) -> Soaked:
        """Compare what is in the database with what must have become of every instant."""
        told = Soaked([], faults=self._faults)
        for policy in self.policies:
            account = self._account(policy)
            told.findings += audit(policy, account, LATE_AFTER)
            told.instants += len(policy.instants())
            for run in account.runs:
                told.actions[run.action] += run.number
            told.latest = max([told.latest, *(policy.lateness(run).total_seconds() for run in account.runs)])
        return told

    # -- what is due --------------------------------------------------------------------------------------------------

    def _make(self) -> None:
        with self._app.database.read() as transaction:
            begin = transaction.now().replace(microsecond=0) + timedelta(seconds=3 + self._count * 0.1)
        self.policies = [self._policy(number, begin) for number in range(self._count)]
        for policy in self.policies:
            long = self._random.random() < 0.1
            call = self._app.bind("nap", {"seconds": 5.0}) if long else self._app.bind("succeed", isolation="pool")
            self._app.schedules.put(policy.name, policy.cron, call, actor="soak", **policy.words())
        with self._app.database.read() as transaction:
            if transaction.now() >= begin:
                raise RuntimeError(f"making {self._count} schedules took until after the first was due: make fewer")

    def _policy(self, number: int, begin: datetime) -> Policy:
        choose = self._random.choice
        return Policy(
            name=f"s{number}",
            period=choose(_PERIODS),
            by_cron=self._random.random() < 0.5,
            begin=begin,
            end=begin + timedelta(seconds=self._seconds),
            missed=choose(["run_latest", "run_all", "coalesce", "skip"]),
            overlap=choose(["skip", "queue", "allow"]),
            window=choose([None, None, 8.0]),
            most=choose([None, None, 2]),
            jitter=choose([0.0, 0.0, 2.0]),
        )

    # -- what is done to those who fire it ----------------------------------------------------------------------------

    def _harm(self, tick: Any) -> None:
        until = time.monotonic() + self._seconds
        while (left := until - time.monotonic()) > 0:
            pause = min(left, self._random.uniform(0.3, 2.0))
            time.sleep(pause)
            tick(self._seconds - left + pause)
            fault = self._random.choices(["kill", "end", "freeze", "dark"], [4, 2, 4, 1])[0]
            self._faults[fault] += 1
            getattr(self, f"_{fault}")()

    def _kill(self) -> None:
        """One is killed, and comes back."""
        scheduler = self._random.choice(self._crew)
        scheduler.kill()
        scheduler.start()

    def _end(self) -> None:
        """One is told to end, and comes back."""
        scheduler = self._random.choice(self._crew)
        scheduler.signal(signal.SIGTERM)
        code = scheduler.wait()
        if code not in (0, -signal.SIGTERM):  # it may not have come to catch it yet
            raise RuntimeError(f"a scheduler that was told to end ended with {code}:\n{scheduler.log}")
        scheduler.start()

    def _freeze(self) -> None:
        """One is stopped for a while, wherever it is."""
        self._stop([self._random.choice(self._crew)], self._random.uniform(0.5, 3.0))

    def _dark(self) -> None:
        """Nobody looks for longer than makes an occurrence late."""
        self._stop(self._crew, self._random.uniform(1.2, 4.0) * LATE_AFTER)

    @staticmethod
    def _stop(crew: Sequence[Scheduler], seconds: float) -> None:
        for number, wait in ((signal.SIGSTOP, seconds), (signal.SIGCONT, 0.0)):
            for scheduler in crew:
                scheduler.signal(number)
            time.sleep(wait)

    def _scheduler(self) -> Scheduler:
        return Scheduler(self._url, self._folder, env=_SETTINGS)

    # -- closing the accounts -----------------------------------------------------------------------------------------

    def _close(self) -> None:
        """Wait until nothing is due any more, nothing waits for its turn, and every job is over."""
        open_schedules = sa.select(sa.func.count()).where(schema.schedules.c.next_due_at.is_not(None))
        waits = sa.select(sa.func.count()).where(schema.schedule_runs.c.live == schema.WAITS)
        busy = sa.select(sa.func.count()).where(schema.jobs.c.state.not_in(sorted(ENDED)))

        def over() -> bool:
            return not any(self._number(query) for query in (open_schedules, waits, busy))

        eventually(over, _PATIENCE, interval=0.2)

    def _number(self, query: sa.Select[Any]) -> int:
        with self._app.database.read() as transaction:
            return int(transaction.connection.execute(query).scalar_one())

    def _account(self, policy: Policy) -> Account:
        schedules, runs, jobs = schema.schedules, schema.schedule_runs, schema.jobs
        with self._app.database.read() as transaction:
            execute = transaction.connection.execute
            schedule = execute(sa.select(schedules.c.id).where(schedules.c.name == policy.name)).scalar_one()
            return Account(
                list(execute(runs.select().where(runs.c.schedule_id == schedule).order_by(runs.c.occurrence_time))),
                list(execute(jobs.select().where(jobs.c.schedule_id == schedule).order_by(jobs.c.created_at))),
            )


def main(words: Sequence[str]) -> int:
    """Run a soak on a server of its own; 1 if anything contradicts the rules."""
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description=__doc__)
    parser.add_argument("--engine", choices=sorted(SERVERS), default="sqlite")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=120.0, help="for how long occurrences are due (default 120)")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(words)
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1 << 31)
    with SERVERS[given.engine]() as server, tempfile.TemporaryDirectory() as folder, Progress() as progress:
        server.prepare(_migrate)
        task = progress.add_task(f"{given.engine}, seed {seed}", total=given.seconds, visible=not given.json)
        soak = Soak(server.create_database(), Path(folder), seed, given.schedules, given.seconds)
        told = soak.run(lambda seconds: progress.update(task, completed=seconds))
    print(json.dumps({"engine": given.engine, "seed": seed, **told.dump()}) if given.json else _words(seed, told))
    return 1 if told.findings else 0


def _words(seed: int, told: Soaked) -> str:
    def counted(counts: Counter[str]) -> str:
        return ", ".join(f"{count:,} {name}" for name, count in counts.most_common())

    lines = [
        f"seed {seed}: {told.instants:,} instants were due; {counted(told.actions)}",
        f"faults: {counted(told.faults)}; the latest decision came {told.latest:.1f} s after its instant",
        *(told.findings or ["every instant is accounted for"]),
    ]
    return "\n".join(lines)


def _migrate(url: str) -> None:
    database = Database(Settings(database_url=url))
    migrate(database)
    database.dispose()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
