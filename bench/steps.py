"""The engine without processes: enqueue, claim and settle, beside the same row changes by hand."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from bench.figures import Line, Target, contest, rate
from bench.hand import hand
from bench.site import Site, Store
from jobwarden import JobWarden
from jobwarden.domain.report import Outcome, Report, Usage
from jobwarden.domain.stamp import Host, ProcessId
from jobwarden.domain.states import Actor
from jobwarden.lifecycle.claim import Owner, Vacancy, claim
from jobwarden.lifecycle.settle import Settlement, settle
from jobwarden.store.ids import new_id, new_ids

_OWNER = Owner(new_id(), Host("host", "host:4026531836", "host.example"), ProcessId(4242, 123456))
_CHILD = ProcessId(4243, 123457, 98765)
_BATCH = 100
Drain = Callable[[str, Any], int]


def single(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """(a) One job, one commit, one client."""
    count = int(1500 * scale)
    with site.store() as store:
        jw = JobWarden(database_url=store.url)
        job = _declared(jw)
        bare = hand(store.url)

        def ours() -> float:
            return rate(count, lambda: [job.enqueue(n) for n in range(count)])

        def by_hand() -> None:
            for _ in range(count):
                bare.enqueue()

        def limit() -> float:
            return rate(count, by_hand)

        yield contest("single enqueue", "one INSERT by hand", rounds, ours, limit, target=Target(2000))
        bare.close()
        jw.database.dispose()


def bulk(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """(b) Many jobs in one transaction."""
    count = int(20000 * scale)
    with site.store() as store:
        jw = JobWarden(database_url=store.url)
        job, bare = _declared(jw), hand(store.url)
        bound = [job.bind(n) for n in range(count)]

        def fresh(work: Callable[[], Any]) -> Callable[[], float]:
            def side() -> float:
                store.empty()
                store.settle_down()
                return rate(count, work)

            return side

        limit = fresh(lambda: bare.enqueue_many(count))
        whole = fresh(lambda: job.enqueue_many(job.bind(n) for n in range(count)))
        words, target = "COPY or long INSERTs by hand", Target(60000)
        yield contest("bulk enqueue, with binding", words, rounds, whole, limit, target=target)
        ready = fresh(lambda: job.enqueue_many(bound))
        yield contest("bulk enqueue of calls already bound", words, rounds, ready, limit)
        bare.close()
        jw.database.dispose()


def _declared(jw: JobWarden) -> Any:
    @jw.job(idempotent=True, isolation="pool", name="nothing_pool")
    def nothing_pool(number: int) -> None:
        """Do nothing."""

    return nothing_pool


def ledger(site: Site, rounds: int, scale: float) -> Iterator[Line]:
    """(c) Claim and settle a hundred at a time with the full ledger, on one connection and on two."""
    with site.store() as store:
        for connections in (1, 2):
            count = int(6000 * scale) * connections

            def side(drain: Drain, connections: int = connections, count: int = count) -> float:
                store.empty()
                store.fill(count)
                return parallel(connections, count, lambda start: drain(store.url, start))

            words = "1 connection" if connections == 1 else f"{connections} connections"
            target = Target(0.6, of="ratio") if connections == 1 else None
            yield contest(
                f"claim and settle, {words}",
                "the same row changes by hand",
                rounds,
                partial(side, drain_ours),
                partial(side, drain_by_hand),
                target=target,
            )


def drain_ours(url: str, start: Any) -> int:
    """Claim and settle until nothing is left."""
    store = Store("", url, None)  # type: ignore[arg-type]
    database, done = store.database, 0
    with database.read() as transaction:
        transaction.now()
    start()
    while claims := claim_ours(database):
        settle_ours(database, claims)
        done += len(claims)
    database.dispose()
    return done


def claim_ours(database: Any, most: int = _BATCH) -> list[Any]:
    """One claim of the engine's, committed."""
    vacancies = [Vacancy(f"{n:016x}", _CHILD, pooled=True, room=50) for n in range(2)]
    with database.write() as transaction:
        return [seated.claim for seated in claim(transaction, ["default"], vacancies, _OWNER, new_ids, _deep).seated]


def settle_ours(database: Any, claims: list[Any]) -> None:
    """One settling of the engine's, committed."""
    settlements = [
        Settlement(
            given.job_id,
            given.token,
            Report(given.attempt_id, Outcome.SUCCEEDED, result="null", usage=Usage(1, 1, 0, 30_000_000)),
        )
        for given in claims
    ]
    with database.write() as transaction:
        settle(transaction, settlements, Actor.WORKER, _OWNER.worker_id)


def _deep(job: str) -> int:
    return 50


def drain_by_hand(url: str, start: Any) -> int:
    """The same by hand."""
    bare, done = hand(url), 0
    start()
    while claimed := bare.claim(_BATCH):
        bare.settle(claimed)
        done += len(claimed)
    bare.close()
    return done


def parallel(processes: int, count: int, drain: Callable[[Any], int]) -> float:
    """Jobs a second of so many processes that begin together; each says when it has begun and when it was done."""
    context = multiprocessing.get_context("fork")
    barrier, answers = context.Barrier(processes), context.SimpleQueue()

    def one() -> None:
        began = 0.0

        def start() -> None:
            nonlocal began
            barrier.wait(60)
            began = time.monotonic()

        done = drain(start)
        answers.put((began, time.monotonic(), done))
        os._exit(0)

    children = [context.Process(target=one) for _ in range(processes)]
    for child in children:
        child.start()
    for child in children:
        child.join(120)
    told: list[tuple[float, float, int]] = [answers.get() for child in children if child.exitcode == 0]
    if sum(done for _, _, done in told) != count:
        raise AssertionError(f"{told} do not add up to {count} jobs")
    return count / (max(end for _, end, _ in told) - min(began for began, _, _ in told))
