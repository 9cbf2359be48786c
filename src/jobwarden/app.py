"""The application's JobWarden: its settings, its jobs, and the way from a checked call to a row.

Building one touches no database, starts no thread and reads no socket; a process forked from it gets connections of
its own.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from importlib import import_module
from types import MappingProxyType
from typing import Any, Protocol, Unpack

from jobwarden.batch import Batch, BatchTerms, Built, followers
from jobwarden.batch_handle import BatchHandle
from jobwarden.command import command
from jobwarden.config import Settings
from jobwarden.declare import Declare, default_name, define
from jobwarden.domain.draft import Enqueued
from jobwarden.domain.findings import Finding
from jobwarden.domain.orders import Answer, Order, Verb
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.schedule import Definition
from jobwarden.domain.states import JobState, WorkerState
from jobwarden.domain.verdict import Threshold
from jobwarden.errors import DuplicateJob, InvalidOption, UnknownJob
from jobwarden.handle import Handles, JobHandle, Snapshot
from jobwarden.hooks import Hooks
from jobwarden.jobs import CHUNK, JobDefinition
from jobwarden.lane import Lanes
from jobwarden.options import Bound, Terms
from jobwarden.schedule import Policies, Schedules
from jobwarden.schedule import define as defined

AnyJob = JobDefinition[..., ..., Any]
Calls = Sequence[tuple[Bound, Terms]]


class Clerk(Protocol):
    """What `clerk.Clerk` does."""

    database: Any
    schedules: Any
    lanes: Any

    def submit(self, calls: Calls, connection: Any, chunk: int) -> Sequence[Enqueued]:
        """Enqueue calls."""
        ...

    async def submit_async(self, calls: Calls, connection: Any, chunk: int) -> Sequence[Enqueued]:
        """The same without blocking the loop."""
        ...

    def look(self, job_id: str) -> Snapshot:
        """One job now."""
        ...

    def submit_batch(self, built: Built, connection: Any) -> str:
        """Enqueue a batch and give its id."""
        ...

    def look_at_batch(self, batch_id: str) -> Any:
        """One batch now."""
        ...

    def cancel_batch(self, batch_id: str, reason: str | None, actor: str | None) -> int:
        """Call a batch off."""
        ...

    def hold_batch(self, batch_id: str, reason: str | None, actor: str | None) -> int:
        """Have no more of a batch start."""
        ...

    def release_batch(self, batch_id: str, reason: str | None, actor: str | None) -> None:
        """Let it go on."""
        ...

    def retry_batch(self, batch_id: str, order: Order, start: str | None) -> list[Answer]:
        """Run its failed members again."""
        ...

    def operate(self, order: Order, job_ids: Iterable[str]) -> list[Answer]:
        """Carry an order out on jobs."""
        ...

    def drain(self, worker_id: str, reason: str | None, actor: str | None) -> WorkerState:
        """Ask a worker to drain."""
        ...

    def health(self, deep: bool, silence: float) -> list[Finding]:
        """What contradicts the engine's own rules."""
        ...


