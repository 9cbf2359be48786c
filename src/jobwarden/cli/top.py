"""`top`: what goes on, live in the terminal, with what can be done about it."""

from __future__ import annotations

import click

from jobwarden.cli.opening import Opening
from jobwarden.errors import ExtraMissing


@click.command()
@click.option(
    "--every", type=click.FloatRange(0.2, 60), default=2.0, show_default=True, help="Seconds between two looks."
)
@click.argument("query", nargs=-1)
@click.pass_obj
def top(opening: Opening, every: float, query: tuple[str, ...]) -> None:
    """Watch lanes, running jobs with their processes, and what failed or is parked; and act on them.

    With QUERY the last table has what that finds. Needs jobwarden[top].
    """
    try:
        from jobwarden.cli.top_screen import Top  # noqa: PLC0415 - the library is an extra
    except ImportError as error:
        raise ExtraMissing(what="top", library="textual", extra="top") from error
    Top(opening.database(), every, " ".join(query)).run()


COMMANDS = (top,)
