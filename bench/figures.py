"""Figures: what a round gave, what all rounds of a contest come to, and the verdict on its target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from typing import Any


@dataclass(frozen=True, slots=True)
class Series:
    """The rounds of one side."""

    values: tuple[float, ...]

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


@dataclass(frozen=True, slots=True)
class Target:
    """What must be reached: of the figure itself, or of its ratio to the bare limit."""

    value: float
    of: str = "ours"  # ours, ratio or cost
    most: bool = False  # the figure must be at most this

    def met(self, line: Line) -> bool:
        found = {"ours": line.ours.middle, "ratio": line.ratio, "cost": -line.gain}[self.of]
        return found is not None and (found <= self.value if self.most else found >= self.value)

    def __str__(self) -> str:
        sign = "≤" if self.most else "≥"
        shown = f"{self.value:,.0f}" if self.of == "ours" else f"{self.value:.0%}"
        return f"{sign} {shown}{' cost' if self.of == 'cost' else ''}"


@dataclass(slots=True)
class Line:
    """One row of the table: a figure of ours beside the bare one."""

    name: str
    unit: str
    ours: Series
    bare: Series | None = None
    target: Target | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The median of the rounds' own ratios: neighbours in time had the same machine."""
        if self.bare is None:
            return None
        return median(a / b for a, b in zip(self.ours.values, self.bare.values, strict=True))

    @property
    def gain(self) -> float:
        """How much more than the bare side: negative is a cost."""
        return (self.ratio or 0.0) - 1.0

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.target.met(self)

    def data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "ours": list(self.ours.values),
            "ours_median": self.ours.middle,
            "bare": list(self.bare.values) if self.bare else None,
            "bare_median": self.bare.middle if self.bare else None,
            "ratio": self.ratio,
            "target": str(self.target) if self.target else None,
            "met": self.met,
            **({"notes": self.notes} if self.notes else {}),
        }


def rate(count: int, work: Callable[[], Any]) -> float:
    """How many a second."""
    begin = monotonic()
    work()
    return count / (monotonic() - begin)


def interleaved(rounds: int, *sides: Callable[[], float]) -> Iterator[Sequence[float]]:
    """A B A B ...: the sides of one round are neighbours in time; a round that is not counted warms all up."""
    for side in sides:
        side()
    for _ in range(rounds):
        yield [side() for side in sides]


def contest(name: str, unit: str, rounds: int, ours: Callable[[], float], bare: Callable[[], float], **more: Any) -> Line:
    """Ours against the bare limit."""
    measured = list(interleaved(rounds, ours, bare))
    mine, limit = zip(*measured, strict=True)
    return Line(name, unit, Series(mine), Series(limit), **more)
