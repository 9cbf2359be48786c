"""Everything that a monitoring system reads, in Prometheus' terms: from counters, history, workers and leases.

Nothing here scans jobs or attempts, so it may be read every few seconds. The exposition format is Prometheus' text
format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/), written by its own client library.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from sqlalchemy import func, select

from jobwarden.domain.history import BOUNDS, SIZES, Kind
from jobwarden.domain.states import LIVE_WORKER
from jobwarden.store.database import Transaction, age
from jobwarden.store.schema import batches, leases, schedules
from jobwarden.views.fleet import WorkerLine, listed_workers
from jobwarden.views.overview import listed_lanes
from jobwarden.views.series import Total, totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Who found that an attempt was lost: the tier of recovery that took it up.
TIERS = {"supervisor": "1", "reaper": "2", "system": "3"}
_LOST = frozenset({"orphaned"})


def exposition(transaction: Transaction) -> str:
    """All metrics as Prometheus' text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(list(metrics(transaction))))
    return generate_latest(registry).decode()


class _Collected:
    """A collector of what was read already."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        """What a registry asks for."""
        return self._found


def metrics(transaction: Transaction) -> Iterator[Metric]:
    """All metrics, one family after the other."""
    found = totals(transaction)
    yield from _jobs(transaction)
    yield _histogram("jobwarden_attempt_wait_seconds", "How long due jobs waited for a seat", found, Kind.WAIT)
    yield _histogram("jobwarden_attempt_run_seconds", "How long attempts ran", found, Kind.RUN)
    yield _ends(found)
    yield _recoveries(found)
    yield _fenced(found)
    yield from _fleet(listed_workers(transaction))
    yield _leases(transaction)
    yield _by_state("jobwarden_batches", "Batches by state", transaction, batches.c.state)
    yield _by_state("jobwarden_schedules", "Schedules by whether they are enabled", transaction, schedules.c.enabled)


# -- work -------------------------------------------------------------------------------------------------------------


def _jobs(transaction: Transaction) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("jobwarden_jobs", "Jobs by lane and state", labels=["lane", "state"])
    paused = GaugeMetricFamily("jobwarden_lane_paused", "1 where a lane is paused", labels=["lane"])
    for lane in listed_lanes(transaction):
        paused.add_metric([lane.name], float(lane.paused))
        for state, number in sorted(lane.states.items()):
            jobs.add_metric([lane.name, state], number)
    yield jobs
    yield paused


def _histogram(name: str, words: str, found: Iterable[Total], kind: Kind) -> Metric:
    family = HistogramMetricFamily(name, words, labels=["lane", "job"])
    counts: dict[tuple[str, str], Counter[int]] = defaultdict(Counter)
    seconds: Counter[tuple[str, str]] = Counter()
    for total in found:
        if total.kind == kind:
            counts[total.lane, total.job].update(total.counts)
            seconds[total.lane, total.job] += total.seconds  # type: ignore[assignment]
    for key, numbers in sorted(counts.items()):
        family.add_metric(list(key), _cumulated(numbers, BOUNDS, 2), seconds[key])
    return family


def _cumulated(counts: Mapping[int, int], bounds: Iterable[float], every: int = 1) -> list[tuple[str, float]]:
    """Counts by bucket as Prometheus has them: each with all below it; every second or third bucket will do."""
    buckets, below = [], 0
    for number, bound in enumerate(bounds):
        below += counts.get(number, 0)
        buckets.append((str(bound), float(below)))
    return [*buckets[::every], ("+Inf", float(sum(counts.values())))]


def _ends(found: Iterable[Total]) -> Metric:
    labels = ["lane", "job", "outcome", "cause", "by"]
    ends = CounterMetricFamily(
        "jobwarden_attempts_ended", "Attempts that ended, by how and by whose word", labels=labels
    )
    for total in found:
        if total.kind == Kind.RUN:
            ends.add_metric([total.lane, total.job, total.outcome, total.cause, total.actor], total.number)
    return ends


def _recoveries(found: Iterable[Total]) -> Metric:
    """Lost attempts by the tier that took them up: the worker itself, its host's reaper, or the global one."""
    tiers: Counter[str] = Counter(dict.fromkeys(TIERS.values(), 0))
    for total in found:
        if total.kind == Kind.RUN and total.actor in TIERS and (total.outcome in _LOST or total.cause):
            tiers[TIERS[total.actor]] += total.number
    family = CounterMetricFamily("jobwarden_recoveries", "Attempts whose end somebody else found", labels=["tier"])
    for tier, number in sorted(tiers.items()):
        family.add_metric([tier], number)
    return family


