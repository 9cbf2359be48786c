"""Services: what a handler needs and no row can hold, built for one run and closed after it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Provide:
    """Says how a service is built: ``client: Annotated[Client, Provide(make_client)]``.

    ``factory`` takes no arguments. A generator function yields the service once and is resumed when the run is over,
    with the run's error if there was one; the services of a run are closed in reverse order. Factories of `async def`
    handlers may be async too.
    """

    factory: Callable[[], Any]

    @property
    def needs_loop(self) -> bool:
        """Whether the factory can only be used by an async handler."""
        return inspect.iscoroutinefunction(self.factory) or inspect.isasyncgenfunction(self.factory)


def open_services(stack: ExitStack, wanted: Mapping[str, Provide]) -> dict[str, Any]:
    """Build the services in order; the stack closes them."""
    return {name: _open(stack, provide.factory) for name, provide in wanted.items()}


async def open_services_async(stack: AsyncExitStack, wanted: Mapping[str, Provide]) -> dict[str, Any]:
    """Build the services in order, sync and async alike; the stack closes them."""
    built: dict[str, Any] = {}
    for name, provide in wanted.items():
        if inspect.isasyncgenfunction(provide.factory):
            built[name] = await stack.enter_async_context(asynccontextmanager(provide.factory)())
        elif inspect.iscoroutinefunction(provide.factory):
            built[name] = await provide.factory()
        else:
            built[name] = _open(stack, provide.factory)
    return built


def _open(stack: ExitStack | AsyncExitStack, factory: Callable[[], Any]) -> Any:
    if inspect.isgeneratorfunction(factory):
        return stack.enter_context(contextmanager(factory)())
    return factory()
