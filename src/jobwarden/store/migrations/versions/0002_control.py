"""What control needs: reconcile attempts, processes that cannot be ended, wishes to daemons, and all that is in flight
by one index, on engines without partial indexes too."""

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
    op.drop_index("jobwarden_attempts_worker", table_name="jobwarden_job_attempts")
    op.create_index(
        "jobwarden_attempts_flight",
        "jobwarden_job_attempts",
        ["state", "worker_id"],
        postgresql_where=sa.text("state IN ('dispatched', 'running')"),
        sqlite_where=sa.text("state IN ('dispatched', 'running')"),
    )
