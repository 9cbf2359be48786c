"""The operator's surface over HTTP: `create_app` gives an application to serve, or to mount under any prefix."""

from __future__ import annotations

from jobwarden.web.access import trusted_header
from jobwarden.web.app import create_app

__all__ = ["create_app", "trusted_header"]
