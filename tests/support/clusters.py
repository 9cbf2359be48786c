"""Servers of which there are several: a PostgreSQL standby that takes over, and a MariaDB Galera cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import sqlalchemy as sa

from tests.support import binaries
from tests.support.servers import START_TIMEOUT, MariaDB, PostgreSQL, Settings, free_port
from tests.support.waiting import eventually


class Standby(PostgreSQL):
    """A copy of a running PostgreSQL cluster that follows it; commits there wait for it once it is `followed`."""

    def __init__(self, primary: PostgreSQL) -> None:
        super().__init__(primary.settings)
        self.primary = primary

    def followed(self) -> None:
        """From now on the primary acknowledges no commit that is not here too."""
        self.primary.admin("ALTER SYSTEM SET synchronous_standby_names = 'standby'", "SELECT pg_reload_conf()")
        eventually(self._synchronous, START_TIMEOUT, why=lambda: self.log)

    def promote(self) -> None:
        """Take over: wait until writes are taken."""
        self.admin("SELECT pg_promote(true, 60)")

    def _synchronous(self) -> bool:
        with self.primary._connect() as connection:
            states = connection.exec_driver_sql("SELECT sync_state FROM pg_stat_replication").scalars().all()
        return list(states) == ["sync"]

    def _initialise(self) -> None:
        origin = f"host=127.0.0.1 port={self.primary.port} user=jobwarden application_name=standby"
        command = str(binaries.postgresql() / "pg_basebackup")
        self._run([command, "-D", "data", "-d", origin, "-X", "stream", "-c", "fast", "-R", "--no-sync"])


class GaleraNode(MariaDB):
    """One node of a Galera cluster on 127.0.0.1. The first given founds the cluster, the others join it."""

    def __init__(self, number: int, ports: list[int], settings: Settings | None = None) -> None:
        super().__init__(settings)
        self.number, self._ports = number, ports
        self._founds = number == 0

    def _command(self) -> list[str]:
        base = self._ports[self.number]
        options = {
            "gmcast.listen_addr": f"tcp://127.0.0.1:{base}",
            "ist.recv_addr": f"127.0.0.1:{free_port()}",
            "gcache.size": "16M",
            "base_port": base,
            "evs.keepalive_period": "PT0.5S",
            "evs.suspect_timeout": "PT2S",
            "evs.inactive_timeout": "PT4S",
        }
        cluster = {
            "wsrep_on": "ON",
            "wsrep_provider": str(binaries.galera()),
            "wsrep_provider_options": ";".join(f"{name}={value}" for name, value in options.items()),
            "wsrep_cluster_address": "gcomm://" + ",".join(f"127.0.0.1:{port}" for port in self._ports),
            "wsrep_node_address": "127.0.0.1",
            "wsrep_node_name": f"node{self.number}",
            "wsrep_sst_method": "rsync",
            "wsrep_sst_receive_address": f"127.0.0.1:{free_port()}",
            "binlog_format": "ROW",
            "innodb_autoinc_lock_mode": 2,
        }
        new = ["--wsrep-new-cluster"] if self._founds else []
        self._founds = False
        return [*super()._command(), *(f"--{name.replace('_', '-')}={value}" for name, value in cluster.items()), *new]

    def _wait_until_it_answers(self) -> None:
        super()._wait_until_it_answers()
        eventually(self.ready, START_TIMEOUT, why=lambda: self.log)

    def ready(self) -> bool:
        """Whether it takes statements as a member of the cluster."""
        return self._status("wsrep_ready") == "ON"

    def size(self) -> int:
        """How many nodes it sees."""
        return int(self._status("wsrep_cluster_size") or 0)

    def _status(self, name: str) -> str | None:
        try:
            with self._connect() as connection:
                row = connection.exec_driver_sql(f"SHOW STATUS LIKE '{name}'").one_or_none()
        except sa.exc.DBAPIError:
            return None
        return str(row[1]) if row is not None else None


@contextlib.contextmanager
def galera(count: int = 3) -> Iterator[list[GaleraNode]]:
    """A cluster of so many nodes, of which one may be lost if there are three."""
    ports = [free_port() for _ in range(count)]
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(GaleraNode(number, ports)) for number in range(count)]
        eventually(lambda: all(node.size() == count for node in nodes), START_TIMEOUT)
        yield nodes
