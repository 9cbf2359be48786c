"""The demonstration itself: enqueue the census, watch it, kill one child half-way, see it recover, merge, and tell.

It looks through the same views as every command, and reaches into the work in one place only: the kill.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from jobwarden.app import JobWarden
from jobwarden.batch_handle import BatchHandle
from jobwarden.demo import crew, source
from jobwarden.demo.folder import Folder
from jobwarden.demo.screen import Moment, Screen
from jobwarden.domain.states import BatchState, JobState
from jobwarden.errors import JobWardenError
from jobwarden.process import identity, pidfd
from jobwarden.runner.application import load_application
from jobwarden.views import batches, fleet, logs
from jobwarden.views.jobs import Filter, JobLine, JobView, listed, shown

_LOOK = 0.15
_PATIENCE = 600.0
_HALF = 0.35
_ALIVE_ENOUGH = (0.1, 0.8)


@dataclass(slots=True)
class Victim:
    """The child that was killed, and when (monotonic seconds)."""

    flight: fleet.Flight
    at: float
    recovered: bool = False


@dataclass(slots=True)
class Census:
    """One run: its batch, the parts by their jobs, and what is known of the kill."""

    app: JobWarden
    lane: str
    batch: BatchHandle
    parts: dict[str, source.Part] = field(default_factory=dict)
    victim: Victim | None = None
    spared: set[str] = field(default_factory=set)

    @property
    def size(self) -> int:
        """All there is to read, in bytes."""
        return sum(part.size for part in self.parts.values())


@dataclass(frozen=True, slots=True)
class Told:
    """What a run came to: the merged table, its batch, the killed job with its ledger, and its seconds."""

    result: dict[str, Any]
    batch_id: str
    members: list[batches.MemberLine]
    edges: list[batches.EdgeLine]
    killed: JobView | None
    seconds: float


def play(folder: Folder, url: str | None, screen: Screen) -> Told:
    """Run the whole demonstration in the folder; raises `JobWardenError`, or KeyboardInterrupt with all cleaned up."""
    identity.require_own_proc()
    begun = time.monotonic()
    os.environ["JOBWARDEN_DATABASE_URL"] = folder.prepare(url)
    with contextlib.chdir(folder.path), _interruptible():
        app: JobWarden = load_application(crew.APP)  # now: its settings are those of the folder
        import_module("jobwarden.store.migrate").migrate(app.database)  # loaded by those only who migrate
        census = _enqueued(app, folder)
        screen.begin(
            str(app.database), source.library(), len(census.parts), sum(p.files for p in census.parts.values())
        )
        with crew.supervisor(folder.path, folder.log, census.lane) as process, screen:
            _watched(census, screen, process, folder)
            told = _concluded(census, screen, process, folder)
        killed = _seen(app, census.victim.flight.job_id) if census.victim else None
        app.database.dispose()
    return Told(*told, killed, time.monotonic() - begun)


def _enqueued(app: JobWarden, folder: Folder) -> Census:
    """One batch: a job for each part, the largest first, and what follows them."""
    code = import_module(crew.APP.partition(":")[0])
    found = source.parts()
    if not found:
        raise JobWardenError(f"There are no sources in {source.library()}: run the demo with a Python that has them.")
    census = Census(app, code.LANE, code.census(found, folder.chart, folder.report).enqueue())
    parts = {part.name: part for part in found}
    members, _ = _graph(census)
    census.parts = {member.id: parts[member.key] for member in members if member.key in parts}
    return census


def _graph(census: Census) -> tuple[list[batches.MemberLine], list[batches.EdgeLine]]:
    with census.app.database.read() as transaction:
        batch_id = census.batch.id
        return batches.members_of(transaction, batch_id), batches.edges_of(transaction, batch_id)


def _watched(census: Census, screen: Screen, process: subprocess.Popen[bytes], folder: Folder) -> None:
    """Look until every part is over, and kill one child on the way."""
    moment = None
    for moment in _moments(census, process, folder):
        screen.show(moment)
        _follow_up(census, moment, screen)
        if census.victim is None and moment.done >= _HALF:
            _kill_one(census, moment, screen)
        if moment.finished == len(census.parts):
            break
    failed = [job for job in (moment.jobs if moment else ()) if job.state != JobState.SUCCEEDED]
    if failed:
        raise JobWardenError(f"Part {failed[0].label} is {failed[0].state}: see `jobwarden show {failed[0].id}`.")


def _moments(census: Census, process: subprocess.Popen[bytes], folder: Folder) -> Iterator[Moment]:
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        crew.require_alive(process, folder.log)
        yield _look(census)
        time.sleep(_LOOK)
    raise JobWardenError(f"The census was not over after {_PATIENCE:.0f} s: see {folder.log}.")


def _look(census: Census) -> Moment:
    with census.app.database.read() as transaction:
        found = listed(transaction, Filter(lane=census.lane, limit=1000)).jobs
        jobs = [job for job in found if job.id in census.parts]
        flights = [flight for flight in fleet.in_flight(transaction) if flight.job_id in census.parts]
        said = {flight.label or "": logs.last(transaction, flight.job_id, 1) for flight in flights}
    running = fleet.verified(flights, fleet.this_host())
    lines = [(label, line.message) for label, found in said.items() for line in found]
    return Moment(jobs, running, lines, _done(census, jobs, running))


def _done(census: Census, jobs: Sequence[JobLine], running: Sequence[fleet.Flight]) -> float:
    """How much of the library has been read, from 0 to 1."""
    sizes = {job_id: part.size for job_id, part in census.parts.items()}
    over = sum(sizes.get(job.id, 0) for job in jobs if job.state == JobState.SUCCEEDED)
    under_way = sum(sizes.get(flight.job_id, 0) * _fraction(flight) for flight in running)
    return (over + under_way) / max(1, census.size)


def _fraction(flight: fleet.Flight) -> float:
    return float((flight.progress or {}).get("fraction") or 0.0)


# -- the kill ---------------------------------------------------------------------------------------------------------


def _kill_one(census: Census, moment: Moment, screen: Screen) -> None:
    """SIGKILL the child with the most work before it, by its whole name, once it was seen to be that very process."""
    low, high = _ALIVE_ENOUGH
    candidates = [
        flight
        for flight in moment.running
        if flight.seen is fleet.Seen.VERIFIED and flight.attempt_id not in census.spared and flight.process is not None
    ]
    wounded = [flight for flight in candidates if low <= _fraction(flight) <= high]
    chosen = max(wounded, key=lambda flight: census.parts[flight.job_id].size * (1 - _fraction(flight)), default=None)
    if chosen is None or chosen.process is None:
        return
    if pidfd.signal_checked(chosen.process, signal.SIGKILL):
        census.victim = Victim(chosen, time.monotonic())
        screen.killed(chosen)


def _follow_up(census: Census, moment: Moment, screen: Screen) -> None:
    """Tell when the killed job runs again; a child that had just reported was not lost, and another must do."""
    victim = census.victim
    if victim is None or victim.recovered:
        return
    job = next(job for job in moment.jobs if job.id == victim.flight.job_id)
    if job.attempt_count > victim.flight.attempt_number:
        victim.recovered = True
        screen.recovered(victim.flight, time.monotonic() - victim.at)
    elif job.state == JobState.SUCCEEDED:
        census.spared.add(victim.flight.attempt_id)
        census.victim = None


# -- the end ----------------------------------------------------------------------------------------------------------


def _concluded(
    census: Census, screen: Screen, process: subprocess.Popen[bytes], folder: Folder
) -> tuple[dict[str, Any], str, list[batches.MemberLine], list[batches.EdgeLine]]:
    """The parts are there: the batch merges them and reports."""
    screen.merging()
    batch = census.batch
    for _ in _moments(census, process, folder):
        if batch.refresh().finished:
            break
    if batch.state is not BatchState.SUCCEEDED:
        raise JobWardenError(f"The census is {batch.state}: see `jobwarden batch {batch.id}` in {folder.path}.")
    members, edges = _graph(census)
    [merge] = [member for member in members if member.key == "merge"]
    return census.app.job_handle(merge.id).result, batch.id, members, edges


def _seen(app: JobWarden, job_id: str) -> JobView:
    with app.database.read() as transaction:
        return shown(transaction, job_id)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """TERM and HUP end a demonstration as an interrupt at the terminal does: everything is cleaned up."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
