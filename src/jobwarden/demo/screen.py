"""What the audience sees: a live picture at a terminal, a line now and then in a pipe. It decides nothing."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jobwarden.cli.output import bar, console, duration
from jobwarden.domain.states import ENDED, JobState
from jobwarden.views.fleet import Flight
from jobwarden.views.jobs import JobLine

_WIDE = 40
_SAID = 3
_STEP = 0.1


@dataclass(slots=True)
class Moment:
    """What is to be seen now: the census's jobs, those that run with their processes, and what they said last."""

    jobs: list[JobLine]
    running: list[Flight]
    lines: list[tuple[str, str]]
    done: float = 0.0

    @property
    def finished(self) -> int:
        """How many jobs are over."""
        return sum(JobState(job.state) in ENDED for job in self.jobs)


class Screen:
    """Use it as a context manager around the live part."""

    def __init__(self) -> None:
        self._console: Console = console()
        self._live = Live(console=self._console, auto_refresh=False, transient=True) if sys.stdout.isatty() else None
        self._said: list[tuple[str, str]] = []
        self._told = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def begin(self, database: str, library: Path, parts: int, files: int) -> None:
        """Say what is about to happen."""
        self._say(f"A census of {library}: {files} files in {parts} parts: a batch with a job for each,")
        self._say("one that merges them when all have succeeded, and one that reports whatever happened.")
        self._say(f"Database: {database}. A real supervisor starts; every job runs in a process of its own.")

    def show(self, moment: Moment) -> None:
        """How far it is."""
        if self._live is not None:
            self._live.update(self._drawn(moment), refresh=True)
        elif moment.done >= self._told + _STEP or moment.finished == len(moment.jobs):
            self._told = moment.done
            names = ", ".join(f"{flight.label} (pid {flight.child_pid})" for flight in moment.running)
            self._say(f"{bar(moment.done)}  {moment.finished}/{len(moment.jobs)} parts  running: {names or '-'}")

    def killed(self, flight: Flight) -> None:
        """One child was killed."""
        self._say(
            f"✗ SIGKILL to process {flight.child_pid} (start time {flight.child_start_time}, verified) "
            f"in the middle of {flight.label}",
            style="bold red",
        )

    def recovered(self, flight: Flight, seconds: float) -> None:
        """Its job runs again."""
        self._say(
            f"✓ {flight.label} runs again {duration(seconds)} later: its process is proved dead, it is idempotent",
            style="bold green",
        )

    def merging(self) -> None:
        """All parts are there."""
        self._say("All parts are counted: what waited for them merges and reports.")

    def _say(self, words: str, style: str = "") -> None:
        self._console.print(Text(words, style=style), soft_wrap=self._live is None)

    def _drawn(self, moment: Moment) -> RenderableType:
        done = round(moment.done * _WIDE)
        overall = Text.assemble(
            ("█" * done, "blue"),
            ("░" * (_WIDE - done), "dim"),
            f" {moment.done:4.0%}  {moment.finished} of {len(moment.jobs)} parts",
        )
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for heading in ("running", "pid", "process", "progress"):
            table.add_column(heading, no_wrap=True)
        for flight in moment.running:
            seen = str(flight.seen or "")
            found = flight.progress or {}
            how_far = f"{bar(float(found.get('fraction') or 0))} {found.get('message') or ''}"
            table.add_row(flight.label or flight.job, str(flight.child_pid), seen, how_far)
        for line in moment.lines:
            if line not in self._said:
                self._said = [*self._said, line][-_SAID:]
        said = [Text(f"  {label}: {message}", style="dim", no_wrap=True) for label, message in self._said]
        return Group(overall, table, *said)
