"""Redaction: what must not be read by everybody who may look at jobs, masked by the names that it stands under.

A key that matches a pattern loses its whole value, at any depth; in free text so does what follows such a key, and
what follows ``Bearer`` or ``Basic``. It is a net for accidents: a secret under an innocent name passes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Any

from jobwarden.config import REDACTED

MASK = "[redacted]"
_GLOB = re.compile(r"[*?\[]")
_KEY = re.compile(r"(?<![\w.-])([\w.-]++)(?:\\?[\"'])?[ \t]*+[=:][ \t]*+")
_SCHEME = re.compile(r"(?:bearer|basic|digest|token)[ \t]++", re.IGNORECASE)
_VALUE = re.compile(r"\\\"(?:[^\"\\]|\\[^\"])*+|\"(?:[^\"\\]|\\.)*+|'(?:[^'\\]|\\.)*+|[^\s,;&}\])\"']++", re.DOTALL)
_LINE = re.compile(r"[^\r\n\"']++")
_BRACKETS = re.compile(r"\"(?:[^\"\\]|\\.)*+\"?|[\[\]{}]", re.DOTALL)
_BEARER = re.compile(r"\b(bearer|basic)([ \t]++)[A-Za-z0-9._~+/=-]{4,}+", re.IGNORECASE)
_HEADERS = ("authorization", "cookie")


class Redactor:
    """Masks by patterns of keys: a part of the key, or a glob for all of it; case plays no part, ``-`` is ``_``."""

    def __init__(self, patterns: Iterable[str] = REDACTED) -> None:
        plain = [_folded(pattern) for pattern in patterns if pattern]
        self._parts = [pattern for pattern in plain if not _GLOB.search(pattern)]
        self._globs = [pattern for pattern in plain if _GLOB.search(pattern)]

    def hides(self, key: str) -> bool:
        """Whether what stands under this key is masked."""
        folded = _folded(key)
        return any(part in folded for part in self._parts) or any(fnmatchcase(folded, glob) for glob in self._globs)

    def data(self, value: Any) -> Any:
        """JSON data with the values of matching keys masked, and its texts as `text` has them; the rest as it is."""
        root: list[Any] = [value]
        left: list[Any] = [root]
        while left:
            holder = left.pop()
            for at, held in list(holder.items() if isinstance(holder, dict) else enumerate(holder)):
                holder[at] = self._held(at, held, left)
        return root[0]

    def text(self, text: str) -> str:
        """A text with what follows a matching key masked."""
        kept, at = [], 0
        found = _KEY.search(text)
        while found is not None:
            if self.hides(found[1]):
                kept += [text[at : found.end()], MASK]
                at = _end_of_value(text, found.end(), _folded(found[1]))
            found = _KEY.search(text, max(at, found.end()))
        kept.append(text[at:])
        return _BEARER.sub(rf"\1\2{MASK}", "".join(kept))

    def _held(self, at: Any, held: Any, left: list[Any]) -> Any:
        if isinstance(at, str) and self.hides(at):
            return MASK
        if isinstance(held, dict | list | tuple):
            copy: Any = dict(held) if isinstance(held, dict) else list(held)
            left.append(copy)
            return copy
        return self.text(held) if isinstance(held, str) else held


def _end_of_value(text: str, at: int, key: str) -> int:
    """Where the value ends that begins at ``at``: its quote, its last bracket, or what separates it from the next."""
    if scheme := _SCHEME.match(text, at):
        at = scheme.end()
    if text[at : at + 1] in {"{", "["}:
        return _closed(text, at)
    pattern = _LINE if any(header in key for header in _HEADERS) else _VALUE
    found = pattern.match(text, at) or _VALUE.match(text, at)
    return found.end() + _quoted(text, found) if found else at


def _quoted(text: str, found: re.Match[str]) -> int:
    """How many characters of a closing quote follow."""
    for quote in ('\\"', '"', "'"):
        if found[0].startswith(quote):
            return len(quote) if text.startswith(quote, found.end()) else 0
    return 0


def _closed(text: str, at: int) -> int:
    depth = 0
    for found in _BRACKETS.finditer(text, at):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(found[0], 0)
        if depth == 0:
            return found.end()
    return len(text)


def _folded(key: str) -> str:
    return key.lower().replace("-", "_")
