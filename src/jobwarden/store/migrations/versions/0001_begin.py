"""The first schema: jobs, attempts, the ledger, logs, batches, schedules, workers, leases, lanes and counters."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import LargeBinary
from sqlalchemy.dialects import mysql

from jobwarden.store.dialects.sql import Id, Instant, Json, Serial, Words, name_type

revision = "0001"
down_revision = None

_TABLE: dict[str, Any] = {
    f"{engine}_{key}": value
    for engine in ("mysql", "mariadb")
    for key, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}


def upgrade() -> None:
    """Make the tables and their indexes."""
    op.create_table(
        "jobwarden_batches",
        sa.Column("id", Id, nullable=False),
        sa.Column("parent_job_id", Id, nullable=True),
        sa.Column("name", name_type(200), nullable=True),
        sa.Column("type", name_type(200), nullable=True),
        sa.Column("state", name_type(16), nullable=False),
        sa.Column("failure_policy", name_type(16), server_default=sa.text("'continue'"), nullable=False),
        sa.Column("failure_threshold", sa.Float(precision=53), nullable=True),
        sa.Column("params", Json, nullable=True),
        sa.Column("summary", Json, nullable=True),
        sa.Column("total_jobs", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("pending_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("running_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("succeeded_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("canceled_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("cancel_reason", Words, nullable=True),
        sa.Column("created_by", name_type(200), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **_TABLE,
    )
    op.create_index("jobwarden_batches_state", "jobwarden_batches", ["state", "id"])
    op.create_table(
        "jobwarden_counters",
        sa.Column("id", Serial, autoincrement=True, nullable=False),
        sa.Column("scope", name_type(16), nullable=False),
        sa.Column("name", name_type(100), nullable=False),
        sa.Column("state", name_type(16), nullable=False),
        sa.Column("delta", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **_TABLE,
    )
    op.create_index("jobwarden_counters_fold", "jobwarden_counters", ["scope", "name", "state"])
    op.create_table(
        "jobwarden_job_artifacts",
        sa.Column("id", Id, nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("attempt_id", Id, nullable=True),
        sa.Column("type", name_type(32), nullable=False),
        sa.Column("name", name_type(200), nullable=False),
        sa.Column("disk", name_type(200), nullable=True),
        sa.Column("path", Words, nullable=True),
        sa.Column("content", LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb"), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("checksum", name_type(80), nullable=True),
        sa.Column("content_type", name_type(200), nullable=True),
        sa.Column("meta", Json, nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **_TABLE,
    )
    op.create_index("jobwarden_artifacts_job", "jobwarden_job_artifacts", ["job_id", "id"])
    op.create_table(
        "jobwarden_job_attempts",
        sa.Column("id", Id, nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("attempt_number", sa.Integer(), nullable=False),
        sa.Column("state", name_type(16), nullable=False),
        sa.Column("fencing_token", sa.BigInteger(), nullable=False),
        sa.Column("worker_id", Id, nullable=True),
        sa.Column("host_id", name_type(64), nullable=True),
        sa.Column("pid_scope", name_type(100), nullable=True),
        sa.Column("hostname", name_type(200), nullable=True),
        sa.Column("supervisor_pid", sa.Integer(), nullable=True),
        sa.Column("supervisor_start_time", sa.BigInteger(), nullable=True),
        sa.Column("child_pid", sa.Integer(), nullable=True),
        sa.Column("child_start_time", sa.BigInteger(), nullable=True),
        sa.Column("child_inode", sa.BigInteger(), nullable=True),
        sa.Column("proc_nonce", name_type(32), nullable=True),
        sa.Column("isolation", name_type(16), nullable=True),
        sa.Column("isolation_reason", Words, nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("cause", name_type(32), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("term_signal", sa.Integer(), nullable=True),
        sa.Column("duration_ms", sa.BigInteger(), nullable=True),
        sa.Column("user_ms", sa.BigInteger(), nullable=True),
        sa.Column("system_ms", sa.BigInteger(), nullable=True),
        sa.Column("peak_rss_bytes", sa.BigInteger(), nullable=True),
        sa.Column("progress", Json, nullable=True),
        sa.Column("error", Json, nullable=True),
        sa.Column("log_seq", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("log_cursor", Json, nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job_id", "attempt_number", name="jobwarden_job_attempts_number"),
        **_TABLE,
    )
    op.create_index(
        "jobwarden_attempts_scope",
        "jobwarden_job_attempts",
        ["pid_scope", "state"],
        postgresql_where=sa.text("state IN ('dispatched', 'running')"),
        sqlite_where=sa.text("state IN ('dispatched', 'running')"),
    )
    op.create_index(
        "jobwarden_attempts_worker",
        "jobwarden_job_attempts",
        ["worker_id", "state"],
        postgresql_where=sa.text("state IN ('dispatched', 'running')"),
        sqlite_where=sa.text("state IN ('dispatched', 'running')"),
    )
    op.create_table(
        "jobwarden_job_dependencies",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("depends_on_job_id", Id, nullable=False),
        sa.Column("edge_condition", name_type(16), server_default=sa.text("'on_success'"), nullable=False),
        sa.Column("satisfied_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "depends_on_job_id"),
        **_TABLE,
    )
    op.create_index("jobwarden_dependencies_upstream", "jobwarden_job_dependencies", ["depends_on_job_id"])
    op.create_table(
        "jobwarden_job_events",
        sa.Column("id", Serial, autoincrement=True, nullable=False),
        sa.Column("job_id", Id, nullable=True),
        sa.Column("attempt_id", Id, nullable=True),
        sa.Column("batch_id", Id, nullable=True),
        sa.Column("level", name_type(16), nullable=False),
        sa.Column("from_state", name_type(16), nullable=True),
        sa.Column("to_state", name_type(16), nullable=False),
        sa.Column("attempt_from", name_type(16), nullable=True),
        sa.Column("attempt_to", name_type(16), nullable=True),
        sa.Column("actor_type", name_type(16), nullable=False),
        sa.Column("actor_id", name_type(200), nullable=True),
        sa.Column("reason", Words, nullable=True),
        sa.Column("context", Json, nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **_TABLE,
    )
    op.create_index(
        "jobwarden_events_batch",
        "jobwarden_job_events",
        ["batch_id", "id"],
        postgresql_where=sa.text("batch_id IS NOT NULL"),
        sqlite_where=sa.text("batch_id IS NOT NULL"),
    )
    op.create_index("jobwarden_events_job", "jobwarden_job_events", ["job_id", "id"])
    op.create_table(
        "jobwarden_job_logs",
        sa.Column("id", Serial, autoincrement=True, nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("attempt_id", Id, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("ts", Instant(), nullable=False),
        sa.Column("level", name_type(16), nullable=False),
        sa.Column("source", name_type(16), nullable=False),
        sa.Column("step", name_type(200), nullable=True),
        sa.Column("context", Json, nullable=True),
        sa.Column("body_sink", name_type(16), server_default=sa.text("'database'"), nullable=False),
        sa.Column("body_ref", Words, nullable=True),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("attempt_id", "seq", name="jobwarden_job_logs_seq"),
        **_TABLE,
    )
    op.create_index("jobwarden_logs_job", "jobwarden_job_logs", ["job_id", "id"])
    op.create_table(
        "jobwarden_job_tags",
        sa.Column("name", name_type(64), nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("value", name_type(200), nullable=False),
        sa.PrimaryKeyConstraint("name", "job_id"),
        **_TABLE,
    )
    op.create_index("jobwarden_tags_job", "jobwarden_job_tags", ["job_id"])
    op.create_index("jobwarden_tags_value", "jobwarden_job_tags", ["name", "value", "job_id"])
    op.create_table(
        "jobwarden_jobs",
        sa.Column("id", Id, nullable=False),
        sa.Column("batch_id", Id, nullable=True),
        sa.Column("batch_key", name_type(200), nullable=True),
        sa.Column("schedule_id", Id, nullable=True),
        sa.Column("scheduled_for", Instant(), nullable=True),
        sa.Column("rerun_of", Id, nullable=True),
        sa.Column("job", name_type(200), nullable=False),
        sa.Column("name", name_type(200), nullable=True),
        sa.Column("lane", name_type(100), nullable=False),
        sa.Column("params", Json, nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False),
        sa.Column("state", name_type(16), nullable=False),
        sa.Column("wait_reason", Words, nullable=True),
        sa.Column("blocked_by", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("available_at", Instant(), nullable=False),
        sa.Column("idempotent", sa.Boolean(), nullable=False),
        sa.Column("idempotency_key", name_type(200), nullable=True),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("attempt_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("unspent_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("current_attempt_id", Id, nullable=True),
        sa.Column("backoff", Json, nullable=True),
        sa.Column("isolation", name_type(16), nullable=True),
        sa.Column("on_lost", name_type(16), nullable=True),
        sa.Column("timeout_sec", sa.Float(precision=53), nullable=True),
        sa.Column("max_runtime_sec", sa.Float(precision=53), nullable=True),
        sa.Column("grace_sec", sa.Float(precision=53), nullable=True),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("tags", Json, nullable=True),
        sa.Column("cancel_requested", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("cancel_mode", name_type(16), nullable=True),
        sa.Column("cancel_reason", Words, nullable=True),
        sa.Column("cancel_actor", name_type(200), nullable=True),
        sa.Column("cancel_requested_at", Instant(), nullable=True),
        sa.Column("last_error", Json, nullable=True),
        sa.Column("result", Json, nullable=True),
        sa.Column("created_by", name_type(200), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("queued_at", Instant(), nullable=True),
        sa.Column("started_at", Instant(), nullable=True),
        sa.Column("finished_at", Instant(), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        **_TABLE,
    )
    op.create_index(
        "jobwarden_jobs_attention",
        "jobwarden_jobs",
        ["state", "id"],
        postgresql_where=sa.text("state IN ('failed', 'orphaned', 'canceled', 'stopped')"),
        sqlite_where=sa.text("state IN ('failed', 'orphaned', 'canceled', 'stopped')"),
    )
    op.create_index(
        "jobwarden_jobs_batch",
        "jobwarden_jobs",
        ["batch_id", "state"],
        postgresql_where=sa.text("batch_id IS NOT NULL"),
        sqlite_where=sa.text("batch_id IS NOT NULL"),
    )
    op.create_index(
        "jobwarden_jobs_claim",
        "jobwarden_jobs",
        ["lane", "state", sa.literal_column("priority DESC"), "created_at", "id"],
        postgresql_where=sa.text("state = 'queued'"),
        sqlite_where=sa.text("state = 'queued'"),
    )
    op.create_index(
        "jobwarden_jobs_key",
        "jobwarden_jobs",
        ["idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_index(
        "jobwarden_jobs_schedule",
        "jobwarden_jobs",
        ["schedule_id", "id"],
        postgresql_where=sa.text("schedule_id IS NOT NULL"),
        sqlite_where=sa.text("schedule_id IS NOT NULL"),
    )
    op.create_index(
        "jobwarden_jobs_waiting",
        "jobwarden_jobs",
        ["state", "blocked_by", sa.literal_column("priority DESC"), "available_at"],
        postgresql_where=sa.text("state IN ('pending', 'retrying')"),
        sqlite_where=sa.text("state IN ('pending', 'retrying')"),
    )
    op.create_table(
        "jobwarden_lanes",
        sa.Column("name", name_type(100), nullable=False),
        sa.Column("paused", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("paused_by", name_type(200), nullable=True),
        sa.Column("paused_reason", Words, nullable=True),
        sa.Column("paused_at", Instant(), nullable=True),
        sa.Column("max_running", sa.Integer(), nullable=True),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        **_TABLE,
    )
    op.create_table(
        "jobwarden_leader_leases",
        sa.Column("name", name_type(200), nullable=False),
        sa.Column("owner", name_type(200), nullable=True),
        sa.Column("epoch", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_expires_at", Instant(), nullable=True),
        sa.Column("acquired_at", Instant(), nullable=True),
        sa.Column("updated_at", Instant(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
        **_TABLE,
    )
    op.create_table(
        "jobwarden_schedules",
        sa.Column("id", Id, nullable=False),
        sa.Column("name", name_type(200), nullable=False),
        sa.Column("job", name_type(200), nullable=False),
        sa.Column("params", Json, nullable=True),
        sa.Column("kind", name_type(16), server_default=sa.text("'recurring'"), nullable=False),
        sa.Column("cron_expression", name_type(200), nullable=True),
        sa.Column("every_sec", sa.Float(precision=53), nullable=True),
        sa.Column("run_at", Instant(), nullable=True),
        sa.Column("timezone", name_type(64), server_default=sa.text("'UTC'"), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("idempotent", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=True),
        sa.Column("lane", name_type(100), server_default=sa.text("'scheduled'"), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("missed_policy", name_type(16), server_default=sa.text("'run_latest'"), nullable=False),
        sa.Column("overlap_policy", name_type(16), server_default=sa.text("'skip'"), nullable=False),
        sa.Column("catch_up_window_sec", sa.Float(precision=53), nullable=True),
        sa.Column("max_catch_up", sa.Integer(), nullable=True),
        sa.Column("options", Json, nullable=True),
        sa.Column("owner", name_type(200), nullable=True),
        sa.Column("tags", Json, nullable=True),
        sa.Column("last_error", Words, nullable=True),
        sa.Column("last_evaluated_at", Instant(), nullable=True),
        sa.Column("last_enqueued_for", Instant(), nullable=True),
        sa.Column("next_due_at", Instant(), nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.Column("updated_at", Instant(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        **_TABLE,
    )
    op.create_index("jobwarden_schedules_due", "jobwarden_schedules", ["enabled", "next_due_at"])
    op.create_table(
        "jobwarden_workers",
        sa.Column("id", Id, nullable=False),
        sa.Column("role", name_type(32), nullable=False),
        sa.Column("host_id", name_type(64), nullable=False),
        sa.Column("pid_scope", name_type(100), nullable=False),
        sa.Column("hostname", name_type(200), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("start_time", sa.BigInteger(), nullable=True),
        sa.Column("nonce", name_type(32), nullable=True),
        sa.Column("incarnation", sa.BigInteger(), nullable=True),
        sa.Column("state", name_type(16), nullable=False),
        sa.Column("assurance", name_type(1), nullable=True),
        sa.Column("capacity", sa.Integer(), nullable=True),
        sa.Column("current_load", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("app_version", name_type(200), nullable=True),
        sa.Column("python_version", name_type(200), nullable=True),
        sa.Column("meta", Json, nullable=True),
        sa.Column("started_at", Instant(), nullable=False),
        sa.Column("heartbeat_at", Instant(), nullable=False),
        sa.Column("stopped_at", Instant(), nullable=True),
        sa.Column("last_signal", name_type(32), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        **_TABLE,
    )
    op.create_index("jobwarden_workers_scope", "jobwarden_workers", ["pid_scope", "role"])
    op.create_index("jobwarden_workers_state", "jobwarden_workers", ["state", "heartbeat_at"])
    op.create_table(
        "jobwarden_schedule_runs",
        sa.Column("id", Id, nullable=False),
        sa.Column("schedule_id", Id, nullable=False),
        sa.Column("occurrence_time", Instant(), nullable=False),
        sa.Column("detected_at", Instant(), nullable=False),
        sa.Column("action", name_type(16), nullable=False),
        sa.Column("job_id", Id, nullable=True),
        sa.Column("reason", Words, nullable=True),
        sa.Column("evaluator_worker_id", Id, nullable=True),
        sa.Column("created_at", Instant(), nullable=False),
        sa.ForeignKeyConstraint(["schedule_id"], ["jobwarden_schedules.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("schedule_id", "occurrence_time", name="jobwarden_schedule_runs_occurrence"),
        **_TABLE,
    )
