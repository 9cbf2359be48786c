"""What takes minutes to be shown: adoption, jobs that outlive every budget, and two hundred trees that will not end.

    python -m chaos.endurance --engine postgresql              # all shows, about a quarter of an hour
    python -m chaos.endurance --engine sqlite --show stubborn

Real workers and reapers on a private server, in the campaign's sandbox; silence, fence and death budget are scaled
down to seconds. Each show is judged by the database, the journal and the kernel together. The exit code is 1 if one of
them did not see what was promised.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from chaos import app as jobs_of_the_campaign
from chaos import journal, sandbox
from chaos.checker import check
from chaos.evidence import Bounds, Evidence
from chaos.hosts import nonce_of
from chaos.site import migrate_at
from jobwarden import JobHandle, JobWarden
from tests.support import jobs as jobs_of_the_tests
from tests.support.factories import Factories
from tests.support.hosts import IN_OWN_PIDS, Reaper, Worker, await_said, await_state
from tests.support.processes import Proc, everyone
from tests.support.servers import SERVERS, fast_folder
from tests.support.waiting import eventually

_FENCE, _BUDGET = 6.0, 10.0
#: Silent after 4 s.
_SCALED = {
    "JOBWARDEN_BEAT_INTERVAL": "0.8",
    "JOBWARDEN_MISSED_BEATS": "5",
    "JOBWARDEN_SELF_FENCE_TTL": f"{_FENCE}",
    "JOBWARDEN_DEATH_BUDGET": f"{_BUDGET}",
}
_ALONE = {"JOBWARDEN_LOCAL_REAPER": "false"}
_PATIENCE = 120.0
_CHILDREN, _CHILD_SECONDS = 10, 30.0
_LONG_SECONDS = 240.0
_STOPPED_SECONDS, _BUDGETS_STOPPED = 120.0, 10
_TREES, _PROGRESS_EVERY = 200, 50


@dataclass(slots=True)
class Seen:
    """What one show came to: its figures, and the promises that were not kept."""

    engine: str
    show: str
    seconds: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)

    def expect(self, kept: object, words: str) -> None:
        """Note a promise that was not kept."""
        if not kept:
            self.broken.append(words)

    def __str__(self) -> str:
        verdict = "; ".join(self.broken) or "as promised"
        figures = ", ".join(f"{name} {value}" for name, value in self.figures.items())
        return f"{self.show} on {self.engine}: {verdict} ({figures}, {self.seconds:.0f} s)"


@dataclass(frozen=True, slots=True)
class Stage:
    """A fresh database, and the daemons that a show starts on it."""

    app: JobWarden
    folder: Path
    stack: ExitStack
    say: Callable[[str], None]

    @property
    def rows(self) -> Factories:
        """Reads what the database has."""
        return Factories(self.app.database)

    def worker(self, *before: str, app: str = jobs_of_the_campaign.APP, **wishes: Any) -> Worker:
        """Start a worker that serves."""
        worker = Worker(self._url, self.folder, before=before, app=app, env=self._env(wishes), **wishes)
        return self.stack.enter_context(worker).await_ready()

    def global_reaper(self) -> Reaper:
        """Start the global reaper, which sees no process of the workers."""
        reaper = Reaper(self._url, self.folder, "global", before=IN_OWN_PIDS, env=self._env({}))
        return self.stack.enter_context(reaper).await_lease()

    def lines(self, job: JobHandle, event: str = "start") -> list[journal.Line]:
        """The journal's lines of a job."""
        found = journal.read(self._journal) if self._journal.exists() else []
        return [line for line in found if line.job == job.id and line.event == event]

    def overlaps(self) -> list[str]:
        """Executions of one job that the campaign's checker finds to have lived at the same time."""
        lines = journal.read(self._journal)
        evidence = Evidence((), (), (), (), lines, (), (), (), Bounds(_FENCE, _BUDGET, _PATIENCE, 0.0))
        [verdict] = [verdict for verdict in check(evidence) if verdict.invariant == "I2"]
        return [violation.words for violation in verdict.violations]

    @property
    def _url(self) -> str:
        return self.app.settings.database_url

    @property
    def _journal(self) -> Path:
        return self.folder / "journal"

    def _env(self, wishes: dict[str, Any]) -> dict[str, str]:
        return {**_SCALED, journal.PATH_VARIABLE: str(self._journal), **wishes.pop("env", {})}


# -- the shows --------------------------------------------------------------------------------------------------------


