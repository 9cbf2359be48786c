"""The whole engine, with real workers: rates of no-op jobs, time to the first line, and what a backlog costs."""

from __future__ import annotations

import multiprocessing
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench.app import APP
from bench.figures import Line, Series, Target, contest, interleaved
from bench.hand import hand
from bench.site import Site, Store
from bench.steps import drain_ours, parallel
from jobwarden import JobWarden
from tests.support.hosts import Worker
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[1]
CAPACITY = 4
KINDS: dict[str, dict[str, Any]] = {
    "fork": {"idempotent": True},
    "pool": {"idempotent": True, "isolation": "pool"},
    "barrier": {"idempotent": False},
}
_PATIENCE = 120.0


@contextmanager
def worker(store: Store, **wishes: Any) -> Iterator[Worker]:
    """A real worker on a store, with the application that is measured."""
    with Worker(
        store.url, store.folder, app=APP, cwd=ROOT, env={"JOBWARDEN_BEAT_INTERVAL": "2"}, capacity=CAPACITY, **wishes
    ) as running:
        yield running


def drain(store: Store, count: int, job: str, isolation: str) -> float:
    """Have a worker run so many no-op jobs; how many a second from the first claim to the last settling."""
    store.fill(count, job, isolation, quick=True)
    begun = store.now()
    with worker(store, burst=True) as running:
        running.wait(_PATIENCE)
    done, seconds = store.drained(begun)
    if done != count:
        raise AssertionError(f"{done} of {count} jobs succeeded:\n{running.log}")
    return count / seconds


