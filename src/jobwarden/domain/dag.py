"""Graphs of members: what may wait for what, in which order they can run, and who runs whatever happened before.

Pure and iterative: a chain of any length needs no recursion.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobwarden.errors import DependencyCycle, DoubledDependency, DuplicateKey, UnknownDependency

_SHOWN = 10  # keys of a circle that an error names


@dataclass(frozen=True, slots=True)
class Node:
    """A member by its key: ``after`` are those that must succeed first, ``after_completion`` those that must end."""

    key: str
    after: tuple[str, ...] = ()
    after_completion: tuple[str, ...] = ()

    @property
    def upstream(self) -> tuple[str, ...]:
        """All that it waits for."""
        return (*self.after, *self.after_completion)


def ordered(batch: str, nodes: Sequence[Node], known: Collection[str] = ()) -> list[Node]:
    """The nodes with every one behind all that it waits for; those without order keep the order given.

    ``known`` are keys of members that are there already. Raises `DuplicateKey`, `UnknownDependency`,
    `DoubledDependency` or `DependencyCycle`, naming the batch, the keys and the way out.
    """
    by_key: dict[str, Node] = {}
    for node in nodes:
        if node.key in by_key or node.key in known:
            raise DuplicateKey(name=batch, key=node.key)
        by_key[node.key] = node
    for node in nodes:
        _check_edges(batch, node, by_key, known)
    return _sorted(batch, nodes, by_key)


def finalizers(nodes: Iterable[Node], known: Collection[str] = ()) -> set[str]:
    """The keys of those that run whatever became of what they wait for, and of all that follows them.

    The nodes must be `ordered`; ``known`` are finalizers that are there already.
    """
    found = set(known)
    for node in nodes:
        if node.after_completion or not found.isdisjoint(node.after):
            found.add(node.key)
    return found.difference(known)


def below(start: str, edges: Iterable[tuple[str, str]]) -> set[str]:
    """``start`` and all that follows it, near or far; an edge is (who waits, for whom)."""
    followers: dict[str, list[str]] = {}
    for follower, upstream in edges:
        followers.setdefault(upstream, []).append(follower)
    found, queue = {start}, [start]
    while queue:
        fresh = [each for each in followers.get(queue.pop(), ()) if each not in found]
        found.update(fresh)
        queue += fresh
    return found


def _check_edges(batch: str, node: Node, by_key: Mapping[str, Node], known: Collection[str]) -> None:
    for upstream in node.upstream:
        if upstream not in by_key and upstream not in known:
            raise UnknownDependency(name=batch, key=node.key, upstream=upstream)
    both = set(node.after) & set(node.after_completion)
    if both:
        raise DoubledDependency(name=batch, key=node.key, upstream=min(both))


def _sorted(batch: str, nodes: Sequence[Node], by_key: Mapping[str, Node]) -> list[Node]:
    waits = {node.key: sum(1 for key in set(node.upstream) if key in by_key) for node in nodes}
    follows: dict[str, list[Node]] = {}
    for node in nodes:
        for key in dict.fromkeys(node.upstream):
            follows.setdefault(key, []).append(node)
    free = [node for node in nodes if not waits[node.key]]
    for node in free:  # grows while it is walked
        for follower in follows.get(node.key, ()):
            waits[follower.key] -= 1
            if not waits[follower.key]:
                free.append(follower)
    if len(free) < len(nodes):
        raise DependencyCycle(name=batch, cycle=_circle(by_key, {key for key, left in waits.items() if left}))
    return free


def _circle(by_key: Mapping[str, Node], stuck: set[str]) -> str:
    """One circle among those that can never run, in words."""
    key, seen = min(stuck), dict[str, int]()
    while key not in seen:
        seen[key] = len(seen)
        key = next(up for up in by_key[key].upstream if up in stuck)
    walked = [*list(seen)[seen[key] :], key]
    shown = walked if len(walked) <= _SHOWN else [*walked[:_SHOWN], "..."]
    return " waits for ".join(shown)
