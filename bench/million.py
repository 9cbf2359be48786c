"""``python -m bench.million``: what an operator's questions take beside a million jobs, and what they cost the workers.

The jobs are of all kinds; a supervisor drains no-op jobs at full speed meanwhile. Questions are asked through the same
service as the API's, a few a second, as some open pages would ask them. Slices with and without questions alternate, so
that both meet the same machine; and slices in which what was kept long enough is removed, as the leader does it. In
the end an action on 100,000 jobs is carried out in bites.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import random
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any, Self

import sqlalchemy as sa
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from starlette.testclient import TestClient

from bench.machine import machine
from bench.site import Site, Store
from bench.whole import worker
from jobwarden import JobWarden
from jobwarden.domain.access import Principal, Role
from jobwarden.domain.errorprint import print_of
from jobwarden.domain.orders import By, Verb
from jobwarden.domain.retention import retention
from jobwarden.domain.search import parse
from jobwarden.domain.states import JobState
from jobwarden.lifecycle.prune import Place, Pruner
from jobwarden.service import Service
from jobwarden.service.jobs import Wish
from jobwarden.store import errors, schema
from jobwarden.store.database import Database
from jobwarden.store.ids import new_ids
from jobwarden.views.jobs import Filter
from jobwarden.web import create_app

WHO = Principal("bench", Role.ADMIN)
LIMIT_MS = 300.0
_BITE = 5000
_STATES = ("succeeded",) * 84 + ("failed",) * 5 + ("canceled",) + ("queued",) * 10
_KINDS = [{"class": "OSError", "message": f"disk {letter} is full"} for letter in "abcdefghij"]
_PAUSE = 0.25  # between questions
_DRAWN = 15.0  # in which the graph of a large batch is laid out
_AT_MOST = {"postgresql": 4000, "mariadb": 3000, "sqlite": 4000}  # jobs a second that one supervisor ends
_HOURS = timedelta(hours=3)
Question = Callable[[], Any]


def questions(service: Service, ids: Sequence[str]) -> Mapping[str, Question]:
    """What is asked, by name."""
    chance = random.Random(1)
    waits = service.jobs.page(WHO, Filter(search=parse("state:queued lane:lane-1"), limit=1)).jobs[0].id

    def page(words: str = "", **wanted: Any) -> Question:
        return lambda: service.jobs.page(WHO, Filter(search=parse(words), **wanted))

    def count(words: str) -> Question:
        return lambda: service.jobs.count(WHO, Filter(search=parse(words)))

    return {
        "the newest": page(),
        "failed of a lane": page(states=[JobState.FAILED], lane="lane-3"),
        "a tag's value": lambda: service.jobs.page(WHO, Filter(tags={"store": str(chance.randrange(10_000))})),
        "a tag's beginning": page("store:77*"),
        "an error's words": page('state:failed error:"disk c"'),
        "a host": page("host:host-2 state:failed"),
        "a label": page('label:"run 4242"'),
        "a part of a job's name": page("job-1"),
        "all but": page("-state:succeeded -state:queued"),
        "nothing fits": page("state:stopped store:1"),
        "one by the end of its id": lambda: service.jobs.one(WHO, chance.choice(ids)[-12:]),
        "explain one that waits": lambda: service.jobs.explain(WHO, waits),
        "stats": lambda: service.fleet.stats(WHO),
        "lanes": lambda: service.fleet.lanes(WHO),
        "what runs": lambda: service.fleet.running(WHO, 50),
        "history": lambda: service.fleet.history(WHO, _HOURS, None, None, None),
        "metrics": lambda: service.fleet.metrics(WHO),
        "tags": lambda: service.jobs.tag_values(WHO, "store", "5", None, 50),
        "errors": lambda: service.jobs.errors(WHO, None, 20),
        "count what a retry would reach": count("state:failed lane:lane-3"),
        "count a tag": count("store:77"),
    }


def pages(app: JobWarden, ids: Sequence[str], batch: str) -> Mapping[str, Question]:
    """What the console answers with, by name: each is the whole page, drawn, as an open one asks for it again."""
    client = TestClient(create_app(app), base_url="http://127.0.0.1", client=("127.0.0.1", 50000))
    paths = {
        "overview": "/",
        "jobs": "/jobs",
        "failed of a lane": "/jobs?q=state:failed+lane:lane-3",
        "a job": f"/jobs/{ids[0]}",
        "errors": "/errors",
        "batches": "/batches",
        "lanes": "/lanes",
        "a batch of 100,000, its graph": f"/batches/{batch}",
        "a batch of 100,000, in time": f"/batches/{batch}?tab=time",
        "a batch of 100,000, its members": f"/batches/{batch}?tab=members",
        "a fleet of 1,000": "/workers?everyone=true",
        "the fleet of now": "/workers",
    }

    def asked(path: str) -> Question:
        return lambda: client.get(path, headers={"X-Live": "1"}).raise_for_status()

    return {f"page: {name}": asked(path) for name, path in paths.items()}


def fill(store: Store, count: int) -> list[str]:
    """So many jobs of all kinds with tags, and an attempt for each that failed; some of their ids."""
    ids, chance = [], random.Random(7)
    hosts = _workers(store)
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"{count:,} jobs", total=count)
        for begin in range(0, count, _BITE):
            made = new_ids(min(_BITE, count - begin))
            _insert(store, begin, made, chance, hosts)
            ids.append(made[chance.randrange(len(made))])
            progress.update(task, completed=begin + len(made))
    totals: dict[tuple[str, str], int] = defaultdict(int)
    for n in range(count):
        totals[f"lane-{n % 8}", _STATES[n * 37 % 100]] += 1
    with store.database.write() as transaction:
        errors.seen(transaction, map(print_of, _KINDS))
        rows = [{"scope": "lane", "name": lane, "state": state, "delta": n} for (lane, state), n in totals.items()]
        transaction.connection.execute(sa.insert(schema.counters), rows)
    store.settle_down()
    return ids


def _insert(store: Store, begin: int, made: Sequence[str], chance: random.Random, hosts: Sequence[str]) -> None:
    with store.database.write() as transaction:
        now = transaction.now()
        stamp = {"available_at": now, "created_at": now, "updated_at": now}
        jobs, tagged, tried = [], [], []
        for n, job_id in enumerate(made, begin):
            state, kind = _STATES[n * 37 % 100], _KINDS[n % 10]
            failed = state == "failed"
            jobs.append(
                {
                    "id": job_id, "job": f"job-{n % 20}", "name": f"run {n % 5000}", "lane": f"lane-{n % 8}",
                    "params": {}, "priority": 0, "state": state, "idempotent": True, "max_attempts": 1,
                    "created_by": f"user-{n % 50}",
                    "tags": {"store": str(n % 10_000)}, "error_print": print_of(kind).print if failed else None,
                    "last_error": kind if failed else None, "finished_at": None if state == "queued" else now,
                    "queued_at": now, **stamp,
                }
            )  # fmt: skip
            tagged.append({"job_id": job_id, "name": "store", "value": str(n % 10_000)})
            if failed:
                attempt = {"id": new_ids(1)[0], "job_id": job_id, "attempt_number": 1, "state": "failed"}
                more = {"worker_id": chance.choice(hosts), "fencing_token": 1, "created_at": now, "updated_at": now}
                tried.append({**attempt, **more, "finished_at": now})
        for table, rows in ((schema.jobs, jobs), (schema.tags, tagged), (schema.attempts, tried)):
            transaction.connection.execute(sa.insert(table), rows)


def large_batch(store: Store, app: JobWarden, size: int = 100_000) -> str:
    """A batch of so many members between a first and a last, half of which are over."""
    app.job(idempotent=True, name="part", lane="bulk")(lambda: None)
    batch = app.batch("a hundred thousand")
    first = batch.add(app_call(app), "first")
    batch.add(
        app_call(app), "last", after=[batch.add(app.bind("part", {}), f"part-{n}", after=[first]) for n in range(size)]
    )
    made = str(batch.enqueue().id)
    members = sa.select(schema.jobs.c.id).where(schema.jobs.c.batch_id == made).order_by(schema.jobs.c.id)
    with store.database.read() as transaction:
        half = list(transaction.execute(members.limit(size // 2)).scalars())
    for begin in range(0, len(half), _BITE):
        with store.database.write() as transaction:
            over = {"state": "succeeded", "started_at": transaction.now(), "finished_at": transaction.now()}
            some = schema.jobs.c.id.in_(half[begin : begin + _BITE])
            transaction.connection.execute(sa.update(schema.jobs).where(some).values(**over))
    return made


def _workers(store: Store) -> list[str]:
    made = new_ids(1000)
    with store.database.write() as transaction:
        now = transaction.now()
        rows = [
            {
                "id": worker_id, "role": "supervisor", "state": "stopped", "host_id": f"host-{n}", "pid_scope": "x",
                "hostname": f"host-{n % 100}", "current_load": 0, "started_at": now, "heartbeat_at": now,
                "stopped_at": now,
            }
            for n, worker_id in enumerate(made)
        ]  # fmt: skip
        transaction.connection.execute(sa.insert(schema.workers), rows)
    return made


class Beside:
    """Does something a few times a second in a thread of its own, while it is let."""

    def __init__(self, pause: float = _PAUSE) -> None:
        self._pause = pause
        self._goes, self._over = threading.Event(), threading.Event()
        self.failed: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *told: object) -> None:
        self._over.set()
        self._goes.set()
        self._thread.join()

    def let(self, goes: bool) -> None:
        """Whether it may ask."""
        (self._goes.set if goes else self._goes.clear)()

    def step(self) -> None:
        """Once."""
        raise NotImplementedError

    def _run(self) -> None:
        while True:
            self._goes.wait()
            if self._over.is_set():
                return
            try:
                self.step()
            except Exception as error:
                self.failed.append(str(error))
            time.sleep(self._pause)


class Asker(Beside):
    """Asks one question after the other."""

    def __init__(self, asked: Mapping[str, Question]) -> None:
        super().__init__()
        self._asked = itertools.cycle(asked.items())
        self.took: dict[str, list[float]] = defaultdict(list)

    def step(self) -> None:
        """The next question."""
        name, question = next(self._asked)
        begun = time.monotonic()
        question()
        self.took[name].append(1000 * (time.monotonic() - begun))


class Consoles(Beside):
    """Ten consoles that are left open, each on a page of its own: each asks again when its last answer said to."""

    def __init__(self, asked: Mapping[str, Question]) -> None:
        super().__init__(pause=0.1)
        self._asked = list(asked.values())[:10]
        self._due = [5.0 * n / len(self._asked) for n in range(len(self._asked))]
        self._begun = time.monotonic()

    def step(self) -> None:
        """All that are due."""
        for number, ask in enumerate(self._asked):
            if time.monotonic() - self._begun >= self._due[number]:
                again = float(ask().headers["X-Look-Again"])
                self._due[number] = time.monotonic() - self._begun + again


class Pruning(Beside):
    """Removes jobs that succeeded more than a minute ago, a bite at a time."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database, self._place, self.jobs = database, Place(), 0
        self._pruner = Pruner(retention(["succeeded=1m"]), By("bench"))

    def step(self) -> None:
        """The next bite."""
        bite = self._database.attempt(lambda transaction: self._pruner.bite(transaction, self._place))
        self.jobs += bite.pruned.jobs
        self._place = bite.next or Place()


