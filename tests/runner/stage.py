"""A supervisor reduced to its ends: a zygote, its seats, and frames by hand."""

from __future__ import annotations

import json
import select
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from jobwarden.domain.claims import Claim, Isolation
from jobwarden.domain.report import Report
from jobwarden.process import seats
from jobwarden.process.exits import Exit
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.spool import Line
from tests.support.waiting import eventually

E = TypeVar("E", bound=object)


def claim(job: str, isolation: str = "fork", **params: Any) -> Claim:
    """A claim of that job with these params."""
    return Claim(
        job_id=str(uuid.uuid4()),
        attempt_id=str(uuid.uuid4()),
        attempt_number=1,
        token=7,
        job=job,
        params=json.dumps(params),
        lane="default",
        idempotent=True,
        isolation=Isolation(isolation),
    )


def claim_frame(made: Claim, limit: int = 65536) -> dict[str, Any]:
    """The claim as the supervisor sends it."""
    return {"op": "claim", **asdict(made), "results_max_bytes": limit}


class Stage:
    """One zygote and its seats, driven by hand."""

    def __init__(self, folder: Path, app: str = "tests.runner.jobs:jw") -> None:
        self.runtime = RuntimeDir(folder, "w-1")
        self.runtime.create()
        self.zygote = seats.Zygote(app, self.runtime)
        self.zygote.start()
        self.events: list[seats.Event] = []
        self.frames: dict[str, list[dict[str, Any]]] = {}
        self.seats: list[seats.Seat] = []

    def close(self) -> None:
        """End all that is left."""
        for seat in self.seats:
            seat.kill_tree()
        self.zygote.retire()
        try:
            eventually(self._all_gone, 5)
        finally:
            self.zygote.kill()
            eventually(self._all_gone, 5)
            for seat in self.seats:
                seat.close()
            self.zygote.close()

    def wait_event(self, kind: type[E], timeout: float = 15.0) -> E:
        """The first event of that kind, taken out of the list."""

        def look() -> E | None:
            self.pump()
            for event in self.events:
                if isinstance(event, kind):
                    self.events.remove(event)
                    return event
            return None

        found = eventually(look, timeout, why=lambda: self.events)
        assert found is not None
        return found

    def pump(self, wait: float = 0.01) -> None:
        """Take in what the zygote says now."""
        if not self.zygote.gone:
            if self.zygote.fileno() >= 0:
                select.select([self.zygote], [], [], wait)
            self.events += self.zygote.receive()
        else:
            self.events += self.zygote.reap_orphans()

    def seat(self) -> seats.Seat:
        """A new seat."""
        self.zygote.fork(1)
        seat = self.wait_event(seats.SeatBorn).seat
        self.seats.append(seat)
        return seat

    def wait_frame(self, seat: seats.Seat, op: str, timeout: float = 15.0) -> dict[str, Any]:
        """The first frame of that kind from the seat, taken out of what came."""
        inbox = self.frames.setdefault(seat.nonce, [])

        def look() -> dict[str, Any] | None:
            for frame in inbox:
                if frame["op"] == op:
                    inbox.remove(frame)
                    return frame
            select.select([seat], [], [], 0.02)
            inbox.extend(seat.receive())
            return None

        found = eventually(look, timeout, why=lambda: f"{inbox}, said {self.said(seat)}")
        assert found is not None
        return found

    def wait_exit(self, seat: seats.Seat, timeout: float = 15.0) -> Exit:
        """How that seat ended."""

        def look() -> Exit | None:
            self.pump()
            for event in self.events:
                if isinstance(event, seats.SeatExited) and event.nonce == seat.nonce:
                    self.events.remove(event)
                    return event.exit
            return None

        found = eventually(look, timeout, why=lambda: self.events)
        assert found is not None
        return found

    def report(self, seat: seats.Seat) -> Report:
        """The next outcome, not acknowledged."""
        return Report.load(self.wait_frame(seat, "outcome")["report"])

    def run(self, made: Claim, seat: seats.Seat | None = None, limit: int = 65536) -> tuple[Report, seats.Seat]:
        """Run a claim and acknowledge its outcome."""
        seat = seat or self.seat()
        seat.send(claim_frame(made, limit))
        self.wait_frame(seat, "start")
        if not made.idempotent:
            seat.send({"op": "go", "attempt_id": made.attempt_id})
        report = self.report(seat)
        seat.send({"op": "ack", "attempt_ids": [made.attempt_id]})
        return report, seat

    def said(self, seat: seats.Seat) -> list[Line]:
        """Everything the seat said."""
        return seat.spool.read(0, 0, final=True)[0]

    def wait_said(self, seat: seats.Seat, text: str) -> None:
        """Wait until the seat said something with that text."""
        eventually(lambda: any(text in line.message for line in self.said(seat)), why=lambda: self.said(seat))

    def _all_gone(self) -> bool:
        self.pump()
        if self.zygote.gone:
            self.zygote.reap_orphans()
        return self.zygote.gone and self.zygote.seats == 0
