"""Schedules on the command line: the role that fires them, looking at them, and what a person does to them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

import click

from jobwarden.cli import completion, output, screens_schedules
from jobwarden.cli.opening import Opening, told
from jobwarden.cli.operate import actor, params_option, tags_option
from jobwarden.cli.read import json_option
from jobwarden.cli.roles import daemon
from jobwarden.domain.occurrences import Missed, Overlap
from jobwarden.domain.orders import By
from jobwarden.lifecycle import schedules as verbs
from jobwarden.store.database import Transaction
from jobwarden.views import schedules as views

T = TypeVar("T")
_name = click.argument("name", shell_complete=completion.schedules)
_reason = click.option("--reason", help="Why, for the ledger.")


class _Instant(click.ParamType[datetime]):
    """An ISO 8601 moment with an offset."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment; fails for a text that names none."""
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is no ISO 8601 moment: write 2026-03-01T04:00+01:00, say.", param, ctx)
        if moment.utcoffset() is None:
            self.fail(f"{value!r} has no offset and names no instant: write {value}Z, or {value}+01:00.", param, ctx)
        return moment


INSTANT = _Instant()


@click.command()
@json_option
@click.pass_obj
def schedules(opening: Opening, as_json: bool) -> None:
    """List schedules: when each is due next, and what became of its last run."""
    found, now = opening.read(lambda transaction: (views.listed(transaction), transaction.now()))
    if as_json:
        output.as_json({"data": found})
    else:
        screens_schedules.schedules(found, now)


@click.command()
@click.argument("name", required=False, shell_complete=completion.schedules)
@click.option("--runs", type=click.IntRange(0, 1000), default=20, show_default=True, help="How many runs to show.")
@json_option
@click.pass_obj
def schedule(opening: Opening, name: str | None, runs: int, as_json: bool) -> int:
    """Fire what is due until told to end; with NAME, show one schedule and its runs.

    Run it on two or three hosts: each fires what it comes to first, and nothing fires twice. With -A it keeps the
    schedules like those that the application declares.
    """
    if name is None:
        return daemon("scheduler", opening.settings(), opening.app)

    def shown(transaction: Transaction) -> tuple[views.ScheduleLine, list[views.RunLine], datetime]:
        line = views.shown(transaction, name)
        return line, views.runs_of(transaction, line.id, runs), transaction.now()

    line, history, now = opening.read(shown)
    if as_json:
        output.as_json({"schedule": line, "runs": history})
    else:
        screens_schedules.schedule(line, history, now)
    return 0


@click.command("schedule-run")
@_name
@_reason
@json_option
@click.pass_obj
def schedule_run(opening: Opening, name: str, reason: str | None, as_json: bool) -> None:
    """Run a schedule's job once now, whatever its time."""
    ask = verbs.Ask()
    job_id = _done(opening, reason, lambda transaction, by: verbs.run_now(transaction, name, by, ask))
    if as_json:
        output.as_json({"name": name, "job_id": job_id})
    else:
        click.echo(job_id)


@click.command("schedule-enable")
@_name
@click.option("--backfill", is_flag=True, help="Make up for what it missed meanwhile, as its policies say.")
@_reason
@json_option
@click.pass_obj
def schedule_enable(opening: Opening, name: str, backfill: bool, reason: str | None, as_json: bool) -> None:
    """Let a schedule be due again, from now."""
    changed = _done(opening, reason, lambda transaction, by: verbs.enable(transaction, name, by, backfill))
    _tell(name, "enabled", changed, as_json)


@click.command("schedule-disable")
@_name
@_reason
@json_option
@click.pass_obj
def schedule_disable(opening: Opening, name: str, reason: str | None, as_json: bool) -> None:
    """Let a schedule not be due; runs that wait for their turn are called off."""
    changed = _done(opening, reason, lambda transaction, by: verbs.disable(transaction, name, by))
    _tell(name, "disabled", changed, as_json)


