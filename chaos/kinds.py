"""The kinds of jobs in the campaign, and what each may come to if nobody harms it. Pure: app and checker share it.

The fate of an attempt is what was reported of it, or its state where that says it all: a kind's `Kind.fates` are those
that an attempt may meet by its own doing. Anything else needs a fault or an operator to explain it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind: how often it comes, what its first and its later attempts come to, whether the operator picks it."""

    name: str
    idempotent: bool
    weight: int
    first: frozenset[str]
    later: frozenset[str]
    isolation: str = "fork"
    seconds: tuple[float, float] = (0.0, 0.0)
    operable: bool = False

    def fates(self, number: int) -> frozenset[str]:
        """What an attempt of this number may come to by its own doing."""
        return self.first if number == 1 else self.later


_GOOD = frozenset({"succeeded"})


def _good(name: str, weight: int, **more: Any) -> Kind:
    return Kind(name, more.pop("idempotent", True), weight, _GOOD, _GOOD, **more)


def _bad_once(name: str, weight: int, *fates: str, **more: Any) -> Kind:
    return Kind(name, more.pop("idempotent", True), weight, frozenset(fates), _GOOD, **more)


def _bad(name: str, weight: int, *fates: str, **more: Any) -> Kind:
    return Kind(name, more.pop("idempotent", True), weight, frozenset(fates), frozenset(fates), **more)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        _good("quick", 60, isolation="pool"),
        _good("quick_once", 20, idempotent=False),
        _good("quick_once_pool", 6, idempotent=False, isolation="pool"),
        _good("slow", 8, seconds=(1.0, 6.0), operable=True),
        _good("slow_once", 8, idempotent=False, seconds=(1.0, 6.0), operable=True),
        _good("slow_pool", 3, isolation="pool", seconds=(0.5, 3.0), operable=True),
        _good("slow_exec", 1, isolation="exec", seconds=(0.5, 3.0), operable=True),
        _good("noisy", 3, seconds=(0.2, 1.0)),
        _good("forking", 4, seconds=(0.1, 0.4)),
        _good("forking_long", 3, idempotent=False, seconds=(2.0, 5.0), operable=True),
        _good("checkpointing", 4, seconds=(1.0, 4.0), operable=True),
        _good("reconciling", 6, idempotent=False, seconds=(0.3, 3.0), operable=True),
        _bad_once("snoozing", 4, "snoozed"),
        _bad_once("raises", 4, "failed"),
        _bad_once("exits", 2, "failed", "lost"),
        _bad_once("dies", 3, "lost"),
        _bad_once("segfaults", 1, "lost"),
        _bad_once("forking_dies", 2, "lost"),
        _bad("dies_once", 2, "lost", idempotent=False),
        # what is over its limit is ended; who ends it may be frozen, or die before it can say why
        _bad("stubborn", 3, "failed", "lost", idempotent=False, operable=True),
        _good("growing", 0),  # a member that adds members
        _bad("overdue", 2, "failed", "lost", "succeeded", seconds=(3.0, 3.0)),
    )
}
#: Where a handler itself asked to be run again, a second start is what it wished for.
WISHED_AGAIN = frozenset({"snoozed"})
