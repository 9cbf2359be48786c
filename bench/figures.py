"""Figures: what a round gave, what all rounds of a contest come to, and the verdict on its target."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median
from time import monotonic
from typing import Any, TypeVar

T = TypeVar("T")


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
    of: str = "ours"  # or ratio
    most: bool = False  # the figure must be at most this

    def met(self, line: Line) -> bool:
        """Whether a line reaches it."""
        found = line.ratio if self.of == "ratio" else line.ours.middle
        return found <= self.value if self.most else found >= self.value

    def __str__(self) -> str:
        return f"{'≤' if self.most else '≥'} {f'{self.value:.2f}' if self.of == 'ratio' else f'{self.value:,.0f}'}"


@dataclass(slots=True)
class Line:
    """One row of the table: a figure of ours beside the bare one."""

    name: str
    unit: str
    ours: Series
    bare: Series
    bare_is: str
    target: Target | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float:
        """The median of the rounds' own ratios: neighbours in time had the same machine."""
        return median(a / b for a, b in zip(self.ours.values, self.bare.values, strict=True))

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
            "bare": list(self.bare.values),
            "bare_median": self.bare.middle,
            "bare_is": self.bare_is,
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


def interleaved(rounds: int, *sides: Callable[[], T], warm: bool = True) -> Iterator[Sequence[T]]:
    """A B A B ...: the sides of one round are neighbours in time; a round that is not counted warms all up."""
    if warm:
        for side in sides:
            side()
    for _ in range(rounds):
        yield [side() for side in sides]


def contest(
    name: str,
    bare_is: str,
    rounds: int,
    ours: Callable[[], float],
    bare: Callable[[], float],
    *,
    warm: bool = True,
    **more: Any,
) -> Line:
    """Ours against the bare limit, in jobs a second."""
    mine, limit = zip(*interleaved(rounds, ours, bare, warm=warm), strict=True)
    return Line(name, "jobs/s", Series(mine), Series(limit), bare_is, **more)
