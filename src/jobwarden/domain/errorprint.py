"""When two errors count as the same: the same class, and the same words once numbers and ids are left out of them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_LONGEST = 500
_VARIABLE = re.compile(
    r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b"  # a UUID
    r"|\b0[xX][0-9a-fA-F]+\b"  # an address
    r"|\b(?=[a-fA-F]*\d)[0-9a-fA-F]{12,}\b"  # a digest
    r"|\d+(?:[.,:]\d+)*"
)


@dataclass(frozen=True, slots=True)
class ErrorPrint:
    """A kind of error: its fingerprint, its class, and its words with ``#`` for what varies."""

    print: str
    class_name: str
    words: str


def pattern(text: str) -> str:
    """A text with ``#`` for each number, UUID, address and digest, at most 500 characters of it."""
    return _VARIABLE.sub("#", text[: 2 * _LONGEST])[:_LONGEST]


def print_of(error: Mapping[str, Any]) -> ErrorPrint:
    """The kind of an error, as an attempt's report has it."""
    class_name, words = str(error.get("class") or "")[:200], pattern(str(error.get("message") or ""))
    digest = hashlib.sha256(f"{class_name}\n{words}".encode(errors="replace")).hexdigest()
    return ErrorPrint(digest[:32], class_name, words)
