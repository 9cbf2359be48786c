"""The live screen: three tables that are read anew every few seconds, and the verbs on what the cursor is at.

All reading and acting happens on threads of its own, so that a slow or absent database never freezes the keys.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.text import Text
from sqlalchemy.exc import DBAPIError
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Checkbox, DataTable, Footer, Header, Input, Label, Static

from jobwarden.cli import output, screens
from jobwarden.cli.operate import actor
from jobwarden.domain.orders import By, Order, Verb
from jobwarden.domain.search import Search, parse
from jobwarden.domain.states import JobState
from jobwarden.domain.words import size
from jobwarden.errors import JobWardenError, SearchRefused
from jobwarden.lifecycle import lanes as lane_verbs
from jobwarden.lifecycle import operate
from jobwarden.store.database import Database, Transaction
from jobwarden.views import fleet, logs
from jobwarden.views import jobs as job_views
from jobwarden.views import lanes as lane_views
from jobwarden.views.ids import short

_MOST_RUNNING, _MOST_FOUND, _LINES = 200, 100, 200
_ATTENTION = (JobState.FAILED, JobState.ORPHANED)
_REPEATS = frozenset({Verb.RETRY, Verb.RESTART})


@dataclass(frozen=True, slots=True)
class Look:
    """What one look found."""

    lanes: Sequence[lane_views.LaneView]
    running: Sequence[fleet.Flight]
    found: job_views.Page


@dataclass(frozen=True, slots=True)
class Wish:
    """What somebody answered when asked: why, and whether what is not idempotent may be repeated."""

    reason: str | None
    force: bool = False


class Ask(ModalScreen[Wish | None]):
    """Asks for a reason before anything is done."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss(None)", "leave it")]

    def __init__(self, question: str, force: bool) -> None:
        super().__init__()
        self._question, self._force = question, force

    def compose(self) -> ComposeResult:
        """The question, a line for the reason, and two buttons."""
        with Vertical(id="ask"):
            yield Label(self._question)
            yield Input(placeholder="why (stands in the ledger)", id="reason")
            if self._force:
                yield Checkbox("also if it is not idempotent, and would run twice", id="force")
            with Horizontal():
                yield Button("Do it", variant="primary", id="yes")
                yield Button("Leave it", id="no")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter does it."""
        event.stop()
        self._answer()

    def on_button_pressed(self, event: Button.Pressed) -> None:
        """A button."""
        if event.button.id == "yes":
            self._answer()
        else:
            self.dismiss(None)

    def _answer(self) -> None:
        boxes = self.query(Checkbox)
        force = bool(boxes and boxes.first().value)
        self.dismiss(Wish(self.query_one(Input).value.strip() or None, force))


class Details(ModalScreen[None]):
    """One job, whole, with its last lines."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,q,enter", "dismiss(None)", "back")]

    def __init__(self, title: str, words: str) -> None:
        super().__init__()
        self._title, self._words = title, words

    def compose(self) -> ComposeResult:
        """Text that can be scrolled."""
        with VerticalScroll(id="details") as scroll:
            scroll.border_title = self._title
            yield Static(Text(self._words))