def _fenced(found: Iterable[Total]) -> Metric:
    number = sum(total.number for total in found if total.kind == Kind.FENCED)
    return CounterMetricFamily("jobwarden_fenced_writes", "Outcomes that came too late and were refused", value=number)


# -- daemons ----------------------------------------------------------------------------------------------------------


def _fleet(found: Iterable[WorkerLine]) -> Iterator[Metric]:
    live = [worker for worker in found if worker.state in LIVE_WORKER]
    number = GaugeMetricFamily("jobwarden_workers", "Daemons by role and state", labels=["role", "state"])
    for pair, count in sorted(Counter((worker.role, worker.state) for worker in live).items()):
        number.add_metric(list(pair), count)
    yield number
    labels = ["role", "worker", "host"]
    named = [(worker, [worker.role, worker.id, worker.hostname or ""]) for worker in live]
    silence = GaugeMetricFamily("jobwarden_worker_silence_seconds", "Since a daemon's last heartbeat", labels=labels)
    capacity = GaugeMetricFamily("jobwarden_worker_capacity", "Attempts a worker runs at once", labels=labels)
    load = GaugeMetricFamily("jobwarden_worker_load", "Attempts a daemon holds", labels=labels)
    for worker, key in named:
        silence.add_metric(key, worker.heartbeat_age)
        load.add_metric(key, worker.current_load)
        if worker.capacity is not None:
            capacity.add_metric(key, worker.capacity)
    yield from (silence, capacity, load)
    yield from _figures(named, labels)


_COUNTED = {
    "commits": ("jobwarden_commits", "Transactions that a daemon committed"),
    "seconds": ("jobwarden_commit_seconds", "Seconds that a daemon spent in them"),
    "conflicts": ("jobwarden_conflicts", "Deadlocks and conflicts after which a transaction was done again"),
    "faults": ("jobwarden_faults", "Faults of the database that were waited out"),
}


def _figures(named: Iterable[tuple[WorkerLine, list[str]]], labels: list[str]) -> Iterator[Metric]:
    """What daemons tell of their own work with each heartbeat."""
    told = [(worker.stats, key) for worker, key in named if worker.stats]
    for field, (name, words) in _COUNTED.items():
        family = CounterMetricFamily(name, words, labels=labels)
        for stats, key in told:
            family.add_metric(key, stats.get(field, 0))
        yield family
    sizes = HistogramMetricFamily("jobwarden_commit_size", "How much a daemon wrote in a transaction", labels=labels)
    seats = GaugeMetricFamily("jobwarden_seats", "A worker's seats", labels=[*labels, "state"])
    for stats, key in told:
        counts = dict(enumerate(stats.get("sizes", ())))
        sizes.add_metric(key, _cumulated(counts, SIZES), float(stats.get("written", 0)))
        for state, number in sorted(stats.get("seats", {}).items()):
            seats.add_metric([*key, state], number)
    yield from (sizes, seats)


_held = select(leases.c.name, age(leases.c.acquired_at).label("held")).where(
    leases.c.owner.is_not(None), age(leases.c.lease_expires_at) < 0
)


def _leases(transaction: Transaction) -> Metric:
    family = GaugeMetricFamily(
        "jobwarden_lease_age_seconds", "For how long a lease has had its holder", labels=["lease"]
    )
    for row in transaction.execute(_held.order_by(leases.c.name)):
        family.add_metric([row.name], float(row.held))
    return family


def _by_state(name: str, words: str, transaction: Transaction, column: Any) -> Metric:
    family = GaugeMetricFamily(name, words, labels=[column.name])
    counted = select(column.label("value"), func.count().label("number")).group_by(column).order_by(column)
    for row in transaction.execute(counted):
        family.add_metric([str(row.value).lower()], row.number)
    return family
