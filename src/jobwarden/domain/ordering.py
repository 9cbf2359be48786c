"""Where the vertices of a layered graph stand: an order within each level that crosses few edges, and coordinates.

Every edge leads from one level to the next. The order is found by barycentre sweeps from a depth-first start, the best
order seen is kept; the coordinates by averaging over neighbours under the order, which is an isotonic regression.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Sequence
from math import ceil

from jobwarden.domain.layers import Lists

_SWEEPS, _EFFORT, _SETTLING = 12, 150_000, 6


def order(ranks: Lists, down: Lists, up: Lists) -> Lists:
    """The vertices of each level from first to last, ordered so that few edges cross."""
    best = ranks = _depth_first(ranks, down)
    fewest = crossings(ranks, down)
    size = sum(map(len, ranks)) + 1
    for sweep in range(max(2, min(_SWEEPS, _EFFORT // size))):
        if not fewest:
            break
        ranks = _swept(ranks, down if sweep % 2 else up, backwards=bool(sweep % 2))
        found = crossings(ranks, down)
        if found < fewest:
            best, fewest = ranks, found
    return best


def crossings(ranks: Lists, down: Lists) -> int:
    """How many pairs of edges cross, if all are straight lines."""
    place = _places(ranks)
    total = 0
    for rank in ranks:
        seen: list[int] = []
        for vertex in rank:
            ends = sorted(place[target] for target in down[vertex])
            total += sum(len(seen) - bisect_right(seen, end) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def coordinates(ranks: Lists, down: Lists, up: Lists, bends: int) -> tuple[dict[int, float], dict[int, int]]:
    """The height of each vertex, one at least from its neighbours, and its row: the same in whole numbers, 0 the top.

    Vertices from the number ``bends`` on are bends, which are kept straight before others are.
    """
    at = {vertex: float(place) for rank in ranks for place, vertex in enumerate(rank)}
    for turn in range(_SETTLING):
        sides = [up, down] if turn >= _SETTLING - 2 else [down if turn % 2 else up]
        for rank in ranks if turn % 2 == 0 else reversed(ranks):
            _settle(rank, at, sides, bends)
    least = min(at.values(), default=0.0)
    rows = {v: ceil(at[v] - place - least - 0.5) + place for rank in ranks for place, v in enumerate(rank)}
    dense = {row: number for number, row in enumerate(sorted(set(rows.values())))}
    return {v: round(y - least, 3) for v, y in at.items()}, {v: dense[row] for v, row in rows.items()}


def _depth_first(ranks: Lists, down: Lists) -> Lists:
    """The levels in the order in which a walk from the first roots meets their vertices."""
    found: Lists = [[] for _ in ranks]
    depth = {vertex: number for number, rank in enumerate(ranks) for vertex in rank}
    seen: set[int] = set()
    for root in (vertex for rank in ranks for vertex in rank):
        stack = [root]
        while stack:
            vertex = stack.pop()
            if vertex not in seen:
                seen.add(vertex)
                found[depth[vertex]].append(vertex)
                stack.extend(reversed(down[vertex]))
    return found


def _swept(ranks: Lists, fixed: Lists, *, backwards: bool) -> Lists:
    """Each level, from one end to the other, sorted by where its neighbours on the fixed side stand on average."""
    place, swept = _places(ranks), []
    for rank in reversed(ranks) if backwards else ranks:
        mean = {v: _mean([place[other] for other in fixed[v]], place[v]) for v in rank}
        rank = sorted(rank, key=mean.__getitem__)
        place.update((vertex, number) for number, vertex in enumerate(rank))
        swept.append(rank)
    return swept[::-1] if backwards else swept


def _settle(rank: Sequence[int], at: dict[int, float], sides: Iterable[Lists], bends: int) -> None:
    """Move a level as near to its neighbours as its order allows: pool those who would stand in each other's way."""
    blocks: list[tuple[float, float, int]] = []  # sum of weighted wishes, weight, how many
    for place, vertex in enumerate(rank):
        wish = _mean([at[other] for side in sides for other in side[vertex]], at[vertex]) - place
        weight, count = (8.0 if vertex >= bends else 1.0), 1
        total = wish * weight
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / weight:
            more, heavier, others = blocks.pop()
            total, weight, count = total + more, weight + heavier, count + others
        blocks.append((total, weight, count))
    spread = (round(total / weight, 6) for total, weight, count in blocks for _ in range(count))
    at.update((vertex, offset + place) for place, (vertex, offset) in enumerate(zip(rank, spread, strict=True)))


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _places(ranks: Lists) -> dict[int, int]:
    return {vertex: place for rank in ranks for place, vertex in enumerate(rank)}
