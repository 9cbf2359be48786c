"""What batches need to be held, labelled, and followed by jobs that know which batch they follow."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from jobwarden.store.dialects.sql import Id, Instant, Json, name_type

revision = "0005"
down_revision = "0004"

_TABLE: dict[str, Any] = {
    f"{engine}_{key}": value
    for engine in ("mysql", "mariadb")
    for key, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}


def upgrade() -> None:
    """Add the table and the columns; rows that are there keep what they have."""
    op.create_table(
        "jobwarden_batch_labels",
        sa.Column("name", name_type(64), nullable=False),
        sa.Column("batch_id", Id, nullable=False),
        sa.Column("value", name_type(200), nullable=False),
        sa.PrimaryKeyConstraint("name", "batch_id"),
        **_TABLE,
    )
    op.create_index("jobwarden_batch_labels_value", "jobwarden_batch_labels", ["name", "value", "batch_id"])
    op.add_column("jobwarden_jobs", sa.Column("follows_batch_id", Id, nullable=True))
    for column in (
        sa.Column("labels", Json, nullable=True),
        sa.Column("hold_id", Id, nullable=True),
        sa.Column("held_by", name_type(200), nullable=True),
        sa.Column("held_reason", sa.Text(), nullable=True),
        sa.Column("held_at", Instant(), nullable=True),
    ):
        op.add_column("jobwarden_batches", column)
