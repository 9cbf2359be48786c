"""MariaDB and MySQL: the fleet, equal in behaviour.

READ COMMITTED, state changed in place and rows locked in primary-key order: on a nearly empty queue a table that rows
are deleted from to claim them deadlocks hundreds of times in seconds under either isolation level, while this shape
had none (MariaDB 10.11, six claimers and two producers).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from jobwarden.store.dialects.facts import Facts, Fault, Server, version_of

_CONFLICTS = {1205, 1213, 1969, 3024, 3572, 1020}
_LOST = {1040, 1041, 1053, 1077, 1152, 1159, 1160, 1161, 1184, 1203, 1226, 1317, 1927, 2002, 2003, 2006, 2013, 2055}
_READ_ONLY = {1290, 1792, 1836}
_DATA = {1048, 1062, 1264, 1292, 1366, 1406, 3140, 4025, 4038}


class MySQL(Facts):
    name = "mysql"
    drivers = {"pymysql": "mysql", "mysqldb": "mysql"}
    oldest = {"MariaDB": (10, 6), "MySQL": (8, 0, 4)}  # JSON_TABLE and SKIP LOCKED

    def connect_args(self, statement_timeout: float, connect_timeout: float, pooled: bool) -> dict[str, Any]:
        deadline = max(1, int(statement_timeout))
        return {
            "charset": "utf8mb4",
            "connect_timeout": max(1, int(connect_timeout)),
            "read_timeout": deadline + 1,
            "write_timeout": deadline + 1,
        }

    def engine_options(self) -> dict[str, Any]:
        return {"isolation_level": "READ COMMITTED"}

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
