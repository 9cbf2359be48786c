"""Running one handler: what it returns or raises becomes the attempt's report, and nothing that it raises gets out.

The report is built as plain JSON data, because a pool seat builds thousands of them in a second.
"""

from __future__ import annotations

import asyncio
import os
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Protocol

from jobwarden.context import Context
from jobwarden.domain.refs import resolved
from jobwarden.errors import BatchRefused, BindingError, ResultRefused
from jobwarden.outcomes import Cancel, Ending, Fail, Finding, Outcome, Park, Snooze, Stopped
from jobwarden.process.spool import clean

TRACE_LIMIT = 8000
_HEAD = 2000
_READ_AGAIN = 2.0  # seconds
_MESSAGE_LIMIT = 4000
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_OURS = (os.path.join(_PACKAGE, "runner", ""), os.path.join(_PACKAGE, "jobs.py"))
_ON_THE_WAY = (*_OURS, os.path.join(os.path.dirname(asyncio.__file__), ""))
_LIBRARIES = tuple({sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")})


class Job(Protocol):
    """A declared job, as far as running it needs."""

    name: str

    def load(self, params: str) -> Any:
        """Stored params as a validated call; raises a `BindingError`."""
        ...

    def invoke(self, call: Any, ctx: Context) -> Any:
        """Run the handler and give what it returned."""
        ...

    def reconcile(self, call: Any, ctx: Context) -> Any:
        """Ask the reconcile hook and give its answer, without entering the handler."""
        ...

    def dump_result(self, value: Any, limit: int) -> str:
        """A result as JSON text; raises a `ResultRefused`."""
        ...

    def verdict(self, error: BaseException) -> bool | None:
        """Whether the declaration says to retry after this error."""
        ...

    def on_terminate(self, ctx: Context) -> bool:
        """Tell the running job that a stop is requested; False if it does not want to know."""
        ...


def load(job: Job, params: str, result_of: Callable[[str], Any]) -> tuple[Any, dict[str, Any] | None]:
    """The call, or the report of why there can be none; the handler was not entered then.

    ``result_of`` gives the result of another member of the batch, for params that refer to one.
    """
    try:
        whole = resolved(params, result_of)
    except LookupError as error:
        return None, _failed(error, f"its params refer to what is not there: {error.args[0]}", retryable=False)
    except Exception as error:  # the database is away, say
        return None, unstarted(f"what its params refer to could not be read: {error}", _READ_AGAIN)
    try:
        return job.load(whole), None
    except BindingError as error:
        return None, _failed(error, f"the params do not fit the job as it is declared here: {error}", retryable=False)
    except Exception as error:
        return None, _failed(error, f"the params could not be read: {error}", retryable=False)


def run(job: Job, call: Any, ctx: Context, limit: int) -> dict[str, Any]:
    """Enter the handler and report how it came out: Report's fields without attempt and usage; ``limit`` in bytes."""
    try:
        value = job.invoke(call, ctx)
        if value is None:
            value = ctx.given_result
        report: dict[str, Any] = {"outcome": "stopped" if ctx.saw_stop else "succeeded"}
        if value is not None:
            report["result"] = job.dump_result(value, limit)
        if not ctx.saw_stop:
            ctx.settle_with_growth(report.get("result"))
        return report
    except BaseException as error:
        return _report(job, error)


def reconcile(job: Job, call: Any, ctx: Context, limit: int) -> dict[str, Any]:
    """Ask the job's hook what a lost attempt did and report its answer; the handler is never entered."""
    try:
        answer = job.reconcile(call, ctx)
        if isinstance(answer, Outcome):
            return _answer(job, answer, limit)
        if answer is None and ctx.saw_stop:
            return {"outcome": "stopped"}
        return {"outcome": "parked", "reason": f"its reconcile hook returned {_kind_of(answer)} and no Outcome"}
    except Fail as error:
        return {**_wish(error), "outcome": "did fail"}
    except BaseException as error:
        return _report(job, error)


def describe(error: BaseException) -> dict[str, Any]:
    """An error as JSON data: class, message, location, trace and the one before it."""
    described = _brief(error)
    described["trace"] = _trace(error)
    previous = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if previous is not None:
        described["previous"] = _brief(previous)
    return described


def _report(job: Job, raised: BaseException) -> dict[str, Any]:
    error = _only_ending(raised)
    return _wish(error) if isinstance(error, Ending) else _mishap(job, error)


def _wish(error: Ending) -> dict[str, Any]:
    match error:
        case Stopped():
            return {"outcome": "stopped", "reason": clean(error.message) or "the handler honoured a stop"}
        case Cancel():
            return {"outcome": "canceled", "reason": clean(error.message) or "the handler canceled the job"}
        case Park():
            return {"outcome": "parked", "reason": clean(error.message) or "the handler parked the job"}
        case Snooze():
            reason = clean(error.message) or f"snoozed for {error.seconds:g} s"
            return {"outcome": "snoozed", "delay": error.seconds, "reason": reason}
        case Fail():
            return _failed(error, clean(error.message) or "the handler gave up", retryable=False)
        case _:
            return _failed(error, f"the handler raised {type(error).__name__}, which says nothing by itself")


def _answer(job: Job, answer: Outcome, limit: int) -> dict[str, Any]:
    reason = clean(str(answer.reason))[:_MESSAGE_LIMIT]
    match answer.finding:
        case Finding.RAN:
            report = {"outcome": "succeeded", "reason": reason or "its reconcile hook found that it had run"}
            return report if answer.result is None else {**report, "result": job.dump_result(answer.result, limit)}
        case Finding.DID_NOT_RUN:
            return {"outcome": "did not run", "reason": reason or "its reconcile hook found that it had done nothing"}
        case Finding.FAILED:
            error = {"class": "Outcome.failed", "message": reason, "location": None}
            return {"outcome": "did fail", "reason": reason or "its reconcile hook found it failed", "error": error}
        case _:
            return {"outcome": "parked", "reason": reason or "its reconcile hook could not tell what it did"}


def _kind_of(answer: Any) -> str:
    return "None" if answer is None else f"a {type(answer).__qualname__}"


def _mishap(job: Job, error: BaseException) -> dict[str, Any]:
    match error:
        case SystemExit():
            return {**_failed(error, _exit_words(error)), "exit_code": exit_code(error), "cause": "exited"}
        case MemoryError():
            return {**_failed(error, "out of memory"), "cause": "out of memory"}
        case ResultRefused() | BatchRefused():
            return _failed(error, str(error), retryable=False)
        case _:
            return _failed(error, _brief(error)["message"] or type(error).__name__, _verdict(job, error))


def exit_code(error: SystemExit) -> int:
    """The exit code that ``sys.exit`` stands for."""
    if error.code is None:
        return 0
    return error.code & 0xFF if isinstance(error.code, int) else 1


def _failed(error: BaseException, reason: str, retryable: bool | None = None) -> dict[str, Any]:
    report: dict[str, Any] = {"outcome": "failed", "error": describe(error), "reason": clean(reason)[:_MESSAGE_LIMIT]}
    if retryable is not None:
        report["retryable"] = retryable
    return report


def _verdict(job: Job, error: BaseException) -> bool | None:
    try:
        return job.verdict(error)
    except Exception:  # a class with its own __instancecheck__
        return None


def _only_ending(error: BaseException) -> BaseException:
    """What a task group wrapped, if that is one wish of the handler."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    found: BaseException | None = error.subgroup(Ending)
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found if found is not None else error


def _exit_words(error: SystemExit) -> str:
    given = "" if error.code is None else repr(error.code)
    return f"the handler called sys.exit({given}) instead of returning or raising"


def _brief(error: BaseException) -> dict[str, Any]:
    kind = type(error)
    name = (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )
    return {"class": name, "message": _text_of(error), "location": _location(error.__traceback__)}


def _text_of(error: BaseException) -> str:
    try:
        return clean(str(error))[:_MESSAGE_LIMIT]
    except Exception:
        return "(its message cannot be shown)"


def _location(trace: TracebackType | None) -> str | None:
    """Where it was raised: the deepest frame of the application, else the deepest of all."""
    deepest = own = None
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        deepest = f"{file}:{trace.tb_lineno}"
        if not file.startswith(_OURS) and not file.startswith(_LIBRARIES):
            own = deepest
        trace = trace.tb_next
    found = own or deepest
    return clean(found) if found else None


def _trace(error: BaseException) -> str:
    try:
        text = "".join(traceback.format_exception(type(error), error, _without_ours(error.__traceback__)))
    except Exception:
        return "(the traceback cannot be shown)"
    text = clean(text)
    if len(text) <= TRACE_LIMIT:
        return text
    tail = TRACE_LIMIT - _HEAD - 7
    return f"{text[:_HEAD]}\n[...]\n{text[-tail:]}"


def _without_ours(trace: TracebackType | None) -> TracebackType | None:
    """The traceback from the application's first frame on, or all of it if no frame is the application's."""
    rest = trace
    while rest is not None and rest.tb_frame.f_code.co_filename.startswith(_ON_THE_WAY):
        rest = rest.tb_next
    return rest if rest is not None else trace


def reseed() -> None:
    """Give libraries that keep their own random state a fresh one after a fork; Python's own module does it itself."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


def unstarted(reason: str, delay: float | None = None) -> dict[str, Any]:
    """The report of an attempt whose handler provably never began."""
    report: dict[str, Any] = {"outcome": "unstarted", "reason": clean(reason)}
    return report if delay is None else {**report, "delay": delay}


def text_of_claim(claim: Mapping[str, Any]) -> str:
    """The process title of an attempt: the job's name and the run's label, else the end of the attempt's id."""
    asks = "reconcile " if claim.get("purpose") == "reconcile" else ""
    return f"jobwarden: {asks}{claim['job']} {claim.get('label') or claim['attempt_id'][-8:]}"
