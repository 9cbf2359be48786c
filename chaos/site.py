"""The site: a private database server that hosts reach over their cables, and what can be done to it."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from chaos.hosts import SERVER_ADDRESS
from jobwarden.config import Settings
from jobwarden.store.database import Database
from jobwarden.store.migrate import migrate
from tests.support.servers import MariaDB, NetworkServer, PostgreSQL, Server, SQLite

_USER = "campaign"
Undo = Callable[[], None]
#: A server that is killed in the middle of a page must find it whole again.
_WHOLE_PAGES: dict[str, dict[str, str | int]] = {
    "postgresql": {"full_page_writes": "on"},
    "mariadb": {"innodb_doublewrite": 1},
}


class Site:
    """One server with one migrated database. ``far`` is its address for hosts, ``near`` for the campaign itself."""

    engine: str
    networked = True

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.near = self.far = ""

    def __enter__(self) -> Self:
        self._server.start()
        self._server.prepare(migrate_at)
        self.near = self._server.create_database()
        self.far = self._seen_from_afar(self.near)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None and self.log:
            print(f"--- log of the server\n{self.log}", file=sys.stderr)
        self._server.remove()

    @property
    def log(self) -> str:
        """The end of what the server said."""
        return self._server.log if isinstance(self._server, NetworkServer) else ""

    def restart(self, mode: str) -> None:
        """Stop the server and start it again."""
        self._network_server.restart(mode)

    def revive(self) -> None:
        """Start the server if it is not there, though nobody here stopped it."""
        print(f"--- the server does not answer\n{self.log}", file=sys.stderr)
        self._network_server.start()

    def outage(self) -> Undo:
        """Stop the server; the way back starts it."""
        self._network_server.stop("fast")
        return self._network_server.start

    def hang(self) -> Undo:
        """Freeze the server; the way back lets it go on."""
        self._network_server.pause()
        return self._network_server.resume

    def terminate(self) -> None:
        """End every connection of the hosts at once."""
        raise NotImplementedError

    def read_only(self) -> Undo:
        """Refuse every write; the way back takes them again."""
        raise NotImplementedError

    _server: Server

    @property
    def _network_server(self) -> NetworkServer:
        assert isinstance(self._server, NetworkServer)
        return self._server

    def _seen_from_afar(self, url: str) -> str:
        return sa.make_url(url).set(host=SERVER_ADDRESS).render_as_string(hide_password=False)


class PostgreSQLSite(Site):
    """PostgreSQL, which also listens on the server's end of the cables."""

    engine = "postgresql"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        rules = folder / "pg_hba.conf"
        rules.write_text("local all all trust\nhost all all 0.0.0.0/0 trust\n")
        rules.chmod(0o644)
        listen = {"listen_addresses": f"127.0.0.1,{SERVER_ADDRESS}", "hba_file": str(rules)}
        self._server = PostgreSQL({**PostgreSQL.fast_settings(), **_WHOLE_PAGES[self.engine], **listen})

    def terminate(self) -> None:
        self._network_server.admin(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname <> 'postgres' AND pid <> pg_backend_pid()"
        )

    def read_only(self) -> Undo:
        self._say("on")
        return lambda: self._say("off")

    def _say(self, value: str) -> None:
        self._network_server.admin(
            f"ALTER SYSTEM SET default_transaction_read_only = {value}", "SELECT pg_reload_conf()"
        )


class MariaDBSite(Site):
    """MariaDB, with a user for the hosts who may not write where the server is read-only."""

    engine = "mariadb"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        listen: dict[str, str | int] = {"bind_address": f"127.0.0.1,{SERVER_ADDRESS}", "skip_name_resolve": 1}
        self._server = MariaDB({**MariaDB.fast_settings(), **_WHOLE_PAGES[self.engine], **listen})

    def __enter__(self) -> Self:
        super().__enter__()
        name = sa.make_url(self.near).database
        self._network_server.admin(f"CREATE USER {_USER}@'%'", f"GRANT ALL ON {name}.* TO {_USER}@'%'")
        self.near, self.far = (
            sa.make_url(url).set(username=_USER).render_as_string(hide_password=False) for url in (self.near, self.far)
        )
        return self

    def terminate(self) -> None:
        self._network_server.admin(f"KILL USER {_USER}")

    def read_only(self) -> Undo:
        self._network_server.admin("SET GLOBAL read_only = 1")
        return lambda: self._network_server.admin("SET GLOBAL read_only = 0")


class SQLiteSite(Site):
    """One file on the machine's memory; its only outage is another program that keeps it locked."""

    engine = "sqlite"
    networked = False

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = SQLite()

    def lock(self) -> Undo:
        """Keep the file locked for writing; the way back lets go."""
        connection = sqlite3.connect(sa.make_url(self.near).database or "", check_same_thread=False, timeout=5)
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
        return connection.close

    def _seen_from_afar(self, url: str) -> str:
        return url


SITES: dict[str, type[Site]] = {kind.engine: kind for kind in (PostgreSQLSite, MariaDBSite, SQLiteSite)}


def migrate_at(url: str) -> None:
    """Migrate the database at an address."""
    database = Database(Settings(database_url=url))
    migrate(database)
    database.dispose()
