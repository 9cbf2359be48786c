"""The daemons: `work` serves lanes on this host, `up` prepares the database first. Neither imports user code here."""

from __future__ import annotations

from typing import Any

import click

from jobwarden.cli.opening import Opening
from jobwarden.daemons import host


def _options(command: Any) -> Any:
    """The options of a worker."""
    for option in (
        click.option("--burst", is_flag=True, help="End when no job can be claimed now; delayed ones do not count."),
        click.option(
            "--drain-timeout", type=click.FloatRange(0), help="Seconds to wait for attempts when asked to end; 0: all."
        ),
        click.option("--capacity", type=click.IntRange(1), help="Attempts to run at once."),
        click.option("--lane", "lanes", multiple=True, help="A lane to serve; repeatable, in order."),
    ):
        command = option(command)
    return command


@click.command()
@_options
@click.pass_obj
def work(opening: Opening, /, **given: Any) -> int:
    """Run jobs, until told to end.

    Each attempt has a process of its own. TERM or INT: claim no more and let what runs finish. A second one ends it
    after its grace, QUIT ends it at once, HUP loads new code.
    """
    return _work(opening, given)


@click.command()
@_options
@click.pass_obj
def up(opening: Opening, /, **given: Any) -> int:
    """Prepare the database, then work.

    All that one machine needs.
    """
    return _work(opening, given, migrate_first=True)


def _work(opening: Opening, given: dict[str, Any], migrate_first: bool = False) -> int:
    burst = given.pop("burst")
    settings = {name: value for name, value in given.items() if value not in (None, ())}
    return host.work(opening.needed(), burst=burst, migrate_first=migrate_first, **settings)


COMMANDS = (work, up)
