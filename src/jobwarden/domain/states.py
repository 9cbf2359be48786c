"""The states of everything that has one, and the few sets that decisions are made on."""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job is in its life; ``orphaned`` is parked, with an outcome that a person must decide."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    ORPHANED = "orphaned"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    STOPPED = "stopped"


class AttemptState(StrEnum):
    """Where one execution of a job is; ``dispatched`` has a seat but has not entered the handler."""

    DISPATCHED = "dispatched"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ORPHANED = "orphaned"
    CANCELED = "canceled"
    STOPPED = "stopped"


class BatchState(StrEnum):
    """What a batch has come to."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELED = "canceled"


class WorkerState(StrEnum):
    """What a daemon said of itself last, or what was proved of it."""

    STARTING = "starting"
    ACTIVE = "active"
    DRAINING = "draining"
    STOPPED = "stopped"
    DEAD = "dead"


class Actor(StrEnum):
    """Who moved something."""

    CLIENT = "client"
    SUPERVISOR = "supervisor"
    WORKER = "worker"
    SCHEDULER = "scheduler"
    REAPER = "reaper"
    OPERATOR = "operator"
    SYSTEM = "system"


WAITING = frozenset({JobState.PENDING, JobState.QUEUED, JobState.RETRYING})
ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.STOPPED})
LIVE = frozenset(JobState) - ENDED
IN_FLIGHT = frozenset({AttemptState.DISPATCHED, AttemptState.RUNNING})
LIVE_WORKER = frozenset({WorkerState.STARTING, WorkerState.ACTIVE, WorkerState.DRAINING})
