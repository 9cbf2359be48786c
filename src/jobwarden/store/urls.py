"""Database URLs: read, refused by name, and given our driver."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from typing import Any

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from jobwarden.errors import ConfigurationError


def parse(url: str, engines: Container[str]) -> URL:
    """The URL of a database, or `ConfigurationError` that hides its password."""
    known = "sqlite:///file.db, postgresql://user@host/name or mysql://user@host/name"
    try:
        parsed = make_url(url)
        known_engine = parsed.get_backend_name() in engines
    except ArgumentError:
        rule = "it is not a database URL"
    else:
        if known_engine:
            return parsed
        rule = f"{parsed.get_backend_name()!r} is no engine that JobWarden knows"
    hidden = re.sub(r"(//[^:/@]*):[^@]*@", r"\1:***@", url)
    raise ConfigurationError(name="database_url", value=hidden, rule=rule, way_out=f"write it as {known}")


def server_options(url: URL, arguments: Mapping[str, Any], schema_name: str | None) -> str:
    """A connection's settings: those in the URL first, because an argument of the same name hides them."""
    given = url.query.get("options", "")
    path = f"-c search_path={schema_name}" if schema_name else ""
    words = (given if isinstance(given, str) else " ".join(given), arguments.get("options", ""), path)
    return " ".join(word for word in words if word)


def with_driver(url: URL, drivers: Sequence[str]) -> URL:
    """The URL with our driver where it names none, and another driver refused by name."""
    if "+" not in url.drivername and drivers:
        return url.set(drivername=f"{url.drivername}+{drivers[0]}")
    try:
        url.get_dialect()
    except NoSuchModuleError as error:
        raise ConfigurationError(
            name="database_url", value=url.drivername, rule="there is no such driver", way_out="leave the driver out"
        ) from error
    return url
