"""What schedules need: jitter, bounds, excluded dates, owners, runs that wait or stand for many, and a ledger."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from jobwarden.store.dialects.sql import Id, Instant, Json, name_type

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns and indexes; rows that are there keep what they have."""
    zero, one = sa.text("0"), sa.text("1")
    for column in (
        sa.Column("parked_counts", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("jitter_sec", sa.Float(precision=53), nullable=True),
        sa.Column("starts_at", Instant(), nullable=True),
        sa.Column("ends_at", Instant(), nullable=True),
        sa.Column("excluded", Json, nullable=True),
        sa.Column("source", name_type(16), server_default=sa.text("'runtime'"), nullable=False),
        sa.Column("failures", sa.Integer(), server_default=zero, nullable=False),
        sa.Column("dropped_at", Instant(), nullable=True),
    ):
        op.add_column("jobwarden_schedules", column)
    for column in (
        sa.Column("cause", name_type(16), server_default=sa.text("'due'"), nullable=False),
        sa.Column("actor", name_type(200), nullable=True),
        sa.Column("live", name_type(16), nullable=True),
        sa.Column("number", sa.Integer(), server_default=one, nullable=False),
        sa.Column("last_time", Instant(), nullable=True),
    ):
        op.add_column("jobwarden_schedule_runs", column)
    op.add_column("jobwarden_job_events", sa.Column("schedule_id", Id, nullable=True))
    for name, table, columns, only in (
        ("jobwarden_events_schedule", "jobwarden_job_events", ["schedule_id", "id"], "schedule_id IS NOT NULL"),
        ("jobwarden_schedule_runs_live", "jobwarden_schedule_runs", ["live", "schedule_id"], "live IS NOT NULL"),
    ):
        op.create_index(name, table, columns, postgresql_where=sa.text(only), sqlite_where=sa.text(only))