def adoption(stage: Stage, seen: Seen) -> None:
    """Ten children of a killed supervisor: adopted, not restarted, succeeded once, with all facts of their ends."""
    worker = stage.worker(capacity=_CHILDREN)
    jobs = [stage.app.enqueue("slow_once", {"seconds": _CHILD_SECONDS}) for _ in range(_CHILDREN)]
    for job in jobs:
        eventually(partial(stage.lines, job), _PATIENCE)
    worker.kill()
    for job in jobs:
        await_end(job)
    worker.gone()
    attempts = [attempt for job in jobs for attempt in stage.rows.attempts_of(job.id)]
    facts = ("exit_code", "cause", "peak_rss_bytes", "finished_at")
    seen.figures = {
        "adopted": sum("adopted" in _reasons(stage, job) for job in jobs),
        "succeeded": Counter(job.state.value for job in jobs)["succeeded"],
        "attempts": len(attempts),
        "entered": sum(len(stage.lines(job)) for job in jobs),
        "finished": sum(len(stage.lines(job, "end")) for job in jobs),
        "exits known": sum(all(attempt[fact] is not None for fact in facts) for attempt in attempts),
    }
    for name, count in seen.figures.items():
        seen.expect(count == _CHILDREN, f"{name}: {count} instead of {_CHILDREN}")


def long(stage: Stage, seen: Seen) -> None:
    """A job that must not run twice outlives every silence, lease and budget of its fleet many times."""
    leader = stage.global_reaper()
    workers = [stage.worker(*IN_OWN_PIDS, capacity=1) for _ in range(2)]
    for worker in workers:
        worker.expect("holds the lease")
    job = stage.app.enqueue("slow_once", {"seconds": _LONG_SECONDS})
    await_end(job, _LONG_SECONDS)
    _untouched(stage, seen, job)
    actors = {event["actor_type"] for event in stage.rows.events_of(job.id)}
    seen.expect(actors <= {"client", "supervisor", "worker"}, f"others laid hands on it: {sorted(actors)}")
    seen.expect("are taken from" not in leader.log, "the global reaper took something")
    seen.figures["budgets"] = round(_LONG_SECONDS / _BUDGET)
    for worker in workers:
        worker.drain()


def stopped(stage: Stage, seen: Seen) -> None:
    """Two supervisors are stopped for ten death budgets, one with a local reaper beside it and one without."""
    leader = stage.global_reaper()
    watched = stage.worker(*IN_OWN_PIDS, capacity=1, lanes=["watched"])
    watched.expect("holds the lease")
    alone = stage.worker(*IN_OWN_PIDS, capacity=2, lanes=["alone"], env=_ALONE)
    params = {"seconds": _STOPPED_SECONDS}
    adopted, once = (stage.app.enqueue("slow_once", params, lane=lane) for lane in ("watched", "alone"))
    again = stage.app.enqueue("slow", params, lane="alone")
    for job in (adopted, once, again):
        eventually(partial(stage.lines, job), _PATIENCE)
    supervisors = [worker.titled("jobwarden: supervisor")[0] for worker in (watched, alone)]
    for supervisor in supervisors:
        supervisor.signal(signal.SIGSTOP)
    stage.worker(*IN_OWN_PIDS, capacity=2, lanes=["alone", "watched"])
    time.sleep(_BUDGETS_STOPPED * _BUDGET)
    stage.say("ten death budgets are over: they go on")
    for supervisor in supervisors:
        supervisor.signal(signal.SIGCONT)
    alone.expect("registers anew")
    for job in (adopted, once, again):
        await_end(job, _STOPPED_SECONDS)
    _untouched(stage, seen, adopted)
    seen.expect("adopted" in _reasons(stage, adopted), "no reaper took over what the hung supervisor ran")
    seen.expect(once.state.value == "orphaned", f"what must not run twice is {once.state}, and its process was ended")
    seen.expect(again.state.value == "succeeded", f"what may run twice is {again.state}")
    for job in (once, again):
        _explained(stage, seen, job)
    found = stage.overlaps()
    seen.expect(not found, f"two executions at once: {found}")
    entered = [len(stage.lines(job)) for job in (adopted, once, again)]
    seen.expect(entered == [1, 1, 2], f"entered {entered} times instead of [1, 1, 2]")
    seen.expect("are taken from" in leader.log, "the global reaper does not say that it took anything")
    seen.figures |= {"budgets": _BUDGETS_STOPPED, "entered": entered, "overlaps": len(found)}


def stubborn(stage: Stage, seen: Seen) -> None:
    """Cancels trees whose seat and grandchildren ignore TERM, in sessions of their own, one with no environment."""
    stage.worker(app=jobs_of_the_tests.APP, capacity=1)
    survivors, states = 0, Counter[str]()
    for number in range(1, _TREES + 1):
        job = stage.app.enqueue("breed", {"heed": False})
        family = _family(stage, job)
        nonce = stage.rows.attempts_of(job.id)[0]["proc_nonce"]
        seen.expect(nonce in {nonce_of(proc.pid) for proc in family}, f"tree {number}: the search by nonce is blind")
        stage.app.cancel(job.id, "enough", "the show")
        await_state(job, "canceled", "stopped", "failed", "succeeded", "orphaned")
        alive = [proc for proc in family if proc.alive]
        alive += [proc for pid in everyone() if nonce_of(pid) == nonce and (proc := Proc.of(pid))]
        seen.expect(not alive, f"tree {number}: {[proc.command for proc in alive]} live, and it is {job.state}")
        survivors += len(alive)
        states[job.state.value] += 1
        if number % _PROGRESS_EVERY == 0:
            stage.say(f"{number} of {_TREES} trees")
    seen.figures = {"trees": _TREES, **states, "survivors": survivors}
    seen.expect(states["canceled"] == _TREES, f"not all are canceled: {dict(states)}")


