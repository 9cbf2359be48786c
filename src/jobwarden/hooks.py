"""What an application may want to do around its jobs: one class of hooks that do nothing until overridden.

A hook that raises is logged and changes nothing: neither an enqueue nor an outcome depends on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from jobwarden.domain.draft import Draft

logger = logging.getLogger("jobwarden.hooks")


class Hooks:
    """Override what you need and pass an instance: ``JobWarden(hooks=[MyHooks()])``."""

    def enqueued(self, drafts: Sequence[Draft]) -> None:
        """Jobs were handed to the database; inside a joined transaction the caller may still roll them back."""

    def starting(self, ctx: Any) -> None:
        """In the child, before the handler or the reconcile hook is entered: ``ctx.purpose``, of the job's Context."""

    def finished(self, ctx: Any, error: BaseException | None) -> None:
        """In the child, after what was entered has returned or raised, before the outcome is reported."""


def call_all(hooks: Iterable[Callable[..., None]], *arguments: Any) -> None:
    """Call each; an error in one is logged and hinders neither the others nor the caller."""
    for hook in hooks:
        try:
            hook(*arguments)
        except Exception:
            logger.exception("the hook %s failed and was passed over", getattr(hook, "__qualname__", hook))
