"""What is hidden from whom: every answer of the service passes here, so that no way in can forget it."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from jobwarden.domain.redact import Redactor

T = TypeVar("T")
#: Fields of text that jobs and people fill; every other text is a name or an id of ours.
_FREE_TEXT = frozenset({"message", "reason", "wait_reason", "cancel_reason", "held_reason", "words", "error", "why"})


def redacted(redactor: Redactor, value: T) -> T:
    """The same view, with what its data and its free texts should not show masked."""
    found: Any = _masked(redactor, value, "")
    return found  # type: ignore[no-any-return]


def _masked(redactor: Redactor, value: Any, name: str) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        given = {each.name: getattr(value, each.name) for each in fields(value)}
        changed = {key: new for key, old in given.items() if (new := _masked(redactor, old, key)) is not old}
        return replace(value, **changed) if changed else value
    if isinstance(value, dict):
        return redactor.data(value)
    if isinstance(value, list | tuple):
        return type(value)(_masked(redactor, each, name) for each in value)
    if isinstance(value, str):
        return redactor.text(value) if name in _FREE_TEXT else value
    return value
