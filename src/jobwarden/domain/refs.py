"""References: a parameter whose value is the result of another member of the batch, looked up when the job starts.

In a row, a parameter that refers is ``{"$result": [key, ...path]}``; nobody else may pass a value of that form.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MARK = "$result"
#: Between the key of a batch that is a member of another and the key of a member of it.
WITHIN = "/"


@dataclass(frozen=True, slots=True, init=False)
class Ref:
    """The result of the member ``key``, or a part of it: ``Ref("extract", "files", 0)``.

    Passed in the place of a whole argument. The member that gets it waits for the success of the one that it names.
    """

    key: str
    path: tuple[str | int, ...]

    def __init__(self, key: str, *path: str | int) -> None:
        object.__setattr__(self, "key", key)
        object.__setattr__(self, "path", path)

    def __str__(self) -> str:
        return "".join([self.key, *(f"[{part!r}]" for part in self.path)])


def names_within(own: str, key: str) -> list[str]:
    """What ``key`` may mean to the member ``own``, the nearest first: one of its own batch, or of those around it."""
    around = own.split(WITHIN)[:-1]
    return [WITHIN.join([*around[:depth], key]) for depth in range(len(around), -1, -1)]


def with_refs(params: str, refs: Mapping[str, Ref]) -> str:
    """Params as JSON text, the parameters that refer among them."""
    given = json.loads(params) | {name: {MARK: [ref.key, *ref.path]} for name, ref in refs.items()}
    return json.dumps(given, separators=(",", ":"), ensure_ascii=False)


def refs_in(params: Mapping[str, Any]) -> dict[str, Ref]:
    """The parameters that refer."""
    return {name: Ref(*value[MARK]) for name, value in params.items() if isinstance(value, dict) and [*value] == [MARK]}


def resolved(params: str, result_of: Callable[[str], Any]) -> str:
    """Params with what they refer to, asked of ``result_of`` once for each member; raises LookupError."""
    if MARK not in params:
        return params
    given = json.loads(params)
    results: dict[str, Any] = {}
    for name, ref in refs_in(given).items():
        if ref.key not in results:
            results[ref.key] = result_of(ref.key)
        given[name] = _part(results[ref.key], ref)
    return json.dumps(given, separators=(",", ":"), ensure_ascii=False)


def _part(found: Any, ref: Ref) -> Any:
    for part in ref.path:
        try:
            found = found[part]
        except (LookupError, TypeError) as error:
            raise LookupError(f"the result of {ref.key!r} has no {ref}") from error
    return found
