"""JobWarden: durable, database-backed jobs, each attempt tied to one verified process."""

from __future__ import annotations

from jobwarden.app import JobWarden
from jobwarden.config import Settings
from jobwarden.domain.recovery import Backoff
from jobwarden.domain.states import JobState
from jobwarden.errors import JobWardenError
from jobwarden.handle import JobHandle
from jobwarden.hooks import Hooks
from jobwarden.services import Provide

__all__ = ["Backoff", "Hooks", "JobHandle", "JobState", "JobWarden", "JobWardenError", "Provide", "Settings"]
