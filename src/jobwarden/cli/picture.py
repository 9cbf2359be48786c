"""A batch's graph for a terminal: levels from left to right where they fit, or else a list of who comes after whom."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text

from jobwarden.cli.channel import Channel, nets, route
from jobwarden.cli.output import clean, style
from jobwarden.domain.labels import shorten
from jobwarden.domain.layout import Layout, Placed, Route
from jobwarden.domain.words import mark

_TALL, _BAR, _LABELS = 80, 8, (40, 32, 24, 20, 16, 13, 10)
_FILLS = {"succeeded": "█", "failed": "▚", "orphaned": "▚", "running": "▓", "canceled": "╳", "stopped": "╳"}
_ASCII = str.maketrans("─│┌┐└┘├┤┬┴┼╌┆▼▲…×·█▚▓░╳▶○✓✗↻‼⊘■", "-|+++++++++.:v^~x.#!=.x>o+xr!/#")

Row = list[tuple[int, Text]]


def picture(layout: Layout, width: int = 80, *, ascii_only: bool = False) -> Text:
    """The graph in ``width`` columns, its components one below the other, without a final line end.

    A dashed line, or ``after completion``, is an edge that waits for any end of its source. With ``ascii_only`` nothing
    but ASCII is used (labels too). Where standard output is no terminal its width is no guide: give one.
    """
    parts = _parts(layout)
    drawn = [_drawn(nodes, routes, width) or _listed(nodes, routes, width) for nodes, routes in parts]
    lines: list[Text] = []
    for number, block in enumerate(drawn):
        if number and len(block) + len(drawn[number - 1]) > 2:
            lines.append(Text())
        lines += block
    if any(route.kind == "completion" for route in layout.routes):
        lines += [Text(), Text("╌╌ after completion, whatever the outcome", style="dim")]
    found = Text("\n", no_wrap=True).join(lines)
    if ascii_only:
        found.plain = found.plain.translate(_ASCII).encode("ascii", "replace").decode()
    return found


def _parts(layout: Layout) -> list[tuple[list[Placed], list[Route]]]:
    home = {node.key: node.component for node in layout.nodes}
    parts: list[tuple[list[Placed], list[Route]]] = [([], []) for _ in layout.components]
    for node in layout.nodes:
        parts[node.component][0].append(node)
    for line in layout.routes:
        parts[home[line.source]][1].append(line)
    return parts


def _drawn(nodes: Sequence[Placed], routes: Sequence[Route], width: int) -> list[Text] | None:
    """Levels from left to right; None where that is too wide, too tall or would be ambiguous."""
    depth = max(node.level for node in nodes) + 1
    rows = [point.row for line in routes for point in line.points] + [node.row for node in nodes]
    if any(line.around for line in routes) or max(rows) - min(rows) >= _TALL or depth > width // 6:
        return None
    for pitch in (1, 2):  # with the second no level shares a row with the next
        channels = _channels(routes, depth, min(rows), pitch)
        if channels is not None:
            break
    else:
        return None
    room = width - sum(channel.width for channel in channels)
    for size in _LABELS:
        titles = _titles(nodes, size)
        columns = [max(_width(titles[n.key]) for n in nodes if n.level == level) + 1 for level in range(depth)]
        if sum(columns) <= room + 1:
            return _painted(nodes, routes, titles, columns, channels, (min(rows), pitch))
    return None


def _row(row: int, level: int, top: int, pitch: int) -> int:
    return (row - top) * pitch + (level % 2 if pitch > 1 else 0)


def _channels(routes: Sequence[Route], depth: int, top: int, pitch: int) -> list[Channel] | None:
    lines: list[set[tuple[int, int, bool, bool]]] = [set() for _ in range(depth - 1)]
    for line in routes:
        for one, other in zip(line.points, line.points[1:], strict=False):
            level = int(one.x)
            left, right = _row(one.row, level, top, pitch), _row(other.row, level + 1, top, pitch)
            lines[level].add((left, right, line.kind == "completion", line.dimmed))
    found: list[Channel] = []
    for between in lines:
        channel = route(nets(sorted(between)))
        if channel is None:
            return None
        found.append(channel)
    return found


def _painted(
    nodes: Sequence[Placed],
    routes: Sequence[Route],
    titles: Mapping[str, Text],
    columns: Sequence[int],
    channels: Sequence[Channel],
    scale: tuple[int, int],
) -> list[Text]:
    starts = [0]
    for column, channel in zip(columns, channels, strict=False):
        starts.append(starts[-1] + column + channel.width)
    canvas: dict[int, Row] = defaultdict(list)
    for level, channel in enumerate(channels):
        for (row, place), (shape, dim) in channel.cells.items():
            canvas[row].append((starts[level] + columns[level] + place, Text(shape, "dim" if dim else "")))
    leads = defaultdict(list)
    for line in routes:
        leads[line.source].append(line)
    for node in nodes:
        row, title = _row(node.row, node.level, *scale), titles[node.key]
        canvas[row].append((starts[node.level], title))
        if node.key in leads:
            start = starts[node.level] + _width(title) + 1
            canvas[row].append(_line(start, starts[node.level] + columns[node.level], leads[node.key]))
    for (place, level), through in _bends(routes).items():
        canvas[_row(place, level, *scale)].append(_line(starts[level] - 1, starts[level] + columns[level], through))
    return [_assembled(canvas[row]) for row in range(max(canvas) + 1)]


def _bends(routes: Iterable[Route]) -> dict[tuple[int, int], list[Route]]:
    """The lines through each bend, by its row and level."""
    found: dict[tuple[int, int], list[Route]] = defaultdict(list)
    for line in routes:
        for point in line.points[1:-1]:
            found[point.row, int(point.x)].append(line)
    return found


def _line(start: int, end: int, routes: Sequence[Route]) -> tuple[int, Text]:
    """A straight piece: dashed or dim if all its lines are."""
    shape = "╌" if all(line.kind == "completion" for line in routes) else "─"
    return start, Text(shape * (end - start), style="dim" if all(line.dimmed for line in routes) else "")


def _assembled(pieces: Row) -> Text:
    found, width = Text(), 0
    for column, piece in sorted(pieces, key=lambda pair: pair[0]):
        found.append(" " * (column - width))
        found.append(piece)
        width = max(width, column) + _width(piece)
    return found


def _titles(nodes: Iterable[Placed], size: int) -> dict[str, Text]:
    nodes = list(nodes)
    short = shorten((node.label for node in nodes), size)
    return {node.key: _title(node, short[node.label]) for node in nodes}


def _title(node: Placed, label: str) -> Text:
    """Mark and name; of a folded node how many it stands for, a bar, and how many are in each state."""
    found = Text(f"{mark(node.state)} ", style=style(node.state))
    found.append(str(clean(" ".join(label.split()))), style="")
    if len(node.members) > 1:
        found.append(f" × {len(node.members):,} ")
        found.append(_bar(node))
        for state, count in node.states.items():
            found.append(f" {count:,}{mark(state)}", style=style(state))
    if node.dimmed:
        found = Text(found.plain, style="dim")
    return found


def _bar(node: Placed) -> Text:
    """Shares by state, the ended first, nobody's share less than one cell."""
    share = {state: max(1, _BAR * count // len(node.members)) for state, count in node.states.items()}
    share[max(node.states, key=node.states.__getitem__)] += _BAR - sum(share.values())
    found = Text()
    for state in reversed(share):
        found.append(_FILLS.get(state, "░") * share[state], style=style(state))
    return found


def _listed(nodes: Sequence[Placed], routes: Sequence[Route], width: int) -> list[Text]:
    """One line to a node, the number of its level before the first of it, and what it comes after."""
    titles = _titles(nodes, max(12, width // 2 - 8))
    names = {key: title.plain.split(" ", 1)[1] for key, title in _names(nodes, width).items()}
    after: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for line in routes:
        after[line.target][line.kind].append(names[line.source])
    digits, level, found = len(str(nodes[-1].level + 1)), -1, []
    for node in nodes:
        number = str(node.level + 1) if node.level != level else ""
        level = node.level
        head = Text.assemble((f"{number:>{digits}}  ", "dim"), titles[node.key])
        for kind, word in (("success", "after"), ("completion", "after completion")):
            if after[node.key][kind]:
                room = width - _width(head) - len(word) - 4
                head.append(f"  {word}: {_some(after[node.key][kind], room)}", style="dim")
        found.append(head)
    return found


def _names(nodes: Iterable[Placed], width: int) -> dict[str, Text]:
    nodes = list(nodes)
    short = shorten((node.label for node in nodes), max(12, width // 3))
    return {node.key: Text(f"· {short[node.label]}") for node in nodes}


def _some(names: Sequence[str], room: int) -> str:
    """As many names as there is room for, one at least, and how many more there are."""
    shown = 1
    while shown < len(names) and cell_len(_and_more(names, shown + 1)) <= room:
        shown += 1
    return _and_more(names, shown)


def _and_more(names: Sequence[str], shown: int) -> str:
    more = f" and {len(names) - shown:,} more" if shown < len(names) else ""
    return ", ".join(names[:shown]) + more


def _width(text: Text) -> int:
    return cell_len(text.plain)
