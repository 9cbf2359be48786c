"""Metrics from a daemon itself, for Prometheus to scrape where no API is served; off unless ``metrics_listen`` is set.

Whoever asks gets what the database knows of all, read at that moment on a thread and a connection of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from sqlalchemy.exc import DBAPIError

from jobwarden.config import LISTEN, Settings
from jobwarden.daemons.log import configure
from jobwarden.daemons.narrator import Narrator
from jobwarden.errors import ConfigurationError
from jobwarden.store.database import Database
from jobwarden.views.metrics import metrics

_HERE = "127.0.0.1"


class _Collected:
    """A collector that reads when it is asked."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> list[Metric]:
        """Nothing beforehand: the database need not be there yet."""
        return []

    def collect(self) -> Iterator[Metric]:
        """All metrics; where the database cannot be reached, only that."""
        found: list[Metric] = []
        try:
            with self._database.read() as transaction:
                found = list(metrics(transaction))
        except DBAPIError:
            found = []
        reachable = GaugeMetricFamily("jobwarden_database_reachable", "Whether the database answered just now")
        reachable.add_metric([], float(bool(found)))
        yield reachable
        yield from found


@contextmanager
def exporting(settings: Settings, role: str) -> Iterator[str | None]:
    """Serve metrics meanwhile, if that is wished; gives the address, and the log says it.

    Raises `ConfigurationError` for an address that cannot be had.
    """
    if settings.metrics_listen is None:
        yield None
        return
    configure(settings.log_format, role, "-")
    database = Database(settings)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(database))
    server, thread, address = _served(settings.metrics_listen, registry)
    try:
        yield address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        database.dispose()


def _served(where: str, registry: CollectorRegistry) -> tuple[Any, Any, str]:
    found = LISTEN.fullmatch(where)
    host, port = (found["host"] or _HERE, int(found["port"])) if found else (_HERE, 0)
    try:
        server, thread = start_http_server(port, host.strip("[]"), registry)
    except (OSError, OverflowError) as error:
        rule = f"nothing can be served there: {getattr(error, 'strerror', None) or error}"
        raise ConfigurationError(
            name="metrics_listen", value=where, rule=rule, way_out="choose another address or port"
        ) from error
    address = f"http://{host}:{server.server_port}/metrics"
    Narrator().exports(address)
    return server, thread, address
