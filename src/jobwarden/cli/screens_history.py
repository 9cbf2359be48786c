"""The history for people: a line for each lane or job, with its course as a row of bars."""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import median

from jobwarden.cli.output import Cell, duration, instant, say, table
from jobwarden.views.series import Point, Series

_BARS = " ▁▂▃▄▅▆▇█"
_WIDTH = 60
_TIMES = ("wait_p50", "wait_p95", "run_p50", "run_p95")
_NUMBERS = ("started", "succeeded", "failed", "other", *(name.replace("_", " ") for name in _TIMES))


def series(found: Series, by: str) -> None:
    """All of it, the newest to the right."""
    if not found.points:
        say(f"Nothing began and nothing ended since {instant(found.since)}.")
        return
    named: dict[str, list[Point]] = defaultdict(list)
    for point in found.points:
        named[point.name].append(point)
    course = _Course(found)
    rows = [_row(name, points, course) for name, points in sorted(named.items())]
    table([by, "ends over time", "most", *_NUMBERS], rows, right=["most", *_NUMBERS])
    say(f"since {instant(found.since)}; a bar is {duration(course.wide * found.step)}, the highest is the column most")


class _Course:
    """A period as a row of at most sixty bars of equal length; ``wide`` is how many steps make one."""

    def __init__(self, found: Series) -> None:
        self._found = found
        self._steps = int((found.now - found.since).total_seconds() // found.step) + 1
        self.wide = math.ceil(self._steps / _WIDTH)

    def heaps(self, points: list[Point]) -> list[int]:
        """How many ended in each."""
        heaps = [0] * math.ceil(self._steps / self.wide)
        for point in points:
            place = int((point.at - self._found.since).total_seconds() // self._found.step)
            heaps[min(max(place, 0), self._steps - 1) // self.wide] += sum(point.ended.values())
        return heaps


def _row(name: str, points: list[Point], course: _Course) -> list[Cell]:
    ended: dict[str, int] = defaultdict(int)
    for point in points:
        for state, number in point.ended.items():
            ended[state] += number
    heaps = course.heaps(points)
    bars = "".join(_BARS[math.ceil(heap / (max(heaps) or 1) * (len(_BARS) - 1))] for heap in heaps)
    other = sum(number for state, number in ended.items() if state not in ("succeeded", "failed"))
    counts = (max(heaps), sum(point.started for point in points), ended["succeeded"], ended["failed"], other)
    return [name, bars, *(f"{count:,}" for count in counts), *(_middle(points, each) for each in _TIMES)]


def _middle(points: list[Point], name: str) -> str:
    """The median over the steps in which there was any."""
    values = [value for point in points if (value := getattr(point, name)) is not None]
    return duration(median(values)) if values else ""