SHOWS: dict[str, Callable[[Stage, Seen], None]] = {show.__name__: show for show in (adoption, long, stopped, stubborn)}
_APPS = {"stubborn": jobs_of_the_tests.build}


# -- what they share --------------------------------------------------------------------------------------------------


def await_end(job: JobHandle, seconds: float = 0.0) -> None:
    """Wait until nobody works on a job any more, ``seconds`` and some patience."""
    ended = ("succeeded", "failed", "orphaned", "stopped", "canceled")
    eventually(lambda: job.refresh().state.value in ended, seconds + _PATIENCE, interval=0.2, why=lambda: job.state)


def _untouched(stage: Stage, seen: Seen, job: JobHandle) -> None:
    """One attempt, entered once and ended once, under its first token."""
    attempts = [(row["state"], row["fencing_token"]) for row in stage.rows.attempts_of(job.id)]
    marks = len(stage.lines(job)), len(stage.lines(job, "end"))
    seen.expect(attempts == [("succeeded", 1)], f"its attempts (state, token) are {attempts}")
    seen.expect(marks == (1, 1), f"it began and ended {marks} times")
    seen.figures["attempts"] = len(attempts)


def _explained(stage: Stage, seen: Seen, job: JobHandle) -> None:
    """The verdict about its first attempt says who judged, and that the host was dark for longer than the budget."""
    verdicts = [event for event in stage.rows.events_of(job.id) if event["attempt_to"] == "orphaned"]
    said = [(event["actor_type"], event["context"].get("silent", 0.0) > _BUDGET) for event in verdicts]
    seen.expect(said == [("reaper", True)], f"the verdicts of {job.id} (by whom, dark for long enough) are {said}")


def _reasons(stage: Stage, job: JobHandle) -> set[str]:
    return {event["reason"] for event in stage.rows.events_of(job.id)}


def _family(stage: Stage, job: JobHandle) -> list[Proc]:
    """The seat of a `breed` and what it has started."""

    def told() -> str | None:
        lines = [line["body_ref"] for line in await_said(stage.rows, job)]
        return next((text for text in lines if text.startswith("bred ")), None)

    found = [Proc.of(int(pid)) for pid in str(eventually(told, _PATIENCE)).split()[1:]]
    family = [proc for proc in found if proc is not None]
    assert len(family) == len(found) == 3, "a tree ended before anybody asked for it"
    return family


# -- running them -----------------------------------------------------------------------------------------------------


def run(engine: str, show: str, say: Callable[[str], None]) -> Seen:
    """One show on a server of its own; what stops it counts as a promise not kept."""
    seen, begun = Seen(engine, show), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="jobwarden-endurance-", dir=fast_folder()))
    try:
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            server = stack.enter_context(SERVERS[engine]())
            server.prepare(migrate_at)
            app = _APPS.get(show, jobs_of_the_campaign.build)(database_url=server.create_database())
            stack.callback(app.database.dispose)
            SHOWS[show](Stage(app, folder, stack, say), seen)
    except AssertionError as error:
        seen.broken.append(f"{error}")
    seen.seconds = round(time.monotonic() - begun, 1)
    return seen


def main(words: Sequence[str]) -> int:
    """Run the shows that were asked for; 1 if a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m chaos.endurance", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--engine", choices=tuple(SERVERS), default="sqlite")
    parser.add_argument("--show", choices=tuple(SHOWS), action="append", help="may be repeated (default: all)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON; progress goes to stderr")
    given = parser.parse_args(words)
    if why := sandbox.missing():
        print(f"chaos: {why}", file=sys.stderr)
        return 2
    return sandbox.run(partial(_all, given.engine, given.show or list(SHOWS), given.json))


def _all(engine: str, shows: Sequence[str], as_json: bool) -> int:
    say = partial(print, file=sys.stderr if as_json else sys.stdout, flush=True)
    seen = []
    for show in shows:
        say(f"-- {show}: {SHOWS[show].__doc__}")
        seen.append(run(engine, show, say))
        say(f"{seen[-1]}")
    broken = [one.show for one in seen if one.broken]
    if as_json:
        print(json.dumps([asdict(one) for one in seen], indent=2), flush=True)
    say(f"verdict on {engine}: {'BROKEN: ' + ', '.join(broken) if broken else 'every promise was kept'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
