"""JobWarden: durable, database-backed jobs, each attempt tied to one verified process."""

from __future__ import annotations

from jobwarden.app import JobWarden
from jobwarden.batch import Batch, Member
from jobwarden.batch_handle import BatchHandle
from jobwarden.config import Settings
from jobwarden.context import Context
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.refs import Ref
from jobwarden.domain.states import BatchState, JobState
from jobwarden.domain.verdict import Threshold
from jobwarden.errors import JobWardenError
from jobwarden.handle import Handles, JobHandle
from jobwarden.hooks import Hooks
from jobwarden.jobs import JobDefinition
from jobwarden.options import Bound
from jobwarden.outcomes import Cancel, Fail, Outcome, Park, Snooze, Stopped
from jobwarden.services import Provide

__all__ = [
    "Backoff",
    "Batch",
    "BatchHandle",
    "BatchState",
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
    "Member",
    "Outcome",
    "Park",
    "Provide",
    "Ref",
    "Settings",
    "Snooze",
    "Stopped",
    "Threshold",
]
