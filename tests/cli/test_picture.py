"""Pictures of graphs, as they look on a terminal of 80 columns."""

from __future__ import annotations

from io import StringIO
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from jobwarden.cli.channel import nets, route
from jobwarden.cli.picture import picture
from jobwarden.domain.layout import Edge, Layout, Node, lay_out


def _layout(chains: str, completion: str = "", *, focus: str | None = None, **states: str) -> Layout:
    """Nodes and edges as in ``a > b, c > d; e``: each of a step before each of the next."""
    keys: dict[str, str] = {}
    edges: dict[tuple[str, str], Edge] = {}
    for kind, text in (("success", chains), ("completion", completion)):
        for chain in filter(None, text.split(";")):
            steps = [[key.strip() for key in step.split(",")] for step in chain.split(">")]
            keys |= {key: states.get(key, "pending") for step in steps for key in step}
            edges |= {(a, b): Edge(a, b, kind) for one, two in pairwise(steps) for a in one for b in two}
    return lay_out([Node(key, key, state) for key, state in keys.items()], edges.values(), focus=focus)


def _fan_out(count: int = 1000) -> Layout:
    """An extract, so many loads in several states, a merge."""
    states = ["failed"] * 10 + ["running"] * 40 + ["succeeded"] * 600
    nodes = [Node("x", "extract", "succeeded"), Node("z", "merge", "pending")]
    nodes += [
        Node(f"l{n}", f"load {n}", state, "load") for n, state in enumerate((states + ["pending"] * count)[:count])
    ]
    return lay_out(nodes, [e for n in range(count) for e in (Edge("x", f"l{n}"), Edge(f"l{n}", "z"))])


def _seen(layout: Layout, width: int = 80, *, ascii_only: bool = False) -> str:
    lines = picture(layout, width, ascii_only=ascii_only).plain.splitlines()
    return "\n".join(line.rstrip() for line in lines)


