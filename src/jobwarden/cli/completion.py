"""Completion in the shell: `completion` prints what the shell is to read; names come from the database."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem, get_completion_class

from jobwarden.cli.opening import opening
from jobwarden.errors import JobWardenError
from jobwarden.store.database import Transaction
from jobwarden.views.overview import listed_lanes
from jobwarden.views.schedules import listed as listed_schedules

_PROGRAM, _VARIABLE = "jobwarden", "_JOBWARDEN_COMPLETE"
_HOW = {
    "bash": 'eval "$(jobwarden completion bash)"   in ~/.bashrc',
    "zsh": 'eval "$(jobwarden completion zsh)"   in ~/.zshrc',
    "fish": "jobwarden completion fish > ~/.config/fish/completions/jobwarden.fish",
}
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command(epilog="  ".join(_HOW.values()))
@click.argument("shell", type=click.Choice(sorted(_HOW)))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options and names."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"there is no completion for {shell}.")
    click.echo(made(click.Command(_PROGRAM), {}, _PROGRAM, _VARIABLE).source())


def _from_database(read: Callable[[Transaction], Iterable[str]]) -> Complete:
    """Names that a database has; none where it cannot be asked."""

    def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[CompletionItem]:
        try:
            found = opening(context).read(read)
        except (JobWardenError, click.ClickException):
            return []
        return [CompletionItem(name) for name in found if name.startswith(begun)]

    return complete


lanes: Complete = _from_database(lambda transaction: [lane.name for lane in listed_lanes(transaction)])
schedules: Complete = _from_database(lambda transaction: [line.name for line in listed_schedules(transaction)])

COMMANDS = (completion,)
