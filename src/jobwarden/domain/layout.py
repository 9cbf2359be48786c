"""The picture of a batch's graph as numbers: levels, places, lines; the console and the terminal only draw them.

Own work, since nothing at hand is as good at 10,000 nodes and 20,000 edges (two seconds of CPU here): grandalf and
fast-sugiyama take at least as long for a tenth of that, igraph takes half as much again and is under the GPL, and none
of them folds a fan-out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jobwarden.domain import layers, ordering
from jobwarden.domain.folding import fold
from jobwarden.domain.labels import natural, shorten
from jobwarden.domain.states import JobState

#: The state that speaks for a folded node: the first of these that a member is in.
URGENCY = ("failed", "orphaned", "running", "retrying", "queued", "pending", "stopped", "canceled", "succeeded")
_STUCK = frozenset({JobState.FAILED, JobState.CANCELED, JobState.STOPPED})


@dataclass(frozen=True, slots=True)
class Node:
    """A member as it is given; ``group``, or else the label, is the name under which it may be folded."""

    key: str
    label: str
    state: str
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """``target`` waits for the success or (kind ``completion``) for any end of ``source``; both are keys."""

    source: str
    target: str
    kind: str = "success"


@dataclass(frozen=True, slots=True)
class Placed:
    """A node in its place: ``level`` and ``y`` in grid units, ``row`` is y in whole numbers; no two share a place.

    A folded node has the first of its members as key, their most urgent state, and counts by state; ``short`` is the
    label cut to the width asked for, unlike that of any other label. Dimmed nodes are beside the focus, or cannot run
    any more.
    """

    key: str
    label: str
    short: str
    state: str
    component: int
    level: int
    y: float
    row: int
    members: tuple[str, ...]
    states: Mapping[str, int]
    dimmed: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """Where a line passes: ``x`` counts levels."""

    x: float
    y: float
    row: int


@dataclass(frozen=True, slots=True)
class Route:
    """The line of an edge, or of ``count`` edges between folded nodes, from its source to its target.

    Lines of one source share their first points. A line that is too long to be led through the levels goes ``around``
    the component instead.
    """

    source: str
    target: str
    kind: str
    count: int
    points: tuple[Point, ...]
    around: bool = False
    dimmed: bool = False


@dataclass(frozen=True, slots=True)
class Layout:
    """A graph laid out: nodes by component, level and row; components (keys) from the largest to the smallest."""

    nodes: tuple[Placed, ...]
    routes: tuple[Route, ...]
    components: tuple[tuple[str, ...], ...]
    width: int
    height: float

    def shown(self, tally: Mapping[str, Mapping[str, int]]) -> Layout:
        """The same with other states: how many members of each node, by its key, are in which; a node that is not
        there keeps what it has. Dimmed is what is called off, or waits for the success of what will have none."""
        counted = {node.key: tally.get(node.key) or node.states for node in self.nodes}
        sources: dict[str, list[str]] = {}
        for route in self.routes:
            if route.kind == "success":
                sources.setdefault(route.target, []).append(route.source)
        dimmed: set[str] = set()
        hopeless: set[str] = set()
        for node in sorted(self.nodes, key=lambda node: node.level):
            states = set(counted[node.key])
            waits_in_vain = states == {JobState.PENDING} and any(each in hopeless for each in sources.get(node.key, ()))
            if states == {JobState.CANCELED} or waits_in_vain:
                dimmed.add(node.key)
            if node.key in dimmed or states <= _STUCK:
                hopeless.add(node.key)
        nodes = tuple(_in_states(node, counted[node.key], node.key in dimmed) for node in self.nodes)
        routes = tuple(replace(each, dimmed=each.source in dimmed or each.target in dimmed) for each in self.routes)
        return replace(self, nodes=nodes, routes=routes)


@dataclass(slots=True)
class _Graph:
    """What is drawn, numbered: nodes in natural order of their keys, edges by (source, target)."""

    groups: list[list[Node]]
    edges: dict[tuple[int, int], Counter[str]]
    down: layers.Lists = field(default_factory=list)
    up: layers.Lists = field(default_factory=list)

    def __post_init__(self) -> None:
        self.down = [[] for _ in self.groups]
        for source, target in sorted(self.edges):
            self.down[source].append(target)
        self.up = layers.reverse(self.down)


def lay_out(
    nodes: Iterable[Node],
    edges: Iterable[Edge],
    *,
    collapse: int | None = 6,
    focus: str | None = None,
    label_width: int = 24,
) -> Layout:
    """Lay a graph out, the same whatever order it comes in.

    More than ``collapse`` nodes that are alike (:mod:`jobwarden.domain.folding`) become one; None folds nothing. What
    is neither up- nor downstream of the node ``focus`` is dimmed. ValueError: a cycle, a repeated or an unknown key.
    """
    known = sorted(nodes, key=lambda node: natural(node.key))
    whole = _numbered(known, edges)
    number = next((number for number, node in enumerate(known) if node.key == focus), None)
    if focus is not None and number is None:
        raise ValueError(f"there is no node {focus} to focus on")
    dim = _dead(whole)
    if number is not None:
        near = layers.reached(number, whole.up) | layers.reached(number, whole.down)
        dim |= set(range(len(known))) - near
    drawn = whole if collapse is None else _folded(whole, collapse, number)
    return _place(drawn, {known[vertex].key for vertex in dim}, label_width)


def _numbered(nodes: Sequence[Node], edges: Iterable[Edge]) -> _Graph:
    index = _index(nodes)
    found: dict[tuple[int, int], Counter[str]] = {}
    for edge in edges:
        if edge.source not in index or edge.target not in index:
            raise ValueError(f"an edge of an unknown node: {edge.source} to {edge.target}")
        found.setdefault((index[edge.source], index[edge.target]), Counter())[edge.kind] = 1
    graph = _Graph([[node] for node in nodes], found)
    layers.topological(graph.down, graph.up)
    return graph


def _index(nodes: Sequence[Node]) -> dict[str, int]:
    index = {node.key: number for number, node in enumerate(nodes)}
    if len(index) != len(nodes):
        raise ValueError("two nodes have one key")
    return index


def _dead(graph: _Graph) -> set[int]:
    """Who is canceled, or waits for the success of somebody who will have none."""
    dead: set[int] = set()
    hopeless: set[int] = set()
    for vertex in layers.topological(graph.down, graph.up):
        state = graph.groups[vertex][0].state
        needs = (source for source in graph.up[vertex] if "success" in graph.edges[source, vertex])
        if state == JobState.CANCELED or (state == JobState.PENDING and any(source in hopeless for source in needs)):
            dead.add(vertex)
        if vertex in dead or state in _STUCK:
            hopeless.add(vertex)
    return dead


def _folded(graph: _Graph, most: int, alone: int | None) -> _Graph:
    nodes = [group[0] for group in graph.groups]
    kinds = {pair: "+".join(sorted(kind)) for pair, kind in graph.edges.items()}
    down = [[(target, kinds[v, target]) for target in to] for v, to in enumerate(graph.down)]
    up = [[(source, kinds[source, v]) for source in of] for v, of in enumerate(graph.up)]
    classes = fold([node.group or node.label for node in nodes], down, up, most, alone)
    first = {found: vertex for vertex, found in reversed(list(enumerate(classes)))}
    rank = {found: number for number, found in enumerate(sorted(first, key=first.__getitem__))}
    groups: list[list[Node]] = [[] for _ in rank]
    for node, found in zip(nodes, classes, strict=True):
        groups[rank[found]].append(node)
    edges: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
    for (source, target), kind in graph.edges.items():
        edges[rank[classes[source]], rank[classes[target]]].update(kind)
    return _Graph(groups, edges)


def _place(graph: _Graph, dim: set[str], width: int) -> Layout:
    level = layers.levels(graph.down, graph.up)
    parts = layers.components(graph.down, graph.up)
    straight, depth, bends = layers.bend(graph.down, level)
    points, bottoms, height = _points(graph, parts, straight, depth, bends)
    dimmed = [all(node.key in dim for node in group) for group in graph.groups]
    labels = _labels(graph.groups)
    short = shorten(labels, width)
    placed: list[Placed] = []
    for number, part in enumerate(parts):
        for v in sorted(part, key=lambda v: (level[v], points[v].row)):
            place = _placed(graph.groups[v], labels[v], short[labels[v]], number, level[v], points[v], dimmed[v])
            placed.append(place)
    routes = [
        Route(
            graph.groups[source][0].key,
            graph.groups[target][0].key,
            "completion" if set(kinds) == {"completion"} else "success",
            kinds.total(),
            _line(points, level, bends, bottoms, source, target),
            source not in bends and level[target] > level[source] + 1,
            dimmed[source] or dimmed[target],
        )
        for (source, target), kinds in sorted(graph.edges.items())
    ]
    keys = tuple(tuple(graph.groups[v][0].key for v in part) for part in parts)
    return Layout(tuple(placed), tuple(routes), keys, max(level, default=-1) + 1, height)


def _points(
    graph: _Graph, parts: layers.Lists, straight: layers.Lists, depth: list[int], bends: Mapping[int, list[int]]
) -> tuple[dict[int, Point], dict[int, Point], float]:
    """Where every node and bend is, component below component; and the lane below the component of each node."""
    back = layers.reverse(straight)
    found: dict[int, Point] = {}
    bottoms: dict[int, Point] = {}
    top, row = 0.0, 0
    for part in parts:
        ranks: layers.Lists = [[] for _ in range(max(depth[v] for v in part) + 1)]
        for vertex in (*part, *(number for v in part for number in bends.get(v, ()))):
            ranks[depth[vertex]].append(vertex)
        ranks = ordering.order(ranks, straight, back)
        heights, rows = ordering.coordinates(ranks, straight, back, len(graph.groups))
        found.update((v, Point(depth[v], heights[v] + top, rows[v] + row)) for v in heights)
        top, row = top + max(heights.values()) + 1, row + max(rows.values()) + 1
        if any(v not in bends and len(straight[v]) < len(graph.down[v]) for v in part):
            bottoms.update(dict.fromkeys(part, Point(0, top, row)))
            top, row = top + 1, row + 1
    return found, bottoms, top


def _line(
    points: Mapping[int, Point],
    level: Sequence[int],
    bends: Mapping[int, list[int]],
    bottoms: Mapping[int, Point],
    source: int,
    target: int,
) -> tuple[Point, ...]:
    passed = level[target] - level[source] - 1
    if passed and source not in bends:
        lane = bottoms[source]
        ends = (level[source] + 0.5, level[target] - 0.5)
        return (points[source], *(Point(x, lane.y, lane.row) for x in ends), points[target])
    return (points[source], *(points[number] for number in bends.get(source, ())[:passed]), points[target])


def _labels(groups: Sequence[Sequence[Node]]) -> list[str]:
    """The name of a folded group; the label of a node, with its key where others have that label too."""
    names = [(group[0].group or group[0].label) if len(group) > 1 else group[0].label for group in groups]
    count = Counter(names)
    return [
        f"{name} · {group[0].key}" if count[name] > 1 and len(group) == 1 and name != group[0].key else name
        for name, group in zip(names, groups, strict=True)
    ]


def _placed(
    group: Sequence[Node], label: str, short: str, component: int, level: int, point: Point, dimmed: bool
) -> Placed:
    count = Counter(node.state for node in group)
    states = {state: count[state] for state in sorted(count, key=_urgency)}
    name = f"{short} × {len(group):,}" if len(group) > 1 else short
    members = tuple(node.key for node in group)
    return Placed(
        group[0].key, label, name, next(iter(states)), component, level, point.y, point.row, members, states, dimmed
    )


def _in_states(node: Placed, count: Mapping[str, int], dimmed: bool) -> Placed:
    states = {state: count[state] for state in sorted(count, key=_urgency)}
    return replace(node, state=next(iter(states)), states=states, dimmed=dimmed)


def _urgency(state: str) -> tuple[int, str]:
    return (URGENCY.index(state) if state in URGENCY else len(URGENCY), state)
