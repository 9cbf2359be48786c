"""What happened over time, in numbers; and what a worker tells of itself with each beat."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobwarden.store.dialects.sql import Instant, Json, Serial, name_type

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add a table and a column; what ended before is not counted."""
    op.create_table(
        "jobwarden_history",
        sa.Column("id", Serial, primary_key=True, autoincrement=True),
        sa.Column("span", name_type(16), nullable=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("kind", name_type(16), nullable=False),
        sa.Column("lane", name_type(100), nullable=False),
        sa.Column("job", name_type(200), nullable=False),
        sa.Column("outcome", name_type(16), nullable=False),
        sa.Column("cause", name_type(32), nullable=False),
        sa.Column("actor", name_type(16), nullable=False),
        sa.Column("bucket", sa.SmallInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Float(53), nullable=False),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_bin",
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_bin",
    )
    op.create_index("jobwarden_history_at", "jobwarden_history", ["span", "at"])
    op.add_column("jobwarden_workers", sa.Column("stats", Json, nullable=True))
