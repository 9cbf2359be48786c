"""What a person does to jobs and workers: `enqueue`, `cancel`, `stop`, `retry`, `restart`, `resolve`, `drain`.

Each goes through the same checks as in code.
"""

from __future__ import annotations

import getpass
import json
from collections.abc import Sequence
from typing import Any

import click

from jobwarden.cli import output
from jobwarden.cli.matching import carry_out_matching
from jobwarden.cli.opening import Opening, read, told
from jobwarden.domain.orders import Answer, Order, Verb, Verdict
from jobwarden.domain.states import JobState
from jobwarden.lifecycle import operate
from jobwarden.views.ids import find_job, find_worker


def actor() -> str:
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


params_option = click.option("--params", default="{}", callback=_params, metavar="JSON", help="The parameters by name.")
labels_option = click.option(
    "--label", "labels", multiple=True, callback=_tags, metavar="NAME=VALUE", help="Repeatable."
)
tags_option = click.option("--tag", "tags", multiple=True, callback=_tags, metavar="NAME=VALUE", help="Repeatable.")


@click.command()
@click.argument("name")
@params_option
@click.option("--lane")
@click.option("--priority", type=int)
@click.option("--delay", type=float, help="Seconds until it is due.")
@click.option("--label", help="The shown name of this run.")
@click.option("--key", "idempotency_key", help="Idempotency key: enqueued once for all who use the same.")
@tags_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def enqueue(opening: Opening, /, name: str, params: dict[str, Any], as_json: bool, **options: Any) -> None:
    """Enqueue a job by name.

    Its parameters are checked before anything is written.
    """
    handle = opening.application().enqueue(name, params, created_by=actor(), **options)
    if as_json:
        output.as_json({"id": handle.id, "created": handle.created})
        return
    click.echo(handle.id)
    if not handle.created:
        click.echo("there already: its idempotency key is taken by this job", err=True)


def _which(command: Any) -> Any:
    """The jobs: by their ids, or all that a search finds."""
    for option in (
        click.option("--dry-run", is_flag=True, help="With --matching: say how many that are, and do nothing."),
        click.option("--yes", is_flag=True, help="With --matching: do not ask."),
        click.option("--matching", metavar="QUERY", help="All jobs that a search finds, as `jobs QUERY` does."),
        click.argument("ids", metavar="[ID]...", nargs=-1),
    ):
        command = option(command)
    return command


_reason = click.option("--reason", help="Why, for the ledger.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON, one line for each job.")
_force = click.option("--force", is_flag=True, help="Also where the job is not idempotent; check first what it did.")
_attempts = click.option(
    "--attempts", type=click.IntRange(1, 1_000_000), help="How many tries it has then; without it what is left, or one."
)
_as_new = click.option("--as-new", is_flag=True, help="As a new job that points to this one, which stays as it is.")


@click.command()
@_which
@_reason
@_json
@click.pass_obj
def cancel(opening: Opening, /, reason: str | None, as_json: bool, **which: Any) -> int:
    """Cancel jobs.

    One that waits at once, one that runs when its process is proved to be gone.
    """
    return _carry_out_on(opening, Order(Verb.CANCEL, reason, actor()), as_json, **which)


@click.command()
@_which
@_reason
@_json
@click.pass_obj
def stop(opening: Opening, /, reason: str | None, as_json: bool, **which: Any) -> int:
    """Ask running jobs to stop.

    They do at their next checkpoint; jobs that wait are canceled.
    """
    return _carry_out_on(opening, Order(Verb.STOP, reason, actor()), as_json, **which)


@click.command()
@_which
@_reason
@_force
@_attempts
@_as_new
@_json
@click.pass_obj
def retry(opening: Opening, /, as_json: bool, **asked: Any) -> int:
    """Run jobs again that failed or are parked.

    With --as-new also those that succeeded, were canceled or were stopped.
    """
    return _again(opening, Verb.RETRY, as_json, **asked)


