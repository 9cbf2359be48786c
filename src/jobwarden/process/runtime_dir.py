"""The runtime directory: what must outlive a process but not a boot (outcome files, spools, exit records).

A file appears complete or not at all: it is written under another name and renamed. Only its owner may enter it.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobwarden.domain.report import Report
from jobwarden.domain.stamp import ProcessId
from jobwarden.errors import RuntimeDirUnusable
from jobwarden.process.exits import Exit
from jobwarden.process.journal import read_journal

_FOLDERS = ("seats", "outcomes", "exits")
_WAYS_OUT = {
    errno.ENOSPC: "free space there, or set runtime_dir to another folder",
    errno.EDQUOT: "free space there, or set runtime_dir to another folder",
    errno.EROFS: "set runtime_dir to a folder on a writable file system",
}


def default_base(setting: str | os.PathLike[str] | None, environ: Mapping[str, str]) -> Path:
    """Where runtime directories go: the setting, else the first that is in memory and ours, else a temporary folder."""
    if setting:
        return Path(setting).absolute()
    if home := environ.get("XDG_RUNTIME_DIR"):
        return Path(home) / "jobwarden"
    if in_memory(Path("/run")) and os.access("/run", os.W_OK):
        return Path("/run/jobwarden")
    shared = Path("/dev/shm")
    if shared.is_dir() and os.access(shared, os.W_OK):
        return shared / f"jobwarden-{os.getuid()}"
    return Path(tempfile.gettempdir()) / f"jobwarden-{os.getuid()}"


def in_memory(path: Path) -> bool:
    """Whether ``path`` lies on a tmpfs or ramfs, and so vanishes with a boot, as everything in here should."""
    try:
        mounts = Path("/proc/self/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return False
    best, kind = "", ""
    target = os.path.realpath(path)
    for line in mounts:
        _, where, fstype, *_ = line.split(" ")
        if (target == where or target.startswith(where.rstrip("/") + "/")) and len(where) >= len(best):
            best, kind = where, fstype
    return kind in ("tmpfs", "ramfs")


@dataclass(frozen=True, slots=True)
class Keeper:
    """Who watches over a directory's seats, in which pid ``scope``: outside it the process says nothing.

    ``renewed`` is when it last reached the database, in seconds since boot. After ``ttl`` seconds without that nobody
    may count on the seats being ours: whoever sees it ends them.
    """

    process: ProcessId
    scope: str
    renewed: float
    ttl: float

    def overdue(self, boottime: float, slack: float = 0.0) -> bool:
        """Whether the database has not been reached for too long."""
        return boottime - self.renewed > self.ttl + slack

    def dump(self) -> dict[str, Any]:
        """The keeper as JSON data."""
        process = self.process
        named = {"pid": process.pid, "start_time": process.start_time, "inode": process.inode}
        return {**named, "scope": self.scope, "renewed": self.renewed, "ttl": self.ttl}

    @classmethod
    def load(cls, data: Mapping[str, Any]) -> Keeper:
        """The keeper that `dump` gave; raises KeyError, TypeError or ValueError on anything else."""
        process = ProcessId(int(data["pid"]), int(data["start_time"]), int(data["inode"]))
        return cls(process, str(data["scope"]), float(data["renewed"]), float(data["ttl"]))


def all_in(base: Path) -> Iterator[RuntimeDir]:
    """The runtime directories of every worker that ever used this base and left one."""
    try:
        names = sorted(os.listdir(base))
    except OSError:
        return
    for name in names:
        if (base / name / "seats").is_dir():
            yield RuntimeDir(base, name)


def of_seat(base: Path, nonce: str) -> RuntimeDir | None:
    """The runtime directory in which that seat's spool is."""
    return next((found for found in all_in(base) if os.path.exists(found.spool_paths(nonce)[0])), None)


