"""Prune: remove what was kept long enough, in bites, each a transaction of its own that holds nobody up.

A pass goes through five stages: batches, then jobs (and the members of batches that are gone), then daemons, runs of
schedules and kinds of errors that nothing points at any more. Between two bites a pass is nothing but a `Place`, so
that it may end anywhere: the next one begins at the oldest row again, and finds what is left. The audit is never
pruned.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from jobwarden.domain.audit import Action
from jobwarden.domain.orders import By
from jobwarden.domain.retention import RUNS, WORKERS, Retention
from jobwarden.store import belongings
from jobwarden.store import prune as store
from jobwarden.store.audit import record_act
from jobwarden.store.database import Transaction
from jobwarden.store.schema import workers

JOBS, LINES, ROWS = 250, 5000, 500
_Files = list[tuple[str, int]]
_NIL = "00000000-0000-0000-0000-000000000000"


class Archive(Protocol):
    """Where what is removed is kept: it must be safe there before the transaction ends that removes it.

    A row may be added twice, where a transaction was repeated; its id tells.
    """

    def add(self, kind: str, data: Mapping[str, Any]) -> None:
        """One row."""
        ...

    def secure(self) -> None:
        """What was added survives a power cut from here on."""
        ...


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many rows went, or would go; ``lines`` are log lines that went before their job, because they are many."""

    jobs: int = 0
    batches: int = 0
    workers: int = 0
    runs: int = 0
    errors: int = 0
    lines: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        return Pruned(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))

    def __bool__(self) -> bool:
        return any(asdict(self).values())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pass is: its stage, the id after which it goes on there, and whether it has removed anything."""

    stage: int = 0
    after: str = _NIL
    begun: bool = False


@dataclass(frozen=True, slots=True)
class Bite:
    """What one bite did, and where to go on; None: the pass is over. ``files`` are those that the jobs which went had
    noted as artifacts, with their sizes; they are where they were."""

    pruned: Pruned
    next: Place | None
    files: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True)
class Pruner:
    """A pass by certain rules. With ``foretold`` it only counts (and archives) what would go.

    ``by`` is who prunes: the first bite that removes anything says so in the audit.
    """

    retention: Retention
    by: By
    foretold: bool = False
    archive: Archive | None = None

    def bite(self, transaction: Transaction, place: Place) -> Bite:
        """The next bite; it may be repeated, since what it has removed is not found again."""
        files: _Files = []
        stages = (self._batches, self._jobs, self._workers, self._runs, self._errors)
        pruned, after = stages[place.stage](transaction, place.after, files)
        removed = bool(pruned) and not self.foretold
        if self.archive is not None and pruned:
            self.archive.secure()
        if removed and not place.begun:
            record_act(transaction, Action.FLEET_PRUNE, None, self.by, None, self._rules())
        begun = place.begun or removed
        if after is not None:
            return Bite(pruned, Place(place.stage, after, begun), files)
        stage = place.stage + 1
        return Bite(pruned, Place(stage, _NIL, begun) if stage < len(stages) else None, files)

    # -- stages -------------------------------------------------------------------------------------------------------

    def _batches(self, transaction: Transaction, after: str, files: _Files) -> tuple[Pruned, str | None]:
        found, following = store.batches_over(transaction, self.retention, after, ROWS, self.foretold)
        self._keep("batch", found)
        if found and not self.foretold:
            store.remove_batches(transaction, [str(row.id) for row in found])
        return Pruned(batches=len(found)), following

    def _jobs(self, transaction: Transaction, after: str, files: _Files) -> tuple[Pruned, str | None]:
        found, following = store.jobs_over(transaction, self.retention, after, JOBS, self.foretold)
        few = _as_many(found, belongings.lines_of(transaction, [str(row.id) for row in found]))
        if found and not few:
            return self._talkative(transaction, found[0], after, files)
        self._remove_jobs(transaction, few, files)
        return Pruned(jobs=len(few)), following if len(few) == len(found) else str(few[-1].id)

    def _talkative(self, transaction: Transaction, row: Any, after: str, files: _Files) -> tuple[Pruned, str | None]:
        """A job with more lines than go at once: the first of them, or the job with the last of them."""
        lines = [] if self.foretold else belongings.first_lines(transaction, row.id, LINES)
        if len(lines) == LINES:
            self._keep("log", lines)
            belongings.remove_lines(transaction, row.id, lines[-1].id)
            return Pruned(lines=LINES), after
        self._remove_jobs(transaction, [row], files)
        return Pruned(jobs=1), str(row.id)

    def _remove_jobs(self, transaction: Transaction, found: Sequence[Any], files: _Files) -> None:
        ids = [str(row.id) for row in found]
        if self.archive is not None:
            for kind, data in belongings.records(transaction, ids):
                self.archive.add(kind, data)
        if ids and not self.foretold:
            files += belongings.files_of(transaction, ids)
            belongings.remove(transaction, ids)
            store.uncount(transaction, found)

    def _workers(self, transaction: Transaction, after: str, files: _Files) -> tuple[Pruned, str | None]:
        span = self.retention.spans[WORKERS]
        found, following = store.workers_over(transaction, span, after, ROWS, self.foretold)
        if found and not self.foretold:
            store.remove_rows(transaction, workers, [str(row.id) for row in found])
        return Pruned(workers=len(found)), following

    def _runs(self, transaction: Transaction, after: str, files: _Files) -> tuple[Pruned, str | None]:
        found, following = store.runs_over(transaction, self.retention.spans[RUNS], after, ROWS, self.foretold)
        if found and not self.foretold:
            store.remove_runs(transaction, found)
        return Pruned(runs=len(found)), following

    def _errors(self, transaction: Transaction, after: str, files: _Files) -> tuple[Pruned, str | None]:
        begun = "" if after == _NIL else after
        found, following = store.errors_over(transaction, self.retention.longest_failure, begun, ROWS, self.foretold)
        if found and not self.foretold:
            store.remove_errors(transaction, [row.id for row in found])
        return Pruned(errors=len(found)), following

    def _keep(self, kind: str, rows: Iterable[Any]) -> None:
        if self.archive is not None:
            for row in rows:
                self.archive.add(kind, belongings.record(row))

    def _rules(self) -> dict[str, Any]:
        kept = {name: _told(span) for name, span in self.retention.spans.items()}
        return kept | {f"{lane}:{state}": _told(span) for (lane, state), span in self.retention.lanes.items()}


def _as_many(found: Sequence[Any], written: Mapping[str, int]) -> Sequence[Any]:
    """The first jobs of which all the log lines together are not too many to go at once."""
    lines = 0
    for number, row in enumerate(found):
        lines += written.get(str(row.id), 0)
        if lines > LINES:
            return found[:number]
    return found


def _told(span: Any) -> str:
    return "never" if span is None else str(span)