@click.command("schedule-remove")
@_name
@_reason
@json_option
@click.pass_obj
def schedule_remove(opening: Opening, name: str, reason: str | None, as_json: bool) -> None:
    """Remove a schedule with the history of its runs; its jobs stay."""
    _done(opening, reason, lambda transaction, by: verbs.remove(transaction, name, by))
    _tell(name, "removed", True, as_json)


@click.command("schedule-backfill")
@_name
@click.argument("begin", type=INSTANT, metavar="FROM")
@click.argument("end", type=INSTANT, metavar="TO")
@_reason
@json_option
@click.pass_obj
def schedule_backfill(
    opening: Opening, name: str, begin: datetime, end: datetime, reason: str | None, as_json: bool
) -> None:
    """Make the runs of a past window, ends included, that there are none of.

    They run one after another, unless the schedule allows overlap.
    """
    made = _done(opening, reason, lambda transaction, by: verbs.backfill(transaction, name, begin, end, by))
    if as_json:
        output.as_json({"name": name, "made": made.made, "there": made.there})
    else:
        click.echo(f"{made.made} runs are made" + (f", {made.there} were there" if made.there else ""))


@click.command("schedule-put")
@_name
@click.argument("job")
@click.option("--cron", help="Five fields (minute hour day month weekday), six with seconds first, or @daily.")
@click.option("--every", type=click.FloatRange(1), metavar="SECONDS", help="A steady interval.")
@click.option("--at", type=INSTANT, help="Once, at this moment.")
@params_option
@click.option("--timezone", metavar="NAME", help="Whose clock the pattern follows, as Europe/Oslo; UTC if not given.")
@click.option("--missed", type=click.Choice([word.value for word in Missed]), help="run_latest if not given.")
@click.option("--overlap", type=click.Choice([word.value for word in Overlap]), help="skip if not given.")
@click.option("--catch-up-window", type=click.FloatRange(0), metavar="SECONDS", help="Older ones are not made up for.")
@click.option("--max-catch-up", type=click.IntRange(1), help="At most so many are made up for, the newest.")
@click.option("--jitter", type=click.FloatRange(0), metavar="SECONDS", help="It is due up to so much later.")
@click.option("--starts-at", type=INSTANT)
@click.option("--ends-at", type=INSTANT)
@click.option("--lane", help="Where its jobs wait; scheduled if not given.")
@click.option("--priority", type=int)
@tags_option
@_reason
@json_option
@click.pass_obj
def schedule_put(opening: Opening, /, name: str, job: str, reason: str | None, as_json: bool, **given: Any) -> None:
    """Make a schedule of a job, or change it to be like that.

    One that the application's code declares is changed there.
    """
    app = opening.application()
    options = {option: given.pop(option) for option in ("priority", "tags")}
    call = app.bind(job, given.pop("params"), created_by=None, **options)
    when, every = given.pop("cron") or given.pop("at"), given.pop("every", None)
    policies = {option: value for option, value in given.items() if value is not None and option != "at"}
    if every is not None:
        policies["every"] = timedelta(seconds=every)
    changed = app.schedules.put(name, when, call, reason=reason, actor=actor(), **policies)
    _tell(name, "put", changed, as_json)


def _done(opening: Opening, reason: str | None, work: Callable[[Transaction, By], T]) -> T:
    """Do a verb in a transaction of its own, as whoever sits here."""
    database = opening.database()
    by = By(actor(), reason)
    with told(database):
        done: T = database.attempt(lambda transaction: work(transaction, by))
    database.announce()
    return done


def _tell(name: str, verb: str, changed: bool, as_json: bool) -> None:
    if as_json:
        output.as_json({"name": name, "changed": changed})
    else:
        click.echo(f"{name} is {verb}" if changed else f"{name}: nothing to change")


COMMANDS = (
    schedules,
    schedule,
    schedule_put,
    schedule_run,
    schedule_enable,
    schedule_disable,
    schedule_backfill,
    schedule_remove,
)
