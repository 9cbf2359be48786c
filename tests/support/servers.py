"""Private, throwaway database servers: own data folder, own socket, own port; nothing of the machine's is touched.

    with PostgreSQL() as server:
        server.prepare(migrate_url)            # once: what every fresh database shall hold
        url = server.create_database()         # cheap: a fresh database, already migrated

No server outlives the process that started it: a janitor process ends it and removes its folder even after SIGKILL.
Plain classes without pytest, for tests, bench and campaigns alike. By default a committed transaction survives the
death of the server process but not that of the machine (no fsync); ``durable=True`` has the engine's own defaults on
a real disk.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

import sqlalchemy as sa
from sqlalchemy.pool import NullPool

from tests.support import binaries
from tests.support.janitor import Janitor
from tests.support.processes import Proc, descendants, kill_tree, unmarked_environment
from tests.support.waiting import eventually

Migrate = Callable[[str], None]
Settings = Mapping[str, str | int]

JANITOR = Janitor()
START_TIMEOUT = 60.0
_ENOUGH_MEMORY = 1 << 30


class ServerFailed(RuntimeError):
    """A server did not start, or went away; its own last words are in the message."""


def fast_folder() -> Path:
    """Where throwaway data goes: memory if there is a gigabyte of it, else the temporary folder."""
    shm = Path("/dev/shm")
    with contextlib.suppress(OSError):
        room = os.statvfs(shm)
        if os.access(shm, os.W_OK) and room.f_bavail * room.f_frsize >= _ENOUGH_MEMORY:
            return shm
    return Path(tempfile.gettempdir())


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server(ABC):
    """One database server of our own; `start` it, or use it as a context manager."""

    engine: ClassVar[str]

    def __init__(self, settings: Settings | None = None, *, durable: bool = False, base: Path | None = None) -> None:
        self.settings: dict[str, str | int] = {**({} if durable else self.fast_settings()), **(settings or {})}
        self._base = base or (Path("/var/tmp") if durable else fast_folder())
        self.folder: Path | None = None
        self._numbers = itertools.count(1)
        self._prepared = False

    @classmethod
    def fast_settings(cls) -> dict[str, str | int]:
        """Settings that make it fast and keep every commit through the death of the server process."""
        return {}

    @property
    def started(self) -> bool:
        """Whether `start` has been called and `remove` has not."""
        return self.folder is not None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.remove()

    def start(self) -> None:
        """Make the folder at first, and run the server until it answers; harmless when it runs."""
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix=f"jobwarden-{self.engine}-", dir=self._base))
            JANITOR.watch(self.folder)

    @abstractmethod
    def url(self, database: str) -> str:
        """The SQLAlchemy address of a database on this server."""

    @abstractmethod
    def create_empty(self) -> str:
        """The address of a fresh database with nothing in it."""

    @abstractmethod
    def prepare(self, migrate: Migrate) -> None:
        """Let ``migrate(url)`` fill one database, which all later ones start as a copy of; done once per server."""

    @abstractmethod
    def create_database(self) -> str:
        """The address of a fresh database like the prepared one."""

    @abstractmethod
    def drop_database(self, url: str) -> None:
        """Remove a database, ending whatever connections it still has."""

    def remove(self) -> None:
        """Stop it at once and leave nothing behind."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            JANITOR.forget(self.folder)
            self.folder = None

    def _name(self, kind: str = "test") -> str:
        return f"{kind}_{os.getpid()}_{next(self._numbers)}"


