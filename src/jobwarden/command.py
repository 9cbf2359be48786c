"""Commands: programs that an application registers, run as jobs. An argument vector, never a shell's line.

The program inherits the attempt's output, which is logged line by line, and belongs to its process tree: stopping,
timeouts and memory limits count for it as for any handler. Its exit code decides.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from jobwarden.errors import CommandFailed, DefinitionError
from jobwarden.outcomes import Fail

_LOOK_EVERY = 0.2


class AsksForStop(Protocol):
    """What of a job's context a command needs."""

    __jobwarden_context__: bool = True

    @property
    def stop_requested(self) -> bool:
        """Whether somebody wants this run to end early."""
        ...


def command(
    name: str, argv: Sequence[str], cwd: str | os.PathLike[str] | None, env: Mapping[str, str] | None
) -> Callable[..., Any]:
    """A handler that runs the program; raises `DefinitionError` for what is no argument vector."""
    if isinstance(argv, str) or not argv or not all(isinstance(word, str) and "\0" not in word for word in argv):
        way_out = "give a list of texts, as ['python', 'manage.py', 'clearsessions']: there is no shell to read a line"
        raise DefinitionError(name=name, rule=f"{argv!r} is no argument vector", way_out=way_out)
    words, more = tuple(argv), dict(env or {})

    def run(ctx: AsksForStop) -> None:
        try:
            process = subprocess.Popen(words, cwd=cwd, env={**os.environ, **more}, process_group=0)
        except OSError as error:
            raise Fail(f"{words[0]!r} cannot be started: {error.strerror}") from error
        asked = False
        while (code := _code(process)) is None:
            if ctx.stop_requested and not asked:
                asked = True
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
        if code != 0 and not asked:
            raise CommandFailed(name=name, how=_words(code))

    return run


def _words(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"signal {-code} ({signal.strsignal(-code)})"


def _code(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(_LOOK_EVERY)
    except subprocess.TimeoutExpired:
        return None
