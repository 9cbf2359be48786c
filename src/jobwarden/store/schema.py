"""Every table, once. The indexes are those that the queries need, in the direction in which they read.

Hot tables carry no foreign keys: children are written by the same transaction as their parents and removed before
them by pruning, and a key would lock the parent row on every ledger line. Live work alone sits in the claim, waiting
and ownership indexes on engines with partial indexes (PostgreSQL, SQLite); elsewhere the state leads the index.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    UniqueConstraint,
    false,
    literal_column,
    text,
    true,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import Float

from jobwarden.store.database import Id, Instant, Json, Serial, Words, ending, name_type

STATE, NAME, LANE = name_type(16), name_type(200), name_type(100)
_FLOAT = Float(53)
_BLOB = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql", "mariadb")
_OPTIONS: dict[str, Any] = {
    f"{engine}_{key}": value
    for engine in ("mysql", "mariadb")
    for key, value in {"engine": "InnoDB", "charset": "utf8mb4", "collate": "utf8mb4_bin"}.items()
}

#: The names are plain; ``Database`` spells them with the configured prefix and schema as statements leave.
metadata = MetaData()


def _table(name: str, *parts: Any) -> Table:
    return Table(f"jobwarden_{name}", metadata, *parts, **_OPTIONS)


def _serial() -> Column[Any]:
    return Column("id", Serial, primary_key=True, autoincrement=True)


def _instant(name: str, **options: Any) -> Column[Any]:
    return Column(name, Instant(), **options)


def _index(name: str, *columns: Any, only: str | None = None, unique: bool = False) -> Index:
    """An index; with ``only`` it covers the rows that meet a condition, on the engines that can."""
    condition = text(only) if only else None
    return Index(f"jobwarden_{name}", *columns, unique=unique, postgresql_where=condition, sqlite_where=condition)


jobs = _table(
    "jobs",
    Column("id", Id, primary_key=True),
    Column("id_end", name_type(8), Computed(ending(literal_column("id")))),
    Column("batch_id", Id),
    Column("batch_key", NAME),
    Column("follows_batch_id", Id),
    Column("schedule_id", Id),
    _instant("scheduled_for"),
    Column("rerun_of", Id),
    Column("job", NAME, nullable=False),
    Column("name", NAME),
    Column("lane", LANE, nullable=False),
    Column("params", Json, nullable=False),
    Column("priority", SmallInteger(), nullable=False),
    Column("state", STATE, nullable=False),
    Column("wait_reason", Words),
    Column("blocked_by", Integer(), nullable=False, server_default=text("0")),
    Column("finalizer", Boolean(), nullable=False, server_default=false()),
    _instant("available_at", nullable=False),
    Column("idempotent", Boolean(), nullable=False),
    Column("idempotency_key", NAME),
    Column("max_attempts", Integer(), nullable=False),
    Column("attempt_count", Integer(), nullable=False, server_default=text("0")),
    Column("unspent_count", Integer(), nullable=False, server_default=text("0")),
    Column("current_attempt_id", Id),
    Column("backoff", Json),
    Column("isolation", STATE),
    Column("on_lost", STATE),
    Column("timeout_sec", _FLOAT),
    Column("max_runtime_sec", _FLOAT),
    Column("grace_sec", _FLOAT),
    Column("memory_bytes", BigInteger()),
    Column("tags", Json),
    Column("reconciles", Boolean(), nullable=False, server_default=false()),
    Column("purpose", STATE, nullable=False, server_default=text("'run'")),
    Column("cancel_requested", Boolean(), nullable=False, server_default=false()),
    Column("cancel_mode", STATE),
    Column("cancel_reason", Words),
    Column("cancel_actor", NAME),
    _instant("cancel_requested_at"),
    Column("last_error", Json),
    Column("error_print", name_type(32)),
    Column("result", Json),
    Column("created_by", NAME),
    _instant("created_at", nullable=False),
    _instant("queued_at"),
    _instant("started_at"),
    _instant("finished_at"),
    _instant("updated_at", nullable=False),
)
_index(
    "jobs_claim",
    jobs.c.lane,
    jobs.c.state,
    jobs.c.priority.desc(),
    jobs.c.created_at,
    jobs.c.id,
    only="state = 'queued'",
)
_index(
    "jobs_waiting",
    jobs.c.state,
    jobs.c.blocked_by,
    jobs.c.priority.desc(),
    jobs.c.available_at,
    only="state IN ('pending', 'retrying')",
)
_index("jobs_end", jobs.c.id_end)
_index("jobs_key", jobs.c.idempotency_key, unique=True, only="idempotency_key IS NOT NULL")
_index("jobs_batch", jobs.c.batch_id, jobs.c.state, jobs.c.id, only="batch_id IS NOT NULL")
_index("jobs_schedule", jobs.c.schedule_id, jobs.c.id, only="schedule_id IS NOT NULL")
_index("jobs_job", jobs.c.job, jobs.c.id)
_index("jobs_lane", jobs.c.lane, jobs.c.id)
_index("jobs_label", jobs.c.name, jobs.c.id, only="name IS NOT NULL")
_index("jobs_by", jobs.c.created_by, jobs.c.id, only="created_by IS NOT NULL")
_index("jobs_error", jobs.c.error_print, jobs.c.id, only="error_print IS NOT NULL")
_index(
    "jobs_attention",
    jobs.c.state,
    jobs.c.id,
    only="state IN ('failed', 'orphaned', 'canceled', 'stopped')",
)

attempts = _table(
    "job_attempts",
    Column("id", Id, primary_key=True),
    Column("job_id", Id, nullable=False),
    Column("attempt_number", Integer(), nullable=False),
    Column("state", STATE, nullable=False),
    Column("fencing_token", BigInteger(), nullable=False),
    Column("worker_id", Id),
    Column("host_id", name_type(64)),
    Column("pid_scope", name_type(100)),
    Column("hostname", NAME),
    Column("supervisor_pid", Integer()),
    Column("supervisor_start_time", BigInteger()),
    Column("child_pid", Integer()),
    Column("child_start_time", BigInteger()),
    Column("child_inode", BigInteger()),
    Column("proc_nonce", name_type(32)),
    Column("isolation", STATE),
    Column("isolation_reason", Words),
    Column("purpose", STATE, nullable=False, server_default=text("'run'")),
    _instant("created_at", nullable=False),
    _instant("started_at"),
    _instant("finished_at"),
    Column("cause", name_type(32)),
    Column("exit_code", Integer()),
    Column("term_signal", Integer()),
    Column("duration_ms", BigInteger()),
    Column("user_ms", BigInteger()),
    Column("system_ms", BigInteger()),
    Column("peak_rss_bytes", BigInteger()),
    Column("progress", Json),
    Column("error", Json),
    Column("log_seq", BigInteger(), nullable=False, server_default=text("0")),
    Column("log_cursor", Json),
    _instant("unkillable_since"),
    _instant("look_asked_at"),
    _instant("looked_at"),
    Column("look", Json),
    _instant("updated_at", nullable=False),
    UniqueConstraint("job_id", "attempt_number", name="jobwarden_job_attempts_number"),
)
_IN_FLIGHT = "state IN ('dispatched', 'running')"
_index("attempts_flight", attempts.c.state, attempts.c.worker_id, only=_IN_FLIGHT)
_index("attempts_worker", attempts.c.worker_id, attempts.c.job_id)
_index("attempts_scope", attempts.c.pid_scope, attempts.c.state, only=_IN_FLIGHT)

events = _table(
    "job_events",
    _serial(),
    Column("job_id", Id),
    Column("attempt_id", Id),
    Column("batch_id", Id),
    Column("schedule_id", Id),
    Column("level", STATE, nullable=False),
    Column("from_state", STATE),
    Column("to_state", STATE, nullable=False),
    Column("attempt_from", STATE),
    Column("attempt_to", STATE),
    Column("actor_type", STATE, nullable=False),
    Column("actor_id", NAME),
    Column("reason", Words),
    Column("context", Json),
    _instant("created_at", nullable=False),
)
_index("events_job", events.c.job_id, events.c.id)
_index("events_batch", events.c.batch_id, events.c.id, only="batch_id IS NOT NULL")
_index("events_schedule", events.c.schedule_id, events.c.id, only="schedule_id IS NOT NULL")

logs = _table(
    "job_logs",
    _serial(),
    Column("job_id", Id, nullable=False),
    Column("attempt_id", Id, nullable=False),
    Column("seq", BigInteger(), nullable=False),
    _instant("ts", nullable=False),
    Column("level", STATE, nullable=False),
    Column("source", STATE, nullable=False),
    Column("step", NAME),
    Column("context", Json),
    Column("body_sink", STATE, nullable=False, server_default=text("'database'")),
    Column("body_ref", Words),
    UniqueConstraint("attempt_id", "seq", name="jobwarden_job_logs_seq"),
)
_index("logs_job", logs.c.job_id, logs.c.id)

artifacts = _table(
    "job_artifacts",
    Column("id", Id, primary_key=True),
    Column("job_id", Id, nullable=False),
    Column("attempt_id", Id),
    Column("type", name_type(32), nullable=False),
    Column("name", NAME, nullable=False),
    Column("disk", NAME),
    Column("path", Words),
    Column("content", _BLOB),
    Column("size_bytes", BigInteger()),
    Column("checksum", name_type(80)),
    Column("content_type", NAME),
    Column("meta", Json),
    _instant("created_at", nullable=False),
)
_index("artifacts_job", artifacts.c.job_id, artifacts.c.id)

#: Errors that are alike but for their numbers and names: found by their words, then their jobs by the print.
errors = _table(
    "errors",
    Column("print", name_type(32), primary_key=True),
    Column("class_name", NAME, nullable=False),
    Column("message", Words, nullable=False),
    _instant("first_seen", nullable=False),
    _instant("last_seen", nullable=False),
)

tags = _table(
    "job_tags",
    Column("name", name_type(64), primary_key=True),
    Column("job_id", Id, primary_key=True),
    Column("value", NAME, nullable=False),
)
_index("tags_value", tags.c.name, tags.c.value, tags.c.job_id)
_index("tags_job", tags.c.job_id)

dependencies = _table(
    "job_dependencies",
    Column("job_id", Id, primary_key=True),
    Column("depends_on_job_id", Id, primary_key=True),
    Column("edge_condition", STATE, nullable=False, server_default=text("'on_success'")),
    _instant("satisfied_at"),
)
_index("dependencies_upstream", dependencies.c.depends_on_job_id)

batches = _table(
    "batches",
    Column("id", Id, primary_key=True),
    Column("parent_job_id", Id),
    Column("name", NAME),
    Column("type", NAME),
    Column("state", STATE, nullable=False),
    Column("failure_policy", STATE, nullable=False, server_default=text("'continue'")),
    Column("failure_threshold", _FLOAT),
    Column("params", Json),
    Column("summary", Json),
    Column("total_jobs", Integer(), nullable=False, server_default=text("0")),
    Column("pending_count", Integer(), nullable=False, server_default=text("0")),
    Column("running_count", Integer(), nullable=False, server_default=text("0")),
    Column("succeeded_count", Integer(), nullable=False, server_default=text("0")),
    Column("failed_count", Integer(), nullable=False, server_default=text("0")),
    Column("canceled_count", Integer(), nullable=False, server_default=text("0")),
    Column("on_complete", Json),
    Column("labels", Json),
    Column("hold_id", Id),
    Column("held_by", NAME),
    Column("held_reason", Words),
    _instant("held_at"),
    Column("cancel_reason", Words),
    Column("cancel_actor", NAME),
    Column("created_by", NAME),
    _instant("created_at", nullable=False),
    _instant("started_at"),
    _instant("finished_at"),
    _instant("updated_at", nullable=False),
)
_index("batches_state", batches.c.state, batches.c.id)

batch_labels = _table(
    "batch_labels",
    Column("name", name_type(64), primary_key=True),
    Column("batch_id", Id, primary_key=True),
    Column("value", NAME, nullable=False),
)
_index("batch_labels_value", batch_labels.c.name, batch_labels.c.value, batch_labels.c.batch_id)

#: The state of a turn that names no member: its batch is to be looked at.
LOOK_AGAIN = "look"
#: What happened to members and is not yet followed up: left by the move itself, taken by whoever advances batches.
turns = _table(
    "batch_turns",
    _serial(),
    Column("batch_id", Id, nullable=False),
    Column("job_id", Id),
    Column("state", STATE, nullable=False),
)

schedules = _table(
    "schedules",
    Column("id", Id, primary_key=True),
    Column("name", NAME, nullable=False, unique=True),
    Column("job", NAME, nullable=False),
    Column("params", Json),
    Column("kind", STATE, nullable=False, server_default=text("'recurring'")),
    Column("cron_expression", NAME),
    Column("every_sec", _FLOAT),
    _instant("run_at"),
    Column("timezone", name_type(64), nullable=False, server_default=text("'UTC'")),
    Column("enabled", Boolean(), nullable=False, server_default=true()),
    Column("idempotent", Boolean(), nullable=False, server_default=false()),
    Column("max_attempts", Integer()),
    Column("lane", LANE, nullable=False, server_default=text("'scheduled'")),
    Column("priority", SmallInteger(), nullable=False, server_default=text("0")),
    Column("missed_policy", STATE, nullable=False, server_default=text("'run_latest'")),
    Column("overlap_policy", STATE, nullable=False, server_default=text("'skip'")),
    Column("parked_counts", Boolean(), nullable=False, server_default=false()),
    Column("catch_up_window_sec", _FLOAT),
    Column("max_catch_up", Integer()),
    Column("jitter_sec", _FLOAT),
    _instant("starts_at"),
    _instant("ends_at"),
    Column("excluded", Json),
    Column("options", Json),
    Column("source", STATE, nullable=False, server_default=text("'runtime'")),
    Column("owner", NAME),
    Column("tags", Json),
    Column("last_error", Words),
    Column("failures", Integer(), nullable=False, server_default=text("0")),
    _instant("dropped_at"),
    _instant("runs_pruned_to"),
    _instant("last_evaluated_at"),
    _instant("last_enqueued_for"),
    _instant("next_due_at"),
    _instant("created_at", nullable=False),
    _instant("updated_at", nullable=False),
)
_index("schedules_due", schedules.c.enabled, schedules.c.next_due_at)

#: A run that is not over: it waits for its turn, or has a job that may not be over yet. NULL: nobody need look again.
WAITS, RUNS = "waits", "runs"
schedule_runs = _table(
    "schedule_runs",
    Column("id", Id, primary_key=True),
    Column("schedule_id", Id, ForeignKey(schedules.c.id, ondelete="CASCADE"), nullable=False),
    _instant("occurrence_time", nullable=False),
    _instant("detected_at", nullable=False),
    Column("action", STATE, nullable=False),
    Column("job_id", Id),
    Column("reason", Words),
    Column("evaluator_worker_id", Id),
    Column("cause", STATE, nullable=False, server_default=text("'due'")),
    Column("actor", NAME),
    Column("live", STATE),
    Column("number", Integer(), nullable=False, server_default=text("1")),
    _instant("last_time"),
    _instant("created_at", nullable=False),
    UniqueConstraint("schedule_id", "occurrence_time", name="jobwarden_schedule_runs_occurrence"),
)
_index("schedule_runs_live", schedule_runs.c.live, schedule_runs.c.schedule_id, only="live IS NOT NULL")

workers = _table(
    "workers",
    Column("id", Id, primary_key=True),
    Column("role", name_type(32), nullable=False),
    Column("host_id", name_type(64), nullable=False),
    Column("pid_scope", name_type(100), nullable=False),
    Column("hostname", NAME),
    Column("pid", Integer()),
    Column("start_time", BigInteger()),
    Column("nonce", name_type(32)),
    Column("incarnation", BigInteger()),
    Column("state", STATE, nullable=False),
    Column("assurance", name_type(1)),
    Column("capacity", Integer()),
    Column("current_load", Integer(), nullable=False, server_default=text("0")),
    Column("app_version", NAME),
    Column("python_version", NAME),
    Column("meta", Json),
    _instant("started_at", nullable=False),
    _instant("heartbeat_at", nullable=False),
    _instant("stopped_at"),
    Column("last_signal", name_type(32)),
    Column("stats", Json),
    Column("wish", STATE),
    Column("wish_actor", NAME),
    Column("wish_reason", Words),
)
_index("workers_state", workers.c.state, workers.c.heartbeat_at)
_index("workers_scope", workers.c.pid_scope, workers.c.role)

leases = _table(
    "leader_leases",
    Column("name", NAME, primary_key=True),
    Column("owner", NAME),
    Column("epoch", BigInteger(), nullable=False, server_default=text("0")),
    _instant("lease_expires_at"),
    _instant("acquired_at"),
    _instant("updated_at"),
)

lanes = _table(
    "lanes",
    Column("name", LANE, primary_key=True),
    Column("paused", Boolean(), nullable=False, server_default=false()),
    Column("paused_by", NAME),
    Column("paused_reason", Words),
    _instant("paused_at"),
    Column("max_running", Integer()),
    _instant("updated_at", nullable=False),
)

counters = _table(
    "counters",
    _serial(),
    Column("scope", STATE, nullable=False),
    Column("name", LANE, nullable=False),
    Column("state", STATE, nullable=False),
    Column("delta", BigInteger(), nullable=False),
)
_index("counters_fold", counters.c.scope, counters.c.name, counters.c.state)

#: How many attempts began and ended, and how long they waited and ran, by time; see `store.history`.
history = _table(
    "history",
    _serial(),
    Column("span", STATE, nullable=False),
    _instant("at", nullable=False),
    Column("kind", STATE, nullable=False),
    Column("lane", LANE, nullable=False),
    Column("job", NAME, nullable=False),
    Column("outcome", STATE, nullable=False),
    Column("cause", name_type(32), nullable=False),
    Column("actor", STATE, nullable=False),
    Column("bucket", SmallInteger(), nullable=False),
    Column("number", BigInteger(), nullable=False),
    Column("seconds", _FLOAT, nullable=False),
)
_index("history_at", history.c.span, history.c.at)

#: What people and programs changed, each row chained to the one before it by its hash; rows are only ever added.
audit = _table(
    "audit",
    Column("seq", BigInteger(), primary_key=True, autoincrement=False),
    _instant("at", nullable=False),
    Column("actor", NAME),
    Column("address", name_type(64)),
    Column("action", name_type(32), nullable=False),
    Column("kind", STATE, nullable=False),
    Column("target", NAME),
    Column("reason", Words),
    Column("before", Words),
    Column("after", Words),
    Column("previous", name_type(64), nullable=False),
    Column("hash", name_type(64), nullable=False),
)
_index("audit_target", audit.c.kind, audit.c.target, audit.c.seq)
_index("audit_actor", audit.c.actor, audit.c.seq)

#: The end of that chain: one row, locked by whoever adds to it.
audit_head = _table(
    "audit_head",
    Column("id", SmallInteger(), primary_key=True, autoincrement=False),
    Column("seq", BigInteger(), nullable=False),
    Column("hash", name_type(64), nullable=False),
)

tokens = _table(
    "tokens",
    Column("id", Id, primary_key=True),
    Column("name", NAME, nullable=False, unique=True),
    Column("hash", name_type(64), nullable=False, unique=True),
    Column("role", STATE, nullable=False),
    Column("created_by", NAME),
    _instant("created_at", nullable=False),
    _instant("expires_at"),
    _instant("last_used_at"),
    _instant("revoked_at"),
    Column("revoked_by", NAME),
)

users = _table(
    "users",
    Column("id", Id, primary_key=True),
    Column("name", NAME, nullable=False, unique=True),
    Column("password", Words, nullable=False),
    Column("role", STATE, nullable=False),
    Column("created_by", NAME),
    _instant("created_at", nullable=False),
    _instant("disabled_at"),
    _instant("updated_at", nullable=False),
)
