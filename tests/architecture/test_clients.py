"""What a program gets that only enqueues: little, quietly, and on any operating system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_DECLARE = """
from jobwarden import JobWarden
jw = JobWarden(database_url="sqlite:///never-made.db")
@jw.job(idempotent=True)
def greet(name: str) -> str:
    return name
"""
_ELSEWHERE = """
import asyncio, concurrent.futures, multiprocessing, os, signal, subprocess, sys, tempfile  # as they are elsewhere
import alembic.command, pydantic, sqlalchemy
for name in ("fcntl", "grp", "pwd", "resource", "termios", "setproctitle"):
    sys.modules[name] = None
for module, name in (
    (os, "fork"), (os, "pidfd_open"), (os, "setsid"), (os, "killpg"), (os, "wait4"), (os, "register_at_fork"),
    (signal, "SIGKILL"), (signal, "SIGCHLD"), (signal, "SIGQUIT"), (signal, "pidfd_send_signal"),
):
    delattr(module, name)
sys.platform = "win32"
"""
_USE = """
print(f"{greet('Ann')}, to {sys.platform}")
"""
_SEEN = """
import sys, threading
print(threading.active_count(), *sorted(sys.modules))
"""


def test_declaring_a_job_loads_no_engine_room_and_no_driver_and_touches_nothing(tmp_path: Path) -> None:
    threads, *modules = _python(_DECLARE + _SEEN, tmp_path).split()
    assert threads == "1"
    rooms = ("jobwarden.runner", "jobwarden.daemons", "jobwarden.web", "jobwarden.cli", "psycopg", "pymysql", "fastapi")
    assert [name for name in modules if name.startswith(rooms)] == []
    assert list(tmp_path.iterdir()) == []


def test_clients_import_and_declare_on_other_systems(tmp_path: Path) -> None:
    assert _python(_ELSEWHERE + _DECLARE + _USE, tmp_path) == "Ann, to win32\n"


def _python(script: str, folder: Path) -> str:
    run = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout
