"""The outbox: what the loop has gathered for the writer since the last batch went."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from jobwarden.daemons.crew import Hold
from jobwarden.daemons.watch import Watched
from jobwarden.daemons.writer import Batch
from jobwarden.domain.claims import Claim
from jobwarden.domain.report import Outcome, Report
from jobwarden.lifecycle.settle import Settlement
from jobwarden.store.database import Transaction

T = TypeVar("T")
_SPOOL_SLACK = 1 << 20


class Outbox:
    """Gathers into one batch; `take` hands it over and begins the next."""

    def __init__(self) -> None:
        self.batch = Batch()

    def take(self) -> Batch:
        """What has gathered."""
        taken, self.batch = self.batch, Batch()
        return taken

    def act(self, act: Callable[[Transaction], None]) -> None:
        """Do something of one's own in the next transaction."""
        self.batch.acts.append(act)

    def ask(self, work: Callable[[Transaction], T], then: Callable[[T], None]) -> None:
        """Do ``work`` in the next transaction and, once that is committed, give what it brought to ``then``."""
        answers: list[T] = []
        self.act(lambda transaction: answers.append(work(transaction)))
        self.batch.afterwards.append(lambda: then(answers[-1]))

    def settle(self, job_id: str, token: int, report: Report, *, judged: bool = False) -> None:
        """Settle what a child reported, or what was ``judged`` here of one that said nothing."""
        among = self.batch.judgements if judged else self.batch.settlements
        among.append(Settlement(job_id, token, report))

    def release(self, claim: Claim, reason: str, delay: float | None = None) -> None:
        """Give a job back whose handler never began, at once or after a delay in seconds."""
        report = Report(claim.attempt_id, Outcome.UNSTARTED, reason=reason, delay=delay)
        self.settle(claim.job_id, claim.token, report, judged=True)

    def record(self, watched: Watched, hold: Hold) -> None:
        """Record what the attempt has said; memory of what is committed is given back when it is much."""
        said = watched.record()
        if said is None:
            return
        self.batch.records.append(said)
        out, err = watched.out, watched.err
        if out + err > _SPOOL_SLACK:
            self.batch.afterwards.append(lambda: hold.seat.spool.forget(out, err))

    def settles(self, attempt_id: str) -> bool:
        """Whether a settlement of that attempt waits here."""
        return any(given.report.attempt_id == attempt_id for given in (*self.batch.settlements, *self.batch.judgements))
