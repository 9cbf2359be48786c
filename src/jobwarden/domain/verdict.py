"""What becomes of a batch: when its failure policy trips, and what it has come to once every member ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from jobwarden.domain.states import BatchState, JobState


class Policy(StrEnum):
    """What a failed member means for the others."""

    CONTINUE = "continue"  # run everything that can still be reached
    FAIL_FAST = "fail_fast"  # the first failure fails the batch
    THRESHOLD = "threshold"  # so do more failures than a number, or than a share of the members


@dataclass(frozen=True, slots=True)
class Threshold:
    """A failure policy: the batch fails with more than ``most`` failed members.

    A whole number counts members, a number between 0 and 1 is a share of all of them.
    """

    most: float

    def __post_init__(self) -> None:
        whole = isinstance(self.most, int) and not isinstance(self.most, bool) and self.most >= 0
        share = isinstance(self.most, float) and 0 < self.most < 1
        if not whole and not share:
            raise ValueError(f"Threshold({self.most!r}): give a whole number of members, or a share between 0 and 1")


#: Where a member in a state is counted.
BUCKETS: Mapping[JobState, str] = {
    JobState.PENDING: "pending",
    JobState.QUEUED: "pending",
    JobState.RETRYING: "pending",
    JobState.RUNNING: "running",
    JobState.ORPHANED: "running",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELED: "canceled",
    JobState.STOPPED: "canceled",
}

#: From and to: every move of a batch.
BATCH: frozenset[tuple[BatchState, BatchState]] = frozenset(
    {
        (BatchState.RUNNING, BatchState.SUCCEEDED),
        (BatchState.RUNNING, BatchState.PARTIAL),
        (BatchState.RUNNING, BatchState.FAILED),  # its failure policy trips
        (BatchState.RUNNING, BatchState.CANCELED),  # a person called it off
        (BatchState.PARTIAL, BatchState.RUNNING),  # reopened: a member runs again
        (BatchState.FAILED, BatchState.RUNNING),
    }
)


def trips(policy: Policy, threshold: float | None, failed: int, total: int) -> bool:
    """Whether this many failed members fail the batch."""
    if policy is Policy.CONTINUE:
        return False
    most = threshold or 0
    return failed > (most * total if 0 < most < 1 else most)


def verdict(failed: int, canceled: int) -> BatchState:
    """What a batch has come to whose policy did not trip, and that nobody called off."""
    return BatchState.PARTIAL if failed or canceled else BatchState.SUCCEEDED
