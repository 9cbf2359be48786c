"""What happened over time: `history` as a picture in the terminal, `metrics` for Prometheus."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import Any

import click

from jobwarden.cli import output, screens_history
from jobwarden.cli.opening import Opening
from jobwarden.cli.read import json_option
from jobwarden.views.metrics import exposition
from jobwarden.views.series import series

_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def _back(context: click.Context, option: click.Parameter, text: str) -> timedelta:
    number, unit = text[:-1], _UNITS.get(text[-1:])
    back = timedelta(**{unit: int(number)}) if unit and number.isdecimal() and len(number) < 6 else timedelta()
    if not timedelta() < back <= timedelta(days=90):
        raise click.BadParameter(f"{text!r} is no time back: write 30m, 3h or 7d, at most 90d.")
    return back


@click.command()
@click.option("--since", "back", default="3h", callback=_back, metavar="TIME", help="How far back: 30m, 3h, 7d.")
@click.option("--by", type=click.Choice(["lane", "job"]), default="lane", show_default=True)
@click.option("--lane", help="This lane alone.")
@click.option("--job", help="This job's name alone.")
@json_option
@click.pass_obj
def history(opening: Opening, /, back: timedelta, by: str, as_json: bool, **narrowed: Any) -> None:
    """Starts, ends, waits and runs over time.

    By minutes up to three hours back, by hours up to a week, by days up to 90.
    """
    found = opening.read(partial(series, back=back, by=by, **narrowed))
    if as_json:
        output.as_json(found)
    else:
        screens_history.series(found, by)


@click.command()
@click.pass_obj
def metrics(opening: Opening) -> None:
    """Everything for Prometheus, as text.

    For a textfile collector, or to see what there is.
    """
    click.echo(opening.read(exposition), nl=False)


COMMANDS = (history, metrics)
