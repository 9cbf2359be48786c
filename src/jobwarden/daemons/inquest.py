"""The inquest: what became of an attempt whose process is dead and whose supervisor saw nothing of it.

Evidence, in order: the outcome that it left, how its process ended (its zygote's record, else the kernel's word), and
that a handler which is not idempotent provably never began. It is settled only once a search finds nothing of its tree
alive. A child that settled for itself meanwhile was first, and only the facts of its exit are added.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobwarden.daemons.judge import in_light_of_ending, judge
from jobwarden.daemons.narrator import Narrator
from jobwarden.daemons.outbox import Outbox
from jobwarden.daemons.wards import LeftSeat, S, Ward, runtime_of, watched
from jobwarden.daemons.watch import Watched, Why
from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.states import Actor
from jobwarden.lifecycle.record import record_exits
from jobwarden.lifecycle.recover import Charge
from jobwarden.lifecycle.settle import Settled, Settlement, settle
from jobwarden.process.cgroup import Cgroups
from jobwarden.process.exits import Exit
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.spool import Spool
from jobwarden.runner.shipping import ship
from jobwarden.store.database import Transaction

_PATIENCE = 2.0  # seconds in which a zygote, or init, reaps the dead and leaves how they ended


class Inquest:
    """Holds inquests for one reaper; ``clock`` is monotonic."""

    def __init__(
        self,
        reaper_id: str,
        base: Path,
        cgroups: Cgroups | None,
        outbox: Outbox,
        narrator: Narrator,
        clock: Callable[[], float],
    ) -> None:
        self._me, self._base, self._cgroups = reaper_id, base, cgroups
        self._outbox, self._narrator, self._clock = outbox, narrator, clock
        self._found: dict[str, Ward[LeftSeat]] = {}

    def open(self, charges: Iterable[Charge]) -> list[Ward[LeftSeat]]:
        """Over attempts that were never ours, whose processes were dead when they were found, and over no others.

        Gives their remains; `hold` follows for those of which nothing lives.
        """
        now = self._clock()
        self._found = {charge.attempt_id: self._remains(charge, now) for charge in charges}
        return list(self._found.values())

    def hold(self, ward: Ward[S]) -> bool:
        """Over a seat of which nothing lives any more; False while how it ended may still be told."""
        now = self._clock()
        ward.dead_since = ward.dead_since or now
        end = ward.exit
        if end is None and now - ward.dead_since < _PATIENCE:
            return False
        seen = end or Exit(ward.seat.process, ward.seat.nonce, None)
        for attempt in ward.attempts.values():
            self._conclude(attempt, ward.runtime, ward.seat.spool, seen, now)
        return True

    def _remains(self, charge: Charge, now: float) -> Ward[LeftSeat]:
        known = self._found.get(charge.attempt_id)
        if known is not None:
            return known
        runtime = runtime_of(self._base, charge)
        seat = LeftSeat(charge, runtime, self._cgroups)
        return Ward(seat, runtime, {charge.attempt_id: watched(charge, now)})

    def _conclude(self, attempt: Watched, runtime: RuntimeDir, spool: Spool, end: Exit, now: float) -> None:
        if attempt.ending is not None and attempt.ending.why is Why.FENCED:
            return
        began = attempt.started is not None or (attempt.claim.idempotent and spool.began(attempt.id) is not False)
        report = self._report(attempt, runtime.read_outcome(attempt.id), end, now, began)
        self._outbox.ask(
            lambda transaction: self._settle(transaction, attempt, spool, report, end),
            lambda answers: self._settled(attempt, runtime, report, answers),
        )

    def _report(self, attempt: Watched, left: Report | None, end: Exit, now: float, began: bool) -> Report:
        if left is not None:
            report = in_light_of_ending(attempt, left, now)
        elif not began:
            words = f"its process (pid {end.process.pid}) ended before the handler began, and so had its supervisor"
            report = Report(attempt.id, Outcome.UNSTARTED, reason=words)
        else:
            report = judge(attempt, end, None, now)
        return replace(report, exit_code=end.code, signal=end.signal)

    def _settle(
        self, transaction: Transaction, attempt: Watched, spool: Spool, report: Report, end: Exit
    ) -> Sequence[Settled]:
        claim = attempt.claim
        if claim.isolation != "pool":
            key = (claim.job_id, claim.attempt_id, claim.token)
            ship(transaction, spool, key, final=True, words=attempt.said.take_lines())
        evidence = {"pid": end.process.pid, "start_time": end.process.start_time, "proof": _proof(end)}
        answers = settle(transaction, [Settlement(claim.job_id, claim.token, report, evidence)], Actor.REAPER, self._me)
        record_exits(transaction, [_facts(attempt, report, end)])
        return answers

    def _settled(self, attempt: Watched, runtime: RuntimeDir, report: Report, answers: Sequence[Settled]) -> None:
        runtime.remove_outcome(attempt.id)
        if any(answer.decision is not None for answer in answers):
            self._narrator.found_dead(attempt.claim.job, attempt.id, report.reason or report.outcome.value)


def _proof(end: Exit) -> str:
    """On what the verdict rests that the process is gone."""
    return "its exit was recorded" if end.status is not None else "no such process, and nothing that carries its nonce"


def _facts(attempt: Watched, report: Report, end: Exit) -> dict[str, Any]:
    return {
        "attempt_id": attempt.id,
        "token": attempt.claim.token,
        "cause": report.cause.value if report.cause else ("exited" if end.code is not None else None),
        "exit_code": end.code,
        "term_signal": end.signal,
        "duration_ms": None,
        "user_ms": end.user_ms,
        "system_ms": end.system_ms,
        "peak_rss_bytes": end.peak_rss,
    }
