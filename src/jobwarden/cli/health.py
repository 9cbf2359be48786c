"""What is wrong, for a person and for an alarm: `health`. Exit code 1 says that something is."""

from __future__ import annotations

from typing import Any

import click

from jobwarden.cli import output
from jobwarden.cli.opening import Opening, read
from jobwarden.views.health import check


@click.command()
@click.option("--deep", is_flag=True, help="Walk through every job, attempt and log line; by default what is alive.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def health(opening: Opening, deep: bool, as_json: bool) -> int:
    """Whether the database contradicts the engine's own rules.

    Prints what does, and exits with 1 if anything does.
    """
    database = opening.database()
    settings: Any = database.options
    found = read(database, lambda transaction: check(transaction, deep, settings.silence))
    if as_json:
        output.as_json(found)
    elif found:
        rows: list[list[output.Cell]] = [
            [output.state("fail"), finding.invariant, finding.id, finding.detail] for finding in found
        ]
        output.table(("", "rule", "id", "what is wrong"), rows)
    else:
        output.say(f"All is well{'' if deep else ' among what is alive (--deep looks at everything)'}.")
    return int(bool(found))


COMMANDS = (health,)
