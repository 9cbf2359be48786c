"""The bare limit: the same row changes by hand, in the fewest statements a driver can send, prepared.

What is left out is everything that makes an engine of it: fences, options, decisions, ids that rise, evidence built
from what was found. Written as well as we can: a weak opponent would flatter us.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Sequence
from typing import Any, Protocol

import psycopg
import pymysql  # type: ignore[import-untyped]
import sqlalchemy as sa

from jobwarden.store.ids import new_ids

JOB, LANE, PARAMS, RESULT = "nothing_pool", "default", '{"number":1}', "null"
EVIDENCE = '{"pid":4242,"start_time":123456,"nonce":"0123456789abcdef","inode":98765}'
TOKEN = '{"token":1}'
WORKER = str(uuid.UUID(int=1))
BORN = (
    "id, job, lane, params, priority, idempotent, isolation, max_attempts, state, available_at, queued_at, created_at, "
    "updated_at"
)
NOTED = "job_id, level, to_state, actor_type, created_at"
HEADER = (
    "j.id, j.job, j.name, j.lane, j.params, j.tags, j.batch_id, j.scheduled_for, j.idempotent, j.isolation, "
    "j.timeout_sec, j.max_runtime_sec, j.grace_sec, j.memory_bytes, j.unspent_count"
)


class Hand(Protocol):
    """One connection of the driver's own."""

    def enqueue(self) -> None:
        """One job, its ledger row and its counter, committed."""
        ...

    def enqueue_many(self, count: int) -> None:
        """So many, in one transaction."""
        ...

    def claim(self, most: int) -> Sequence[Any]:
        """Take jobs to running with an attempt each, committed; the attempt's id leads each row."""
        ...

    def settle(self, claimed: Sequence[Any]) -> None:
        """Take them to succeeded, committed."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


_PG_ENQUEUE = f"""
WITH born AS (
    INSERT INTO jobwarden_jobs ({BORN})
    VALUES (%s, '{JOB}', '{LANE}', '{PARAMS}', 0, true, 'pool', 4, 'queued', now(), now(), now(), now()) RETURNING id
), noted AS (
    INSERT INTO jobwarden_job_events (job_id, level, to_state, actor_type, created_at)
    SELECT id, 'job', 'queued', 'client', now() FROM born
)
INSERT INTO jobwarden_counters (scope, name, state, delta) VALUES ('lane', '{LANE}', 'queued', 1)
"""
_PG_CLAIM = f"""
WITH picked AS (
    SELECT {HEADER}, row_number() OVER () AS place FROM (
        SELECT * FROM jobwarden_jobs WHERE lane = '{LANE}' AND state = 'queued'
        ORDER BY priority DESC, created_at, id LIMIT %(most)s FOR UPDATE SKIP LOCKED
    ) AS j
), seated AS (
    SELECT picked.*, (%(ids)s::uuid[])[place] AS attempt_id FROM picked
), moved AS (
    UPDATE jobwarden_jobs j SET state = 'running', attempt_count = j.attempt_count + 1, started_at = now(),
        current_attempt_id = seated.attempt_id, updated_at = now()
    FROM seated WHERE j.id = seated.id
), born AS (
    INSERT INTO jobwarden_job_attempts (id, job_id, attempt_number, state, fencing_token, worker_id, host_id, pid_scope,
        hostname, supervisor_pid, supervisor_start_time, child_pid, child_start_time, child_inode, proc_nonce,
        isolation, created_at, updated_at)
    SELECT attempt_id, id, 1, 'dispatched', 1, '{WORKER}', 'host', 'host:4026531836', 'host.example', 4242, 123456,
        4243, 123457, 98765, '0123456789abcdef', 'pool', now(), now() FROM seated
), noted AS (
    INSERT INTO jobwarden_job_events (job_id, attempt_id, level, from_state, to_state, attempt_to, actor_type, actor_id,
        context, created_at)
    SELECT id, attempt_id, 'job', 'queued', 'running', 'dispatched', 'supervisor', '{WORKER}', '{EVIDENCE}', now()
    FROM seated
), counted AS (
    INSERT INTO jobwarden_counters (scope, name, state, delta)
    SELECT 'lane', '{LANE}', 'queued', -count(*) FROM seated UNION ALL
    SELECT 'lane', '{LANE}', 'running', count(*) FROM seated
)
SELECT attempt_id, {HEADER.replace("j.", "")} FROM seated
"""
_PG_SETTLE = f"""
WITH given AS (SELECT * FROM unnest(%s::uuid[], %s::uuid[]) AS given(job_id, attempt_id)
), over AS (
    UPDATE jobwarden_job_attempts a SET state = 'succeeded', started_at = now(), finished_at = now(),
        updated_at = now(), duration_ms = 1, user_ms = 1, system_ms = 0, peak_rss_bytes = 30000000
    FROM given WHERE a.id = given.attempt_id
), moved AS (
    UPDATE jobwarden_jobs j SET state = 'succeeded', result = '{RESULT}', finished_at = now(), updated_at = now()
    FROM given WHERE j.id = given.job_id
), noted AS (
    INSERT INTO jobwarden_job_events (job_id, attempt_id, level, from_state, to_state, attempt_from, attempt_to,
        actor_type, actor_id, context, created_at)
    SELECT job_id, attempt_id, 'job', 'running', 'succeeded', 'dispatched', 'succeeded', 'worker', '{WORKER}',
        '{TOKEN}', now() FROM given
)
INSERT INTO jobwarden_counters (scope, name, state, delta)
SELECT 'lane', '{LANE}', 'running', -count(*) FROM given UNION ALL
SELECT 'lane', '{LANE}', 'succeeded', count(*) FROM given
"""
_BY_KEY = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c jit=off"  # as our own connections


class PostgreSQLHand:
    """psycopg: one prepared statement a step, COPY for many."""

    def __init__(self, url: sa.URL, lane: str) -> None:
        plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._lane = lane
        self._enqueue, self._claim, self._settle = (
            sql.replace(f"'{LANE}'", f"'{lane}'") for sql in (_PG_ENQUEUE, _PG_CLAIM, _PG_SETTLE)
        )
        self._connection = psycopg.connect(plain, autocommit=True, prepare_threshold=0, options=_BY_KEY)

    def enqueue(self) -> None:
        self._connection.execute(self._enqueue, new_ids(1))

    def enqueue_many(self, count: int) -> None:
        ids = new_ids(count)
        stamp = "now"
        with self._connection.transaction(), self._connection.cursor() as cursor:
            with cursor.copy(f"COPY jobwarden_jobs ({BORN}) FROM STDIN") as copy:
                copy.write(
                    "".join(
                        f"{id}\t{JOB}\t{self._lane}\t{PARAMS}\t0\tt\tpool\t4\tqueued\t{stamp}\t{stamp}\t{stamp}\t{stamp}\n"
                        for id in ids
                    )
                )
            with cursor.copy(f"COPY jobwarden_job_events ({NOTED}) FROM STDIN") as copy:
                copy.write("".join(f"{id}\tjob\tqueued\tclient\t{stamp}\n" for id in ids))
            cursor.execute(
                "INSERT INTO jobwarden_counters (scope, name, state, delta) VALUES ('lane', %s, 'queued', %s)",
                (self._lane, count),
            )

    def claim(self, most: int) -> Sequence[Any]:
        return self._connection.execute(self._claim, {"most": most, "ids": new_ids(most)}).fetchall()

    def settle(self, claimed: Sequence[Any]) -> None:
        self._connection.execute(self._settle, ([row[1] for row in claimed], [row[0] for row in claimed]))

    def close(self) -> None:
        self._connection.close()


class DriverHand:
    """MariaDB over PyMySQL and SQLite over sqlite3: multi-row inserts, updates by a list of keys."""

    def __init__(self, url: sa.URL, lane: str) -> None:
        self._lane = lane
        self._lite = url.get_backend_name() == "sqlite"
        self._mark = "?" if self._lite else "%s"
        self._now = "strftime('%Y-%m-%d %H:%M:%f000', 'now')" if self._lite else "utc_timestamp(6)"
        self._connection = _sqlite(url) if self._lite else _mysql(url)

    def enqueue(self) -> None:
        self.enqueue_many(1)

    def enqueue_many(self, count: int) -> None:
        now, ids = self._now, new_ids(count)
        cursor = self._begin()
        born = f"(?, '{JOB}', '{self._lane}', '{PARAMS}', 0, 1, 'pool', 4, 'queued', {now}, {now}, {now}, {now})"
        noted = f"(?, 'job', 'queued', 'client', {now})"
        for first in range(0, count, 1000):
            some = ids[first : first + 1000]
            self._insert(cursor, f"jobwarden_jobs ({BORN})", born, some)
            self._insert(cursor, f"jobwarden_job_events ({NOTED})", noted, some)
        self._count(cursor, {"queued": count})
        self._connection.commit()

    def claim(self, most: int) -> Sequence[Any]:
        now, cursor = self._now, self._begin()
        found: list[Any]
        lock = "" if self._lite else "FOR UPDATE SKIP LOCKED"
        cursor.execute(
            f"SELECT {HEADER} FROM jobwarden_jobs j WHERE lane = '{self._lane}' AND state = 'queued' "
            f"ORDER BY priority DESC, created_at, id LIMIT {most} {lock}"
        )
        found = list(cursor.fetchall())
        if found:
            ids = new_ids(len(found))
            pairs = [word for row, id in zip(found, ids, strict=True) for word in (row[0], id)]
            cases = " ".join(["WHEN ? THEN ?"] * len(found))
            self._say(
                cursor,
                f"UPDATE jobwarden_jobs SET state = 'running', attempt_count = attempt_count + 1, started_at = {now}, "
                f"current_attempt_id = CASE id {cases} END, updated_at = {now} WHERE id IN ({_marks(found)})",
                [*pairs, *(row[0] for row in found)],
            )
            self._attempts(cursor, pairs)
            self._count(cursor, {"queued": -len(found), "running": len(found)})
            found = [(id, *row) for row, id in zip(found, ids, strict=True)]
        self._connection.commit()
        return found

    def settle(self, claimed: Sequence[Any]) -> None:
        now, cursor = self._now, self._begin()
        keys = _marks(claimed)
        self._say(
            cursor,
            f"UPDATE jobwarden_job_attempts SET state = 'succeeded', started_at = {now}, finished_at = {now}, "
            f"updated_at = {now}, duration_ms = 1, user_ms = 1, system_ms = 0, peak_rss_bytes = 30000000 "
            f"WHERE id IN ({keys})",
            [row[0] for row in claimed],
        )
        self._say(
            cursor,
            f"UPDATE jobwarden_jobs SET state = 'succeeded', result = '{RESULT}', finished_at = {now}, "
            f"updated_at = {now} WHERE id IN ({keys})",
            [row[1] for row in claimed],
        )
        self._insert(
            cursor,
            "jobwarden_job_events (job_id, attempt_id, level, from_state, to_state, attempt_from, attempt_to, "
            "actor_type, actor_id, context, created_at)",
            f"(?, ?, 'job', 'running', 'succeeded', 'dispatched', 'succeeded', 'worker', '{WORKER}', '{TOKEN}', {now})",
            [word for row in claimed for word in (row[1], row[0])],
        )
        self._count(cursor, {"running": -len(claimed), "succeeded": len(claimed)})
        self._connection.commit()

    def close(self) -> None:
        self._connection.close()

    def _attempts(self, cursor: Any, pairs: list[str]) -> None:
        now = self._now
        self._insert(
            cursor,
            "jobwarden_job_attempts (job_id, id, attempt_number, state, fencing_token, worker_id, host_id, pid_scope, "
            "hostname, supervisor_pid, supervisor_start_time, child_pid, child_start_time, child_inode, proc_nonce, "
            "isolation, created_at, updated_at)",
            f"(?, ?, 1, 'dispatched', 1, '{WORKER}', 'host', 'host:4026531836', 'host.example', 4242, 123456, 4243, "
            f"123457, 98765, '0123456789abcdef', 'pool', {now}, {now})",
            pairs,
        )
        self._insert(
            cursor,
            "jobwarden_job_events (job_id, attempt_id, level, from_state, to_state, attempt_to, actor_type, actor_id, "
            "context, created_at)",
            f"(?, ?, 'job', 'queued', 'running', 'dispatched', 'supervisor', '{WORKER}', '{EVIDENCE}', {now})",
            pairs,
        )

    def _begin(self) -> Any:
        cursor = self._connection.cursor()
        cursor.execute("BEGIN IMMEDIATE" if self._lite else "BEGIN")
        return cursor

    def _insert(self, cursor: Any, into: str, row: str, words: list[str]) -> None:
        self._say(cursor, f"INSERT INTO {into} VALUES {', '.join([row] * (len(words) // row.count('?')))}", words)

    def _count(self, cursor: Any, deltas: dict[str, int]) -> None:
        rows = ", ".join(f"('lane', '{self._lane}', '{state}', {delta})" for state, delta in deltas.items())
        cursor.execute(f"INSERT INTO jobwarden_counters (scope, name, state, delta) VALUES {rows}")

    def _say(self, cursor: Any, sql: str, words: list[str]) -> None:
        cursor.execute(sql if self._lite else sql.replace("?", "%s"), words)


def _marks(rows: Sequence[Any]) -> str:
    return ", ".join("?" * len(rows))


def _sqlite(url: sa.URL) -> Any:
    connection = sqlite3.connect(str(url.database), isolation_level=None, timeout=30)
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _mysql(url: sa.URL) -> Any:
    return pymysql.connect(
        host=url.host or "127.0.0.1",
        port=url.port or 3306,
        user=url.username,
        password=url.password or "",
        database=url.database,
        charset="utf8mb4",
        init_command="SET tx_isolation = 'READ-COMMITTED'",
    )


def hand(url: str, lane: str = LANE) -> Hand:
    """A connection of the engine's own driver, for the jobs of one lane."""
    parsed = sa.make_url(url)
    return PostgreSQLHand(parsed, lane) if parsed.get_backend_name() == "postgresql" else DriverHand(parsed, lane)
