"""One server of each engine for a whole test run, started when first needed, and fresh databases on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.servers import JANITOR, SERVERS, Migrate, NetworkServer, Server


class Engines:
    """The run's servers by engine; `close` ends them all."""

    def __init__(self, migrate: Migrate) -> None:
        self._migrate = migrate
        self._servers: dict[str, Server] = {}

    def server(self, engine: str) -> Server:
        """The run's server of an engine, running."""
        if engine not in self._servers:
            self._servers[engine] = SERVERS[engine]()
        server = self._servers[engine]
        server.start()
        return server

    @contextmanager
    def database(self, engine: str) -> Iterator[str]:
        """The address of a fresh, migrated database, dropped afterwards."""
        server = self.server(engine)
        server.prepare(self._migrate)
        url = server.create_database()
        try:
            yield url
        finally:
            self.server(engine).drop_database(url)

    @contextmanager
    def empty_database(self, engine: str) -> Iterator[str]:
        """The address of a database without any table, dropped afterwards."""
        url = self.server(engine).create_empty()
        try:
            yield url
        finally:
            self.server(engine).drop_database(url)

    def close(self) -> None:
        """End every server and remove what they left."""
        for server in self._servers.values():
            server.remove()
        self._servers.clear()

    def pids(self) -> set[int]:
        """The pids of the servers and of their janitor."""
        servers = [server.pid for server in self._servers.values() if isinstance(server, NetworkServer)]
        return {pid for pid in (*servers, JANITOR.pid) if pid is not None}
