"""Labels cut to a width so that those which differ still do."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

_DIGITS = re.compile("([0-9]{1,18})")
_DOTS = "…"


def natural(key: str) -> tuple[list[str | int], str]:
    """A sort key under which ``step-2`` comes before ``step-10``."""
    parts = _DIGITS.split(key)
    return [int(part) if number % 2 else part for number, part in enumerate(parts)], key


def shorten(labels: Iterable[str], width: int) -> dict[str, str]:
    """Each label in at most ``width`` (5 or more) characters; different labels stay different.

    The end goes first, then the middle, then all but the place where they differ; a number is the last resort.
    """
    whole = sorted(set(labels), key=natural)
    found = {label: label for label in whole if len(label) <= width}
    taken, left = set(found), [label for label in whole if len(label) > width]
    for cut in (_end, _middle, _difference):
        left = _settle(cut(left, width), found, taken)
    for number, label in enumerate(left, 1):
        found[label] = _numbered(label, number, width, taken)
        taken.add(found[label])
    return found


def _settle(cuts: dict[str, str], found: dict[str, str], taken: set[str]) -> list[str]:
    """Keep the cuts that nobody else has; what is left."""
    count = Counter(cuts.values())
    good = {label: cut for label, cut in cuts.items() if count[cut] == 1 and cut not in taken}
    found.update(good)
    taken.update(good.values())
    return [label for label in cuts if label not in good]


def _end(labels: Sequence[str], width: int) -> dict[str, str]:
    return {label: label[: width - 1] + _DOTS for label in labels}


def _middle(labels: Sequence[str], width: int) -> dict[str, str]:
    tail = (width - 1) // 2
    return {label: label[: width - 1 - tail] + _DOTS + label[-tail:] for label in labels}


def _difference(labels: Sequence[str], width: int) -> dict[str, str]:
    """A short head, then from where the labels of that head part."""
    head = width // 4
    return {label: label[:head] + _DOTS + label[start:][: width - head - 1] for label, start in _starts(labels, head)}


def _starts(labels: Sequence[str], head: int) -> Iterable[tuple[str, int]]:
    alike = defaultdict(list)
    for label in labels:
        alike[label[:head]].append(label)
    for group in alike.values():
        start = _parting(min(group), max(group))
        yield from ((label, start) for label in group)


def _numbered(label: str, number: int, width: int, taken: set[str]) -> str:
    while (cut := label[: max(0, width - 1 - len(str(number)))] + _DOTS + str(number)) in taken:
        number += 1
    return cut


def _parting(one: str, other: str) -> int:
    """Where two labels begin to differ."""
    return next((place for place, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), len(one))
