"""What retention needs to remember, and an index for what people type of an id: its end."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobwarden.store.dialects.sql import Instant, ending, name_type

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add what a schedule remembers, up to when its runs are no longer known, and the last characters of ids."""
    op.add_column("jobwarden_schedules", sa.Column("runs_pruned_to", Instant(), nullable=True))
    stored = op.get_context().dialect.name == "postgresql"  # which indexes no other computed columns
    end = sa.Computed(ending(sa.literal_column("id")), persisted=stored)
    op.add_column("jobwarden_jobs", sa.Column("id_end", name_type(8), end))
    op.create_index("jobwarden_jobs_end", "jobwarden_jobs", ["id_end"])
