"""JobWarden: durable, database-backed jobs, each attempt tied to one verified process."""

from __future__ import annotations

from jobwarden.app import JobWarden
from jobwarden.config import Settings
from jobwarden.context import Context
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.states import JobState
from jobwarden.errors import JobWardenError
from jobwarden.handle import Handles, JobHandle
from jobwarden.hooks import Hooks
from jobwarden.jobs import JobDefinition
from jobwarden.options import Bound
from jobwarden.outcomes import Cancel, Fail, Outcome, Park, Snooze, Stopped
from jobwarden.services import Provide

__all__ = [
    "Backoff",
    "Bound",
    "Cancel",
    "Context",
    "Fail",
    "Handles",
    "Hooks",
    "JobDefinition",
    "JobHandle",
    "JobState",
    "JobWarden",
    "JobWardenError",
    "Outcome",
    "Park",
    "Provide",
    "Settings",
    "Snooze",
    "Stopped",
]
