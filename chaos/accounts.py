"""What must have become of each instant at which a schedule was due, told from the policy's words alone.

An oracle beside the engine: it shares no code with what decides, and reads only what is recorded. An occurrence is
judged by how late its record was written; where that is too close to a limit to tell, both verdicts are taken.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from typing import Any

#: Seconds between deciding and recording, at the most: what lies so close to a limit may be on either side.
_SLACK = 0.5
_RUNS = ("enqueued", "queued")


@dataclass(frozen=True, slots=True)
class Policy:
    """One schedule: every ``period`` seconds from ``begin`` to ``end``, both included, and how it is decided."""

    name: str
    period: int
    by_cron: bool
    begin: datetime
    end: datetime
    missed: str
    overlap: str
    window: float | None
    most: int | None
    jitter: float

    @property
    def cron(self) -> str | None:
        """The pattern, if it has one and the period divides a minute."""
        return f"*/{self.period} * * * * *" if self.by_cron and 60 % self.period == 0 else None

    def words(self) -> dict[str, Any]:
        """What a person would write of it."""
        given: dict[str, Any] = {"missed": self.missed, "overlap": self.overlap, "jitter": self.jitter}
        given |= {"starts_at": self.begin, "ends_at": self.end, "max_catch_up": self.most}
        given |= {"catch_up_window": self.window, "timezone": "Pacific/Chatham"}
        return given if self.cron else {**given, "every": timedelta(seconds=self.period)}

    def instants(self) -> list[datetime]:
        """Every instant at which it is due."""
        if self.cron is None:
            count = int((self.end - self.begin).total_seconds() // self.period)
            return [self.begin + timedelta(seconds=n * self.period) for n in range(count + 1)]
        seconds = range(int(self.begin.timestamp()), int(self.end.timestamp()) + 1)
        return [datetime.fromtimestamp(moment, UTC) for moment in seconds if moment % self.period == 0]

    @staticmethod
    def lateness(run: Any) -> timedelta:
        """How long after its instant a run was recorded."""
        late: timedelta = run.detected_at - run.occurrence_time
        return late


@dataclass(frozen=True, slots=True)
class Account:
    """What is recorded of one schedule: its runs by occurrence, and its jobs by birth."""

    runs: Sequence[Any]
    jobs: Sequence[Any]


def audit(policy: Policy, account: Account, late_after: float) -> list[str]:
    """What contradicts the rules, each in one sentence."""
    found = [*_coverage(policy, account), *_jobs(policy, account)]
    for _, group in groupby(sorted(account.runs, key=lambda run: run.detected_at), key=lambda run: run.detected_at):
        found += _decided(policy, account, sorted(group, key=lambda run: run.occurrence_time), late_after)
    return [f"{policy.name}: {words}" for words in found]


def _coverage(policy: Policy, account: Account) -> Iterator[str]:
    """Every instant has one record, and no record is of anything else."""
    period = timedelta(seconds=policy.period)
    seen: Counter[datetime] = Counter()
    for run in account.runs:
        seen.update(run.occurrence_time + n * period for n in range(run.number))
        if run.detected_at < run.occurrence_time:
            yield f"{run.occurrence_time} was decided early, at {run.detected_at}"
    due = set(policy.instants())
    yield from (f"{moment} is recorded nowhere" for moment in sorted(due - set(seen)))
    yield from (f"{moment} was never due" for moment in sorted(set(seen) - due))
    yield from (f"{moment} is recorded {count} times" for moment, count in seen.items() if count > 1)


def _jobs(policy: Policy, account: Account) -> Iterator[str]:
    """Every run that runs has its own job, and no job is without one; one after another where that is the rule."""
    made = {run.job_id: run.occurrence_time for run in account.runs if run.action == "enqueued"}
    there = {job.id: job.scheduled_for for job in account.jobs}
    yield from (f"the job {job_id} for {moment} is not there" for job_id, moment in made.items() if job_id not in there)
    yield from (f"job {job_id} belongs to no run" for job_id in there if job_id not in made)
    yield from (f"job {job_id} is for {at}" for job_id, at in there.items() if made.get(job_id, at) != at)
    yield from (f"{run.occurrence_time} still waits" for run in account.runs if run.action == "queued")
    if policy.overlap != "allow":
        for one, other in pairwise(account.jobs):
            if other.created_at < one.finished_at:
                yield f"job {other.id} was made before job {one.id} was over"


def _decided(policy: Policy, account: Account, group: Sequence[Any], late_after: float) -> Iterator[str]:
    """What was decided together is what the policy says."""
    ages = [policy.lateness(run).total_seconds() for run in group]
    limits = [late_after, *([policy.window] if policy.window is not None else [])]
    jitters = (0.0, policy.jitter)
    if any(limit - _SLACK < age - jitter < limit + _SLACK for age in ages for limit in limits for jitter in jitters):
        return
    if policy.jitter and any(limit < age < limit + policy.jitter for age in ages for limit in limits):
        return
    kept = _kept(policy, group, ages, late_after)
    for run in group:
        if run not in kept and run.action in _RUNS:
            yield f"{run.occurrence_time} is {run.action}, and {policy.missed} does not make up for it"
    yield from _side_by_side(policy, account, kept)


def _kept(policy: Policy, group: Sequence[Any], ages: Sequence[float], late_after: float) -> list[Any]:
    on_time = [run for run, age in zip(group, ages, strict=True) if age - policy.jitter <= late_after]
    window = policy.window if policy.window is not None else float("inf")
    young = [run for run, age in zip(group, ages, strict=True) if run not in on_time and age - policy.jitter <= window]
    if policy.missed == "skip":
        return on_time
    if policy.missed == "run_all":
        return [*(young if policy.most is None else young[-policy.most :]), *on_time]
    return on_time or young[-1:]


def _side_by_side(policy: Policy, account: Account, kept: Sequence[Any]) -> Iterator[str]:
    running = [run for run in kept if run.action in _RUNS]
    lost = [run for run in kept if run.action not in _RUNS]
    if policy.overlap != "skip":
        yield from (f"{run.occurrence_time} is {run.action}, and {policy.overlap} runs it" for run in lost)
        return
    yield from (f"{run.occurrence_time} is {run.action}, not overlapped" for run in lost if run.action != "overlapped")
    if len(running) > 1:
        yield f"{len(running)} were enqueued at {running[0].detected_at}"
    if lost and not running and not _was_busy(account, lost[0].detected_at):
        yield f"{lost[-1].occurrence_time} is overlapped, and nothing was active"
    if running and running[-1] is not kept[-1]:
        yield f"{running[-1].occurrence_time} runs, and {kept[-1].occurrence_time} is newer"


def _was_busy(account: Account, moment: datetime) -> bool:
    slack = timedelta(seconds=_SLACK)
    return any(job.created_at <= moment and job.finished_at >= moment - slack for job in account.jobs)
