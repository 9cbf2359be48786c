"""A bar chart as SVG text, readable on light and dark pages. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

_ROW, _LABEL, _BARS, _VALUE, _TOP = 20, 150, 520, 90, 44
_STYLE = """\
    text { font: 12px system-ui, sans-serif; fill: #222 }
    .title { font-size: 16px; font-weight: 600 }
    rect.paper { fill: #fff } rect.bar { fill: #0a6ebd }
    @media (prefers-color-scheme: dark) {
      text { fill: #ddd } rect.paper { fill: #1b1f24 } rect.bar { fill: #5aa9e6 }
    }"""


def bar_chart(title: str, rows: Sequence[tuple[str, int]]) -> str:
    """One bar for each name, as long as its value, in the order given."""
    width, height = _LABEL + _BARS + _VALUE, _TOP + _ROW * len(rows) + 12
    most = max((value for _, value in rows), default=1) or 1
    bars = "\n".join(_bar(number, name, value, most) for number, (name, value) in enumerate(rows))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">
  <title>{escape(title)}</title>
  <style>
{_STYLE}
  </style>
  <rect class="paper" width="100%" height="100%"/>
  <text class="title" x="12" y="26">{escape(title)}</text>
{bars}
</svg>
"""


def _bar(number: int, name: str, value: int, most: int) -> str:
    top = _TOP + number * _ROW
    length = max(1, round(_BARS * value / most))
    return (
        f'  <text x="{_LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(name)}</text>'
        f'<rect class="bar" x="{_LABEL}" y="{top + 2}" width="{length}" height="{_ROW - 5}" rx="2"/>'
        f'<text x="{_LABEL + length + 6}" y="{top + 13}">{value:,}</text>'
    )