GOLDEN = {
    "a chain": (
        _layout("extract > transform > load > report", extract="succeeded", transform="running"),
        "✓ extract ── ▶ transform ── … load ── … report",
    ),
    "a diamond": (
        _layout("a > b, c > d", a="succeeded", b="failed", c="succeeded"),
        """\
✓ a ──┬─ ✗ b ──┬─ … d
      └─ ✓ c ──┘""",
    ),
    "a fan-out of a thousand and a merge": (
        _fan_out(),
        "✓ extract ── ✗ load × 1,000 ████░░▓▚ 10✗ 40▶ 350… 600✓ ── … merge",
    ),
    "two components and a loner": (
        _layout("a > b > c; x > y; z"),
        """\
… a ── … b ── … c
… x ── … y
… z""",
    ),
    "lines that meet and lines that only cross": (
        _layout("a > b, c > d; a > d; c > e"),
        """\
      ┌─ … b ──┐
… a ──┼────────┴─▲─ … d
      └─ … c ────┴─ … e""",
    ),
    "all to all": (
        _layout("a, b > c, d"),
        """\
… a ──┬─ … c
… b ──┴─ … d""",
    ),
    "rows that would be ambiguous": (
        _layout("a > c, d; b > c, d, e"),
        """\
… a ──┐
      ├─▲─ … c
… b ──│─┤
      └─▼─ … d
        │
        └─ … e""",
    ),
    "an edge that waits for any end": (
        _layout("a > b", "a > c; b > d", a="failed"),
        """\
✗ a ╌╌┬─ … b ╌╌ … d
      └╌ … c

╌╌ after completion, whatever the outcome""",
    ),
    "a chain that is too long": (
        _layout(" > ".join(f"step-{n}" for n in range(9))),
        "\n".join(f"{n + 1}  … step-{n}" + (f"  after: step-{n - 1}" if n else "") for n in range(9)),
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_a_picture_looks_like_this(name: str) -> None:
    layout, expected = GOLDEN[name]
    assert _seen(layout) == expected


def test_a_picture_in_ascii() -> None:
    assert (
        _seen(_layout("a > b, c > d", a="succeeded", b="failed"), ascii_only=True)
        == """\
+ a --+- x b --+- ~ d
      +- ~ c --+"""
    )
    assert _seen(_fan_out(), ascii_only=True) == ("+ extract -- x load x 1,000 ####..=! 10x 40> 350~ 600+ -- ~ merge")
    assert _seen(_layout("ärger > b", "b > c"), ascii_only=True).isascii()


def test_a_picture_needs_no_colour_and_uses_it_where_there_is_some() -> None:
    found = picture(_layout("a > b", a="failed"))
    plain, coloured = StringIO(), StringIO()
    Console(file=plain, no_color=True, width=80).print(found)
    Console(file=coloured, force_terminal=True, color_system="standard", width=80).print(found)
    assert plain.getvalue() == "✗ a ── … b\n"
    assert "\x1b[1;31m✗" in coloured.getvalue()


def test_what_is_beside_the_focus_is_dim() -> None:
    found = picture(_layout("a > b, c > d", focus="b"))
    dim = {found.plain[span.start : span.end] for span in found.spans if "dim" in str(span.style)}
    assert "… c" in dim
    assert "… b" not in dim


def test_labels_give_way_before_the_picture_does() -> None:
    wide = _layout(
        "import-customers-from-europe > import-customers-from-africa > " + "merge-all-customers-of-the-world"
    )
    assert _seen(wide, 70).count("\n") == 0
    assert "after: " in _seen(wide, 30)


def test_a_list_names_some_and_counts_the_rest() -> None:
    many = ", ".join(f"source-{n}" for n in range(100))
    last = _seen(_layout(f"{many} > merge")).splitlines()[-1]
    assert last.startswith("2  … merge  after: source-0, source-1, ")
    assert last.endswith(" more")
    assert len(last) <= 80


def test_jobs_cannot_command_the_terminal_by_their_labels() -> None:
    found = picture(lay_out([Node("a", "\x1b[2J\nx", "queued")], [])).plain
    assert found == "○ ␛[2J x"


def test_nothing_looks_like_nothing() -> None:
    assert picture(lay_out([], [])).plain == ""


@given(st.sets(st.tuples(st.integers(0, 14), st.integers(1, 6)), max_size=25), st.sampled_from([40, 80, 120]))
def test_a_drawn_picture_fits_and_names_everybody(pairs: set[tuple[int, int]], width: int) -> None:
    nodes = [Node(f"n{n}", f"n{n}", "queued") for n in range(21)]
    found = _seen(lay_out(nodes, [Edge(f"n{a}", f"n{a + step}") for a, step in pairs]), width)
    assert all(f"○ n{n}" in found for n in range(21))
    assert all(len(line) <= width for line in found.splitlines())


@given(st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=14))
def test_no_line_of_a_channel_runs_along_another_to_where_it_does_not_lead(pairs: set[tuple[int, int]]) -> None:
    """Followed from the left, the lines lead where they should; rows that no two levels share can always be drawn."""
    assert route(nets((2 * a, 2 * b + 1, False, False) for a, b in pairs)) is not None
    channel = route(nets((a, b, False, False) for a, b in pairs))
    if channel is not None:
        shapes = {cell: shape for cell, (shape, _) in channel.cells.items()}
        assert {(a, b) for a in range(7) for b in _ends(shapes, a, channel.width)} == pairs


SIDES = {"─": "lr", "│": "ud", "┌": "rd", "┐": "ld", "└": "ru", "┘": "lu", "├": "rud", "┤": "lud", "┬": "lrd"}
SIDES |= {"┴": "lru", "┼": "lrud"}
STEPS = {"l": (0, -1), "r": (0, 1), "u": (-1, 0), "d": (1, 0)}
BACK = {"l": "r", "r": "l", "u": "d", "d": "u"}


def _ends(shapes: dict[tuple[int, int], str], row: int, width: int) -> set[int]:
    """The rows on the right that a reader reaches from a row on the left, never going back to the left."""
    found, seen = set(), set()
    queue = [((row, 0), "r")]
    while queue:
        (cell, heading) = queue.pop()
        if (cell, heading) in seen or cell not in shapes:
            continue
        seen.add((cell, heading))
        if cell[1] == width - 2 and heading == "r":
            found.add(cell[0])
        for side in _onward(shapes, cell, heading):
            step = STEPS[side]
            queue.append(((cell[0] + step[0], cell[1] + step[1]), side))
    return found


def _onward(shapes: dict[tuple[int, int], str], cell: tuple[int, int], heading: str) -> str:
    """Where a line goes on: straight under a bridge and past an arrowhead, into an arrow's line, or as drawn."""
    shape = shapes[cell]
    if shape in "▼▲":
        return "r" if heading == "r" else "r" + heading * (shapes.get(_next(cell, heading), "─") != "─")
    if shape == "│" and heading == "r":
        return "r"
    return "".join(side for side in SIDES[shape] if side not in {BACK[heading], "l"})


def _next(cell: tuple[int, int], side: str) -> tuple[int, int]:
    return cell[0] + STEPS[side][0], cell[1] + STEPS[side][1]