class SQLite(Server):
    """No server: a folder of files, with the same words."""

    engine = "sqlite"

    def url(self, database: str) -> str:
        """The address of a file in the folder."""
        return f"sqlite:///{self._folder() / database}.db"

    def create_empty(self) -> str:
        """The address of a file that is not there yet."""
        return self.url(self._name())

    def prepare(self, migrate: Migrate) -> None:
        """Migrate one file and fold its write-ahead log into it, so that it can be copied."""
        if not self._prepared:
            migrate(self.url("prepared"))
            self._fold(self._folder() / "prepared.db")
            self._prepared = True

    def create_database(self) -> str:
        """The address of a copy of the prepared file."""
        url = self.create_empty()
        shutil.copyfile(self._folder() / "prepared.db", sa.make_url(url).database or "")
        return url

    def drop_database(self, url: str) -> None:
        """Remove the file and its companions."""
        path = sa.make_url(url).database or ""
        for suffix in ("", "-wal", "-shm", "-journal"):
            Path(path + suffix).unlink(missing_ok=True)

    def _folder(self) -> Path:
        self.start()
        assert self.folder is not None
        return self.folder

    def _fold(self, path: Path) -> None:
        engine = sa.create_engine(f"sqlite:///{path}", poolclass=NullPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")


class NetworkServer(Server):
    """A server process that listens on 127.0.0.1."""

    def __init__(self, settings: Settings | None = None, *, durable: bool = False, base: Path | None = None) -> None:
        super().__init__(settings, durable=durable, base=base)
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._proc: Proc | None = None
        self._admin: sa.Engine | None = None

    @property
    def pid(self) -> int | None:
        """The server's process, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def start(self) -> None:
        """Initialise the data folder at first, run the server, wait until it answers."""
        if self.pid is not None:
            return
        if self.folder is None:
            super().start()
            self._own(self._path)
            self._initialise()
            self.port = free_port()
        self._launch()
        self._wait_until_it_answers()

    def stop(self, mode: str = "fast") -> None:
        """End it: "smart" waits for clients, "fast" drops them, "immediate" leaves recovery to the next start."""
        if self._process is None or self._proc is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(self.stop_signals[mode])
        try:
            self._process.wait(START_TIMEOUT)
        except subprocess.TimeoutExpired:
            kill_tree(self._proc)
            self._process.wait()
        self._gone()

    stop_signals: ClassVar[Mapping[str, signal.Signals]]

    def kill(self) -> None:
        """SIGKILL the server and every process of it, as a power cut would."""
        if self._process is None or self._proc is None:
            return
        doomed = kill_tree(self._proc)
        self._process.wait()
        eventually(lambda: not any(proc.alive for proc in doomed), START_TIMEOUT)
        self._gone()

    def restart(self, mode: str = "fast") -> None:
        """Stop and start on the same port."""
        self.stop(mode)
        self.start()

    def pause(self) -> None:
        """Freeze the server's main process and all below it (SIGSTOP), as a hung machine would."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused server go on."""
        self._signal_all(signal.SIGCONT)

    def remove(self) -> None:
        """Stop it at once and remove its folder."""
        self.resume()
        self.stop("immediate")
        super().remove()

    def create_empty(self) -> str:
        """The address of a fresh database with nothing in it."""
        name = self._name()
        self.admin(f"CREATE DATABASE {name}")
        return self.url(name)

    def admin(self, *statements: str) -> None:
        """Run statements as the server's administrator, each in its own transaction."""
        self.start()
        with self._connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%"))

    @property
    def log(self) -> str:
        """The end of what the server has written to its log."""
        with contextlib.suppress(OSError):
            return (self._path / "log").read_bytes()[-4000:].decode(errors="replace")
        return ""

    # -- what an engine says for itself

    admin_database: ClassVar[str]

    @abstractmethod
    def _initialise(self) -> None:
        """Make a data folder."""

    @abstractmethod
    def _command(self) -> list[str]:
        """The server's command line."""

    # -- the ways they share

    @property
    def _path(self) -> Path:
        assert self.folder is not None, "the server has not been started"
        return self.folder

    def _connect(self) -> sa.Connection:
        if self._admin is None:
            self._admin = sa.create_engine(
                self.url(self.admin_database), poolclass=NullPool, isolation_level="AUTOCOMMIT"
            )
        return self._admin.connect()

    def _launch(self) -> None:
        with (self._path / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._path,
                env=_plain_environment(),
                start_new_session=True,
                **_as_user(),
            )
        self._proc = Proc.of(self._process.pid)
        if self._proc is not None:
            JANITOR.watch(self._proc)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while True:
            try:
                with self._connect():
                    return
            except sa.exc.OperationalError as error:
                if self.pid is None or time.monotonic() > deadline:
                    raise ServerFailed(f"{self.engine} did not start: {self.log or error}") from error
            time.sleep(0.02)

    def _gone(self) -> None:
        if self._proc is not None:
            JANITOR.forget(self._proc)
        self._process = self._proc = None

    def _signal_all(self, number: signal.Signals) -> None:
        from_top = [] if self._proc is None else [self._proc, *descendants(self._proc.pid)]
        for proc in from_top:
            proc.signal(number)

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=self._path, env=_plain_environment(), capture_output=True, check=False, **_as_user()
        )
        if done.returncode:
            words = (done.stdout + done.stderr).decode(errors="replace")
            raise ServerFailed(f"{command[0]} failed with exit code {done.returncode}: {words}")

    def _own(self, path: Path) -> None:
        account = _account()
        if account is not None:
            os.chown(path, account.pw_uid, account.pw_gid)