class JobWarden:
    """The jobs of one application and the database they live in.

    Keyword arguments are settings (see `Settings`) and win over the environment and the configuration files.
    ``hooks`` are called around jobs; ``auth`` decides who may use the web console where it is mounted.
    """

    def __init__(self, *, hooks: Iterable[Hooks] = (), auth: Callable[..., Any] | None = None, **settings: Any) -> None:
        self.settings = Settings(**settings)
        self.hooks, self.auth = tuple(hooks), auth
        self._jobs: dict[str, AnyJob] = {}
        self._aliases: dict[str, AnyJob] = {}
        self._batch_subscribers: tuple[Bound, ...] = ()
        self.schedules, self.lanes = Schedules(self), Lanes(self)

    def __repr__(self) -> str:
        return f"<JobWarden with {len(self._jobs)} jobs>"

    # -- declaring

    def job(
        self,
        *,
        idempotent: bool | None = None,
        name: str | None = None,
        aliases: Iterable[str] = (),
        lane: str = "default",
        priority: int = 0,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        retry_on: type[BaseException] | Iterable[type[BaseException]] = (),
        fail_on: type[BaseException] | Iterable[type[BaseException]] = (),
        timeout: float | timedelta | None = None,
        max_runtime: float | timedelta | None = None,
        grace: float | timedelta = 10.0,
        isolation: str = "fork",
        memory: int | str | None = None,
        on_lost: str = "auto",
        tags: Mapping[str, str] | None = None,
        promote: Iterable[str] = (),
    ) -> Declare:
        """Declare a function or class as a job.

        ``idempotent`` must be given: True if running the job twice does no harm. ``timeout`` ends an attempt,
        ``max_runtime`` flags it as stuck, ``grace`` is the time between asking and killing; all are seconds or
        timedeltas. ``memory`` is bytes or ``"2GiB"``. ``retry_on`` and ``fail_on`` are exception classes; ``promote``
        names parameters whose text becomes a tag.
        """
        given = {key: value for key, value in locals().items() if key != "self"}
        given["max_attempts"] = max_attempts or self.settings.max_attempts
        given["backoff"], given["tags"] = backoff or Backoff(), tags or {}
        given["promote"] = (*self.settings.promote, *((promote,) if isinstance(promote, str) else promote))

        def declare(target: Any, scope: Mapping[str, Any] | None) -> AnyJob:
            return self.add(define(target, self, given, self.hooks, scope))

        return Declare(declare)

    def add(self, job: AnyJob) -> AnyJob:
        """Register a definition; raises `DuplicateJob` if one of its names is taken."""
        for name in (job.name, *job.aliases):
            taken = self._jobs.get(name) or self._aliases.get(name)
            if taken is not None:
                raise DuplicateJob(name=name, other=default_name(taken.target))
        self._jobs[job.name] = job
        self._aliases.update(dict.fromkeys(job.aliases, job))
        return job

    @property
    def jobs(self) -> Mapping[str, AnyJob]:
        """The registered jobs by name."""
        return MappingProxyType(self._jobs)

    def command(
        self,
        name: str,
        argv: Sequence[str],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        idempotent: bool = False,
        **options: Any,
    ) -> AnyJob:
        """Register a program as a job: its argument vector, where it runs, and variables beside the worker's.

        Its exit code decides; ``options`` are those of `job`. Raises `DefinitionError`.
        """
        return self.job(name=name, idempotent=idempotent, **options)(command(name, argv, cwd, env))

    # -- schedules

    def schedule(self, name: str, cron: str | None, call: Bound, **policies: Unpack[Policies]) -> Definition:
        """Declare a schedule: whenever ``cron`` (or ``every=``) says, ``call``, a bound job, is enqueued.

        A scheduler makes it so; a declaration that is taken out again disables it. Raises `ScheduleRefused`.
        """
        return self.schedules.declare(defined(name, cron, call, policies), self._jobs)

    def schedule_once(self, name: str, at: datetime, call: Bound, **policies: Unpack[Policies]) -> Definition:
        """Declare a schedule that is due once, ``at`` an instant with an offset; never again under that name."""
        return self.schedules.declare(defined(name, at, call, policies), self._jobs)

    def schedule_command(self, name: str, cron: str | None, command: str, **policies: Unpack[Policies]) -> Definition:
        """Declare a schedule of a command that `command` registered."""
        return self.schedule(name, cron, self.find(command).bind(), **policies)

    @property
    def schedule_clerk(self) -> Any:
        """What `schedules` goes through."""
        return self._clerk.schedules

    @property
    def lane_clerk(self) -> Any:
        """What `lanes` goes through."""
        return self._clerk.lanes

    def find(self, name: str) -> AnyJob:
        """A job by its name, an alias, or its function's name where only one has it; raises `UnknownJob`."""
        job = self._jobs.get(name) or self._aliases.get(name)
        if job is not None:
            return job
        short = [job for full, job in self._jobs.items() if full.rpartition(":")[2] == name]
        if len(short) == 1:
            return short[0]
        near = [job.name for job in short] or difflib.get_close_matches(name, [*self._jobs, *self._aliases])
        raise UnknownJob(name=name, known=f"did you mean {' or '.join(near)}?" if near else self._registered())

    def prepare(self) -> None:
        """Load and build all that is else made on first use, as a zygote does before it forks."""
        _ = self._clerk
        for job in self._jobs.values():
            job.prepare()

    # -- enqueueing by name

    def bind(self, name: str, params: Mapping[str, Any] | None = None, **options: Any) -> Bound:
        """A checked call of the job called ``name``, with the options that ``using`` takes."""
        return self.find(name).using(**options).bind(**params or {})

    def enqueue(self, name: str, params: Mapping[str, Any] | None = None, **options: Any) -> JobHandle:
        """Enqueue the job called ``name``; params and options are checked as everywhere."""
        return self.find(name).using(**options).enqueue(**params or {})

    async def aenqueue(self, name: str, params: Mapping[str, Any] | None = None, **options: Any) -> JobHandle:
        """`enqueue` for async code."""
        return await self.find(name).using(**options).aenqueue(**params or {})

    def enqueue_many(self, calls: Iterable[Bound], connection: Any = None, chunk: int = CHUNK) -> Handles:
        """Enqueue bound calls of any jobs, all or none, ``chunk`` rows to a statement."""
        return Handles(self.submit([(call, call.terms) for call in calls], connection, chunk), self.handle)

    # -- one job

    def job_handle(self, job_id: str) -> JobHandle:
        """The handle of a job that is already there; it is not looked for until it is asked something."""
        return JobHandle(job_id, False, self)

    def handle(self, enqueued: Enqueued) -> JobHandle:
        """The handle of a job just enqueued."""
        return JobHandle(enqueued.id, enqueued.created, self)

    def look(self, job_id: str) -> Snapshot:
        """A job as it is now; raises `JobNotFound`."""
        return self._clerk.look(job_id)

    # -- batches

    def batch(
        self,
        name: str,
        failure_policy: str | Threshold = "continue",
        **given: Unpack[BatchTerms],
    ) -> Batch:
        """Begin a batch: add members to it, then ``enqueue()`` it.

        ``failure_policy`` is ``"continue"``, ``"fail_fast"`` or ``Threshold(n)``; ``on_complete`` is a bound call, or
        several, enqueued when every member has ended; ``params`` are shown, and given to members by ``ctx.batch()``;
        ``labels`` are texts by name, by which it is found; ``created_by`` says who made it. Raises `BatchRefused`.
        """
        return Batch(self, name, failure_policy, **given, subscribers=self._batch_subscribers)

    def after_batches(self, call: Bound) -> None:
        """Enqueue ``call`` whenever a batch is over that this application makes from here on.

        As any ``on_complete`` it is enqueued by the very commit that ends the batch, so it is never lost, and its
        ``ctx.batch()`` is that batch. Raises `BatchRefused`.
        """
        self._batch_subscribers += followers("every batch", call)

    def submit_batch(self, built: Built, connection: Any) -> BatchHandle:
        """Enqueue a checked batch; in the caller's transaction if ``connection`` is given."""
        return BatchHandle(self._clerk.submit_batch(built, connection), self)

    def batch_handle(self, batch_id: str) -> BatchHandle:
        """The handle of a batch that is already there; it is not looked for until it is asked something."""
        return BatchHandle(batch_id, self)

    def look_at_batch(self, batch_id: str) -> Any:
        """A batch as it is now (`views.batches.BatchLine`); raises `BatchNotFound`."""
        return self._clerk.look_at_batch(batch_id)

    def cancel_batch(self, batch_id: str, reason: str | None = None, actor: str | None = None) -> int:
        """Call a batch off with all of its members, finalizers included; gives how many were called off at once.

        Who runs is ended by its worker. Raises `BatchNotFound`, or `WrongBatchState` if all of it is over.
        """
        return self._clerk.cancel_batch(batch_id, Order(Verb.CANCEL, reason, actor).reason, actor)

    def hold_batch(self, batch_id: str, reason: str | None = None, actor: str | None = None) -> int:
        """Have no member of a batch start until it is released; who runs goes on. Gives how many it reached.

        Raises `BatchNotFound`, or `WrongBatchState` if it is over or called off.
        """
        return self._clerk.hold_batch(batch_id, Order(Verb.STOP, reason, actor).reason, actor)

    def release_batch(self, batch_id: str, reason: str | None = None, actor: str | None = None) -> None:
        """Let a held batch go on. Raises `BatchNotFound`, or `WrongBatchState` if it is not held."""
        self._clerk.release_batch(batch_id, Order(Verb.STOP, reason, actor).reason, actor)

    def retry_batch(
        self,
        batch_id: str,
        reason: str | None = None,
        actor: str | None = None,
        *,
        force: bool = False,
        attempts: int | None = None,
        start: str | None = None,
    ) -> list[Answer]:
        """Run the failed members of a batch again, and with them what was unreachable because of them.

        With ``start``, the key of a member, only that one and what follows it. One `Answer` for each. Raises
        `BatchNotFound`, `MemberNotFound`, or `WrongBatchState` if a person called it off.
        """
        return self._clerk.retry_batch(batch_id, Order(Verb.RETRY, reason, actor, force, attempts), start)

    # -- what a person does

    def cancel(self, job_id: str, reason: str | None = None, actor: str | None = None) -> JobState:
        """Cancel a job: at once if it waits, by its worker if it runs; gives the state it is in now.

        Raises `JobNotFound`, or `WrongState` if it is over.
        """
        return self.order(Order(Verb.CANCEL, reason, actor), job_id)

    def stop(self, job_id: str, reason: str | None = None, actor: str | None = None) -> JobState:
        """Ask a running job to stop at its next checkpoint; a waiting one is canceled."""
        return self.order(Order(Verb.STOP, reason, actor), job_id)

    def retry(
        self,
        job_id: str,
        reason: str | None = None,
        actor: str | None = None,
        *,
        force: bool = False,
        attempts: int | None = None,
    ) -> JobState:
        """Queue a job again that failed or is parked, with ``attempts`` more tries, or with one at least.

        Raises `JobNotFound`, `WrongState`, or `ForceRequired` if it is not idempotent and ``force`` was not given.
        """
        return self.order(Order(Verb.RETRY, reason, actor, force, attempts), job_id)

    def restart(
        self,
        job_id: str,
        reason: str | None = None,
        actor: str | None = None,
        *,
        force: bool = False,
        attempts: int | None = None,
    ) -> JobState:
        """`retry`, also for a job that was stopped."""
        return self.order(Order(Verb.RESTART, reason, actor, force, attempts), job_id)

    def rerun(
        self,
        job_id: str,
        reason: str | None = None,
        actor: str | None = None,
        *,
        force: bool = False,
        attempts: int | None = None,
    ) -> JobHandle:
        """Run a job that is over again, as a new job with the same params, options, lane and tags that points to it.

        The old one stays as it is, and keeps its idempotency key and its place in a batch. Raises as `retry` does.
        """
        answer = self._answer(Order(Verb.RERUN, reason, actor, force, attempts), job_id)
        return JobHandle(str(answer.new), True, self)

    def resolve(self, job_id: str, verdict: str, reason: str, actor: str | None = None) -> JobState:
        """Say what a parked job did: ``"ran"`` completely, ``"did_not_run"`` (it is queued again),
        ``"ran_partly"`` or ``"failed"`` (it failed, and somebody has to see to what it left).

        Raises `JobNotFound`, or `WrongState` if it is not parked.
        """
        return self.order(_order(Verb.RESOLVE, reason=reason, actor=actor, verdict=verdict), job_id)

    def operate(
        self, verb: str, job_ids: Iterable[str], reason: str | None = None, actor: str | None = None, **options: Any
    ) -> list[Answer]:
        """Do the same to many jobs, 500 to a transaction, and give an `Answer` for each: nothing is raised for one.

        ``verb`` is cancel, stop, retry, restart, rerun or resolve; ``options`` are those of the method of that name.
        """
        return self._clerk.operate(_order(verb, reason=reason, actor=actor, **options), job_ids)

    def drain(self, worker_id: str, reason: str | None = None, actor: str | None = None) -> WorkerState:
        """Ask a worker to take no more jobs and to end when those that it has are over.

        Raises `WorkerNotFound`, or `WorkerNotLive` with the state that it is in.
        """
        return self._clerk.drain(worker_id, reason, actor)

    def health(self, deep: bool = False) -> list[Finding]:
        """What in the database contradicts the engine's own rules: nothing, if all is well.

        It looks at what is alive, through indexes; ``deep`` walks through everything there is.
        """
        return self._clerk.health(deep, self.settings.silence)

    def order(self, order: Order, job_id: str) -> JobState:
        """Carry out an order on one job and give the state it is in now; raises what refuses it."""
        return JobState(str(self._answer(order, job_id).state))

    def _answer(self, order: Order, job_id: str) -> Answer:
        [answer] = self._clerk.operate(order, [job_id])
        if answer.refused is not None:
            raise answer.refused
        return answer

    # -- the way to the database

    @property
    def database(self) -> Any:
        """The database (`store.database.Database`), made on first use."""
        return self._clerk.database

    def submit(self, calls: Iterable[tuple[Bound, Terms]], connection: Any, chunk: int) -> Sequence[Enqueued]:
        """Enqueue calls in one transaction: the caller's if ``connection`` is given, else one of their own."""
        return self._clerk.submit(list(calls), connection, chunk)

    async def submit_async(
        self, calls: Iterable[tuple[Bound, Terms]], connection: Any, chunk: int
    ) -> Sequence[Enqueued]:
        """`submit` for async code: over the caller's connection in its loop, else in a thread."""
        return await self._clerk.submit_async(list(calls), connection, chunk)

    @cached_property
    def _clerk(self) -> Clerk:
        """Loaded with the first call: SQLAlchemy is more than half of what importing everything costs."""
        clerk: Clerk = import_module("jobwarden.clerk").Clerk(self.settings, self.hooks)
        return clerk

    def _registered(self) -> str:
        return f"registered are {', '.join(sorted(self._jobs))}" if self._jobs else "no job is registered at all"


def _order(verb: str, **given: Any) -> Order:
    """An order from plain words; raises `InvalidOption` for words that are none."""
    try:
        kind = Verb(verb)
    except ValueError:
        raise InvalidOption(option="verb", value=verb, job="operate", rule=f"one of {', '.join(Verb)}") from None
    return Order(kind, **given)