def slices(store: Store, beside: Beside, seconds: float, many: int) -> tuple[list[float], list[float]]:
    """How many jobs a second ended in slices with that beside them, and in those without, in turn."""
    asked: list[float] = []
    alone: list[float] = []
    for n in range(2 * many):
        beside.let(n % 2 == 0)
        before, begun = _ended(store), time.monotonic()
        time.sleep(seconds)
        (asked if n % 2 == 0 else alone).append((_ended(store) - before) / (time.monotonic() - begun))
    return asked, alone


def _ended(store: Store) -> int:
    counted = sa.select(sa.func.coalesce(sa.func.sum(schema.history.c.number), 0)).where(schema.history.c.kind == "run")
    with store.database.read() as transaction:
        return int(transaction.execute(counted).scalar_one())


def bulk(service: Service, count: int) -> float:
    """Cancel so many by a filter, in bites; the seconds."""
    wanted = Filter(search=parse("state:queued lane:bulk"))
    begun, cursor, done = time.monotonic(), None, 0
    while True:
        bite = service.jobs.act_on_next(WHO, Wish(Verb.CANCEL, "bench"), wanted, cursor)
        done, cursor = done + len(bite.answers), bite.next
        if cursor is None:
            break
    if done != count:
        raise AssertionError(f"{done} of {count} were called off")
    return time.monotonic() - begun


