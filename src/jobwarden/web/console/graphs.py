"""Graphs of batches as SVG. Where everything stands is found once for a batch and kept; only states are read again.

A large one is laid out beside the requests: until that is done its page is there without it.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from markupsafe import Markup

from jobwarden.domain.layout import Layout, Node, Placed, Route, lay_out
from jobwarden.service.batches import Graph
from jobwarden.views.batches import wires
from jobwarden.web.console import words

log = logging.getLogger(__name__)
MOST_DRAWN = 4000
_AT_ONCE = 600
_KEPT = 16
_FEW = 50
_COLUMN, _ROW, _WIDE, _HIGH = 220, 40, 180, 30
_SMALL = 220.0
Counts = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A graph laid out, whatever states its members are in. ``ids`` are the members of each node, ``ranges`` from which
    to which id they go where there are few nodes and no two of them mix (None: members must be counted one by one)."""

    layout: Layout
    ids: Mapping[str, Sequence[str]]
    ranges: Mapping[str, tuple[str, str]] | None

    @classmethod
    def of(cls, graph: Graph, unfold: bool) -> Drawing:
        """Lay a graph out: with ``unfold`` and few members each for itself."""
        nodes = [Node(one.key, one.label or one.key, one.state, one.job) for one in graph.members]
        layout = lay_out(
            nodes, wires(graph.members, graph.edges), collapse=None if unfold and len(nodes) <= MOST_DRAWN else 6
        )
        members = {member.key: member for member in graph.members}
        ids = {node.key: [members[key].id for key in node.members] for node in layout.nodes}
        return cls(layout, ids, _ranges(ids))

    @property
    def drawable(self) -> bool:
        """Whether it is small enough, folded as it is."""
        return len(self.layout.nodes) <= MOST_DRAWN

    def counted(self, states: Mapping[str, str]) -> dict[str, dict[str, int]]:
        """How many members of each node are in which state."""
        found: dict[str, dict[str, int]] = {}
        for key, ids in self.ids.items():
            count = found[key] = {}
            for job_id in ids:
                if (state := states.get(job_id)) is not None:
                    count[state] = count.get(state, 0) + 1
        return found


def _ranges(ids: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, str]] | None:
    """From the first to the last id of each node, if they are few and lie one behind the other: ids tell the birth."""
    if len(ids) > _FEW:
        return None
    ends = {key: (min(some), max(some)) for key, some in ids.items()}
    ordered = sorted(ends.values())
    return ends if all(last < first for (_, last), (first, _) in pairwise(ordered)) else None


class Drawings:
    """Keeps the latest drawings of this process."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, int, bool], Drawing] = OrderedDict()
        self._making: set[tuple[str, int, bool]] = set()
        self._lock = threading.Lock()

    def of(self, batch_id: str, members: int, unfold: bool, read: Callable[[], Graph]) -> Drawing | None:
        """The drawing of a batch with so many members; None: it is being made."""
        key = (batch_id, members, unfold)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            if key in self._making:
                return None
            if members > _AT_ONCE:
                self._making.add(key)
                threading.Thread(target=self._make, args=(key, read), name="drawing", daemon=True).start()
                return None
        return self._keep(key, Drawing.of(read(), unfold))

    def _make(self, key: tuple[str, int, bool], read: Callable[[], Graph]) -> None:
        try:
            self._keep(key, Drawing.of(read(), key[2]))
        except Exception as error:  # the next look tries again
            log.warning("the graph of batch %s could not be drawn: %s", key[0], error)
        finally:
            with self._lock:
                self._making.discard(key)

    def _keep(self, key: tuple[str, int, bool], drawing: Drawing) -> Drawing:
        with self._lock:
            self._kept[key] = drawing
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return drawing


def svg(drawing: Drawing, tally: Counts, root: str, batch_id: str) -> Markup:
    """The graph, with a small one of the whole beside it."""
    layout = drawing.layout.shown(tally)
    wide, high = max(layout.width * _COLUMN, 400), max(layout.height * _ROW, 120)
    box = f"-20 -30 {wide + 40:.0f} {high + 60:.0f}"
    drawn = [_line(route) for route in layout.routes]
    for node in layout.nodes:
        alone = f"jobs/{drawing.ids[node.key][0]}" if len(node.members) == 1 else f"batches/{batch_id}?tab=members"
        drawn.append(_node(node, f"{root}/{alone}"))
    low = " low" if layout.height < 4 else ""
    label = f"The graph: {len(layout.nodes):,} nodes"
    graph = f'<svg class="graph{low}" role="group" aria-label="{label}" viewBox="{box}">{"".join(drawn)}</svg>'
    return Markup(graph + _small(layout, box, wide + 40, high + 60))


def _line(route: Route) -> str:
    points = [(point.x * _COLUMN + (_WIDE if number == 0 else 0), point.y) for number, point in enumerate(route.points)]
    path = " ".join(f"{x:.0f},{y * _ROW + _HIGH / 2:.0f}" for x, y in points)
    return f'<polyline class="{route.kind}{" dim" if route.dimmed else ""}" points="{path}"/>'


def _node(node: Placed, address: str) -> str:
    x, y = node.level * _COLUMN, node.y * _ROW
    count = f" × {len(node.members):,}" if len(node.members) > 1 else ""
    told = ", ".join(f"{number:,} {words.said(state)}" for state, number in node.states.items())
    return (
        f'<g class="n-{node.state}{" dim" if node.dimmed else ""}"><a href="{escape(address)}">'
        f"<title>{escape(node.label)}{count}: {told}</title>"
        f'<rect class="node" x="{x}" y="{y:.0f}" width="{_WIDE}" height="{_HIGH}"/>'
        f"{_strip(node, x, y) if count else ''}"
        f'<text x="{x + 8}" y="{y + 19:.0f}">{words.mark(node.state)} {escape(node.short)}</text></a></g>'
    )


def _strip(node: Placed, x: float, y: float) -> str:
    """The states of a folded node's members as shares of its lower edge."""
    drawn, whole = [], sum(node.states.values())
    for state, number in node.states.items():
        part = (_WIDE - 4) * number / whole
        drawn.append(f'<rect class="strip s-{state}" x="{x + 2:.1f}" y="{y + 24:.0f}" width="{part:.1f}" height="4"/>')
        x += part
    return "".join(drawn)


def _small(layout: Layout, box: str, wide: float, high: float) -> str:
    """The whole at a glance, one path a state; a script shows in it what is seen of the graph."""
    paths: dict[str, list[str]] = defaultdict(list)
    for node in layout.nodes:
        paths[node.state].append(f"M{node.level * _COLUMN},{node.y * _ROW:.0f}h{_WIDE}v{_HIGH}h-{_WIDE}z")
    drawn = "".join(f'<path class="s-{state}" d="{"".join(found)}"/>' for state, found in paths.items())
    return (
        f'<svg class="minimap" aria-hidden="true" viewBox="{box}" width="{_SMALL:.0f}" '
        f'height="{min(140.0, max(24.0, _SMALL * high / wide)):.0f}">{drawn}<rect class="seen"/></svg>'
    )
