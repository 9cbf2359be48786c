"""SQLite: one machine, zero set-up. WAL, one writer at a time who says so as it begins, short transactions."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.engine import URL

from jobwarden.store.dialects.facts import Facts, Fault, Limits, Server


class SQLite(Facts):
    name = "sqlite"
    oldest = {"SQLite": (3, 35)}  # UPDATE ... RETURNING
    skips_locked = False
    returns_updates = True
    one_machine = True

    def connect_args(self, limits: Limits, pooled: bool) -> dict[str, Any]:
        return {"timeout": limits.statement, "check_same_thread": False}

    def prepare(self, raw: Any, durability: str, limits: Limits) -> None:
        raw.isolation_level = None  # begin() below says what kind of transaction it is
        cursor = raw.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(limits.statement * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute(f"PRAGMA synchronous = {durability}")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    def server(self, connection: Any) -> Server:
        found = connection.execute(text("SELECT sqlite_version()")).scalar_one()
        writable = not connection.execute(text("PRAGMA query_only")).scalar_one()
        path = connection.engine.url.database
        if path and path != ":memory:":
            writable = writable and os.access(path, os.W_OK)
        return Server("SQLite", tuple(int(part) for part in found.split(".")), writable)

    def fault(self, error: BaseException) -> Fault:
        words = str(error).lower()
        if "locked" in words or "busy" in words:
            return Fault.CONFLICT
        if "readonly" in words or "read-only" in words:
            return Fault.READ_ONLY
        if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError) or "malformed json" in words:
            return Fault.DATA
        if any(sign in words for sign in ("disk", "unable to open", "i/o error", "closed")):
            return Fault.LOST
        return Fault.OTHER

    def write_lock(self, url: URL) -> tuple[str, int] | None:
        # WAL_WRITE_LOCK: the first of the locks that begin at byte 120, see sqlite.org/walformat.html
        return (f"{os.path.realpath(url.database)}-shm", 120) if url.database else None

    def missing(self, url: URL) -> str | None:
        if not url.database or url.database == ":memory:":
            return "an in-memory database is seen by one connection only; give a file"
        folder = Path(url.database).absolute().parent
        return None if folder.is_dir() else f"the folder {folder} does not exist"
