"""Members of a batch by state in the order of their birth: pages and counts of a large batch read the index alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Make the index on a batch's members anew, with their ids."""
    op.drop_index("jobwarden_jobs_batch", "jobwarden_jobs")
    condition = sa.text("batch_id IS NOT NULL")
    op.create_index(
        "jobwarden_jobs_batch",
        "jobwarden_jobs",
        ["batch_id", "state", "id"],
        postgresql_where=condition,
        sqlite_where=condition,
    )
