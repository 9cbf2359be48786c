"""PostgreSQL: the fleet. A step is one statement with data-modifying CTEs, and NOTIFY wakes who waits."""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from jobwarden.store.dialects.facts import Facts, Fault, Server

_CONFLICTS = {"40001", "40P01", "55P03", "57014", "55006"}
_LOST_CLASSES = ("08", "53", "57P", "58")


class PostgreSQL(Facts):
    name = "postgresql"
    drivers = {"psycopg": "postgres"}
    oldest = {"PostgreSQL": (12,)}
    chains_writes = True
    returns_updates = True
    notifies = True

    def connect_args(self, statement_timeout: float, connect_timeout: float, pooled: bool) -> dict[str, Any]:
        network = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
        if pooled:
            return {"connect_timeout": int(connect_timeout), "prepare_threshold": None, **network}
        milliseconds = int(statement_timeout * 1000)
        return {
            "connect_timeout": max(2, int(connect_timeout)),
            "tcp_user_timeout": milliseconds,
            "application_name": "jobwarden",
            "options": f"-c statement_timeout={milliseconds} -c idle_in_transaction_session_timeout={milliseconds * 4}",
            **network,
        }

    def server(self, connection: Any) -> Server:
        found = connection.execute(text("SHOW server_version_num")).scalar_one()
        number = int(found)
        read_only = connection.execute(
            text("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool")
        ).scalar_one()
        return Server("PostgreSQL", (number // 10000, number % 10000), not read_only)

    def lock_schema(self, connection: Any, name: str) -> None:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name})

    def fault(self, error: BaseException) -> Fault:
        code = getattr(error, "sqlstate", None)
        if code is None:
            return Fault.DATA if type(error).__name__ == "DataError" else Fault.LOST
        if code in _CONFLICTS:
            return Fault.CONFLICT
        if code == "25006":
            return Fault.READ_ONLY
        if code.startswith(_LOST_CLASSES):
            return Fault.LOST
        return Fault.DATA if code.startswith(("22", "23")) else Fault.OTHER
