"""The command `jobwarden`: its group, and the one place where an error becomes a sentence and an exit code.

Exit codes: 0 done, 1 refused or not found (the reason is on standard error), 2 usage, 70 an internal error.
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version

import click

from jobwarden.cli import (
    access,
    audit,
    batches,
    completion,
    demo,
    doctor,
    finding,
    health,
    history,
    init,
    lanes,
    operate,
    read,
    retention,
    roles,
    schedules,
    schema,
    serve,
    top,
)
from jobwarden.cli.app_probe import place_of
from jobwarden.cli.opening import APP_VARIABLE, Opening
from jobwarden.errors import ApplicationImportError, JobWardenError

REFUSED, INTERNAL, INTERRUPTED = 1, 70, 130


class _InOrder(click.Group):
    """Commands are listed as a newcomer meets them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of their making."""
        return list(self.commands)


@click.group(cls=_InOrder, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("-A", "--app", envvar=APP_VARIABLE, metavar="MODULE:ATTR", help="Where the application's JobWarden is.")
@click.option("--debug", is_flag=True, help="Show the whole traceback of an internal error.")
@click.version_option(version("jobwarden"), "--version", prog_name="jobwarden")
@click.pass_context
def group(context: click.Context, app: str | None, debug: bool) -> None:
    """Durable jobs, each attempt tied to one verified process.

    Start with `jobwarden demo`, or with `jobwarden init` in a folder of your own.
    """
    context.obj = Opening(app, debug)


_MODULES = (
    init,
    demo,
    doctor,
    roles,
    serve,
    schema,
    read,
    top,
    finding,
    operate,
    lanes,
    batches,
    schedules,
    history,
    health,
    audit,
    access,
    retention,
    completion,
)
for module in _MODULES:
    for command in module.COMMANDS:
        group.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit code."""
    _prepare()
    try:
        result = group.main(args=arguments, prog_name="jobwarden", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except JobWardenError as error:
        return _refused(error)
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click exits by itself when whoever read our output has left
        _forget_output()
        return 0
    except Exception as error:
        return _internal(error)
    return result if isinstance(result, int) else 0


def _prepare() -> None:
    """The current directory is importable, and no character can stop the output."""
    here = os.getcwd()
    if here not in sys.path:
        sys.path.insert(0, here)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _refused(error: JobWardenError) -> int:
    """One sentence; with --debug, what was behind it."""
    if "--debug" in sys.argv:
        traceback.print_exc()
    click.echo(f"jobwarden: {error}", err=True)
    if isinstance(error, ApplicationImportError) and error.__cause__ is not None:
        place = place_of(error.__cause__)
        click.echo(f"  at {place}; jobwarden --debug ... shows the traceback", err=True)
    return REFUSED


def _internal(error: Exception) -> int:
    if "--debug" in sys.argv:
        traceback.print_exc()
    place = traceback.extract_tb(error.__traceback__)[-1]
    click.echo(f"jobwarden: internal error: {type(error).__name__}: {error}", err=True)
    click.echo(f"  at {place.filename}:{place.lineno} in {place.name}; jobwarden --debug ... shows all of it", err=True)
    return INTERNAL


def _forget_output() -> None:
    """Whoever read our output has left: nothing more is written, not even by the interpreter at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
