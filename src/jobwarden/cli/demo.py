"""`demo`: the census of the standard library, with nothing to set up, and what there is to look at afterwards."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from jobwarden.cli import screens_batches
from jobwarden.cli.batches import layout_of, width
from jobwarden.cli.output import heading, say, table
from jobwarden.cli.screens import ledger
from jobwarden.demo.folder import Folder
from jobwarden.demo.play import Told, play
from jobwarden.demo.screen import Screen
from jobwarden.views.ids import short

_COLUMNS = ("modules", "lines", "functions", "classes", "nesting")


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("jobwarden-demo"),
    show_default=True,
    help="A folder of its own: made, or begun anew if a demo made it.",
)
@click.option("--engine-url", help="Play on this database instead of a file in the folder.")
@click.option("--console", is_flag=True, help="Then serve the console on what it left, until Ctrl-C.")
def demo(folder: Path, engine_url: str | None, console: bool) -> None:
    """See it work, with nothing to set up.

    Real jobs take a census of Python's own library; one of them is killed half-way.
    """
    told = play(Folder(folder.absolute()), engine_url, Screen())
    heading("The census")
    _census(told.result)
    heading("The batch: what waited for what")
    screens_batches.graph(layout_of(told.members, told.edges), width())
    if told.killed is not None:
        heading(f"The ledger of the job whose process was killed ({told.killed.label})")
        ledger(told.killed.events, told.killed)
    heading("Look further")
    _look_further(folder, told)
    if console:
        _serve(folder)


def _serve(folder: Path) -> None:
    """The console, as whoever goes on in the folder would start it."""
    with suppress(KeyboardInterrupt):
        subprocess.run([sys.executable, "-m", "jobwarden.cli", "serve", "--port", "0"], cwd=folder, check=True)


def _census(result: dict[str, Any]) -> None:
    rows = [_row(row["package"], row, row.get("deepest", "")) for row in result["rows"]]
    total = result["total"]
    refused = f"{total['refused']} files are no Python that can be parsed" if total["refused"] else ""
    table(("package", *_COLUMNS, "deepest at"), [*rows, _row("all", total, refused)], right=_COLUMNS)


def _row(name: str, row: dict[str, Any], last: str) -> list[str]:
    return [name, *(f"{row[column]:,}" for column in _COLUMNS), last]


def _look_further(folder: Path, told: Told) -> None:
    say(f"It took {told.seconds:.1f} s. The chart: {(folder / 'census.svg').absolute()}")
    say(f"  cd {folder}")
    say("  jobwarden status")
    say("  jobwarden jobs --limit 50")
    say(f"  jobwarden batch {short(told.batch_id)} --graph --members")
    if told.killed is not None:
        say(f"  jobwarden show {short(told.killed.id)}      # the attempt that was killed and the one after it")
        say(f"  jobwarden logs {short(told.killed.id)}")
    say("  jobwarden serve              # the console, for a browser")
    say("  jobwarden doctor")


COMMANDS = (demo,)
