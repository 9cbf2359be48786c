"""Batches on the command line: `batches`, `batch`, `batch-cancel`, `batch-retry`."""

from __future__ import annotations

import shutil
import sys
from typing import Any

import click
from rich.progress import Progress

from jobwarden.cli import output, screens_batches
from jobwarden.cli.opening import Opening, read, told
from jobwarden.cli.operate import actor, labels_option, tell
from jobwarden.cli.read import json_option
from jobwarden.domain.layout import Layout, Node, lay_out
from jobwarden.domain.orders import Order, Verb, check_words
from jobwarden.domain.states import BatchState
from jobwarden.lifecycle.batches import cancel_batch, hold_batch, release_batch, retry_batch
from jobwarden.views import batches as views
from jobwarden.views.ids import find_batch

_argument = click.argument("batch_id", metavar="ID")
_reason = click.option("--reason", help="Why, for the ledger.")
_WIDE = 120


@click.command()
@click.option(
    "--state", "states", multiple=True, type=click.Choice([state.value for state in BatchState]), help="Repeatable."
)
@labels_option
@click.option("--before", metavar="ID", help="The next page: the id that the last page ended with.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@click.pass_obj
def batches(
    opening: Opening,
    states: tuple[str, ...],
    labels: dict[str, str] | None,
    before: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List batches, the newest first."""

    def listed(transaction: Any) -> views.Page:
        whole = find_batch(transaction, before) if before else None
        return views.listed(transaction, [BatchState(state) for state in states], whole, limit, labels)

    page = opening.read(listed)
    if as_json:
        output.as_json({"data": page.batches, "next": page.next})
    else:
        screens_batches.batches(page)


@click.command()
@_argument
@click.option("--members", is_flag=True, help="Every member, in an order in which they can run.")
@click.option("--graph", is_flag=True, help="A picture of what waits for what; what is alike is drawn as one.")
@click.option("--focus", metavar="KEY", help="With --graph: dim what has nothing to do with this member.")
@json_option
@click.pass_obj
def batch(opening: Opening, batch_id: str, members: bool, graph: bool, focus: str | None, as_json: bool) -> None:
    """One batch: its verdict, its counts, and why members failed."""

    def found(transaction: Any) -> dict[str, Any]:
        whole = find_batch(transaction, batch_id)
        wanted: dict[str, Any] = {"batch": views.shown(transaction, whole)}
        wanted["failures"] = views.failures_of(transaction, whole)
        if members or graph:
            wanted["members"] = views.members_of(transaction, whole)
        if graph:
            wanted["edges"] = views.edges_of(transaction, whole)
        return wanted

    seen = opening.read(found)
    if as_json:
        output.as_json(seen)
        return
    screens_batches.batch(seen["batch"], seen["failures"])
    if graph:
        screens_batches.graph(layout_of(seen["members"], seen["edges"], focus), width())
    if members:
        screens_batches.members(seen["members"])


def layout_of(members: list[views.MemberLine], edges: list[views.EdgeLine], focus: str | None = None) -> Layout:
    """Where each member of a batch is drawn; raises `click.BadParameter` if ``focus`` is the key of none."""
    if focus is not None and focus not in {member.key for member in members}:
        raise click.BadParameter(f"no member has the key {focus!r}.", param_hint="--focus")
    nodes = [Node(member.key, member.key, member.state, _short(member.job)) for member in members]
    return lay_out(nodes, views.wires(members, edges), focus=focus)


def _short(job: str) -> str:
    return job.rpartition(":")[2]


def width() -> int:
    """The columns of a picture: the terminal's, or enough where there is none."""
    return shutil.get_terminal_size((_WIDE, 40)).columns if sys.stdout.isatty() else _WIDE


@click.command("batch-cancel")
@_argument
@_reason
@json_option
@click.pass_obj
def batch_cancel(opening: Opening, batch_id: str, reason: str | None, as_json: bool) -> None:
    """Call a batch off with all of its members.

    Who waits is canceled at once, who runs is ended by its worker. Finalizers are called off too.
    """
    database = opening.database()
    whole = read(database, lambda transaction: find_batch(transaction, batch_id))
    pending = read(database, lambda transaction: views.shown(transaction, whole).counts.pending)
    by = Order(Verb.CANCEL, reason, actor())
    with told(database), Progress(console=output.console(), disable=as_json or pending < 2000) as progress:
        task = progress.add_task("calling off", total=pending)
        swept = cancel_batch(database, whole, by.reason, by.actor, lambda n: progress.update(task, completed=n))
    if as_json:
        output.as_json({"id": whole, "state": BatchState.CANCELED.value, "canceled": swept})
    else:
        click.echo(f"{whole} canceled, with {swept:,} members at once; those that run are being ended")


@click.command("batch-hold")
@_argument
@_reason
@json_option
@click.pass_obj
def batch_hold(opening: Opening, batch_id: str, reason: str | None, as_json: bool) -> None:
    """Have no member of a batch start until it is released; who runs goes on."""
    database, by = opening.database(), actor()
    check_words("hold", reason, by)
    whole = read(database, lambda transaction: find_batch(transaction, batch_id))
    total = read(database, lambda transaction: views.shown(transaction, whole).counts.total)
    with told(database), Progress(console=output.console(), disable=as_json or total < 2000) as progress:
        task = progress.add_task("holding", total=total)
        reached = hold_batch(database, whole, reason, by, lambda n: progress.update(task, completed=n))
    if as_json:
        output.as_json({"id": whole, "held": True, "reached": reached})
    else:
        click.echo(f"{whole} is held: no member starts until `jobwarden batch-release {whole}`; those that run go on")


@click.command("batch-release")
@_argument
@_reason
@json_option
@click.pass_obj
def batch_release(opening: Opening, batch_id: str, reason: str | None, as_json: bool) -> None:
    """Let a held batch go on."""
    database, by = opening.database(), actor()
    check_words("release", reason, by)
    whole = read(database, lambda transaction: find_batch(transaction, batch_id))
    with told(database):
        release_batch(database, whole, reason, by)
    if as_json:
        output.as_json({"id": whole, "held": False})
    else:
        click.echo(f"{whole} goes on")


@click.command("batch-retry")
@_argument
@_reason
@click.option("--force", is_flag=True, help="Also members that are not idempotent; check first what they did.")
@click.option("--attempts", type=click.IntRange(1, 1_000_000), help="How many tries each has then.")
@click.option("--from", "start", metavar="KEY", help="Only this member and those that follow it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, one line for each member.")
@click.pass_obj
def batch_retry(opening: Opening, /, batch_id: str, as_json: bool, **asked: Any) -> int:
    """Run the failed members of a batch again.

    With them comes back what was called off because it could not be reached any more.
    """
    database = opening.database()
    whole = read(database, lambda transaction: find_batch(transaction, batch_id))
    order = Order(Verb.RETRY, asked["reason"], actor(), asked["force"], asked["attempts"])
    with told(database):
        answers = retry_batch(database, whole, order, start=asked["start"])
    if not answers and not as_json:
        click.echo("no member has failed")
    return tell(order, answers, as_json)


COMMANDS = (batches, batch, batch_cancel, batch_hold, batch_release, batch_retry)