def pool(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """(d) No-op jobs in shared children, end to end, beside the ledger's own limit."""
    count = int(8000 * scale)
    with site.store() as store:

        def ours() -> float:
            store.empty()
            return drain(store, count, "nothing_pool", "pool")

        def limit() -> float:
            store.empty()
            store.fill(count)
            return parallel(1, count, lambda start: drain_ours(store.url, start))

        yield contest(
            "pool no-op jobs, end to end",
            "our claim and settle alone",
            rounds,
            ours,
            limit,
            warm=False,
            target=Target(6000),
        )


def fork(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """(e) No-op jobs in a child each, end to end, beside fork-and-wait of the same process."""
    count = int(1200 * scale)
    with site.store() as store:

        def ours() -> float:
            store.empty()
            return drain(store, count, "nothing_fork", "fork")

        def limit() -> float:
            command = [sys.executable, "-m", "bench.forks", str(count), str(CAPACITY)]
            env = {**os.environ, "JOBWARDEN_DATABASE_URL": store.url}
            return float(subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout)

        words = f"fork and wait, {CAPACITY} in flight"
        yield contest(
            "fork no-op jobs, end to end", words, rounds, ours, limit, warm=False, target=Target(0.7, of="ratio")
        )


# -- time to the first line -------------------------------------------------------------------------------------------


def latency(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """(f) From the commit of the enqueue to the handler's first line, on an idle worker."""
    count = max(10, int(100 * scale))
    with site.store() as store, worker(store) as running:
        jw = JobWarden(database_url=store.url)
        running.await_ready(CAPACITY)
        for kind, options in KINDS.items():
            client = _Client(jw, f"stamp_{kind}", options)
            with _responder(store) as bare:
                told = list(interleaved(rounds, partial(client.some, count), partial(bare.some, count)))
            yield from _lines(kind, told)
        jw.database.dispose()


def _lines(kind: str, told: list[Any]) -> Iterator[Line]:
    words = {"fork": "fork", "pool": "pool", "barrier": "behind the barrier"}[kind]
    for share, most in ((0.5, 4.0), (0.99, 15.0)):
        ours, bare = (Series(tuple(_share(times, share) for times in side)) for side in zip(*told, strict=True))
        every = sorted(time for times, _ in told for time in times)
        notes = {"of_all": round(_share(every, share), 3), "enqueues": len(every)}
        name = f"enqueue to first line, {words}, p{share * 100:.0f}"
        yield Line(name, "ms", ours, bare, "nudge, one claim, a pipe", Target(most, most=True), notes)


def _share(times: list[float], share: float) -> float:
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


class _Client:
    """Enqueues one job after the other and asks each when it ran."""

    def __init__(self, jw: JobWarden, name: str, options: dict[str, Any]) -> None:
        self._jw, self._committed = jw, 0
        if name not in jw.jobs:
            self._job: Any = jw.job(name=name, **options)(_nothing)
        announce = jw.database.announce

        def noting() -> None:
            self._committed = time.monotonic_ns()
            announce()

        jw.database.announce = noting

    def some(self, count: int) -> list[float]:
        """So many times in milliseconds."""
        return [self._one() for _ in range(count)]

    def _one(self) -> float:
        handle = self._job.enqueue()
        committed = self._committed
        time.sleep(0.02)  # asking takes from the machine that is measured
        eventually(lambda: handle.refresh().state == "succeeded", _PATIENCE, interval=0.004)
        time.sleep(random.uniform(0.01, 0.03))  # the worker goes idle, and no rhythm forms
        return float(handle.result - committed) / 1e6


def _nothing() -> None:
    """Never called: the worker has the job."""


class _Bare:
    """What no engine can do without: a nudge, one claim with its commit, and a pipe to a child that waits."""

    def __init__(self, store: Store, path: str, answers: int) -> None:
        self._hand, self._path, self._answers = hand(store.url, "bare"), path, answers
        self._voice = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def some(self, count: int) -> list[float]:
        """So many times in milliseconds."""
        return [self._one() for _ in range(count)]

    def _one(self) -> float:
        self._hand.enqueue()
        committed = time.monotonic_ns()
        self._voice.sendto(b"work", self._path)
        began = int(os.read(self._answers, 64))
        time.sleep(random.uniform(0.01, 0.03))
        return (began - committed) / 1e6

    def close(self) -> None:
        """End it."""
        self._voice.sendto(b"", self._path)
        self._voice.close()
        self._hand.close()


@contextmanager
def _responder(store: Store) -> Iterator[_Bare]:
    path = str(store.folder / f"bare-{os.urandom(4).hex()}")
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ear.bind(path)
    claims, answers = os.pipe(), os.pipe()
    context = multiprocessing.get_context("fork")
    children = [
        context.Process(target=_claimer, args=(store.url, ear, claims)),
        context.Process(target=_runner, args=(claims, answers)),
    ]
    for child in children:
        child.start()
    os.close(claims[1])
    bare = _Bare(store, path, answers[0])
    try:
        yield bare
    finally:
        bare.close()
        for child in children:
            child.join(10)
            child.kill()
        for descriptor in (claims[0], *answers):
            os.close(descriptor)
        ear.close()
        os.unlink(path)


def _claimer(url: str, ear: socket.socket, claims: tuple[int, int]) -> None:
    os.close(claims[0])
    bare = hand(url, "bare")
    while ear.recv(64):
        claimed = bare.claim(1)
        os.write(claims[1], b"claim")
        bare.settle(claimed)
    os._exit(0)


def _runner(claims: tuple[int, int], answers: tuple[int, int]) -> None:
    os.close(claims[1])
    while os.read(claims[0], 64):
        os.write(answers[1], b"%d" % time.monotonic_ns())
    os._exit(0)


# -- a backlog --------------------------------------------------------------------------------------------------------


def backlog(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """(g) What a million other rows that wait cost: in another lane, delayed, blocked."""
    count, others = int(6000 * scale), int(1_000_000 * min(1, scale * 2))
    with site.store() as empty, site.store() as buried:
        buried.bury(others)

        def alone(store: Store) -> float:
            store.fill(count, quick=True)
            return parallel(1, count, lambda start: drain_ours(store.url, start))

        sides = {"claim and settle": alone, "pool end to end": lambda s: drain(s, count, "nothing_pool", "pool")}
        for name, side in sides.items():
            yield contest(
                f"{name}, {others:,} other rows wait",
                "the same in an empty table",
                rounds,
                partial(side, buried),
                partial(side, empty),
                target=Target(0.85, of="ratio"),
            )
