"""Finding the application that ``module:attr`` names, and saying in one sentence why it cannot be had."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from jobwarden.errors import ApplicationImportError, ConfigurationError, JobWardenError


def load_application(spec: str) -> Any:
    """The object that ``module:attr`` names, its module imported now; raises `ApplicationImportError`.

    The current directory is on the path, as for a script. Whatever the import raises is its cause.
    """
    module_name, colon, path = spec.partition(":")
    if not module_name or not colon or not path:
        raise ApplicationImportError(app=spec, rule="it is not of the form module:attribute", way_out="write app:jw")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except BaseException as error:
        raise ApplicationImportError(app=spec, rule=_words(error), way_out="see the traceback") from error
    for name in path.split("."):
        if not hasattr(found, name):
            rule = f"{module_name} has no attribute {path!r}"
            raise ApplicationImportError(app=spec, rule=rule, way_out="name the variable that holds the JobWarden")
        found = getattr(found, name)
    return found


def prepare(app: Any) -> None:
    """Build before the first fork what every seat would build for itself; raises `JobWardenError`."""
    jobs_of(app)
    with suppress(ConfigurationError):  # the supervisor reads the same settings, and ends with that one sentence
        app.prepare()


def jobs_of(app: Any) -> Mapping[str, Any]:
    """The jobs of an application by name; raises `ApplicationImportError` if it is no `JobWarden`."""
    jobs = getattr(app, "jobs", None)
    if not isinstance(jobs, Mapping) or not callable(getattr(app, "find", None)):
        rule = f"it is {type(app).__name__}, which has no jobs"
        raise ApplicationImportError(
            app=repr(app)[:80], rule=rule, way_out="name the variable that holds the JobWarden"
        )
    return jobs


def describe(app: Any) -> dict[str, Any]:
    """What a supervisor must know of an application that it does not import: settings and jobs, as JSON data."""
    jobs = {name: job.dump() for name, job in jobs_of(app).items()}
    return {"settings": app.settings.model_dump(mode="json"), "jobs": jobs}


def one_sentence(error: BaseException) -> str:
    """Why an application cannot be used."""
    return str(error) if isinstance(error, JobWardenError) else _words(error)


def _words(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
