"""MariaDB and MySQL: the fleet, equal in behaviour.

READ COMMITTED, state changed in place and rows locked in primary-key order: on a nearly empty queue a table that rows
are deleted from to claim them deadlocks hundreds of times in seconds under either isolation level, while this shape
had none (MariaDB 10.11, six claimers and two producers).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from jobwarden.store.dialects.facts import Facts, Fault, Limits, Server, version_of

_CONFLICTS = {1205, 1213, 1969, 3024, 3572, 1020}
_LOST = {1040, 1041, 1053, 1077, 1129, 1152, 1158, 1159, 1160, 1161, 1184, 1203, 1226, 1317, 1927, 4031}
_LOST |= {2002, 2003, 2006, 2013, 2055}  # the driver's own
_LOST |= {1047}  # a node of a cluster that is not part of it now
_READ_ONLY = {1290, 1792, 1836}
_DATA = {1048, 1062, 1264, 1292, 1366, 1406, 3140, 4025, 4038}


def _session(limits: Limits) -> str:
    """What a connection asks for itself, so that one who vanished holds no lock for long; part of it MariaDB alone."""
    lock, rest = limits.haste or limits.statement, limits.haste or limits.statement * 4
    only = f"idle_transaction_timeout = {_whole(rest)}, max_statement_time = {_whole(limits.statement)}"
    return f"SET SESSION innodb_lock_wait_timeout = {_whole(lock)} /*M! , {only} */"


def _whole(seconds: float) -> int:
    return max(1, int(seconds))


class MySQL(Facts):
    name = "mysql"
    drivers = {"pymysql": "mysql", "mysqldb": "mysql"}
    oldest = {"MariaDB": (10, 6), "MySQL": (8, 0, 4)}  # JSON_TABLE and SKIP LOCKED
    recurses_along_indexes = False
    index_hint = "FORCE INDEX ({})"

    def connect_args(self, limits: Limits, pooled: bool) -> dict[str, Any]:
        answer = int(limits.answer)
        return {
            "charset": "utf8mb4",
            "connect_timeout": _whole(limits.connect),
            "read_timeout": answer,
            "write_timeout": answer,
        }

    def connect(self, driver: Any, limits: Limits, *args: Any, **named: Any) -> Any:
        if driver.__name__ != "pymysql":
            return super().connect(driver, limits, *args, **named)
        # It has no deadline for the greeting but that for an answer, which is meant for statements and much too long.
        raw = driver.connect(*args, **{**named, "read_timeout": named["connect_timeout"]})
        raw._read_timeout = named["read_timeout"]  # noqa: SLF001
        return raw

    def prepare(self, raw: Any, durability: str, limits: Limits) -> None:
        with raw.cursor() as cursor:
            cursor.execute(_session(limits))

    def descriptor(self, raw: Any) -> int | None:
        connected = getattr(raw, "_sock", None)
        return connected.fileno() if connected is not None else None

    def engine_options(self) -> dict[str, Any]:
        # Every transaction of ours is ended before its connection goes back: a rollback there would be one trip more.
        return {"isolation_level": "READ COMMITTED", "pool_reset_on_return": None}

    def server(self, connection: Any) -> Server:
        found, read_only = connection.execute(text("SELECT version(), @@global.read_only")).one()
        product = "MariaDB" if "mariadb" in found.lower() else "MySQL"
        return Server(product, version_of(found.removeprefix("5.5.5-")), not read_only)

    def lock_schema(self, connection: Any, name: str) -> None:
        connection.execute(text("SELECT get_lock(:name, 300)"), {"name": name[:60]})

    def unlock_schema(self, connection: Any, name: str) -> None:
        connection.execute(text("SELECT release_lock(:name)"), {"name": name[:60]})

    def fault(self, error: BaseException) -> Fault:
        code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        if code in _CONFLICTS:
            return Fault.CONFLICT
        if code in _READ_ONLY:
            return Fault.READ_ONLY
        if code in _LOST or code == 0:
            return Fault.LOST
        return Fault.DATA if code in _DATA else Fault.OTHER
