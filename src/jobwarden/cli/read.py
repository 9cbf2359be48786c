"""What can be looked at: `status`, `ps`, `jobs`, `show`, `logs`, `explain`, `workers`, `stack`. Nothing changes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import click

from jobwarden.cli import output, screens
from jobwarden.cli.opening import Opening, read, told
from jobwarden.domain.search import Search, parse
from jobwarden.domain.states import JobState
from jobwarden.errors import NoLook
from jobwarden.lifecycle.look import ask_for_look
from jobwarden.store.database import Database
from jobwarden.store.revision import newest
from jobwarden.views import explain as explaining
from jobwarden.views import fleet, logs, processes
from jobwarden.views import jobs as job_views
from jobwarden.views.ids import find_job
from jobwarden.views.overview import overview

_LOOK_AGAIN = 0.3
_LOOKS_IN_TIME = 2.0  # times as long as a daemon may be silent

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
job_argument = click.argument("job_id", metavar="ID")


def _tags(given: tuple[str, ...]) -> dict[str, str]:
    pairs = (text.partition("=") for text in given)
    return {name: value for name, _, value in pairs}


@click.command()
@json_option
@click.pass_obj
def status(opening: Opening, as_json: bool) -> None:
    """The whole at a glance.

    Lanes, workers, what runs and what needs a person.
    """
    database = opening.database()
    found = read(database, overview)
    revision = newest()
    if as_json:
        output.as_json({"database": str(database), "revision": revision, **output.plain(found)})
        return
    screens.status(str(database), revision, found, _silent_after(database))


@click.command()
@json_option
@click.pass_obj
def ps(opening: Opening, as_json: bool) -> None:
    """What runs now, process by process.

    Those of this host are looked at as they are.
    """
    found = fleet.verified(opening.read(fleet.in_flight), fleet.this_host())
    if as_json:
        output.as_json(found)
    else:
        screens.ps(found)


def query_words(context: click.Context, argument: click.Parameter, given: tuple[str, ...]) -> Search:
    """The words of a search. A word with one minus is turned round; with two it was meant as an option."""
    if wrong := [word for word in given if word.startswith("--")]:
        raise click.NoSuchOption(wrong[0], ctx=context)
    return parse(" ".join(given))


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("query", nargs=-1, callback=query_words)
@click.option(
    "--state", "states", multiple=True, type=click.Choice([state.value for state in JobState]), help="Repeatable."
)
@click.option("--lane")
@click.option("--job", help="The job's name.")
@click.option("--label", help="The shown name of a run.")
@click.option("--batch", type=click.UUID, help="The whole id of a batch.")
@click.option("--tag", "tags", multiple=True, metavar="NAME=VALUE", help="Repeatable; VALUE may end in *.")
@click.option("--created-by")
@click.option("--before", metavar="ID", help="The next page: the id that the last page ended with.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@click.pass_obj
def jobs(
    opening: Opening,
    /,
    as_json: bool,
    query: Search,
    states: tuple[str, ...],
    tags: tuple[str, ...],
    **named: Any,
) -> None:
    """List jobs, the newest first.

    All filters that are given must fit, and all words of QUERY: state:failed lane:imports store:42
    error:"connection reset" newer:2h -label:test* stuck; a word alone is a part of the job's name, or the label.
    """
    named["batch"] = str(named["batch"]) if named["batch"] else None
    wanted = job_views.Filter(states=[JobState(state) for state in states], tags=_tags(tags), search=query, **named)
    page = opening.read(lambda transaction: _whole_page(transaction, wanted))
    if as_json:
        output.as_json({"data": page.jobs, "next": page.next})
    else:
        screens.jobs(page)


def _whole_page(transaction: Any, wanted: job_views.Filter) -> job_views.Page:
    """A page that is full, if there are so many: a search that had to look at much is gone on with."""
    before = find_job(transaction, wanted.before) if wanted.before else None
    page = job_views.listed(transaction, replace(wanted, before=before))
    found = page.jobs
    while page.next is not None and len(found) < wanted.limit:
        page = job_views.listed(transaction, replace(wanted, before=page.next, limit=wanted.limit - len(found)))
        found += page.jobs
    return replace(page, jobs=found)


@click.command()
@job_argument
@json_option
@click.pass_obj
def show(opening: Opening, job_id: str, as_json: bool) -> None:
    """Everything about one job.

    Its attempts with their processes, its ledger, artifacts and result. ID may be any beginning or end that fits one.
    """
    found = opening.read(lambda transaction: job_views.shown(transaction, find_job(transaction, job_id)))
    if as_json:
        output.as_json(found)
    else:
        screens.show(found)


@click.command()
@job_argument
@json_option
@click.pass_obj
def explain(opening: Opening, job_id: str, as_json: bool) -> None:
    """Why a job is not running."""
    database = opening.database()
    found = read(
        database,
        lambda transaction: explaining.explain(
            transaction, find_job(transaction, job_id), silent_after=_silent_after(database)
        ),
    )
    if as_json:
        output.as_json(found)
    else:
        screens.explanation(found)


@click.command()
@click.option("--role", help="Only workers of this role.")
@click.option("--all", "everyone", is_flag=True, help="Also those that stopped or are dead.")
@json_option
@click.pass_obj
def workers(opening: Opening, role: str | None, everyone: bool, as_json: bool) -> None:
    """The daemons of the fleet.

    The age of their last heartbeat is by the database's clock.
    """
    database = opening.database()
    found = read(database, lambda transaction: fleet.listed_workers(transaction, role, everyone))
    if as_json:
        output.as_json(found)
    else:
        screens.workers(found, _silent_after(database))


@click.command(name="logs")
@job_argument
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over.")
@click.option("--lines", type=click.IntRange(0), default=200, show_default=True, help="How many last lines.")
@click.option("--export", is_flag=True, help="Everything of the job as lines of JSON.")
@click.option("--json", "as_json", is_flag=True, help="Print each line as JSON.")
@click.pass_obj
def show_logs(opening: Opening, job_id: str, follow: bool, lines: int, export: bool, as_json: bool) -> None:
    """What a job said."""
    database = opening.database()
    whole = read(database, lambda transaction: find_job(transaction, job_id))
    if export:
        _export(database, whole)
        return
    tell = _tell_json if as_json else screens.log_line
    found = read(database, lambda transaction: logs.last(transaction, whole, lines))
    for line in found:
        tell(line)
    if follow:
        _follow(database, whole, found[-1].id if found else _cursor(database, whole, lines), tell)


@click.command()
@job_argument
@json_option
@click.pass_obj
def stack(opening: Opening, job_id: str, as_json: bool) -> None:
    """What a running job is at: its process and its Python stack.

    The daemon that watches it looks, on whichever host that is; the job runs on meanwhile.
    """
    database = opening.database()
    whole = read(database, lambda transaction: find_job(transaction, job_id))
    look = partial(processes.of_job, job_id=whole, here=fleet.this_host())
    before = read(database, look)
    with told(database), database.write() as transaction:
        ask_for_look(transaction, whole)
    until = time.monotonic() + _LOOKS_IN_TIME * _silent_after(database)
    while (card := read(database, look)) is not None and card.asked_at is not None and time.monotonic() < until:
        time.sleep(_LOOK_AGAIN)
    if card is None or card.asked_at is not None or card.stack_at == (before.stack_at if before else None):
        raise NoLook(id=whole)
    if as_json:
        output.as_json(card)
    else:
        screens.process(card)


def _export(database: Database, job_id: str) -> None:
    with told(database), database.read() as transaction:
        for line in logs.export(transaction, job_id):
            click.echo(line)


def _tell_json(line: logs.LogLine) -> None:
    click.echo(output.compact(output.plain(line)))


def _cursor(database: Database, job_id: str, lines: int) -> int:
    """Where to go on from when no line was printed: at the end if none was wanted, else at the beginning."""
    newest = read(database, lambda transaction: logs.last(transaction, job_id, 1)) if lines == 0 else []
    return newest[-1].id if newest else 0


def _follow(database: Database, job_id: str, cursor: int, tell: Callable[[logs.LogLine], None]) -> None:
    """Lines as they come, until the job is over or parked, and was silent for one more look."""
    quiet, state = 0, None
    while quiet < 2:
        state = read(database, lambda transaction: job_views.state_of(transaction, job_id))
        page = read(database, partial(logs.after, job_id=job_id, cursor=cursor))
        for line in page:
            tell(line)
        cursor = page[-1].id if page else cursor
        quiet = quiet + 1 if state in job_views.AT_REST and not page else 0
        if not page:
            time.sleep(_LOOK_AGAIN)
    if state is JobState.ORPHANED:
        click.echo(f"the job is parked and waits for a person: jobwarden explain {job_id}", err=True)


def _silent_after(database: Database) -> float:
    """Seconds without a heartbeat after which a worker is not counted on."""
    settings: Any = database.options
    return float(settings.beat_interval * settings.missed_beats)


COMMANDS = (status, ps, jobs, show, show_logs, explain, workers, stack)
