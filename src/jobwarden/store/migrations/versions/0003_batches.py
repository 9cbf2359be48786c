"""What batches need: turns to follow up, members that run whatever happened, and a job that follows the whole."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from jobwarden.store.dialects.sql import Id, Json, Serial, name_type

revision = "0003"
down_revision = "0002"

_TABLE: dict[str, Any] = {
    f"{engine}_{key}": value
    for engine in ("mysql", "mariadb")
    for key, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}


def upgrade() -> None:
    """Add the table and the columns; rows that are there keep what they have."""
    op.create_table(
        "jobwarden_batch_turns",
        sa.Column("id", Serial, autoincrement=True, nullable=False),
        sa.Column("batch_id", Id, nullable=False),
        sa.Column("job_id", Id, nullable=True),
        sa.Column("state", name_type(16), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **_TABLE,
    )
    op.add_column("jobwarden_jobs", sa.Column("finalizer", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("jobwarden_batches", sa.Column("on_complete", Json, nullable=True))
    op.add_column("jobwarden_batches", sa.Column("cancel_actor", name_type(200), nullable=True))