class Top(App[None]):
    """The whole at a glance, again and again."""

    TITLE = "jobwarden top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    DataTable { height: 1fr; border: round $primary; }
    DataTable:focus { border: round $accent; }
    #lanes { height: auto; max-height: 30%; }
    #summary { height: auto; padding: 0 1; }
    #search { display: none; }
    #search.asked { display: block; }
    Ask, Details { align: center middle; }
    #ask { width: 70; height: auto; border: thick $accent; background: $surface; padding: 1 2; }
    #ask Horizontal { height: auto; }
    #details { width: 95%; height: 90%; border: round $accent; background: $surface; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("c", "act('cancel')", "cancel"),
        ("s", "act('stop')", "stop"),
        ("r", "act('retry')", "retry"),
        ("R", "act('restart')", "restart"),
        ("p", "pause", "pause or resume a lane"),
        ("slash", "search", "search"),
        ("q", "quit", "quit"),
    ]

    def __init__(self, database: Database, every: float, query: str = "") -> None:
        super().__init__()
        self._database, self._every, self._here = database, every, fleet.this_host()
        self._search: Search = parse(query)
        self._paused: dict[str, bool] = {}

    def compose(self) -> ComposeResult:
        """A summary, three tables, a line to search by."""
        yield Header(show_clock=True)
        yield Static(id="summary")
        for name in ("lanes", "running", "found"):
            yield DataTable(id=name, cursor_type="row", zebra_stripes=True)
        yield Input(placeholder="state:failed lane:imports store:42", id="search")
        yield Footer()

    def on_mount(self) -> None:
        """The headings, and the first look."""
        self._table("lanes").add_columns("lane", "queued", "running", "waiting", "parked", "failed", "oldest", "served")
        self._table("running").add_columns("job", "name", "lane", "process", "pid", "host", "age", "memory", "progress")
        self._table("found").add_columns("job", "name", "lane", "state", "attempts", "ended", "why")
        self._table("lanes").border_title = "lanes"
        self._table("running").focus()
        self.set_interval(self._every, self.look)
        self.look()

    # -- looking ------------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Read anew, unless that is under way."""
        self.run_worker(self._read, thread=True, exclusive=True, group="look")

    def _read(self) -> None:
        try:
            with self._database.read() as transaction:
                found = self._look(transaction)
        except (DBAPIError, JobWardenError) as error:
            why = " ".join(str(getattr(error, "orig", None) or error).split())
            self.call_from_thread(self._summarise, Text(f"The database does not answer: {why}", style="bold red"))
            return
        self.call_from_thread(self.show, found)

    def _look(self, transaction: Transaction) -> Look:
        wanted = job_views.Filter(search=self._search, limit=_MOST_FOUND)
        if not self._search:
            wanted = job_views.Filter(states=_ATTENTION, limit=_MOST_FOUND)
        flights = fleet.verified(fleet.in_flight(transaction, _MOST_RUNNING), self._here)
        return Look(lane_views.listed(transaction), flights, job_views.listed(transaction, wanted))

    def show(self, found: Look) -> None:
        """Put what was found on the screen; the cursor stays where it was."""
        self._paused = {lane.name: lane.paused for lane in found.lanes}
        self._summarise(_summary(found, str(self._database)))
        self._fill("lanes", [(lane.name, _lane(lane)) for lane in found.lanes])
        self._fill("running", [(flight.job_id, _flight(flight)) for flight in found.running])
        self._fill("found", [(line.id, _line(line, found.found)) for line in found.found.jobs])
        self._table("running").border_title = f"running ({len(found.running)})"
        more = "+" * (found.found.next is not None)
        title = str(self._search) or "failed or parked"
        self._table("found").border_title = f"{title} ({len(found.found.jobs)}{more})"

    def _summarise(self, words: Text) -> None:
        self.query_one("#summary", Static).update(words)

    def _fill(self, name: str, rows: Sequence[tuple[str, Sequence[output.Cell]]]) -> None:
        table = self._table(name)
        at = _key(table)
        table.clear()
        for key, cells in rows:
            table.add_row(
                *(Text(cell) if isinstance(cell, str) else cell for cell in map(output.clean, cells)), key=key
            )
        place = next((number for number, (key, _) in enumerate(rows) if key == at), None)
        if place is not None:
            table.move_cursor(row=place)

    def _table(self, name: str) -> DataTable[Any]:
        table: DataTable[Any] = self.query_one(f"#{name}", DataTable)
        return table

    # -- searching ----------------------------------------------------------------------------------------------------

    def action_search(self) -> None:
        """Ask for words."""
        field = self.query_one("#search", Input)
        field.value = str(self._search)
        field.add_class("asked")
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Search by what was typed."""
        try:
            self._search = parse(event.value)
        except SearchRefused as error:
            self.notify(str(error), severity="error")
            return
        event.input.remove_class("asked")
        self._table("found").focus()
        self.look()

    # -- acting -------------------------------------------------------------------------------------------------------

    def action_act(self, name: str) -> None:
        """Ask, and then do it to the job under the cursor."""
        verb, job_id = Verb(name), self._job()
        if job_id is None:
            self.notify("Move the cursor to a job first: Tab goes from table to table.", severity="warning")
            return

        def answered(wish: Wish | None) -> None:
            if wish is not None:
                order = Order(verb, wish.reason, actor(), force=wish.force)
                self._do(lambda: self._carry_out(order, job_id))

        self.push_screen(Ask(f"{verb} the job {short(job_id)}?", verb in _REPEATS), answered)

    def action_pause(self) -> None:
        """Pause the lane under the cursor, or let it go on."""
        lane = _key(self._table("lanes")) if self.focused is self._table("lanes") else None
        if lane is None:
            self.notify("Move the cursor to a lane first: Tab goes from table to table.", severity="warning")
            return
        paused = self._paused.get(lane, False)

        def answered(wish: Wish | None) -> None:
            if wish is not None:
                self._do(lambda: self._turn(lane, not paused, wish.reason))

        self.push_screen(Ask(f"{'resume' if paused else 'pause'} the lane {lane}?", False), answered)

    def _carry_out(self, order: Order, job_id: str) -> str:
        [answer] = operate.carry_out(self._database, order, [job_id])
        if answer.refused is not None:
            raise answer.refused
        return f"{order.verb}: {short(job_id)} is {answer.state}"

    def _turn(self, lane: str, off: bool, reason: str | None) -> str:
        verb = lane_verbs.pause if off else lane_verbs.resume
        state = self._database.attempt(lambda transaction: verb(transaction, lane, By(actor(), reason)))
        self._database.announce()
        return f"{state.name} is {'paused' if state.paused else 'open'}"

    def _do(self, work: Callable[[], str]) -> None:
        """Do something on a thread, say what came of it, and look again."""

        def done() -> None:
            try:
                words, kind = work(), "information"
            except (JobWardenError, DBAPIError) as error:
                words, kind = " ".join(str(getattr(error, "orig", None) or error).split()), "error"
            self.call_from_thread(self.notify, words, severity=kind)
            self.call_from_thread(self.look)

        self.run_worker(done, thread=True, group="act")

    # -- one job ------------------------------------------------------------------------------------------------------

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter shows the job."""
        job_id = event.row_key.value
        if job_id is not None and event.data_table.id != "lanes":
            self.run_worker(lambda: self._open(job_id), thread=True, group="details")

    def _open(self, job_id: str) -> None:
        try:
            with self._database.read() as transaction:
                job = job_views.shown(transaction, job_id)
                lines = logs.last(transaction, job_id, _LINES)
        except (JobWardenError, DBAPIError) as error:
            self.call_from_thread(self.notify, str(error), severity="error")
            return
        self.call_from_thread(self._detail, job, lines)

    def _detail(self, job: job_views.JobView, lines: Sequence[logs.LogLine]) -> None:
        said = "\n".join(str(output.clean(line.message)) for line in lines) or "Nothing was written."
        self.push_screen(Details(job.id, f"{_captured(lambda: screens.show(job))}\nLast lines\n{said}"))

    def _job(self) -> str | None:
        for name in ("running", "found"):
            if self.focused is self._table(name):
                return _key(self._table(name))
        return None


