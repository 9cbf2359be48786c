"""What control needs: reconcile attempts, processes that cannot be ended, and wishes to daemons."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobwarden.store.dialects.sql import Instant, Words, name_type

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns; rows that are there keep what they have."""
    run = sa.text("'run'")
    op.add_column("jobwarden_jobs", sa.Column("reconciles", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("jobwarden_jobs", sa.Column("purpose", name_type(16), server_default=run, nullable=False))
    op.add_column("jobwarden_job_attempts", sa.Column("purpose", name_type(16), server_default=run, nullable=False))
    op.add_column("jobwarden_job_attempts", sa.Column("unkillable_since", Instant(), nullable=True))
    op.add_column("jobwarden_workers", sa.Column("wish", name_type(16), nullable=True))
    op.add_column("jobwarden_workers", sa.Column("wish_actor", name_type(200), nullable=True))
    op.add_column("jobwarden_workers", sa.Column("wish_reason", Words, nullable=True))
