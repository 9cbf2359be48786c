"""PostgreSQL: the fleet. A step is one statement with data-modifying CTEs, and NOTIFY wakes who waits."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from sqlalchemy import text

from jobwarden.store.dialects.facts import Facts, Fault, Limits, Server

_CONFLICTS = {"40001", "40P01", "55P03", "57014", "55006"}
# Our statements name few rows by key and join from there, in tables that may be new and unanalysed: without this the
# planner scans such tables whole, or joins them the other way round.
_BY_KEY = "-c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c join_collapse_limit=1 -c jit=off"
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})
_SEVERAL_HOSTS = re.compile(
    r"(?P<before>postgresql(\+\w+)?://([^/?]*@)?)(?P<hosts>[^/?@,]+(,[^/?@,]+)+)(?P<after>.*)\Z", re.DOTALL
)
_BLOCK = 512  # lines sent at once: the server reads them while the next are made
_LOST_CLASSES = ("08", "53", "57P", "58", "25P03", "25P04")  # the last: its transaction rested too long


def _blocks(lines: Iterable[str]) -> Iterator[str]:
    source = iter(lines)
    while some := "".join(islice(source, _BLOCK)):
        yield some


class Listener:
    """Notifications on one channel, over a connection of its own."""

    def __init__(self, raw: Any, channel: str) -> None:
        self._raw = raw
        self._descriptor = os.dup(raw.fileno())  # stays good for whoever watches when the connection is lost
        raw.autocommit = True
        raw.execute(f'LISTEN "{channel}"')

    def fileno(self) -> int:
        """For a selector."""
        return self._descriptor

    def heard(self) -> bool:
        """Take what has come; whether anything had. Raises OSError if the connection is lost."""
        try:
            return bool(list(self._raw.notifies(timeout=0)))
        except Exception as error:
            raise ConnectionResetError("the listening connection is lost") from error

    def close(self) -> None:
        """Close the connection."""
        os.close(self._descriptor)
        self._raw.close()


def spread_hosts(url: str) -> str:
    """``postgresql://one:5432,two:5433/name`` as SQLAlchemy spells it: the hosts are tried in turn until one will do.

    Unless the URL says otherwise, that is one which takes writes: after a failover, the one that was promoted.
    """
    found = _SEVERAL_HOSTS.match(url)
    if found is None:
        return url
    hosts = "&".join(f"host={host}" for host in found["hosts"].split(","))
    if "target_session_attrs=" not in url:
        hosts += "&target_session_attrs=read-write"
    return f"{found['before']}{found['after']}{'&' if '?' in found['after'] else '?'}{hosts}"


def _rests(limits: Limits) -> str:
    """How long a transaction of ours may rest, so that one who vanished in the middle of it holds no lock for long."""
    if limits.haste is None:
        return f"-c idle_in_transaction_session_timeout={int(limits.statement * 4000)}"
    milliseconds = int(limits.haste * 1000)
    return f"-c idle_in_transaction_session_timeout={milliseconds} -c lock_timeout={milliseconds}"


class PostgreSQL(Facts):
    name = "postgresql"
    drivers = {"psycopg": "postgres"}
    oldest = {"PostgreSQL": (12,)}
    chains_writes = True
    returns_updates = True
    notifies = True
    pours_rows = True
    compares_entries = True
    orders_bytes = False  # but by the database's language

    def connect_args(self, limits: Limits, pooled: bool) -> dict[str, Any]:
        network = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
        if pooled:
            return {"connect_timeout": int(limits.connect), "prepare_threshold": None, **network}
        milliseconds = int(limits.statement * 1000)
        return {
            "connect_timeout": max(2, int(limits.connect)),
            "tcp_user_timeout": milliseconds,
            "application_name": "jobwarden",
            "options": f"-c statement_timeout={milliseconds} {_rests(limits)} {_BY_KEY}",
            **network,
        }

    def connect(self, driver: Any, limits: Limits, *args: Any, **named: Any) -> Any:
        from jobwarden.store.dialects.patience import PatientConnection  # noqa: PLC0415 - an optional driver

        raw = PatientConnection.connect(*args, **named)
        raw.deadline = limits.answer
        return raw

    def descriptor(self, raw: Any) -> int | None:
        return None if raw.closed else int(raw.fileno())

    def prepare(self, raw: Any, durability: str, limits: Limits) -> None:
        from psycopg.types.string import TextLoader  # noqa: PLC0415 - an optional driver

        raw.adapters.register_loader("uuid", TextLoader)  # ids are texts: to make UUIDs of them and print these is dear

    def server(self, connection: Any) -> Server:
        found = connection.execute(text("SHOW server_version_num")).scalar_one()
        number = int(found)
        read_only = connection.execute(
            text("SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool")
        ).scalar_one()
        return Server("PostgreSQL", (number // 10000, number % 10000), not read_only)

    def listen(self, raw: Any, channel: str) -> Listener:
        return Listener(raw, channel)

    def pour(self, raw: Any, sql_name: str, columns: Iterable[str], lines: Iterable[str]) -> None:
        with raw.cursor() as cursor, cursor.copy(f"COPY {sql_name} ({', '.join(columns)}) FROM STDIN") as copy:
            for some in _blocks(lines):
                copy.write(some)

    def field(self, value: str | float | bool | None) -> str:
        if value is None:
            return "\\N"
        text = str(value)
        return text if text.isprintable() and "\\" not in text else text.translate(_ESCAPES)

    def make_schema(self, connection: Any, name: str) -> None:
        found = connection.execute(text("SELECT 1 FROM pg_namespace WHERE nspname = :name"), {"name": name})
        if found.scalar() is None:  # IF NOT EXISTS would need the right to create one even where it is there
            connection.execute(text(f'CREATE SCHEMA "{name}"'))

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