def _key(table: DataTable[Any]) -> str | None:
    """What the cursor is at."""
    if not table.row_count:
        return None
    return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value


def _captured(show: Callable[[], None]) -> str:
    """What a screen prints."""
    with contextlib.redirect_stdout(io.StringIO()) as told:
        show()
    return told.getvalue()


def _summary(found: Look, database: str) -> Text:
    totals = {state: sum(lane.states.get(state, 0) for lane in found.lanes) for state in JobState}
    parts = [Text.assemble(output.state(state), f" {number:,}") for state, number in totals.items() if number]
    return Text("   ").join([Text(database, style="bold"), *parts])


def _lane(lane: lane_views.LaneView) -> list[output.Cell]:
    name = lane.name + (f" (at most {lane.max_running:,})" if lane.max_running is not None else "")
    shown = Text(f"⏸ {name} (paused)", style="bold yellow") if lane.paused else Text(name)
    number = {state: lane.states.get(state, 0) for state in JobState}
    waiting = number[JobState.PENDING] + number[JobState.RETRYING]
    counts = (number[JobState.QUEUED], number[JobState.RUNNING], waiting, number[JobState.ORPHANED])
    told = [f"{count:,}" for count in (*counts, number[JobState.FAILED])]
    return [shown, *told, output.duration(lane.oldest), f"{lane.workers}"]


def _flight(flight: fleet.Flight) -> list[output.Cell]:
    return [
        short(flight.job_id),
        flight.label or flight.job,
        flight.lane,
        output.state(str(flight.seen or "elsewhere")),
        str(flight.child_pid or ""),
        flight.hostname or "",
        output.duration(flight.age),
        size(flight.rss),
        f"asked to {flight.cancel_mode}" if flight.cancel_mode else output.progress(flight.progress),
    ]


def _line(line: job_views.JobLine, page: job_views.Page) -> list[output.Cell]:
    tries = f"{line.attempt_count}/{line.max_attempts}"
    ended = output.since(line.finished_at or line.started_at, page.now)
    name, why = line.label or line.job, line.wait_reason or ""
    return [short(line.id), name, line.lane, output.state(line.state), tries, ended, why]
