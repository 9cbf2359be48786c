"""A look at an attempt's process, asked for by a person and answered by the daemon that watches it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobwarden.store.dialects.sql import Instant, Json

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add when a look was asked for, when it was taken, and what was seen."""
    op.add_column("jobwarden_job_attempts", sa.Column("look_asked_at", Instant(), nullable=True))
    op.add_column("jobwarden_job_attempts", sa.Column("looked_at", Instant(), nullable=True))
    op.add_column("jobwarden_job_attempts", sa.Column("look", Json, nullable=True))
