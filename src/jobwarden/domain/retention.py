"""Retention: how long what is over is kept, by what it is; jobs by their state and, where it differs, by their lane.

    succeeded=30d failed=90d imports:succeeded=7d workers=7d runs=never

``*`` stands for every state in which a job is over, ``never`` for what is kept for good. Later entries win over
earlier ones, and a lane's over those for all. A batch is kept as long as a job with its verdict, and its
members with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from jobwarden.config import RETAIN, RETAIN_EXAMPLE, RETAINED
from jobwarden.domain.states import ENDED, BatchState, JobState
from jobwarden.errors import ConfigurationError

WORKERS, RUNS = "workers", "runs"
_UNITS = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
#: The verdict of a batch, by the state of the jobs that are kept as long.
_VERDICTS = {
    BatchState.SUCCEEDED: JobState.SUCCEEDED,
    BatchState.CANCELED: JobState.CANCELED,
    BatchState.FAILED: JobState.FAILED,
    BatchState.PARTIAL: JobState.FAILED,
}
Span = timedelta | None


@dataclass(frozen=True, slots=True)
class Retention:
    """How long each thing is kept once it is over; None: for good. ``lanes`` has what differs, by lane and state."""

    spans: Mapping[str, Span]
    lanes: Mapping[tuple[str, JobState], Span]

    def of_state(self, state: JobState) -> Span:
        """How long a job is kept that is over with ``state``, in a lane that says nothing else."""
        return self.spans[state]

    def of_batch(self, state: BatchState) -> Span:
        """How long a batch is kept that came to ``state``, with its members; None also for one that is not over."""
        return self.spans[_VERDICTS[state]] if state in _VERDICTS else None

    @property
    def shortest(self) -> Span:
        """The age that jobs must have before any of them may go; None: none ever does."""
        told = [*(self.spans[state] for state in ENDED), *self.lanes.values()]
        return min((span for span in told if span is not None), default=None)

    @property
    def longest_failure(self) -> Span:
        """How long a job may point at its error."""
        told = [*(self.spans[state] for state in ENDED), *self.lanes.values()]
        return None if None in told else max(span for span in told if span is not None)


def retention(entries: Iterable[str]) -> Retention:
    """What the entries say, over what is kept by default. Raises `ConfigurationError`."""
    spans: dict[str, Span] = {}
    lanes: dict[tuple[str, JobState], Span] = {}
    for entry in (*RETAINED, *entries):
        found = RETAIN.fullmatch(entry)
        if found is None:
            rule = "an entry names what is kept and how long"
            raise ConfigurationError(name="retain", value=entry, rule=rule, way_out=f"write it like {RETAIN_EXAMPLE}")
        what, lane, span = found["what"] or found["state"], found["lane"], _span(found["span"])
        for name in sorted(ENDED) if what == "*" else [what]:
            if lane is None:
                spans[name] = span
            else:
                lanes[lane, JobState(name)] = span
    return Retention(spans, lanes)


def _span(text: str) -> Span:
    return None if text == "never" else timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])