@click.command()
@_which
@_reason
@_force
@_attempts
@_as_new
@_json
@click.pass_obj
def restart(opening: Opening, /, as_json: bool, **asked: Any) -> int:
    """Run jobs again that were stopped, failed or are parked.

    With --as-new also those that succeeded or were canceled.
    """
    return _again(opening, Verb.RESTART, as_json, **asked)


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--ran", "verdict", flag_value=Verdict.RAN.value, help="It did all its work: it succeeded.")
@click.option("--did-not-run", "verdict", flag_value=Verdict.DID_NOT_RUN.value, help="It did nothing: run it again.")
@click.option("--ran-partly", "verdict", flag_value=Verdict.RAN_PARTLY.value, help="It did some of it: it failed.")
@click.option("--failed", "verdict", flag_value=Verdict.FAILED.value, help="It did not do its work: it failed.")
@click.option("--reason", required=True, help="How that is known, for the ledger.")
@_json
@click.pass_obj
def resolve(opening: Opening, job_id: str, verdict: str | None, reason: str, as_json: bool) -> int:
    """Say what a parked job did.

    One of --ran, --did-not-run, --ran-partly and --failed is needed, and the reason.
    """
    if verdict is None:
        raise click.UsageError("say what it did: --ran, --did-not-run, --ran-partly or --failed.")
    order = Order(Verb.RESOLVE, reason, actor(), verdict=Verdict(verdict))
    return _carry_out(opening, order, (job_id,), as_json)


@click.command()
@click.argument("worker", metavar="WORKER", required=False)
@click.option("--host", help="Every supervisor of that host, instead of one worker.")
@_reason
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def drain(opening: Opening, worker: str | None, host: str | None, reason: str | None, as_json: bool) -> None:
    """Ask a worker, or all of a host, to take no more jobs.

    It ends when those that it has are over. WORKER may be any beginning or end of an id that fits one.
    """
    database = opening.database()
    if host is not None and worker is None:
        with told(database):
            asked = database.attempt(lambda transaction: operate.drain_host(transaction, host, reason, actor()))
        if as_json:
            output.as_json({"ids": asked, "wish": "drain"})
        else:
            click.echo("\n".join(f"{worker_id}: drain is asked for" for worker_id in asked))
    elif worker is not None and host is None:
        whole = read(database, lambda transaction: find_worker(transaction, worker))
        with told(database):
            state = database.attempt(lambda transaction: operate.drain(transaction, whole, reason, actor()))
        if as_json:
            output.as_json({"id": whole, "state": state.value, "wish": "drain"})
        else:
            click.echo(f"{whole} {state.value}: drain is asked for")
    else:
        raise click.UsageError("say which: a WORKER, or --host NAME.")


def _again(
    opening: Opening,
    verb: Verb,
    as_json: bool,
    *,
    reason: str | None,
    force: bool,
    attempts: int | None,
    as_new: bool,
    **which: Any,
) -> int:
    order = Order(Verb.RERUN if as_new else verb, reason, actor(), force, attempts)
    return _carry_out_on(opening, order, as_json, **which)


def _carry_out_on(
    opening: Opening, order: Order, as_json: bool, ids: tuple[str, ...], matching: str | None, yes: bool, dry_run: bool
) -> int:
    """Either ids or a search says which jobs."""
    if bool(ids) is (matching is not None):
        raise click.UsageError("say which jobs: by their ids, or by --matching QUERY.")
    if matching is not None:
        return carry_out_matching(opening, order, matching, yes, dry_run, as_json)
    if yes or dry_run:
        raise click.UsageError("--yes and --dry-run are for --matching.")
    return _carry_out(opening, order, ids, as_json)


def _carry_out(opening: Opening, order: Order, ids: tuple[str, ...], as_json: bool) -> int:
    """All ids are looked up before the first job is touched; each refusal is told, and makes the exit code 1."""
    database = opening.database()
    whole = read(database, lambda transaction: [find_job(transaction, text) for text in ids])
    with told(database):
        answers = operate.carry_out(database, order, whole)
    return tell(order, answers, as_json)


def tell(order: Order, answers: Sequence[Answer], as_json: bool) -> int:
    """What became of an order, a line for each job; the exit code."""
    for answer in answers:
        if as_json:
            click.echo(output.compact(_as_data(answer)))
        elif answer.refused is None:
            click.echo(_in_words(order, answer))
        if answer.refused is not None:
            click.echo(f"jobwarden: {answer.refused}", err=True)
    return int(any(answer.refused is not None for answer in answers))


def _as_data(answer: Answer) -> dict[str, Any]:
    data: dict[str, Any] = {"id": answer.id, "state": answer.state.value if answer.state else None}
    if answer.new is not None:
        data["new"] = answer.new
    if answer.refused is not None:
        data["error"] = str(answer.refused)
    return data


def _in_words(order: Order, answer: Answer) -> str:
    if answer.new is not None:
        return f"{answer.new} queued: runs {answer.id} again"
    state = answer.state.value if answer.state else ""
    asked = f": {order.verb.value} is asked for" if answer.state is JobState.RUNNING else ""
    return f"{answer.id} {state}{asked}"


COMMANDS = (enqueue, cancel, stop, retry, restart, resolve, drain)
