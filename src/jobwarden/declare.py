"""Declaring: the decorator that turns a function or class into a job, and what it refuses."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from jobwarden.errors import DefinitionError, IdempotencyUndeclared, InvalidOption
from jobwarden.hooks import Hooks
from jobwarden.jobs import JobDefinition, Submitter, has_own_init
from jobwarden.options import Options, checked

P = ParamSpec("P")
R = TypeVar("R")
_NAME_LENGTH = 200


class ContextLike(Protocol):
    """What a context parameter's annotation must carry."""

    __jobwarden_context__: bool


X = TypeVar("X", bound=ContextLike)


class Declare:
    """The decorator that ``JobWarden.job(...)`` gives."""

    def __init__(self, declare: Callable[[Any, Mapping[str, Any] | None], JobDefinition[..., ..., Any]]) -> None:
        self._declare = declare

    @overload
    def __call__(self, target: Callable[Concatenate[X, P], R]) -> JobDefinition[P, Concatenate[X, P], R]: ...
    @overload
    def __call__(self, target: Callable[P, R]) -> JobDefinition[P, P, R]: ...
    def __call__(self, target: Callable[..., Any]) -> JobDefinition[..., ..., Any]:
        """Declare a function or class as a job."""
        frame = inspect.currentframe()
        scope = None
        if "<locals>" in getattr(target, "__qualname__", "") and frame and frame.f_back:
            scope = {**frame.f_back.f_globals, **frame.f_back.f_locals}
        return self._declare(target, scope)


def define(
    target: Any,
    submitter: Submitter,
    given: Mapping[str, Any],
    hooks: Sequence[Hooks] = (),
    scope: Mapping[str, Any] | None = None,
) -> JobDefinition[..., ..., Any]:
    """Make a definition of a function or class and its options as given; raises `DefinitionError`."""
    options = dict(given)
    name = options.pop("name", None) or default_name(target)
    aliases = tuple(options.pop("aliases", None) or ())
    for each in (name, *aliases):
        if not isinstance(each, str) or not 0 < len(each) <= _NAME_LENGTH:
            rule = f"a text of 1 to {_NAME_LENGTH} characters"
            raise InvalidOption(option="name", value=each, job=default_name(target), rule=rule)
    if options.get("idempotent") is None:
        raise IdempotencyUndeclared(name=name)
    target = _checked_target(name, target)
    return JobDefinition(target, name, aliases, Options(**checked(name, options)), submitter, hooks, scope)


def default_name(target: Any) -> str:
    """``module:qualname``, with the module's importable name where it runs as a script."""
    module = getattr(target, "__module__", None) or "unknown"
    return f"{_script_name() if module == '__main__' else module}:{getattr(target, '__qualname__', repr(target))}"


def _script_name() -> str:
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name).removesuffix(".__main__")
    return Path(getattr(main, "__file__", None) or "__main__").stem


def _checked_target(name: str, target: Any) -> Any:
    if inspect.isfunction(target):
        if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
            rule = "a generator function gives no result"
            raise DefinitionError(name=name, rule=rule, way_out="return the value, or a list")
        return target
    if not isinstance(target, type):
        way_out = "decorate a function, or a class with a run() method"
        raise DefinitionError(name=name, rule=f"{target!r} is neither a function nor a class", way_out=way_out)
    if not callable(getattr(target, "run", None)):
        rule = "the class has no run() method"
        raise DefinitionError(name=name, rule=rule, way_out="give it one: def run(self, ctx: Context)")
    return target if _has_fields(target) or has_own_init(target) else _as_dataclass(name, target)


def _has_fields(target: type) -> bool:
    return "__dataclass_fields__" in target.__dict__ or hasattr(target, "model_fields")


def _as_dataclass(name: str, target: type) -> type:
    try:
        return dataclasses.dataclass(target)
    except (TypeError, ValueError) as error:
        raise DefinitionError(name=name, rule=str(error), way_out="use dataclasses.field(...)") from error
