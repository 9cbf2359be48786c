"""The levels of an acyclic graph of numbered vertices, its components, and the bends of edges that pass a level.

Vertices are 0 to n-1 and ``down[v]`` lists where the edges of v lead. Every step is linear and none recurses.
"""

from __future__ import annotations

from collections.abc import Sequence

Lists = list[list[int]]

_BENDS, _FEW = 3, 2000  # points for each vertex and edge, or in all: what is longer goes around its component


def reverse(down: Sequence[Sequence[int]]) -> Lists:
    """For each vertex, where its edges come from."""
    up: Lists = [[] for _ in down]
    for vertex, targets in enumerate(down):
        for target in targets:
            up[target].append(vertex)
    return up


def topological(down: Lists, up: Lists) -> list[int]:
    """All vertices, each after those it depends on; ValueError if there is a cycle."""
    missing = [len(sources) for sources in up]
    found = [vertex for vertex, count in enumerate(missing) if not count]
    for vertex in found:
        for target in down[vertex]:
            missing[target] -= 1
            if not missing[target]:
                found.append(target)
    if len(found) != len(down):
        raise ValueError("the graph has a cycle")
    return found


def levels(down: Lists, up: Lists) -> list[int]:
    """The level of each vertex: as early as possible, but beside its successors where that shortens more edges."""
    order = topological(down, up)
    level = [0] * len(down)
    for vertex in order:
        for target in down[vertex]:
            level[target] = max(level[target], level[vertex] + 1)
    for vertex in reversed(order):
        if len(down[vertex]) > len(up[vertex]):
            level[vertex] = min(level[target] for target in down[vertex]) - 1
    return level


def components(down: Lists, up: Lists) -> Lists:
    """The weakly connected parts, the largest first, those of one size by their smallest vertex."""
    around = [[*to, *of] for to, of in zip(down, up, strict=True)]
    found: Lists = []
    seen: set[int] = set()
    for start in range(len(down)):
        if start not in seen:
            part = reached(start, around)
            seen |= part
            found.append(sorted(part))
    return sorted(found, key=lambda part: (-len(part), part[0]))


def reached(start: int, arcs: Lists) -> set[int]:
    """A vertex and all that the arcs lead to from there."""
    seen, queue = {start}, [start]
    while queue:
        for other in arcs[queue.pop()]:
            if other not in seen:
                seen.add(other)
                queue.append(other)
    return seen


def bend(down: Lists, level: list[int]) -> tuple[Lists, list[int], dict[int, list[int]]]:
    """The graph with a bend wherever an edge passes a level: its edges, its levels, and the bends of each vertex.

    The long edges of a vertex share their bends, so that they leave it as one line and part where they must. Where
    the edges of a vertex have more points than the budget has left, it has no bends and its long edges are left out.
    """
    spans = [[level[target] - level[v] - 1 for target in to] for v, to in enumerate(down)]
    budget = max(_FEW, _BENDS * (len(down) + sum(map(len, down))))
    straight: Lists = [[t for t in to if level[t] == level[v] + 1] for v, to in enumerate(down)]
    depth = list(level)
    bends: dict[int, list[int]] = {}
    for vertex in sorted(range(len(down)), key=lambda v: sum(spans[v])):
        budget -= sum(spans[vertex])
        if any(spans[vertex]) and budget >= 0:
            first, span = len(depth), max(spans[vertex])
            bends[vertex] = list(range(first, first + span))
            depth += range(level[vertex] + 1, level[vertex] + 1 + span)
            straight += [*([number] for number in bends[vertex][1:]), []]
            straight[vertex].append(first)
            for target in (target for target in down[vertex] if level[target] > level[vertex] + 1):
                straight[first + level[target] - level[vertex] - 2].append(target)
    return straight, depth, bends
