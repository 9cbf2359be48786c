"""Jobs: what a function or class becomes when it is declared, and how it is called now, later or in bulk.

A definition knows nothing of the app: it is handed a submitter, and tests may hand it another. Making one reads only
the signature; validators are built on first use.
"""

from __future__ import annotations

import asyncio
import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, update_wrapper
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeAlias, TypeVar, cast

from pydantic_core import PydanticSerializationError, to_json

from jobwarden.binding import Binder, Field, Signature, hints_of, read_signature
from jobwarden.domain.draft import Enqueued
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.refs import Ref, with_refs
from jobwarden.errors import DefinitionError, InvalidOption, ResultTooLarge, ResultUnstorable
from jobwarden.handle import Handles, JobHandle
from jobwarden.hooks import Hooks, call_all
from jobwarden.options import Bound, Options, Terms, checked_choices, promoted
from jobwarden.outcomes import Park
from jobwarden.services import open_services, open_services_async

P = ParamSpec("P")
C = ParamSpec("C")
R = TypeVar("R")
CHUNK = 5000
Enter: TypeAlias = Callable[[dict[str, Any]], Any]


class Submitter(Protocol):
    """Where checked calls go."""

    def submit(self, calls: Iterable[tuple[Bound, Terms]], connection: Any, chunk: int) -> Sequence[Enqueued]:
        """Enqueue the calls in one transaction, in the caller's own if ``connection`` is given."""
        ...

    async def submit_async(
        self, calls: Iterable[tuple[Bound, Terms]], connection: Any, chunk: int
    ) -> Sequence[Enqueued]:
        """The same without blocking the loop."""
        ...

    def handle(self, enqueued: Enqueued) -> JobHandle:
        """The handle of a job."""
        ...


@dataclass(slots=True)
class Call:
    """Validated arguments of one run, by name; a class job's instance is here while it runs."""

    arguments: dict[str, Any]
    instance: Any = None


# -- calling ----------------------------------------------------------------------------------------------------------


