"""What can be searched by: `tags`, `errors`; and `retag`, which makes tags of parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.progress import Progress, SpinnerColumn, TextColumn

from jobwarden.app import JobWarden
from jobwarden.cli import output
from jobwarden.cli.opening import Opening, told
from jobwarden.lifecycle.retag import Promote, Retagged
from jobwarden.lifecycle.retag import retag as retag_jobs
from jobwarden.options import promoted
from jobwarden.views import errors as error_views
from jobwarden.views import tags as tag_views
from jobwarden.views.ids import short

_COLUMNS = (TextColumn("{task.description}"), SpinnerColumn(), TextColumn("{task.completed:,} looked at"))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.command()
@click.argument("name", required=False)
@click.option("--prefix", default="", help="Only values that begin so.")
@click.option("--after", help="The next page: the value that the last page ended with.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@_json
@click.pass_obj
def tags(opening: Opening, name: str | None, prefix: str, after: str | None, limit: int, as_json: bool) -> None:
    """Which tags there are, and how many jobs have each.

    With NAME the values of one.
    """
    if name is None:
        _names(opening.read(lambda transaction: tag_views.names(transaction, limit)), as_json)
        return
    found = opening.read(lambda transaction: tag_views.values(transaction, name, prefix, after, limit))
    if as_json:
        output.as_json({"data": found.values, "next": found.next})
        return
    output.table([name, "jobs"], [[each.value, f"{each.jobs:,}"] for each in found.values], right=["jobs"])
    if found.next is not None:
        output.say(f"more: --after {found.next}")


def _names(found: list[tag_views.TagName], as_json: bool) -> None:
    if as_json:
        output.as_json({"data": found})
        return
    rows = [[each.name, f"{each.jobs:,}" + "+" * each.more] for each in found]
    output.table(["tag", "jobs"], rows, right=["jobs"])


@click.command()
@click.option("--after", help="The next page: the print that the last page ended with.")
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@_json
@click.pass_obj
def errors(opening: Opening, after: str | None, limit: int, as_json: bool) -> None:
    """Errors by their kind, the one that was seen last first.

    A # stands for what varies. `jobs error:"..."` finds the jobs.
    """
    page = opening.read(lambda transaction: error_views.listed(transaction, after, limit))
    if as_json:
        output.as_json({"data": page.errors, "next": page.next})
        return
    headings = ["failed", "error", "first seen", "last seen", "newest job"]
    output.table(headings, [_row(each) for each in page.errors], right=["failed"])
    if page.next:
        output.say(f"more: --after {page.next}")


def _row(error: error_views.ErrorLine) -> list[output.Cell]:
    return [
        f"{error.failed:,}" + "+" * error.more,
        f"{error.class_name}: {error.message}",
        output.instant(error.first_seen) or "",
        output.instant(error.last_seen) or "",
        short(error.last_job) if error.last_job else "",
    ]


@click.command()
@click.option("--job", "names", multiple=True, metavar="NAME", help="Only jobs of this name; repeatable.")
@click.option(
    "--chunk", type=click.IntRange(1, 10_000), default=1000, show_default=True, help="Jobs in one transaction."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@_json
@click.pass_obj
def retag(opening: Opening, names: tuple[str, ...], chunk: int, dry_run: bool, as_json: bool) -> None:
    """Make tags of parameters, also for jobs that are there.

    Which parameters are promoted is what the application's jobs and the setting promote say now.
    """
    app = opening.application()
    rules = {name: rule for name in names or app.jobs if (rule := _rule(app, name)) is not None}
    done = Retagged()
    database = opening.database()
    with told(database), Progress(*_COLUMNS, console=output.console(), disable=as_json) as progress:
        for name, promote in rules.items():
            looked_at = _Bar(progress, name)
            found = retag_jobs(database, name, promote, chunk, dry_run, looked_at.show)
            done = Retagged(done.scanned + found.scanned, done.jobs + found.jobs, done.tags + found.tags)
    if as_json:
        output.as_json({"dry_run": dry_run, "promoting": sorted(rules), **output.plain(done)})
        return
    if not rules:
        click.echo("No parameter is promoted: say promote= with a job, or in the settings.", err=True)
    would = "would get" if dry_run else "got"
    click.echo(f"{done.scanned:,} jobs looked at: {done.jobs:,} {would} {done.tags:,} tags")


class _Bar:
    """How many jobs of a name were looked at."""

    def __init__(self, progress: Progress, name: str) -> None:
        self._progress, self._task = progress, progress.add_task(name, total=None)

    def show(self, so_far: Retagged) -> None:
        """So many by now."""
        self._progress.update(self._task, completed=so_far.scanned)


def _rule(app: JobWarden, name: str) -> Promote | None:
    """How the parameters of a job become tags; None if none does. Raises `UnknownJob`."""
    promote = app.find(name).options.promote

    def tags_of(params: Mapping[str, Any]) -> Mapping[str, str]:
        return promoted(promote, params)

    return tags_of if promote else None


COMMANDS = (tags, errors, retag)
