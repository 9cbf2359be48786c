"""The beginning of an artifact, shown on a page: a picture, which its bytes must bear out, a table, JSON or text."""

from __future__ import annotations

import csv
import io
import json
from base64 import b64encode
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from jobwarden.views.jobs import ArtifactContent
from jobwarden.web.console.words import pretty

_MOST = 256 * 1024
_PICTURE = 4 * 1024 * 1024
_ROWS, _COLUMNS = 50, 30
#: What the bytes of a picture begin with; no format that could hold scripts.
_PICTURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


@dataclass(frozen=True, slots=True)
class Preview:
    """One of ``picture`` (a data address), ``rows`` and ``text``, or the ``reason`` why nothing is shown."""

    picture: str | None = None
    rows: list[list[str]] = field(default_factory=list)
    text: str | None = None
    cut: bool = False
    reason: str | None = None


def preview(found: ArtifactContent) -> Preview:
    """What can be shown of an artifact."""
    try:
        data = _beginning(found)
    except OSError:
        return Preview(reason="its file is not on this host, or is gone")
    media_type = next((kind for start, kind in _PICTURES.items() if data.startswith(start)), None)
    if media_type is not None:
        if len(data) > _PICTURE:
            return Preview(reason="the picture is too large to be shown here")
        return Preview(picture=f"data:{media_type};base64,{b64encode(data).decode()}")
    data, cut = data[:_MOST], len(data) > _MOST
    if b"\0" in data:
        return Preview(reason="it is neither a picture nor text")
    return _text(found, data.decode("utf-8", "replace"), cut)


def _text(found: ArtifactContent, text: str, cut: bool) -> Preview:
    kind, name = (found.content_type or "").partition(";")[0], found.name.lower()
    if (kind == "application/json" or name.endswith(".json")) and not cut:
        try:
            return Preview(text=pretty(json.loads(text)))
        except (ValueError, RecursionError):
            return Preview(text=text)
    if kind in ("text/csv", "text/tab-separated-values") or name.endswith((".csv", ".tsv")):
        tabs = kind == "text/tab-separated-values" or name.endswith(".tsv")
        try:
            rows = list(islice(csv.reader(io.StringIO(text), delimiter="\t" if tabs else ","), _ROWS + 1))
        except csv.Error:
            return Preview(text=text, cut=cut)
        return Preview(rows=[row[:_COLUMNS] for row in rows[:_ROWS]], cut=cut or len(rows) > _ROWS)
    return Preview(text=text, cut=cut)


def _beginning(found: ArtifactContent) -> bytes:
    if found.content is not None:
        return found.content
    if found.path is None or not Path(found.path).is_file():
        raise FileNotFoundError
    with Path(found.path).open("rb") as file:
        return file.read(_PICTURE + 1)