class RuntimeDir:
    """One worker's runtime directory, ``base/worker_id``; nothing is touched until `create`."""

    def __init__(self, base: Path, worker_id: str) -> None:
        self.base = base
        self.worker_id = worker_id
        self.path = base / worker_id
        self._outcomes = os.path.join(self.path, "outcomes", "")
        self._seats = os.path.join(self.path, "seats", "")
        self._keeper = os.path.join(self.path, "keeper.json")

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> RuntimeDir:
        """The runtime directory that lies at ``path``."""
        whole = Path(path)
        return cls(whole.parent, whole.name)

    def create(self) -> None:
        """Make it, for its owner alone, and try a write; raises `RuntimeDirUnusable` in one sentence."""
        try:
            self.base.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.mkdir(mode=0o700, exist_ok=True)
            self._check_ours()
            for folder in _FOLDERS:
                (self.path / folder).mkdir(mode=0o700, exist_ok=True)
            self.check_room()
        except OSError as problem:
            raise self._unusable(problem) from problem

    def check_room(self) -> None:
        """Raise `RuntimeDirUnusable` if an outcome of ordinary size could not be written now."""
        probe = self.path / ".probe"
        try:
            probe.write_bytes(b"\0" * 4096)
            probe.unlink()
        except OSError as problem:
            probe.unlink(missing_ok=True)
            raise self._unusable(problem) from problem

    def remove(self) -> None:
        """Remove it with everything in it; what cannot be removed stays."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write_outcome(self, report: Report) -> None:
        """Leave an attempt's outcome for whoever settles it; raises OSError."""
        self.write_outcome_json(report.attempt_id, report.to_json())

    def write_outcome_json(self, attempt_id: str, report: bytes) -> None:
        """`write_outcome` for a report that is JSON already; no fsync, since no file here outlives the host."""
        final = f"{self._outcomes}{attempt_id}.json"
        _write_whole(f"{self._outcomes}.{attempt_id}.tmp", final, report)

    def read_outcome(self, attempt_id: str) -> Report | None:
        """The outcome an attempt left, or None; a file that is no report is set aside as ``.bad``."""
        path = f"{self._outcomes}{attempt_id}.json"
        try:
            report = Report.load(json.loads(Path(path).read_bytes()))
        except FileNotFoundError:
            return self._from_journals(attempt_id)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            _set_aside(path)
            return None
        return report if report.attempt_id == attempt_id else None

    def remove_outcome(self, attempt_id: str) -> None:
        """Forget an outcome that is settled; a missing file is fine."""
        try:
            os.unlink(f"{self._outcomes}{attempt_id}.json")
        except OSError:
            return

    def outcomes(self) -> Iterator[str]:
        """The attempts that left an outcome nobody has removed; a pool seat's are removed with its spool."""
        yield from _stems(self._outcomes, ".json")
        for nonce in _stems(self._seats, ".done"):
            for report in read_journal(self.journal_path(nonce)):
                yield report.attempt_id

    def journal_path(self, nonce: str) -> str:
        """Where a pool seat notes the outcomes that are not acknowledged yet; see `journal`."""
        return f"{self._seats}{nonce}.done"

    def spool_paths(self, nonce: str) -> tuple[str, str]:
        """Where a seat's spool is: framed records and raw stdout, and raw stderr."""
        return f"{self._seats}{nonce}.out", f"{self._seats}{nonce}.err"

    def spools(self) -> Iterator[str]:
        """The nonces of the seats whose spool is here."""
        return _stems(self._seats, ".out")

    def remove_spool(self, nonce: str) -> None:
        """Remove a seat's spool once nobody needs it; missing files are fine."""
        for suffix in ("out", "err", "done"):
            try:
                os.unlink(f"{self._seats}{nonce}.{suffix}")
            except OSError:
                continue

    def write_keeper(self, keeper: Keeper) -> None:
        """Say who watches over the seats here, and when the database was last reached; raises OSError."""
        _write_whole(f"{self._keeper}.tmp", self._keeper, json.dumps(keeper.dump()).encode())

    def read_keeper(self) -> Keeper | None:
        """Who watches over the seats here, as far as anybody said so."""
        try:
            return Keeper.load(json.loads(Path(self._keeper).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_exit(self, end: Exit) -> None:
        """Leave how a seat ended for whoever asks later; raises OSError."""
        final = self._exit_path(end.process)
        _write_whole(f"{final}.tmp", final, json.dumps(end.dump()).encode())

    def read_exit(self, process: ProcessId) -> Exit | None:
        """How that process ended, if the zygote could tell it to nobody but this directory."""
        path = self._exit_path(process)
        try:
            return Exit.load(json.loads(Path(path).read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            _set_aside(path)
            return None

    def exit_of(self, nonce: str) -> Exit | None:
        """How the seat with this nonce ended, for whoever does not know when its process began."""
        for name in _stems(os.path.join(self.path, "exits"), ".json"):
            pid, _, began = name.partition("-")
            found = self.read_exit(ProcessId(int(pid), int(began))) if pid.isdecimal() and began.isdecimal() else None
            if found is not None and found.nonce == nonce:
                return found
        return None

    def _exit_path(self, process: ProcessId) -> str:
        return os.path.join(self.path, "exits", f"{process.pid}-{process.start_time}.json")

    def _from_journals(self, attempt_id: str) -> Report | None:
        for nonce in _stems(self._seats, ".done"):
            for report in read_journal(self.journal_path(nonce)):
                if report.attempt_id == attempt_id:
                    return report
        return None

    def _check_ours(self) -> None:
        found = os.lstat(self.path)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to another user or is no directory")
        if found.st_mode & 0o077:
            os.chmod(self.path, 0o700)

    def _unusable(self, problem: OSError) -> RuntimeDirUnusable:
        way_out = _WAYS_OUT.get(problem.errno or 0, "set runtime_dir to a folder that this user may write")
        return RuntimeDirUnusable(path=str(self.path), rule=problem.strerror or str(problem), way_out=way_out)


def _write_whole(temporary: str, final: str, data: bytes) -> None:
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        written = os.write(fd, data)
        while written < len(data):
            written += os.write(fd, data[written:])
    except OSError:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)
    os.rename(temporary, final)


def _set_aside(path: str) -> None:
    try:
        os.rename(path, f"{path}.bad")
    except OSError:
        return


def _stems(folder: str, suffix: str) -> Iterator[str]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        if name.endswith(suffix) and not name.startswith("."):
            yield name.removesuffix(suffix)