class Using(Generic[P]):
    """A job with some options changed for the calls made through it; made by ``using`` and never changed."""

    __slots__ = ("_connection", "_job", "_terms")

    def __init__(self, job: JobDefinition[P, Any, Any], terms: Terms, connection: Any) -> None:
        self._job, self._terms, self._connection = job, terms, connection

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> Bound:
        """A checked call on these terms, to be enqueued by ``enqueue_many``, a batch or a schedule."""
        if self._connection is not None:
            rule = "given where the calls are enqueued, not where they are bound"
            raise InvalidOption(option="connection", value=self._connection, job=self._job.name, rule=rule)
        return self._job.bound(args, kwargs, self._terms)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Check the arguments and enqueue the job; gives the earlier job where the idempotency key is taken."""
        submitter, call = self._job.submitter, self._job.bound(args, kwargs, self._terms)
        return submitter.handle(submitter.submit([(call, self._terms)], self._connection, CHUNK)[0])

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """`enqueue` for async code."""
        submitter, call = self._job.submitter, self._job.bound(args, kwargs, self._terms)
        return submitter.handle((await submitter.submit_async([(call, self._terms)], self._connection, CHUNK))[0])

    def enqueue_many(self, calls: Iterable[Bound], chunk: int = CHUNK) -> Handles:
        """Enqueue bound calls, all or none, ``chunk`` rows to a statement.

        Calls that were bound without options of their own get these; the others keep theirs.
        """
        submitter = self._job.submitter
        return Handles(submitter.submit(self._settled(calls), self._connection, chunk), submitter.handle)

    async def aenqueue_many(self, calls: Iterable[Bound], chunk: int = CHUNK) -> Handles:
        """`enqueue_many` for async code."""
        submitter = self._job.submitter
        settled = self._settled(calls)
        return Handles(await submitter.submit_async(settled, self._connection, chunk), submitter.handle)

    def _settled(self, calls: Iterable[Bound]) -> list[tuple[Bound, Terms]]:
        own, general = self._terms, self._job.terms
        if own.has_key:
            rule = "given to each call, job.using(idempotency_key=...).bind(...), because it names one job"
            raise InvalidOption(option="idempotency_key", value="...", job=self._job.name, rule=rule)
        return [(call, own if call.terms is general else call.terms) for call in calls]


class JobDefinition(Generic[P, C, R]):
    """A declared job. Calling it calls the plain function, or makes a plain instance of the class.

    ``P`` are the parameters that are enqueued, ``C`` those of a plain call (with the context), ``R`` what it returns.
    """

    def __init__(
        self,
        target: Callable[C, R],
        name: str,
        aliases: tuple[str, ...],
        options: Options,
        submitter: Submitter,
        hooks: Sequence[Hooks] = (),
        scope: Mapping[str, Any] | None = None,
    ) -> None:
        self.target: Any = target
        self.name, self.aliases, self.options = name, aliases, options
        self.submitter, self.hooks = submitter, hooks
        self.terms = self._terms({})
        self._using: Using[P] = Using(self, self.terms, None)
        self._scope = scope
        self._current: Any = None
        update_wrapper(cast(Any, self), self.target, updated=())
        self._look_early()

    # -- what it is

    def __call__(self, *args: C.args, **kwargs: C.kwargs) -> R:
        """Call the plain function or class, here and now."""
        return cast(R, self.target(*args, **kwargs))

    def __repr__(self) -> str:
        return f"<job {self.name}>"

    def __instancecheck__(self, instance: object) -> bool:
        return self.is_class and isinstance(instance, self.target)

    def __getattr__(self, name: str) -> Any:
        if name in ("target", "__isabstractmethod__"):
            raise AttributeError(name)
        return getattr(self.target, name)

    @property
    def is_class(self) -> bool:
        """Whether it was declared as a class with a ``run`` method."""
        return isinstance(self.target, type)

    @property
    def is_async(self) -> bool:
        """Whether its handler runs in an event loop."""
        return inspect.iscoroutinefunction(self._handler)

    @property
    def runbook(self) -> str:
        """The job's docstring: what an operator should know."""
        return inspect.cleandoc(self.target.__doc__ or "")

    @property
    def fields(self) -> list[Field]:
        """Its parameters as a form shows them; raises `DefinitionError` for a bad signature."""
        return [Field.of(param) for param in self._signature.params]

    @property
    def reconciles(self) -> bool:
        """Whether it can ask the outside world what a lost attempt did."""
        return self.is_class and callable(getattr(self.target, "reconcile", None))

    def dump(self) -> dict[str, Any]:
        """What others need to know of it, as JSON data."""
        facts = {"aliases": list(self.aliases), "reconciles": self.reconciles, "runbook": self.runbook}
        return {**self.options.dump(), **facts, "is_async": self.is_async}

    def prepare(self) -> None:
        """Build the validators now, as a zygote does before it forks; raises `DefinitionError` for a bad signature."""
        _ = self._binder, self._run_signature, self._plain

    # -- calling it later

    def using(
        self,
        *,
        lane: str | None = None,
        priority: int | None = None,
        max_attempts: int | None = None,
        backoff: Backoff | None = None,
        timeout: float | timedelta | None = None,
        max_runtime: float | timedelta | None = None,
        grace: float | timedelta | None = None,
        isolation: Literal["fork", "pool", "exec"] | None = None,
        memory: int | str | None = None,
        on_lost: Literal["auto", "retry", "park", "fail"] | None = None,
        tags: Mapping[str, str] | None = None,
        label: str | None = None,
        delay: float | timedelta | None = None,
        available_at: datetime | None = None,
        idempotency_key: str | None = None,
        created_by: str | None = None,
        connection: Any = None,
    ) -> Using[P]:
        """The job with these options changed. Times are seconds or timedeltas, memory bytes or ``"2GiB"``.

        ``label`` is the shown name of this run. ``connection`` joins the caller's transaction: a SQLAlchemy
        Connection or Session (async ones with ``aenqueue``), a psycopg, PyMySQL or sqlite3 connection, or Django's.
        """
        given = {name: value for name, value in locals().items() if name not in ("self", "connection")}
        return Using(self, self._terms(checked_choices(self.name, given)), connection)

    def bind(self, *args: P.args, **kwargs: P.kwargs) -> Bound:
        """A checked call, to be enqueued by ``enqueue_many``, a batch or a schedule."""
        return self.bound(args, kwargs, self.terms)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """Check the arguments and enqueue the job."""
        return self._using.enqueue(*args, **kwargs)

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobHandle:
        """`enqueue` for async code."""
        return await self._using.aenqueue(*args, **kwargs)

    def enqueue_many(self, calls: Iterable[Bound], chunk: int = CHUNK) -> Handles:
        """Enqueue bound calls, all or none, ``chunk`` rows to a statement."""
        return self._using.enqueue_many(calls, chunk)

    async def aenqueue_many(self, calls: Iterable[Bound], chunk: int = CHUNK) -> Handles:
        """`enqueue_many` for async code."""
        return await self._using.aenqueue_many(calls, chunk)

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], terms: Terms) -> Bound:
        """A checked call on given terms."""
        if Ref in map(type, args) or Ref in map(type, kwargs.values()):
            return self._bound_later(args, kwargs, terms)
        text, values = self._binder.bind(args, kwargs)
        tags = promoted(self.options.promote, values) if self.options.promote else None
        return Bound(self.name, text, terms, tags)

    def _bound_later(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], terms: Terms) -> Bound:
        """A call of which some parameters are another member's result: those are checked when it starts."""
        given, refs = self._binder.apart(args, kwargs)
        text, values = self._binder.without(refs).bind((), given)
        return Bound(self.name, with_refs(text, refs), terms, promoted(self.options.promote, values) or None, refs)

    # -- running it, in the child

    def load(self, params: str | bytes) -> Call:
        """Stored params as a validated call; raises a `BindingError` if they do not fit this code."""
        return Call(self._binder.load(params))

    def invoke(self, call: Call, ctx: Any) -> Any:
        """Run the handler to its end, with its services built before and closed after, and give what it returned."""
        if self._plain:
            return self._enter(call, ctx, {})
        return self._surrounded(ctx, self.is_async, self._run_signature, lambda given: self._enter(call, ctx, given))

    def on_terminate(self, ctx: Any) -> bool:
        """Tell the running class job that a stop is requested; False if it does not want to know."""
        told = getattr(self._current, "on_terminate", None)
        if not callable(told):
            return False
        _with_context(told, ctx)
        return True

    def reconcile(self, call: Call, ctx: Any) -> Any:
        """Ask a class job what a lost attempt did and give its answer; the handler is never entered."""
        if not self.reconciles:
            raise Park(f"the job {self.name!r} was enqueued with a reconcile hook, and its code here has none")
        is_async = inspect.iscoroutinefunction(self.target.reconcile)
        return self._surrounded(ctx, is_async, self._hook_signature, lambda given: self._ask(call, ctx, given))

    def dump_result(self, value: Any, limit: int) -> str:
        """A handler's result as JSON text of at most ``limit`` bytes; raises a `ResultRefused`."""
        try:
            text = to_json(value, inf_nan_mode="strings")
        except (PydanticSerializationError, ValueError, RecursionError) as error:
            rule = str(error).strip().partition("\n")[0]
            raise ResultUnstorable(job=self.name, rule=rule) from None
        if len(text) > limit:
            raise ResultTooLarge(job=self.name, size=len(text), limit=limit)
        return text.decode()

    def verdict(self, error: BaseException) -> bool | None:
        """Whether the job's declaration says to retry after this error; None leaves it to the rules."""
        if isinstance(error, self.options.fail_on):
            return False
        return isinstance(error, self.options.retry_on) if self.options.retry_on else None

    # -- private, in order of use

    def _terms(self, choices: Mapping[str, Any]) -> Terms:
        return Terms(self.options, {**choices, "reconciles": self.reconciles})

    def _look_early(self) -> None:
        """Find mistakes at the declaration if the annotations can be resolved there already."""
        try:
            _ = self._signature, self._run_signature, self._hook_signature
        except NameError:
            self.__dict__.pop("_signature", None)
        else:
            self._scope = None

    @cached_property
    def _signature(self) -> Signature:
        """The parameters of the function, or of the class's constructor."""
        source = self.target.__init__ if has_own_init(self.target) else self.target
        signature = read_signature(self.name, self.target, hints_of(source, self._scope))
        if self.is_class and (signature.context or signature.services):
            rule = "its fields are data, and the context and services belong to the run"
            raise DefinitionError(name=self.name, rule=rule, way_out="take them as parameters of run()")
        return signature

    @cached_property
    def _run_signature(self) -> Signature:
        """The parameters of the handler itself."""
        signature = self._signature_of("run") if self.is_class else self._signature
        return self._with_loop(signature, self._handler)

    @cached_property
    def _hook_signature(self) -> Signature:
        """The parameters of the reconcile hook, if there is one."""
        if not self.reconciles:
            return Signature((), None, {})
        return self._with_loop(self._signature_of("reconcile"), self.target.reconcile)

    def _signature_of(self, name: str) -> Signature:
        method = getattr(self.target, name)
        signature = read_signature(self.name, method, hints_of(method, self._scope))
        if signature.params:
            rule = f"{name}() takes {signature.params[0].name!r}, which is neither Context nor a service"
            raise DefinitionError(name=self.name, rule=rule, way_out="make it an annotated field of the class")
        return signature

    def _with_loop(self, signature: Signature, handler: Any) -> Signature:
        """The signature, unless it wants services that need a loop which its handler does not have."""
        late = [name for name, provide in signature.services.items() if provide.needs_loop]
        if late and not inspect.iscoroutinefunction(handler):
            rule = f"its service {late[0]!r} is built by an async function and the handler is not async"
            raise DefinitionError(name=self.name, rule=rule, way_out="make one of the two like the other")
        return signature

    @cached_property
    def _plain(self) -> bool:
        """Whether a run is nothing but the call of a function: no hook, no service, no loop."""
        return not (self.hooks or self.is_class or self.is_async or self._run_signature.services)

    @cached_property
    def _binder(self) -> Binder:
        try:
            _ = self._hook_signature
            injected = {self._run_signature.context or "", *self._run_signature.services} - {""}
            return Binder(self.name, self._signature.params, frozenset(injected))
        except NameError as error:
            rule = f"an annotation cannot be resolved ({error})"
            raise DefinitionError(name=self.name, rule=rule, way_out="import that name in the job's module") from error

    @property
    def _handler(self) -> Any:
        return self.target.run if self.is_class else self.target

    def _surrounded(self, ctx: Any, is_async: bool, signature: Signature, enter: Enter) -> Any:
        call_all([hook.starting for hook in self.hooks], ctx)
        failure: BaseException | None = None
        try:
            return asyncio.run(_run_async(signature, enter)) if is_async else _run(signature, enter)
        except BaseException as error:
            failure = error
            raise
        finally:
            self._current = None
            call_all([hook.finished for hook in self.hooks], ctx, failure)

    def _enter(self, call: Call, ctx: Any, given: dict[str, Any]) -> Any:
        if self._run_signature.context:
            given[self._run_signature.context] = ctx
        if not self.is_class:
            return self.target(**call.arguments, **given)
        self._current = call.instance = self.target(**call.arguments)
        return call.instance.run(**given)

    def _ask(self, call: Call, ctx: Any, given: dict[str, Any]) -> Any:
        if self._hook_signature.context:
            given[self._hook_signature.context] = ctx
        return self.target(**call.arguments).reconcile(**given)


def _run(signature: Signature, enter: Enter) -> Any:
    failure: BaseException | None = None
    with ExitStack() as stack:
        given = open_services(stack, signature.services)
        try:
            return enter(given)
        except BaseException as error:
            failure = error
            raise
    raise failure  # a service that swallowed the error does not make the run a success


async def _run_async(signature: Signature, enter: Enter) -> Any:
    failure: BaseException | None = None
    async with AsyncExitStack() as stack:
        given = await open_services_async(stack, signature.services)
        try:
            return await enter(given)
        except BaseException as error:
            failure = error
            raise
    raise failure


def _with_context(method: Callable[..., Any], ctx: Any) -> Any:
    return method(ctx) if inspect.signature(method).parameters else method()


def has_own_init(target: Any) -> bool:
    """Whether a class wrote its constructor itself: dataclasses and models have theirs from their fields."""
    if not isinstance(target, type) or dataclasses.is_dataclass(target) or hasattr(target, "model_fields"):
        return False
    return any("__init__" in vars(kind) for kind in target.__mro__[:-1])
