"""Graphs of members: what is refused, the order they can run in, and who runs whatever happened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobwarden.domain.dag import Node, below, finalizers, ordered
from jobwarden.domain.verdict import Policy, Threshold, trips
from jobwarden.errors import BatchRefused, DependencyCycle, DoubledDependency, DuplicateKey, UnknownDependency


@st.composite
def graphs(draw: st.DrawFn) -> list[Node]:
    """Nodes without circles, shuffled."""
    size = draw(st.integers(0, 40))
    nodes = []
    for number in range(size):
        earlier = [str(n) for n in range(number)]
        ups = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=4)) if earlier else []
        cut = draw(st.integers(0, len(ups)))
        nodes.append(Node(str(number), tuple(ups[:cut]), tuple(ups[cut:])))
    return draw(st.permutations(nodes))


@given(graphs())
def test_everyone_comes_after_what_it_waits_for(nodes: list[Node]) -> None:
    found = ordered("b", nodes)
    assert sorted(node.key for node in found) == sorted(node.key for node in nodes)
    place = {node.key: n for n, node in enumerate(found)}
    assert all(place[up] < place[node.key] for node in found for up in node.upstream)


@given(graphs(), st.data())
def test_any_edge_that_closes_a_circle_is_found(nodes: list[Node], data: st.DataObject) -> None:
    ends = [(node.key, up) for node in nodes for up in node.upstream]
    if not ends:
        return
    lower, upper = data.draw(st.sampled_from(ends))
    closed = [
        Node(node.key, node.after, (*node.after_completion, lower)) if node.key == upper else node for node in nodes
    ]
    with pytest.raises(DependencyCycle, match="in a circle"):
        ordered("b", closed)


def test_a_long_circle_is_named_in_short_and_needs_no_recursion() -> None:
    nodes = [Node(str(n), (str((n + 1) % 50_000),)) for n in range(50_000)]
    with pytest.raises(DependencyCycle) as caught:
        ordered("b", nodes)
    assert len(str(caught.value)) < 400
    with pytest.raises(DependencyCycle, match="a waits for a"):
        ordered("b", [Node("a", ("a",))])


@pytest.mark.parametrize(
    ("nodes", "kind", "words"),
    [
        ([Node("a"), Node("a")], DuplicateKey, "two members with the key 'a'"),
        ([Node("a", ("b",))], UnknownDependency, "waits for 'b', which is no member"),
        ([Node("b"), Node("a", ("b",), ("b",))], DoubledDependency, "'b' both to succeed and to end"),
    ],
)
def test_each_mistake_has_its_own_words(nodes: list[Node], kind: type[BatchRefused], words: str) -> None:
    with pytest.raises(kind, match=words):
        ordered("b", nodes)


def test_a_finalizer_is_who_waits_for_an_end_and_all_that_follows_it() -> None:
    nodes = [Node("a"), Node("b", ("a",)), Node("f", (), ("b",)), Node("g", ("f",)), Node("h", ("a", "g"))]
    assert finalizers(ordered("b", nodes)) == {"f", "g", "h"}


@pytest.mark.parametrize(
    ("policy", "threshold", "failed", "total", "tripped"),
    [
        (Policy.CONTINUE, None, 9, 9, False),
        (Policy.FAIL_FAST, None, 0, 9, False),
        (Policy.FAIL_FAST, None, 1, 9, True),
        (Policy.THRESHOLD, 3, 3, 9, False),
        (Policy.THRESHOLD, 3, 4, 9, True),
        (Policy.THRESHOLD, 0, 1, 9, True),
        (Policy.THRESHOLD, 1, 1, 9, False),
        (Policy.THRESHOLD, 0.1, 10, 100, False),
        (Policy.THRESHOLD, 0.1, 11, 100, True),
    ],
)
def test_when_a_policy_trips(policy: Policy, threshold: float | None, failed: int, total: int, tripped: bool) -> None:
    assert trips(policy, threshold, failed, total) is tripped


@pytest.mark.parametrize("most", [-1, 1.5, 0.0, 1.0, True, "3"])
def test_a_threshold_is_a_number_or_a_share(most: float) -> None:
    with pytest.raises(ValueError, match="whole number of members, or a share"):
        Threshold(most)


def test_what_follows_a_member_near_or_far_and_no_chain_is_too_long() -> None:
    edges = [("b", "a"), ("c", "b"), ("d", "c"), ("d", "a"), ("x", "y")]
    assert below("b", edges) == {"b", "c", "d"}
    assert below("d", edges) == {"d"}
    assert len(below("0", ((str(n + 1), str(n)) for n in range(50_000)))) == 50_001