class PostgreSQL(NetworkServer):
    """A PostgreSQL cluster with one superuser, trusted on 127.0.0.1."""

    engine = "postgresql"
    admin_database = "postgres"
    stop_signals: ClassVar[Mapping[str, signal.Signals]] = {
        "smart": signal.SIGTERM,
        "fast": signal.SIGINT,
        "immediate": signal.SIGQUIT,
    }

    @classmethod
    def fast_settings(cls) -> dict[str, str | int]:
        """No fsync, small memory; commits stay synchronous, so a killed server still has them."""
        return {"fsync": "off", "full_page_writes": "off", "shared_buffers": "64MB", "max_wal_size": "256MB"}

    def url(self, database: str) -> str:
        """The address of a database on this cluster."""
        return f"postgresql+psycopg://jobwarden@127.0.0.1:{self.port}/{database}"

    def prepare(self, migrate: Migrate) -> None:
        """Migrate a database to be used as a template."""
        if not self._prepared:
            self.admin("CREATE DATABASE prepared")
            migrate(self.url("prepared"))
            self.admin("ALTER DATABASE prepared WITH ALLOW_CONNECTIONS false IS_TEMPLATE true")
            self._prepared = True

    def create_database(self) -> str:
        """The address of a copy of the template."""
        name = self._name()
        strategy = " STRATEGY wal_log" if self._major() >= 15 else ""
        self.admin(f"CREATE DATABASE {name} TEMPLATE prepared{strategy}")
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop it, ending its connections."""
        self.admin(f"DROP DATABASE IF EXISTS {sa.make_url(url).database} WITH (FORCE)")

    def _major(self) -> int:
        return int((self._path / "data" / "PG_VERSION").read_text())

    def _initialise(self) -> None:
        options = ["--username=jobwarden", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run([str(binaries.postgresql() / "initdb"), "--pgdata=data", *options])

    def _command(self) -> list[str]:
        settings: dict[str, str | int] = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": str(self._path),
            "max_connections": 200,
            "dynamic_shared_memory_type": "mmap",  # in the data folder, where a killed server leaves nothing behind
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        return [str(binaries.postgresql() / "postgres"), "-D", "data", *options]


class MariaDB(NetworkServer):
    """A MariaDB server with one user of all rights on 127.0.0.1."""

    engine = "mariadb"
    admin_database = "mysql"
    stop_signals: ClassVar[Mapping[str, signal.Signals]] = {
        "smart": signal.SIGTERM,
        "fast": signal.SIGTERM,
        "immediate": signal.SIGKILL,
    }

    @classmethod
    def fast_settings(cls) -> dict[str, str | int]:
        """Commits are written but not flushed, so a killed server still has them; small memory."""
        return {
            "innodb_flush_log_at_trx_commit": 2,
            "innodb_doublewrite": 0,
            "innodb_buffer_pool_size": "96M",
            "innodb_log_file_size": "32M",
            "innodb_file_per_table": 0,
        }

    def url(self, database: str) -> str:
        """The address of a database on this server."""
        return f"mysql+pymysql://jobwarden@127.0.0.1:{self.port}/{database}?charset=utf8mb4"

    def prepare(self, migrate: Migrate) -> None:
        """Migrate one database and note the statements that make another like it."""
        if not self._prepared:
            self.admin("CREATE DATABASE prepared")
            migrate(self.url("prepared"))
            with self._connect() as connection:
                self._script = list(_copying_script(connection, "prepared"))
            self._prepared = True

    def create_database(self) -> str:
        """The address of a fresh database with the noted statements run in it."""
        name = self._name()
        self.admin(f"CREATE DATABASE {name}", f"USE {name}", "SET foreign_key_checks = 0", *self._script)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """End the connections of a database and drop it."""
        name = sa.make_url(url).database
        with self._connect() as connection:
            rows = connection.exec_driver_sql("SELECT id FROM information_schema.processlist WHERE db = %s", (name,))
            for (thread,) in rows.all():
                with contextlib.suppress(sa.exc.DBAPIError):  # it went by itself
                    connection.exec_driver_sql(f"KILL {thread}")
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name}")

    def _initialise(self) -> None:
        self._run(
            [
                str(binaries.mariadb()["mariadb-install-db"]),
                "--no-defaults",
                f"--datadir={self._path / 'data'}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                "--innodb-log-file-size=32M",
            ]
        )
        (self._path / "tmp").mkdir(exist_ok=True)
        self._own(self._path / "tmp")
        (self._path / "init.sql").write_text(
            "CREATE USER IF NOT EXISTS 'jobwarden'@'%';\nGRANT ALL ON *.* TO 'jobwarden'@'%' WITH GRANT OPTION;\n"
            "CREATE USER IF NOT EXISTS 'jobwarden'@'localhost';\n"
            "GRANT ALL ON *.* TO 'jobwarden'@'localhost' WITH GRANT OPTION;\n"
        )

    def _command(self) -> list[str]:
        settings: dict[str, str | int] = {
            "datadir": str(self._path / "data"),
            "bind_address": "127.0.0.1",
            "port": self.port,
            "socket": str(self._path / "socket"),
            "pid_file": str(self._path / "pid"),
            "init_file": str(self._path / "init.sql"),
            "tmpdir": str(self._path / "tmp"),  # a server that starts removes what it takes for left over in it
            "character_set_server": "utf8mb4",
            "max_connections": 200,
            **self.settings,
        }
        return [
            str(binaries.mariadb()["mariadbd"]),
            "--no-defaults",
            *(f"--{name.replace('_', '-')}={value}" for name, value in settings.items()),
        ]


SERVERS: dict[str, type[Server]] = {kind.engine: kind for kind in (SQLite, PostgreSQL, MariaDB)}


def _copying_script(connection: sa.Connection, database: str) -> Iterator[str]:
    connection.exec_driver_sql(f"USE {database}")
    for (table,) in connection.exec_driver_sql("SHOW FULL TABLES WHERE Table_type = 'BASE TABLE'").columns(0).all():
        yield str(connection.exec_driver_sql(f"SHOW CREATE TABLE `{table}`").one()[1])
        if connection.exec_driver_sql(f"SELECT COUNT(*) FROM `{table}`").scalar_one():
            yield f"INSERT INTO `{table}` SELECT * FROM `{database}`.`{table}`"


def _account() -> pwd.struct_passwd | None:
    """Whom servers run as when we are root, whom they refuse; None when we are somebody already."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "mysql", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise ServerFailed("database servers refuse root, and there is no user postgres, mysql or nobody to run them as")


def _as_user() -> dict[str, Any]:
    account = _account()
    return {} if account is None else {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _plain_environment() -> dict[str, str]:
    kept = {key: value for key, value in unmarked_environment().items() if not key.startswith(("PG", "MYSQL"))}
    return {**kept, "LC_ALL": "C"}
