"""Acting on all jobs that a search finds: counted first, asked about, done in bites that can be stopped."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import click
from rich.progress import Progress

from jobwarden.cli import output
from jobwarden.cli.opening import Opening, read, told
from jobwarden.domain.orders import Answer, Order
from jobwarden.domain.search import Search, parse
from jobwarden.lifecycle import operate
from jobwarden.store.database import Database
from jobwarden.views.jobs import Filter, counted, ids_of

BITE = 500
_MOST_TOLD = 20


@dataclass
class Done:
    """What came of it: how many matched, how many it was done to, who refused, and whether somebody stopped it."""

    matched: int
    done: int = 0
    refused: list[Answer] = field(default_factory=list)
    interrupted: bool = False


def carry_out_matching(opening: Opening, order: Order, query: str, yes: bool, dry_run: bool, as_json: bool) -> int:
    """Carry an order out on all jobs that fit; the exit code."""
    search = parse(query)
    if not search:
        raise click.UsageError("--matching needs words to match by: without any it would be all jobs.")
    database = opening.database()
    matched = read(database, lambda transaction: counted(transaction, Filter(search=search)))
    told_so = f"{matched:,} {'job' if matched == 1 else 'jobs'}"
    if dry_run:
        _tell(Done(matched), f"{order.verb.value} would be asked of {told_so} that match {search}", as_json)
        return 0
    if matched and not yes:
        _confirm(f"{order.verb.value} {told_so} that match {search}?")
    done = _done(database, order, search, matched, as_json)
    words = f"{order.verb.value}: {done.done:,} done, {len(done.refused):,} refused"
    _tell(done, f"interrupted after {words}; the rest is as it was" if done.interrupted else words, as_json)
    return 130 if done.interrupted else int(bool(done.refused))


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody can be asked here: look with --dry-run, and then say --yes.")
    click.confirm(question, abort=True)


def _done(database: Database, order: Order, search: Search, matched: int, as_json: bool) -> Done:
    done = Done(matched)
    with told(database), Progress(console=output.console(), disable=as_json or matched < BITE) as progress:
        task = progress.add_task(order.verb.value, total=matched)
        try:
            for ids in bites(database, Filter(search=search)):
                answers = operate.carry_out(database, order, ids)
                done.refused += [answer for answer in answers if answer.refused is not None]
                done.done += sum(answer.refused is None for answer in answers)
                progress.update(task, completed=done.done + len(done.refused))
        except KeyboardInterrupt:
            done.interrupted = True
    return done


def bites(database: Database, wanted: Filter, limit: int = BITE) -> Iterator[list[str]]:
    """The ids of all that fit, some at a time, oldest first."""
    cursor: str | None = None
    while True:
        ids, cursor = read(database, partial(ids_of, wanted=wanted, after=cursor, limit=limit))
        yield ids
        if cursor is None:
            return


def _tell(done: Done, words: str, as_json: bool) -> None:
    if as_json:
        refused: list[dict[str, Any]] = [
            {"id": answer.id, "error": str(answer.refused)} for answer in done.refused[:_MOST_TOLD]
        ]
        told_so = {"matched": done.matched, "done": done.done, "refused": len(done.refused), "errors": refused}
        output.as_json({**told_so, "interrupted": done.interrupted})
        return
    click.echo(words)
    for answer in done.refused[:_MOST_TOLD]:
        click.echo(f"jobwarden: {answer.refused}", err=True)
    if len(done.refused) > _MOST_TOLD:
        click.echo(f"jobwarden: and {len(done.refused) - _MOST_TOLD:,} more were refused", err=True)
