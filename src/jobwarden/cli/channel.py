"""The lines between two neighbouring levels of a picture, as box-drawing: who may be read as joined is joined.

Sources with the same targets share one upright. Uprights that would overlap stand side by side; one that crosses a
line bridges it, and one that ends in another's line points into it, so that no connection is shown that is none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

LEFT, RIGHT, UP, DOWN = 1, 2, 4, 8
SHAPES = {
    LEFT | RIGHT: "─",
    UP | DOWN: "│",
    RIGHT | DOWN: "┌",
    LEFT | DOWN: "┐",
    RIGHT | UP: "└",
    LEFT | UP: "┘",
    RIGHT | UP | DOWN: "├",
    LEFT | UP | DOWN: "┤",
    LEFT | RIGHT | DOWN: "┬",
    LEFT | RIGHT | UP: "┴",
    LEFT | RIGHT | UP | DOWN: "┼",
}
_DASHED = {"─": "╌", "│": "┆"}


@dataclass(frozen=True, slots=True)
class Net:
    """Lines from rows on the left, all to the same rows on the right."""

    left: frozenset[int]
    right: frozenset[int]
    dashed: bool
    dim: bool

    @property
    def rows(self) -> range:
        """The rows that the upright spans; none if the line goes straight on."""
        ends = self.left | self.right
        return range(min(ends), max(ends) + 1) if len(ends) > 1 else range(0)


@dataclass(frozen=True, slots=True)
class Channel:
    """The cells of a channel, by (row, column), and its width; the last column is left free."""

    cells: dict[tuple[int, int], tuple[str, bool]]
    width: int


def nets(lines: Iterable[tuple[int, int, bool, bool]]) -> list[Net]:
    """Lines (from row, to row, dashed, dim) gathered into nets."""
    ends: dict[tuple[int, bool], set[int]] = defaultdict(set)
    lit: set[tuple[int, bool]] = set()
    for left, right, dashed, dim in lines:
        ends[left, dashed].add(right)
        if not dim:
            lit.add((left, dashed))
    sources: dict[tuple[frozenset[int], bool, bool], set[int]] = defaultdict(set)
    for (left, dashed), to in ends.items():
        sources[frozenset(to), dashed, (left, dashed) not in lit].add(left)
    found = [Net(frozenset(of), to, dashed, dim) for (to, dashed, dim), of in sources.items()]
    return sorted(found, key=lambda net: (min(net.left), min(net.right), net.dashed, net.dim))


def route(found: list[Net]) -> Channel | None:
    """Draw the nets; None if two would have to run along one row at once."""
    tracks = _tracks(found)
    if tracks is None:
        return None
    width = 3 + bool(tracks) * (2 + 2 * max(tracks.values(), default=0))
    cells: dict[tuple[int, int], tuple[str, bool]] = {}
    for number in sorted(range(len(found)), key=lambda n: (not found[n].dim, not found[n].dashed, n)):
        _across(cells, found[number], 2 + 2 * tracks.get(number, 0), width - 1)
    for number, net in enumerate(found):
        if number in tracks:
            _upright(cells, net, 2 + 2 * tracks[number])
    return Channel(cells, width)


def _tracks(found: list[Net]) -> dict[int, int] | None:
    """The column of each upright: left of all that it must not meet on a row."""
    bent = [number for number, net in enumerate(found) if net.rows]
    after = {n: {m for m in bent if m != n and found[n].left & found[m].right} for n in bent}
    missing = {n: sum(n in later for later in after.values()) for n in bent}
    tracks: dict[int, int] = {}
    taken: dict[int, set[int]] = defaultdict(set)
    ready = [n for n in bent if not missing[n]]
    while ready:
        number = ready.pop(0)
        rows = set(found[number].rows)
        least = max((tracks[n] + 1 for n in tracks if number in after[n]), default=0)
        tracks[number] = next(t for t in range(least, least + len(bent) + 1) if not rows & taken[t])
        taken[tracks[number]] |= rows
        for later in sorted(after[number]):
            missing[later] -= 1
            if not missing[later]:
                ready.append(later)
    return tracks if len(tracks) == len(bent) else None


def _across(cells: dict[tuple[int, int], tuple[str, bool]], net: Net, column: int, width: int) -> None:
    shape = _shape(LEFT | RIGHT, net)
    spans = [(row, range(column)) for row in net.left] + [(row, range(column + 1, width)) for row in net.right]
    if not net.rows:
        spans = [(row, range(width)) for row in net.left]
    for row, columns in spans:
        cells.update(((row, place), (shape, net.dim)) for place in columns)


def _upright(cells: dict[tuple[int, int], tuple[str, bool]], net: Net, column: int) -> None:
    rows = net.rows
    for row in rows:
        sides = LEFT * (row in net.left) | RIGHT * (row in net.right)
        mask = sides | UP * (row > rows[0]) | DOWN * (row < rows[-1])
        shape = _shape(mask, net)
        if sides == RIGHT and (row, column) in cells:
            shape = "▼" if row > min(net.left) else "▲"
        elif sides == LEFT and (row, column) in cells:
            shape = SHAPES[mask | RIGHT]
        cells[row, column] = (shape, net.dim)


def _shape(mask: int, net: Net) -> str:
    shape = SHAPES[mask]
    return _DASHED.get(shape, shape) if net.dashed else shape
