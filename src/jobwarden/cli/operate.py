"""What a person does to jobs: `enqueue`, `cancel`, `stop`. Each goes through the same checks as in code."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from typing import Any

import click

from jobwarden.cli import output
from jobwarden.cli.opening import Opening, read, told
from jobwarden.domain.states import JobState
from jobwarden.lifecycle import operate
from jobwarden.store.database import Transaction
from jobwarden.views.ids import find_job

Verb = Callable[[Transaction, str, str | None, str | None], JobState]


def _actor() -> str:
    """Who acts, for the ledger."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"


def _params(context: click.Context, option: click.Parameter, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"this is not JSON ({error}).") from error
    if not isinstance(found, dict):
        raise click.BadParameter('give an object with the parameters by name, like \'{"store_id": "42"}\'.')
    return found


def _tags(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str] | None:
    pairs = [text.partition("=") for text in given]
    if wrong := [name for name, sign, _ in pairs if not sign]:
        raise click.BadParameter(f"{wrong[0]!r} has no value: write NAME=VALUE.")
    return {name: value for name, _, value in pairs} or None


@click.command()
@click.argument("name")
@click.option("--params", default="{}", callback=_params, metavar="JSON", help="The parameters by name.")
@click.option("--lane")
@click.option("--priority", type=int)
@click.option("--delay", type=float, help="Seconds until it is due.")
@click.option("--label", help="The shown name of this run.")
@click.option("--key", "idempotency_key", help="Idempotency key: enqueued once for all who use the same.")
@click.option("--tag", "tags", multiple=True, callback=_tags, metavar="NAME=VALUE", help="Repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def enqueue(opening: Opening, /, name: str, params: dict[str, Any], as_json: bool, **options: Any) -> None:
    """Enqueue a job by name.

    Its parameters are checked before anything is written.
    """
    handle = opening.application().enqueue(name, params, created_by=_actor(), **options)
    if as_json:
        output.as_json({"id": handle.id, "created": handle.created})
        return
    click.echo(handle.id)
    if not handle.created:
        click.echo("there already: its idempotency key is taken by this job", err=True)


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--reason", help="Why, for the ledger.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def cancel(opening: Opening, ids: tuple[str, ...], reason: str | None, as_json: bool) -> None:
    """Cancel jobs.

    One that waits at once, one that runs when its process is proved to be gone.
    """
    _wish(opening, operate.cancel, ids, reason, as_json)


@click.command()
@click.argument("ids", metavar="ID...", nargs=-1, required=True)
@click.option("--reason", help="Why, for the ledger.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def stop(opening: Opening, ids: tuple[str, ...], reason: str | None, as_json: bool) -> None:
    """Ask running jobs to stop.

    They do at their next checkpoint; jobs that wait are canceled.
    """
    _wish(opening, operate.stop, ids, reason, as_json)


def _wish(opening: Opening, verb: Verb, ids: tuple[str, ...], reason: str | None, as_json: bool) -> None:
    """All ids are looked up before the first job is touched."""
    database, actor = opening.database(), _actor()
    whole = read(database, lambda transaction: [find_job(transaction, text) for text in ids])
    for job_id in dict.fromkeys(whole):
        with told(database):
            state = _wished(database, verb, job_id, reason, actor)
        if as_json:
            click.echo(output.compact({"id": job_id, "state": state.value}))
        else:
            asked = f": {verb.__name__} is asked for" if state is JobState.RUNNING else ""
            click.echo(f"{job_id} {state.value}{asked}")


def _wished(database: Any, verb: Verb, job_id: str, reason: str | None, actor: str) -> JobState:
    state: JobState = database.attempt(lambda transaction: verb(transaction, job_id, reason, actor))
    return state


COMMANDS = (enqueue, cancel, stop)