def measured(site: Site, count: int, seconds: float, many: int) -> dict[str, Any]:
    """All of it on a fresh database."""
    with site.store() as store:
        ids = fill(store, count)
        app = JobWarden(database_url=store.url, nudge=False, notify=False)
        service = Service(app)
        looks = pages(app, ids, large_batch(store, app))
        asked = {**questions(service, ids), **looks}
        for question in asked.values():
            question()
        time.sleep(_DRAWN)
        store.fill(int(_AT_MOST[site.engine] * seconds * (5 * many + 1)), quick=True)
        beside = Asker(asked), Pruning(app.database), Consoles(looks)
        with worker(store) as running, beside[0] as asker, beside[1] as pruning, beside[2] as consoles:
            running.await_ready()
            time.sleep(seconds / 2)
            with_questions, alone = slices(store, asker, seconds, many)
            with_consoles, unwatched = slices(store, consoles, seconds, many)
            with_pruning, unpruned = slices(store, pruning, seconds, many // 2)
            left = store.ask("SELECT count(*) FROM jobwarden_jobs WHERE lane = 'default' AND state = 'queued'")[0]
        failed = [*asker.failed, *pruning.failed, *consoles.failed]
        if failed or not left:
            raise AssertionError(f"{left} jobs are left; failed: {failed}")
        app.enqueue_many(app_call(app) for _ in range(100_000))
        called_off = bulk(service, 100_000)
        app.database.dispose()
    rates = {"with": median(with_questions), "without": median(alone)}
    took = {name: {"p50": median(each), "p95": _p95(each), "asked": len(each)} for name, each in asker.took.items()}
    rates |= {"pruning": median(with_pruning), "unpruned": median(unpruned)}
    rates |= {"consoles": median(with_consoles), "unwatched": median(unwatched)}
    rates["pruned"] = pruning.jobs / seconds / (many // 2)
    return {"jobs": count, "rates": rates, "ms": took, "bulk": called_off}


def _p95(each: Sequence[float]) -> float:
    return sorted(each)[math.ceil(0.95 * len(each)) - 1]


def app_call(app: JobWarden) -> Any:
    """A job that waits in a lane that nobody serves."""
    if "nothing" not in app.jobs:
        app.job(idempotent=True, name="nothing", lane="bulk")(lambda: None)
    return app.bind("nothing", {})


def show(told: Mapping[str, Any], engine: str) -> None:
    """The figures as a table."""
    title = f"{engine}, {told['jobs']:,} jobs"
    table = Table("question", "asked", "p50 ms", "p95 ms", f"p95 < {LIMIT_MS:.0f}", title=title)
    for name, each in told["ms"].items():
        table.add_row(
            name,
            str(each["asked"]),
            f"{each['p50']:.1f}",
            f"{each['p95']:.1f}",
            "yes" if each["p95"] < LIMIT_MS else "NO",
        )
    console = Console()
    console.print(table)
    rates = told["rates"]
    slow = [("questions", "with", "without"), ("ten consoles", "consoles", "unwatched")]
    for what, beside, alone in [*slow, ("pruning", "pruning", "unpruned")]:
        less = 1 - rates[beside] / rates[alone]
        console.print(f"drained {rates[beside]:,.0f}/s beside {what}, {rates[alone]:,.0f}/s without: {less:.1%} less")
    console.print(f"pruned meanwhile: {rates['pruned']:,.0f} jobs/s")
    console.print(f"100,000 jobs called off by a filter, in bites of 500: {told['bulk']:.1f} s")


def main(words: Sequence[str]) -> int:
    """Measure one engine; 0 whatever the figures say."""
    parser = argparse.ArgumentParser(prog="python -m bench.million", description=__doc__)
    parser.add_argument("--engine", choices=("postgresql", "mariadb", "sqlite"), default="postgresql")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a slice (default 20)")
    parser.add_argument("--slices", type=int, default=5, help="with questions, and as many without (default 5)")
    parser.add_argument("--out", type=Path, help="also write the figures as JSON")
    wishes = parser.parse_args(words)
    with Site(wishes.engine) as site:
        facts = machine(site.disk)
        told = measured(site, wishes.jobs, wishes.seconds, wishes.slices)
    show(told, wishes.engine)
    if wishes.out:
        wishes.out.write_text(json.dumps({"machine": facts, "engine": wishes.engine, **told}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
