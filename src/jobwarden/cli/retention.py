"""What need not be kept: `prune` removes it, `export` writes down what some jobs are and did."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from jobwarden.cli import archive, output
from jobwarden.cli.matching import bites
from jobwarden.cli.opening import Opening, read, told
from jobwarden.cli.operate import actor
from jobwarden.cli.read import json_option, query_words
from jobwarden.domain.orders import By
from jobwarden.domain.retention import retention
from jobwarden.domain.search import Search
from jobwarden.lifecycle.prune import Bite, Place, Pruned, Pruner
from jobwarden.store import belongings
from jobwarden.store.database import Database, Transaction
from jobwarden.views.jobs import Filter, counted

_BITE = 250
_LONGEST_REST = 1.0
_COLUMNS = (SpinnerColumn(), TextColumn("{task.description}"))
_COUNTED = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
_FORMATS = click.Choice(["jsonl", "parquet"])


@click.command()
@click.option("--dry-run", is_flag=True, help="Count what would go, and remove nothing.")
@click.option(
    "--keep", "kept", multiple=True, metavar="WHAT=SPAN", help="Over the setting retain: succeeded=1d, imports:*=never."
)
@click.option(
    "--export", "folder", type=click.Path(file_okay=False, path_type=Path), help="Write it into this folder first."
)
@click.option("--format", "kind", type=_FORMATS, default="jsonl", show_default=True, help="Of what is written.")
@click.option(
    "--files",
    "unlinks",
    is_flag=True,
    help="Also remove files that went as artifacts: on this host, unchanged in size.",
)
@click.option("--reason", help="Stands in the audit.")
@json_option
@click.pass_obj
def prune(
    opening: Opening,
    /,
    dry_run: bool,
    kept: tuple[str, ...],
    folder: Path | None,
    kind: str,
    unlinks: bool,
    reason: str | None,
    as_json: bool,
) -> int:
    """Remove what was kept long enough, as the setting retain says.

    Jobs that are over, with all that belongs to them, batches with their members, daemons that left, runs of schedules.
    In bites that hold nobody up; Ctrl-C ends it after the current one, and what is left is found the next time.
    """
    settings = opening.settings()
    rules, by = retention((*settings.retain, *kept)), By(actor(), reason)
    archived = _archived(folder, kind, as_json) if folder else nullcontext()
    with archived as written, _spinning(as_json) as progress:
        pruner = Pruner(rules, by, dry_run, written)
        done, files, interrupted = _passed(opening.database(), pruner, unlinks, progress)
    _tell(done, files, dry_run, interrupted, written, as_json)
    return 130 if interrupted else 0


def _passed(database: Database, pruner: Pruner, unlinks: bool, progress: Progress) -> tuple[Pruned, int, bool]:
    """One pass; what it came to, how many files went, and whether somebody ended it."""
    done, files = Pruned(), 0
    place: Place | None = Place()
    task = progress.add_task("", total=None)
    try:
        while place is not None:
            bite, took = _bitten(database, pruner, place)
            done, place = done + bite.pruned, bite.next
            files += _unlinked(bite.files) if unlinks else 0
            progress.update(task, description=_words(done))
            time.sleep(0.0 if pruner.foretold or place is None else min(took, _LONGEST_REST))
    except KeyboardInterrupt:
        return done, files, True
    return done, files, False


def _unlinked(files: Iterable[tuple[str, int]]) -> int:
    """Remove the files that are here as they were noted; how many. Who else needs one has changed or moved it."""
    removed = 0
    for path, size_then in files:
        with suppress(OSError):
            if os.path.isfile(path) and os.path.getsize(path) == size_then:
                os.unlink(path)
                removed += 1
    return removed


def _bitten(database: Database, pruner: Pruner, place: Place) -> tuple[Bite, float]:
    begun = time.monotonic()
    with told(database):
        bite = database.attempt(partial(pruner.bite, place=place), reads=pruner.foretold)
    return bite, time.monotonic() - begun


def _tell(
    done: Pruned, files: int, dry_run: bool, interrupted: bool, written: archive.JsonLines | None, as_json: bool
) -> None:
    if as_json:
        rows = written.rows if written else 0
        output.as_json(
            {"dry_run": dry_run, "interrupted": interrupted, **asdict(done), "files": files, "exported": rows}
        )
        return
    would = "would go" if dry_run else "removed"
    gone = f", {files:,} files" if files else ""
    click.echo(f"{would}: {_words(done)}{gone}" + ("; interrupted, the rest is as it was" if interrupted else ""))


def _words(done: Pruned) -> str:
    told_so = f"{done.jobs:,} jobs, {done.batches:,} batches, {done.workers:,} workers, {done.runs:,} runs of schedules"
    return f"{told_so}, {done.errors:,} kinds of errors"


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("query", nargs=-1, callback=query_words)
@click.option(
    "--out", "folder", type=click.Path(file_okay=False, path_type=Path), default=".", help="The folder of the file."
)
@click.option("--format", "kind", type=_FORMATS, default="jsonl", show_default=True)
@json_option
@click.pass_obj
def export(opening: Opening, query: Search, folder: Path, kind: str, as_json: bool) -> None:
    """Write all that belongs to the jobs that QUERY finds into a file: newer:2026-09-01 older:2026-10-01.

    Rows of jobs, attempts, events, logs, artifacts, tags and dependencies, as they are in the database. For one job,
    see `logs ID --export`.
    """
    if not query:
        raise click.UsageError("say which jobs: newer:2026-09-01 older:2026-10-01, or state:failed lane:imports.")
    database, jobs = opening.database(), 0
    wanted = Filter(search=query)
    matched = read(database, lambda transaction: counted(transaction, wanted))
    with _archived(folder, kind, as_json) as written, told(database), _counting(as_json) as progress:
        task = progress.add_task("jobs", total=matched)
        for ids in bites(database, wanted, _BITE):
            read(database, partial(_write, ids=ids, written=written))
            jobs += len(ids)
            progress.update(task, completed=jobs)
        written.secure()
    if as_json:
        output.as_json({"jobs": jobs, "exported": written.rows})


def _write(transaction: Transaction, ids: list[str], written: archive.JsonLines) -> None:
    for kind, data in belongings.records(transaction, ids):
        written.add(kind, data)


@contextmanager
def _archived(folder: Path, kind: str, as_json: bool) -> Iterator[archive.JsonLines]:
    """Where rows are written; said afterwards."""
    if kind == "parquet":
        archive.check_parquet()
    with archive.JsonLines(folder) as written:
        yield written
    if not written.rows:
        return
    paths = [written.path] if kind == "jsonl" else _converted(written, as_json)
    for path in paths:
        click.echo(f"written: {path}", err=True)


def _converted(written: archive.JsonLines, as_json: bool) -> list[Path]:
    with _counting(as_json) as progress:
        task = progress.add_task("to Parquet", total=written.rows)
        return archive.to_parquet(written.path, lambda rows: progress.advance(task, rows))


def _spinning(quiet: bool) -> Progress:
    return Progress(*_COLUMNS, console=output.console(), disable=quiet or not sys.stdout.isatty(), transient=True)


def _counting(quiet: bool) -> Progress:
    return Progress(*_COUNTED, console=output.console(), disable=quiet or not sys.stdout.isatty())


COMMANDS = (prune, export)
