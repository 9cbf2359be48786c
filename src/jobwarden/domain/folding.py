"""Which nodes of a graph are so alike that one can stand for all of them.

Alike are nodes of one name whose upstream and downstream are alike, each node of a small class being like no other:
members with the same upstream and downstream sets, and as well a thousand chains side by side. Edges between classes
lead to higher levels, since a class fixes the longest path to its nodes, so what is folded has no cycle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence

from jobwarden.domain.layers import topological

_ROUNDS = 8  # each carries a difference all the way up and down; two nearly always do

Arcs = list[list[tuple[int, str]]]


def fold(names: Sequence[str], down: Arcs, up: Arcs, most: int, alone: int | None = None) -> list[int]:
    """The class of each vertex, given its arcs (vertex, kind) down and up; classes of up to ``most`` are taken apart.

    The vertex ``alone`` is like no other.
    """
    order = topological(*([[vertex for vertex, _ in arcs] for arcs in side] for side in (down, up)))
    colours: list[int] = _numbers([(name, vertex == alone) for vertex, name in enumerate(names)])
    for _ in range(_ROUNDS):
        before = max(colours, default=0)
        above, below = _seen(order, colours, up), _seen(order[::-1], colours, down)
        colours = _apart(_numbers(list(zip(above, below, strict=True))), most)
        if max(colours, default=0) == before:
            break
    return colours


def _seen(order: list[int], colours: list[int], arcs: Arcs) -> list[int]:
    """For each vertex, a number for its colour and all that can be seen from it along the arcs."""
    seen = [0] * len(colours)
    known: dict[Hashable, int] = {}
    for vertex in order:
        sight = (colours[vertex], frozenset((seen[other], kind) for other, kind in arcs[vertex]))
        seen[vertex] = known.setdefault(sight, len(known))
    return seen


def _apart(classes: list[int], most: int) -> list[int]:
    """Small classes as one class for each vertex."""
    size = Counter(classes)
    return _numbers([(found, -1 if size[found] > most else vertex) for vertex, found in enumerate(classes)])


def _numbers(values: Sequence[Hashable]) -> list[int]:
    """Equal values as equal numbers, from 0."""
    known: dict[Hashable, int] = {}
    return [known.setdefault(value, len(known)) for value in values]
