"""What an operator's surface needs: the audit chain, tokens and users, and what jobs are searched by."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from jobwarden.store.dialects.sql import Id, Instant, Words, name_type

revision = "0006"
down_revision = "0005"

_TABLE: dict[str, Any] = {
    f"{engine}_{key}": value
    for engine in ("mysql", "mariadb")
    for key, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}


def upgrade() -> None:
    """Add tables, a column and indexes; rows that are there keep what they have."""
    op.add_column("jobwarden_jobs", sa.Column("error_print", name_type(32), nullable=True))
    _index("jobs_job", "jobs", "job", "id")
    _index("jobs_lane", "jobs", "lane", "id")
    _index("jobs_label", "jobs", "name", "id", only="name IS NOT NULL")
    _index("jobs_by", "jobs", "created_by", "id", only="created_by IS NOT NULL")
    _index("jobs_error", "jobs", "error_print", "id", only="error_print IS NOT NULL")
    _index("attempts_worker", "job_attempts", "worker_id", "job_id")
    op.create_table(
        "jobwarden_errors",
        sa.Column("print", name_type(32), primary_key=True),
        sa.Column("class_name", name_type(200), nullable=False),
        sa.Column("message", Words, nullable=False),
        sa.Column("first_seen", Instant(), nullable=False),
        sa.Column("last_seen", Instant(), nullable=False),
        **_TABLE,
    )
    _audit()
    _access()


def _audit() -> None:
    op.create_table(
        "jobwarden_audit",
        sa.Column("seq", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("at", Instant(), nullable=False),
        sa.Column("actor", name_type(200)),
        sa.Column("address", name_type(64)),
        sa.Column("action", name_type(32), nullable=False),
        sa.Column("kind", name_type(16), nullable=False),
        sa.Column("target", name_type(200)),
        sa.Column("reason", Words),
        sa.Column("before", Words),
        sa.Column("after", Words),
        sa.Column("previous", name_type(64), nullable=False),
        sa.Column("hash", name_type(64), nullable=False),
        **_TABLE,
    )
    _index("audit_target", "audit", "kind", "target", "seq")
    _index("audit_actor", "audit", "actor", "seq")
    op.create_table(
        "jobwarden_audit_head",
        sa.Column("id", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", name_type(64), nullable=False),
        **_TABLE,
    )
    op.execute(f"INSERT INTO jobwarden_audit_head (id, seq, hash) VALUES (1, 0, '{'0' * 64}')")


def _access() -> None:
    op.create_table(
        "jobwarden_tokens",
        sa.Column("id", Id, primary_key=True),
        sa.Column("name", name_type(200), nullable=False, unique=True),
        sa.Column("hash", name_type(64), nullable=False, unique=True),
        sa.Column("role", name_type(16), nullable=False),
        sa.Column("created_by", name_type(200)),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("expires_at", Instant()),
        sa.Column("last_used_at", Instant()),
        sa.Column("revoked_at", Instant()),
        sa.Column("revoked_by", name_type(200)),
        **_TABLE,
    )
    op.create_table(
        "jobwarden_users",
        sa.Column("id", Id, primary_key=True),
        sa.Column("name", name_type(200), nullable=False, unique=True),
        sa.Column("password", Words, nullable=False),
        sa.Column("role", name_type(16), nullable=False),
        sa.Column("created_by", name_type(200)),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("disabled_at", Instant()),
        sa.Column("updated_at", Instant(), nullable=False),
        **_TABLE,
    )


def _index(name: str, table: str, *columns: str, only: str | None = None) -> None:
    condition = sa.text(only) if only else None
    op.create_index(
        f"jobwarden_{name}",
        f"jobwarden_{table}",
        list(columns),
        postgresql_where=condition,
        sqlite_where=condition,
    )
