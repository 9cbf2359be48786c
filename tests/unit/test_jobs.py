"""What a declared function or class is, and what happens around its run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import BaseModel

from jobwarden.declare import define
from jobwarden.domain.draft import Draft, Enqueued
from jobwarden.domain.orders import Order
from jobwarden.domain.states import JobState
from jobwarden.errors import (
    DefinitionError,
    IdempotencyUndeclared,
    InvalidOption,
    InvalidParam,
    ResultTooLarge,
    ResultUnstorable,
    UnknownParam,
)
from jobwarden.handle import JobHandle, Snapshot
from jobwarden.hooks import Hooks
from jobwarden.jobs import JobDefinition
from jobwarden.options import Bound, Terms
from jobwarden.services import Provide

Job = JobDefinition[..., ..., Any]


class Ctx:
    """Stands for the context: what makes it one is its mark."""

    __jobwarden_context__ = True


class Desk:
    """Keeps what is submitted."""

    def __init__(self) -> None:
        self.drafts: list[Draft] = []
        self.connections: list[Any] = []

    def submit(self, calls: Iterable[tuple[Bound, Terms]], connection: Any, chunk: int) -> Sequence[Enqueued]:
        drafts = [call.draft(str(number), terms) for number, (call, terms) in enumerate(calls)]
        self.drafts += drafts
        self.connections.append(connection)
        return [Enqueued(draft.id, True) for draft in drafts]

    async def submit_async(self, calls: Any, connection: Any, chunk: int) -> Sequence[Enqueued]:
        return self.submit(calls, connection, chunk)

    def handle(self, enqueued: Enqueued) -> JobHandle:
        return JobHandle(enqueued.id, enqueued.created, self)

    def look(self, job_id: str) -> Snapshot:
        raise NotImplementedError

    def order(self, order: Order, job_id: str) -> JobState:
        raise NotImplementedError


DESK = Desk()


def job(target: Any, desk: Desk = DESK, hooks: Sequence[Hooks] = (), **options: Any) -> Job:
    return define(target, desk, {"idempotent": True, **options}, hooks)


def run(definition: Job, *args: Any, ctx: Any = None, **kwargs: Any) -> Any:
    """Through binding and back, as a worker does."""
    return definition.invoke(definition.load(definition.bind(*args, **kwargs).params), ctx or Ctx())


# -- functions


def add(a: int, b: int = 2, *, ctx: Ctx) -> Any:
    """Adds.

    If it fails, count again.
    """
    return a + b, type(ctx)


def test_a_function_stays_a_function() -> None:
    definition = job(add)
    assert definition(1, 2, ctx=Ctx()) == (3, Ctx)
    assert (definition.__name__, definition.__doc__) == ("add", add.__doc__)
    assert definition.runbook == "Adds.\n\nIf it fails, count again."
    assert definition.name == f"{__name__}:add"


def test_the_context_is_injected_and_never_passed() -> None:
    definition = job(add)
    assert run(definition, 1) == (3, Ctx)
    with pytest.raises(UnknownParam, match="from the engine, never from the caller"):
        definition.bind(1, ctx=Ctx())


def test_a_context_that_may_be_missing_is_injected_too() -> None:
    def sample(ctx: Ctx | None = None) -> Any:
        return ctx

    assert isinstance(run(job(sample)), Ctx)


def test_an_async_function_runs_in_a_loop_of_its_own() -> None:
    async def sample(a: int) -> int:
        await asyncio.sleep(0)
        return a

    definition = job(sample)
    assert definition.is_async
    assert run(definition, 3) == 3
    assert asyncio.run(definition(4)) == 4


def test_types_that_are_declared_later_are_found_at_the_first_call() -> None:
    namespace: dict[str, Any] = {"__name__": __name__}
    exec("from __future__ import annotations\ndef late(value: Later): return value", namespace)
    definition = job(namespace["late"], name="late")
    with pytest.raises(DefinitionError, match="'Later' is not defined"):
        definition.prepare()
    namespace["Later"] = int
    assert run(definition, "3") == 3


# -- classes


class Charge:
    """Takes money."""

    customer: int
    amount: Decimal = Decimal(1)

    def run(self, ctx: Ctx) -> Any:
        self.ctx = ctx
        return self.customer, self.amount

    def on_terminate(self, ctx: Ctx) -> None:
        TOLD.append((self.customer, ctx))

    def reconcile(self) -> str:
        return f"asked about {self.customer}"


TOLD: list[Any] = []


def test_a_class_takes_its_fields_as_params() -> None:
    definition = job(Charge)
    assert definition.bind(7, amount=Decimal("1.50")).params == '{"customer":7,"amount":"1.50"}'
    assert run(definition, 7) == (7, Decimal(1))
    with pytest.raises(InvalidParam, match="customer='x'"):
        definition.bind("x")


def test_a_class_job_can_be_made_and_run_by_hand() -> None:
    definition = job(Charge)
    instance = definition(customer=3)
    assert instance.run(Ctx()) == (3, Decimal(1))
    assert isinstance(instance, definition)  # type: ignore[arg-type]
    assert definition.is_class
    assert definition.runbook == "Takes money."


def test_only_the_running_instance_is_told_of_a_stop() -> None:
    TOLD.clear()

    class Long(Charge):
        def run(self, ctx: Ctx) -> Any:
            definition.on_terminate(ctx)

    definition = job(Long)
    ctx = Ctx()
    run(definition, 9, ctx=ctx)
    definition.on_terminate(ctx)
    assert [(9, ctx)] == TOLD
    job(add).on_terminate(ctx)


def test_a_class_may_ask_the_outside_world() -> None:
    definition = job(Charge)
    assert definition.reconciles
    assert definition.reconcile(definition.load('{"customer":5}'), Ctx()) == "asked about 5"
    assert not job(add).reconciles


def test_a_hook_may_have_services_and_a_loop_and_is_surrounded_by_the_hooks() -> None:
    log: list[Any] = []

    def open_bank() -> Iterator[str]:
        log.append("opened")
        yield "bank"
        log.append("closed")

    async def fetch() -> str:
        return "fetched"

    class Note(Hooks):
        def starting(self, ctx: Any) -> None:
            log.append("starting")

        def finished(self, ctx: Any, error: BaseException | None) -> None:
            log.append(("finished", error))

    class Pay:
        def run(self) -> None:
            log.append("ENTERED")

        async def reconcile(
            self, ctx: Ctx, bank: Annotated[str, Provide(open_bank)], more: Annotated[str, Provide(fetch)]
        ) -> Any:
            log.append("asked")
            return bank, more

    definition = define(Pay, DESK, {"idempotent": False}, [Note()], scope=locals())
    assert definition.reconcile(definition.load("{}"), Ctx()) == ("bank", "fetched")
    assert log == ["starting", "opened", "asked", "closed", ("finished", None)]


def test_whether_a_job_can_ask_is_kept_with_it_on_whatever_terms_it_is_called() -> None:
    asks, plain = job(Charge), job(add)
    calls = [asks.bind(1), asks.using(lane="hot").bind(1), plain.bind(1, 2), plain.using(lane="hot").bind(1, 2)]
    assert [call.draft("id").reconciles for call in calls] == [True, True, False, False]


def test_dataclasses_models_and_own_constructors_are_taken_as_they_are() -> None:
    @dataclass(kw_only=True)
    class Data:
        a: int

        def run(self) -> int:
            return self.a

    class Model(BaseModel):
        a: int

        async def run(self) -> int:
            return self.a

    class Own:
        def __init__(self, a: int, b: int = 1) -> None:
            self.sum = a + b

        def run(self) -> int:
            return self.sum

    assert [run(job(kind), a=1) for kind in (Data, Model, Own)] == [1, 1, 2]


class _NoRun:
    a: int


class _TakesData:
    def run(self, a: int) -> None: ...


class _HookTakesData:
    def run(self) -> None: ...

    def reconcile(self, a: int) -> None: ...


class _HasService:
    client: Annotated[str, Provide(str)]

    def run(self) -> None: ...


class _Shared:
    a: list[int] = []

    def run(self) -> None: ...


def _generates() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (_NoRun, "no run"),
        (_TakesData, "neither Context nor a service"),
        (_HookTakesData, r"reconcile\(\) takes 'a', which is neither Context nor a service"),
        (_HasService, "belong to the run"),
        (_Shared, "default_factory"),
        (_generates, "generator function"),
        (3, "neither a function nor a class"),
    ],
)
def test_what_cannot_be_a_job_is_refused_where_it_is_declared(target: Any, words: str) -> None:
    with pytest.raises(DefinitionError, match=words):
        job(target)


def test_idempotent_has_no_default() -> None:
    with pytest.raises(TypeError, match="there is no default") as caught:
        define(add, DESK, {})
    assert isinstance(caught.value, IdempotencyUndeclared)
    assert str(caught.value).count(". ") == 1


def test_a_script_names_its_jobs_as_a_worker_would_import_them(tmp_path: Path) -> None:
    script = "from jobwarden.declare import default_name\ndef sample() -> None: ...\nprint(default_name(sample))\n"
    (tmp_path / "billing.py").write_text(script)
    for command in (["billing.py"], ["-m", "billing"]):
        run = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert run.stdout == "billing:sample\n"


# -- services


class Client:
    def __init__(self, log: list[str], name: str) -> None:
        self.log, self.name = log, name


def _provider(log: list[str], name: str) -> Callable[[], Iterator[Client]]:
    def make() -> Iterator[Client]:
        log.append(f"open {name}")
        try:
            yield Client(log, name)
        except ValueError as error:
            log.append(f"{name} saw {error}")
            raise
        finally:
            log.append(f"close {name}")

    return make


def test_services_are_built_for_the_run_and_closed_in_reverse_order() -> None:
    log: list[str] = []

    def sample(
        a: int,
        first: Annotated[Client, Provide(_provider(log, "first"))],
        second: Annotated[Client, Provide(_provider(log, "second"))],
        plain: Annotated[list[str], Provide(list)],
    ) -> Any:
        log.append(f"run {first.name} {second.name} {plain}")
        if a == 0:
            raise ValueError("nought")

    definition = define(sample, DESK, {"idempotent": True}, scope=locals())
    assert definition.bind(1).params == '{"a":1}'
    run(definition, 1)
    assert log == ["open first", "open second", "run first second []", "close second", "close first"]
    log.clear()
    with pytest.raises(ValueError, match="nought"):
        run(definition, 0)
    assert log[3:] == ["second saw nought", "close second", "first saw nought", "close first"]


def test_a_service_cannot_make_a_failure_a_success() -> None:
    def swallow() -> Iterator[int]:
        with suppress(ValueError):
            yield 1

    def sample(one: Annotated[int, Provide(swallow)]) -> None:
        raise ValueError("still here")

    async def sample_async(one: Annotated[int, Provide(swallow)]) -> None:
        raise ValueError("still here")

    for target in (sample, sample_async):
        with pytest.raises(ValueError, match="still here"):
            run(define(target, DESK, {"idempotent": True}, scope=locals()))


def test_async_handlers_may_have_async_services() -> None:
    log: list[str] = []

    async def stream() -> AsyncIterator[str]:
        yield "streamed"
        log.append("closed")

    async def fetch() -> str:
        return "fetched"

    async def sample(a: Annotated[str, Provide(stream)], b: Annotated[str, Provide(fetch)]) -> Any:
        return a, b

    assert run(define(sample, DESK, {"idempotent": True}, scope=locals())) == ("streamed", "fetched")
    assert log == ["closed"]


def test_a_sync_handler_with_an_async_service_is_refused() -> None:
    async def fetch() -> str:
        return "fetched"

    def sample(a: Annotated[str, Provide(fetch)]) -> Any: ...

    with pytest.raises(DefinitionError, match="async"):
        define(sample, DESK, {"idempotent": True}, scope=locals())


# -- hooks


def test_hooks_see_the_run_and_change_nothing() -> None:
    seen: list[Any] = []

    class Watching(Hooks):
        def starting(self, ctx: Any) -> None:
            seen.append("starting")
            raise RuntimeError("a broken hook")

        def finished(self, ctx: Any, error: BaseException | None) -> None:
            seen.append(error)

    def sample(a: int) -> int:
        return 1 // a

    definition = job(sample, hooks=[Watching()])
    assert run(definition, 1) == 1
    with pytest.raises(ZeroDivisionError) as caught:
        run(definition, 0)
    assert seen == ["starting", None, "starting", caught.value]


# -- results and verdicts


def test_a_result_is_json_or_refused() -> None:
    definition = job(add, name="adder")
    assert definition.dump_result({"a": Decimal("1.5"), "b": {1}}, 100) == '{"a":"1.5","b":[1]}'
    assert definition.dump_result(None, 100) == "null"
    assert definition.dump_result(float("nan"), 100) == '"NaN"'
    with pytest.raises(ResultTooLarge, match="is 12 bytes of JSON and at most 11"):
        definition.dump_result("x" * 10, 11)
    circle: list[Any] = []
    circle.append(circle)
    for value in (object(), b"\xff", "\ud800", circle, print):
        with pytest.raises(ResultUnstorable, match="'adder' is not JSON data"):
            definition.dump_result(value, 100)


def test_the_declaration_decides_what_is_retried() -> None:
    assert job(add).verdict(OSError()) is None
    definition = job(add, retry_on=[OSError], fail_on=FileNotFoundError)
    assert definition.verdict(OSError()) is True
    assert definition.verdict(FileNotFoundError()) is False
    assert definition.verdict(ValueError()) is False
    assert job(add, fail_on=ValueError).verdict(OSError()) is None


# -- calls


def test_using_changes_nothing_but_its_own_calls() -> None:
    desk = Desk()
    definition = job(add, desk, lane="imports")
    hot = definition.using(lane="hot", delay=300, idempotency_key="k", label="now")
    definition.enqueue(1)
    hot.enqueue(2)
    asyncio.run(hot.aenqueue(b=4, a=3))
    found = [(draft.params, draft.lane, draft.delay, draft.idempotency_key, draft.label) for draft in desk.drafts]
    assert found == [
        ('{"a":1}', "imports", None, None, None),
        ('{"a":2}', "hot", 300.0, "k", "now"),
        ('{"a":3,"b":4}', "hot", 300.0, "k", "now"),
    ]


def test_many_calls_take_the_callers_options_unless_they_have_their_own() -> None:
    desk = Desk()
    definition = job(add, desk)
    calls = [definition.bind(1), definition.using(lane="own").bind(2)]
    handles = definition.using(lane="hot").enqueue_many(iter(calls))
    assert [draft.lane for draft in desk.drafts] == ["hot", "own"]
    assert (len(handles), handles.ids, handles.created) == (2, ["0", "1"], 2)
    assert [handle.id for handle in handles[1:]] == ["1"]
    assert len(definition.enqueue_many([])) == 0


def test_a_key_or_a_connection_in_the_wrong_place_is_refused() -> None:
    definition = job(add)
    with pytest.raises(InvalidOption, match="given to each call"):
        definition.using(idempotency_key="k").enqueue_many([definition.bind(1)])
    with pytest.raises(InvalidOption, match="where the calls are enqueued"):
        definition.using(connection=object()).bind(1)
    with pytest.raises(TypeError, match="colour"):
        definition.using(colour="red")  # type: ignore[call-arg]


def test_params_become_tags_where_the_job_says_so() -> None:
    def sample(store: str, n: int) -> None: ...

    desk = Desk()
    definition = job(sample, desk, promote=["store", "n"])
    definition.using(tags={"by": "hand"}).enqueue("42", 1)
    assert desk.drafts[0].tags == {"store": "42", "by": "hand"}
