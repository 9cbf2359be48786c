"""Artifacts handed out: as a file to be saved, under a name that cannot be more than a name."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

from fastapi import HTTPException, Response
from fastapi.responses import FileResponse

from jobwarden.views.jobs import ArtifactContent

_ODD = re.compile(r"[^A-Za-z0-9._-]+")
_SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox; default-src 'none'"}


def handed_out(found: ArtifactContent) -> Response:
    """The content as an attachment. 404 where its file is gone, or is on another host."""
    headers = {**_SAFE, "Content-Disposition": disposition(found.name)}
    media_type = found.content_type if found.content_type and found.content_type.isprintable() else None
    if found.content is not None:
        return Response(found.content, headers=headers, media_type=media_type or "application/octet-stream")
    if found.path is None or not os.path.isfile(found.path):
        raise HTTPException(404, "The artifact's file is not on this host, or is gone.")
    return FileResponse(Path(found.path), headers=headers, media_type=media_type or "application/octet-stream")


def disposition(name: str) -> str:
    """The header that has a browser save it under its name (RFC 6266): the last part of it, whatever it holds."""
    last = name.replace("\\", "/").rpartition("/")[2] or "artifact"
    plain = _ODD.sub("_", last).lstrip(".") or "artifact"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(last, safe='', errors='replace')}"
