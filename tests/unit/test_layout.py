"""The layout of graphs: what holds for all of them, what is folded, what is dimmed, and what it costs."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from time import process_time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwarden.domain import layers, ordering
from jobwarden.domain.labels import natural, shorten
from jobwarden.domain.layout import Edge, Layout, Node, Placed, lay_out

STATES = ("pending", "queued", "running", "succeeded", "failed", "canceled")


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[Node], list[Edge]]:
    """Up to thirty nodes of few names, edges from lower to higher numbers."""
    count = draw(st.integers(1, 30))
    names = st.sampled_from(["load", "parse", "merge"])
    nodes = [Node(f"k{n}", draw(names), draw(st.sampled_from(STATES))) for n in range(count)]
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] < pair[1])
    found = draw(st.sets(pairs, max_size=60)) if count > 1 else set()
    kinds = st.sampled_from(["success", "completion"])
    return nodes, [Edge(f"k{a}", f"k{b}", draw(kinds)) for a, b in sorted(found)]


def _chains(count: int, length: int) -> tuple[list[Node], list[Edge]]:
    """A start, that many chains side by side, an end."""
    nodes = [Node("start", "start", "succeeded"), Node("zend", "end", "pending")]
    edges = []
    for chain in range(count):
        keys = ["start", *(f"{chain}-{step}" for step in range(length)), "zend"]
        nodes += [Node(key, f"step {step}", "running", f"step {step}") for step, key in enumerate(keys[1:-1])]
        edges += [Edge(a, b) for a, b in pairwise(keys)]
    return nodes, edges


def _tangle(count: int) -> tuple[list[Node], list[Edge]]:
    """A random graph of two edges to a node."""
    chance = random.Random(count)
    pairs: set[tuple[int, int]] = set()
    while len(pairs) < 2 * count:
        target = chance.randrange(1, count)
        pairs.add((chance.randrange(max(0, target - 200), target), target))
    return [Node(str(n), f"job {n}", "pending") for n in range(count)], [Edge(str(a), str(b)) for a, b in pairs]


def _by_key(found: Layout) -> dict[str, Placed]:
    return {node.key: node for node in found.nodes}


@given(graphs(), st.sampled_from([None, 1, 2, 6]))
def test_every_edge_leads_to_a_higher_level_by_way_of_all_between(
    graph: tuple[list[Node], list[Edge]], most: int | None
) -> None:
    found = lay_out(*graph, collapse=most)
    at = _by_key(found)
    for route in found.routes:
        assert at[route.source].level < at[route.target].level
        if not route.around:
            assert [p.x for p in route.points] == list(range(at[route.source].level, at[route.target].level + 1))
        assert (route.points[0].row, route.points[-1].row) == (at[route.source].row, at[route.target].row)


@given(graphs(), st.sampled_from([None, 1, 2, 6]))
def test_no_two_nodes_and_no_node_and_line_share_a_place(
    graph: tuple[list[Node], list[Edge]], most: int | None
) -> None:
    found = lay_out(*graph, collapse=most)
    rows = [(node.level, node.row) for node in found.nodes]
    passed = {(p.x, p.row) for route in found.routes for p in route.points[1:-1]}
    assert len(set(rows)) == len(rows)
    assert not passed & set(rows)
    heights: dict[int, list[float]] = {}
    for node in found.nodes:
        heights.setdefault(node.level, []).append(node.y)
    assert all(b - a > 0.99 for ys in heights.values() for a, b in pairwise(sorted(ys)))


@given(graphs(), st.sampled_from([None, 1, 2, 6]))
def test_every_node_is_somewhere_once_and_all_is_counted(
    graph: tuple[list[Node], list[Edge]], most: int | None
) -> None:
    nodes, edges = graph
    found = lay_out(nodes, edges, collapse=most)
    assert sorted(key for node in found.nodes for key in node.members) == sorted(node.key for node in nodes)
    states = {node.key: node.state for node in nodes}
    for placed in found.nodes:
        assert placed.states == Counter(states[key] for key in placed.members)
        assert len(placed.members) == 1 or len(placed.members) > (most or len(nodes))
    assert sum(route.count for route in found.routes) == len(edges)
    assert sorted(key for part in found.components for key in part) == sorted(_by_key(found))


@given(graphs())
def test_components_are_disjoint_joined_and_the_largest_comes_first(graph: tuple[list[Node], list[Edge]]) -> None:
    found = lay_out(*graph, collapse=None)
    home = {key: number for number, part in enumerate(found.components) for key in part}
    assert len(home) == len(graph[0])
    assert all(home[edge.source] == home[edge.target] for edge in graph[1])
    sizes = [len(part) for part in found.components]
    assert sizes == sorted(sizes, reverse=True)
    for number, part in enumerate(found.components):
        assert len(part) - 1 <= sum(home[edge.source] == number for edge in graph[1])


@given(graphs(), st.randoms())
def test_the_order_of_what_is_given_does_not_matter(
    graph: tuple[list[Node], list[Edge]], chance: random.Random
) -> None:
    nodes, edges = list(graph[0]), list(graph[1])
    chance.shuffle(nodes)
    chance.shuffle(edges)
    assert lay_out(nodes, edges) == lay_out(*graph)


@given(st.sets(st.text("ab·x1", min_size=1, max_size=30), max_size=40), st.integers(5, 20))
def test_shortened_labels_fit_and_stay_different(labels: set[str], width: int) -> None:
    found = shorten(labels, width)
    assert set(found) == labels
    assert all(len(short) <= width for short in found.values())
    assert len(set(found.values())) == len(labels)


def test_labels_keep_what_tells_them_apart() -> None:
    one, two = "import-customers-from-europe", "import-customers-from-africa"
    assert set(shorten([one, two], 16).values()) == {"import-c…-europe", "import-c…-africa"}
    assert shorten(["a-very-long-name-indeed"], 10) == {"a-very-long-name-indeed": "a-very-lo…"}
    assert sorted(["s-10", "s-9", "s-09"], key=natural) == ["s-09", "s-9", "s-10"]


def test_nodes_of_one_label_are_told_apart_by_their_keys() -> None:
    found = lay_out([Node("a", "load", "queued"), Node("b", "load", "queued")], [])
    assert [node.short for node in found.nodes] == ["load · a", "load · b"]


def test_a_thousand_chains_become_one() -> None:
    found = lay_out(*_chains(1000, 3))
    assert [(n.short, n.level) for n in found.nodes] == [
        ("start", 0),
        ("step 0 × 1,000", 1),
        ("step 1 × 1,000", 2),
        ("step 2 × 1,000", 3),
        ("end", 4),
    ]
    assert [route.count for route in found.routes] == [1000] * 4


def test_what_differs_is_not_folded_nor_what_is_few() -> None:
    nodes, edges = _chains(10, 1)
    odd = lay_out([*nodes, Node("audit", "audit", "pending")], [*edges, Edge("3-0", "audit")])
    assert sorted(len(node.members) for node in odd.nodes) == [1, 1, 1, 1, 9]
    assert len(_by_key(odd)["3-0"].members) == 1
    assert len(lay_out(*_chains(6, 1)).nodes) == 8
    assert len(lay_out(*_chains(7, 1)).nodes) == 3
    assert len(lay_out(nodes, edges, collapse=None).nodes) == 12


def test_fan_outs_of_different_sources_stay_apart() -> None:
    nodes = [Node(f"e{n}", "extract", "succeeded") for n in range(3)]
    nodes += [Node(f"l{n}-{i}", "load", "running") for n in range(3) for i in range(20)]
    found = lay_out(nodes, [Edge(f"e{n}", f"l{n}-{i}") for n in range(3) for i in range(20)])
    assert sorted(len(node.members) for node in found.nodes) == [1, 1, 1, 20, 20, 20]


def test_the_focus_stands_alone_and_all_beside_its_path_is_dimmed() -> None:
    found = lay_out(*_chains(10, 2), focus="3-0")
    lit = {key for node in found.nodes if not node.dimmed for key in node.members}
    assert lit == {"start", "3-0", "3-1", "zend"}
    assert sum(not route.dimmed for route in found.routes) == 3
    with pytest.raises(ValueError, match="nowhere"):
        lay_out(*_chains(1, 1), focus="nowhere")


def test_what_cannot_run_any_more_is_dimmed() -> None:
    states = {"a": "failed", "b": "pending", "c": "pending", "d": "pending", "e": "canceled", "f": "pending"}
    edges = [Edge("a", "b"), Edge("b", "c"), Edge("a", "d", "completion"), Edge("e", "f", "completion")]
    found = lay_out([Node(key, key, state) for key, state in states.items()], edges)
    assert {node.key for node in found.nodes if node.dimmed} == {"b", "c", "e"}


def test_a_late_source_stands_beside_what_it_feeds() -> None:
    keys = ["a", "b", "c", "d", "late"]
    edges = [Edge("a", "b"), Edge("b", "c"), Edge("c", "d"), Edge("late", "d")]
    assert _by_key(lay_out([Node(key, key, "pending") for key in keys], edges))["late"].level == 2


def test_crossings_that_can_be_avoided_are() -> None:
    down = [[5], [4], [3], [], [], []]
    up = layers.reverse(down)
    ranks = ordering.order([[0, 1, 2], [3, 4, 5]], down, up)
    assert ordering.crossings([[0, 1, 2], [3, 4, 5]], down) == 3
    assert ordering.crossings(ranks, down) == 0


@pytest.mark.parametrize(
    ("edges", "word"),
    [([Edge("a", "b"), Edge("b", "a")], "cycle"), ([Edge("a", "a")], "cycle"), ([Edge("a", "x")], "unknown")],
)
def test_what_is_no_graph_is_refused(edges: list[Edge], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        lay_out([Node("a", "a", "pending"), Node("b", "b", "pending")], edges)
    with pytest.raises(ValueError, match="one key"):
        lay_out([Node("a", "a", "pending"), Node("a", "b", "pending")], [])


def test_nothing_is_a_graph_too() -> None:
    assert lay_out([], []) == Layout((), (), (), 0, 0.0)


def test_ten_times_the_nodes_cost_less_than_25_times_as_much() -> None:
    lay_out(*_tangle(300))
    seconds = [_seconds(*_tangle(count)) for count in (500, 5000)]
    assert seconds[1] / seconds[0] < 25


def test_a_chain_of_thousands_with_shortcuts_is_no_trouble() -> None:
    nodes = [Node(str(n), f"job {n}", "pending") for n in range(5000)]
    chain = [Edge(str(n), str(n + 1)) for n in range(4999)]
    for shortcuts in ([Edge(str(n), "4999") for n in range(4998)], [Edge("0", str(n)) for n in range(2, 5000)]):
        found = lay_out(nodes, chain + shortcuts)
        assert found.width == 5000
        assert sum(len(route.points) for route in found.routes) < 10 * (len(nodes) + len(found.routes))


def _seconds(nodes: list[Node], edges: list[Edge]) -> float:
    begin = process_time()
    lay_out(nodes, edges, collapse=None)
    return process_time() - begin


@given(graphs(), st.data())
def test_with_other_states_it_is_what_they_would_have_been_laid_out_to(
    graph: tuple[list[Node], list[Edge]], data: st.DataObject
) -> None:
    nodes, edges = graph
    later = [replace(node, state=data.draw(st.sampled_from(STATES))) for node in nodes]
    shown = lay_out(nodes, edges, collapse=None).shown({node.key: {node.state: 1} for node in later})
    assert shown == lay_out(later, edges, collapse=None)
    assert lay_out(nodes, edges, collapse=None).shown({}) == lay_out(nodes, edges, collapse=None), (
        "what is not told stays"
    )


def test_a_folded_node_is_dimmed_only_if_all_of_it_is_hopeless() -> None:
    nodes = [Node(f"{kind}{n}", kind, "pending", kind) for kind in ("load", "parse") for n in range(9)]
    edges = [Edge(f"load{n}", f"parse{n}") for n in range(9)]
    folded = lay_out(nodes, edges, collapse=6)
    some = _by_key(folded.shown({"load0": {"failed": 1, "queued": 8}}))
    assert {node.key: (node.state, node.dimmed) for node in some.values()} == {
        "load0": ("failed", False),
        "parse0": ("pending", False),
    }
    assert _by_key(folded.shown({"load0": {"failed": 9}}))["parse0"].dimmed
