"""The gate: who may call what, and how work reaches the database from here."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, TypeVar

from jobwarden.app import JobWarden
from jobwarden.domain.access import Principal, Role
from jobwarden.domain.orders import By
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.redact import Redactor
from jobwarden.service.redaction import redacted
from jobwarden.store.database import Database, Transaction

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
S = TypeVar("S", bound="Part")


def needs(
    role: Role, what: str
) -> Callable[[Callable[Concatenate[S, Principal, P], R]], Callable[Concatenate[S, Principal, P], R]]:
    """A method that only who has ``role`` may call; ``what`` says in words what it does. Raises `RoleRequired`."""

    def gated(method: Callable[Concatenate[S, Principal, P], R]) -> Callable[Concatenate[S, Principal, P], R]:
        def call(self: S, principal: Principal, /, *args: P.args, **kwargs: P.kwargs) -> R:
            principal.require(role, what)
            return self.shown_to(principal, method(self, principal, *args, **kwargs))

        functools.update_wrapper(call, method)
        call.needs = role  # type: ignore[attr-defined]
        return call

    return gated


class Part:
    """A part of the service: its methods read and write in transactions of their own."""

    def __init__(self, app: JobWarden) -> None:
        self._app = app
        self._database: Database = app.database
        self._silence = app.settings.silence
        self._redactor, self._sees_all = Redactor(app.settings.redact), Role(app.settings.redact_below)

    @classmethod
    def gated(cls) -> Iterator[tuple[str, Role]]:
        """The names of its methods with the roles that they need."""
        for name, method in vars(cls).items():
            if (role := getattr(method, "needs", None)) is not None:
                yield name, role

    def shown_to(self, principal: Principal, answer: T) -> T:
        """An answer as somebody may see it."""
        return answer if principal.role.covers(self._sees_all) else redacted(self._redactor, answer)

    def _read(self, work: Callable[[Transaction], T]) -> T:
        """What ``work`` reads. Raises `DatabaseUnavailable` where the database cannot be used now."""
        with self._database.answering():
            return self._database.attempt(work, reads=True, pause=_pause)

    def _write(self, work: Callable[[Transaction], T]) -> T:
        """Do work that is safe to repeat."""
        with self._database.answering():
            return self._database.attempt(work, pause=_pause)


def by(principal: Principal, reason: str | None) -> By:
    """Who changes something, as the verbs take it."""
    return By(principal.actor, reason, address=principal.address)


def _pause(tries: int) -> None:
    time.sleep(Backoff(0.02, 4, 1.2).delay(tries, random.random()))


__all__ = ["Part", "by", "needs"]
