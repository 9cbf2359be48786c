"""A real worker as a process of its own, to be signalled and killed at will; nothing of it is left afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jobwarden import JobHandle
from jobwarden.store import schema
from tests.support.factories import Factories
from tests.support.jobs import APP
from tests.support.processes import Proc, descendants
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
_PROGRAM = (
    "import json, sys\n"
    "from jobwarden.daemons.host import work\n"
    "from jobwarden.errors import JobWardenError\n"
    "try:\n"
    "    sys.exit(work(sys.argv[1], **json.loads(sys.argv[2])))\n"
    "except JobWardenError as error:\n"
    "    sys.exit(str(error))\n"
)
#: Generous, because test machines are busy.
PATIENCE = 60.0


class Worker:
    """One supervisor with its zygote and seats, on ``url``; its settings travel in the environment.

    ``before`` is put before its command line, and must end by executing what follows.
    """

    def __init__(
        self,
        url: str,
        runtime_dir: Path,
        *,
        app: str = APP,
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        **wishes: Any,
    ) -> None:
        self.runtime_dir = runtime_dir
        self._log = runtime_dir / f"worker-{os.urandom(4).hex()}.log"
        self._command = [*before, sys.executable, "-c", _PROGRAM, app, json.dumps(wishes)]
        self._cwd, self._apart = cwd, bool(before)
        self._env = {
            **os.environ,
            "JOBWARDEN_DATABASE_URL": url,
            "JOBWARDEN_RUNTIME_DIR": str(runtime_dir),
            "PYTHONPATH": os.pathsep.join([str(cwd), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "JOBWARDEN_BEAT_INTERVAL": "0.5",
            **(env or {}),
        }
        self._known: dict[int, Proc] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            print(f"--- log of the worker\n{self.log}")
        self.end()

    def start(self) -> None:
        """Start the process; `await_ready` waits until it serves."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, cwd=self._cwd, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def await_ready(self, seats: int = 1) -> Self:
        """Wait until it has registered and so many idle seats are there."""
        self.expect("started")
        eventually(lambda: len(self.titled("seat (idle)")) >= seats, PATIENCE, why=lambda: self.log)
        return self

    def expect(self, words: str, times: int = 1) -> None:
        """Wait until its log has these words so many times."""
        eventually(lambda: self.log.count(words) >= times, PATIENCE, why=lambda: f"{words!r} not in:\n{self.log}")

    @property
    def pid(self) -> int:
        """The supervisor's pid."""
        assert self.process is not None
        return self.process.pid

    @property
    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether the supervisor itself runs."""
        return self.process is not None and self.process.poll() is None

    def tree(self) -> list[Proc]:
        """Every process ever seen below the supervisor that is alive now; also after the supervisor is gone."""
        for root in [self.pid, *self._known]:
            for proc in descendants(root):
                self._known.setdefault(proc.pid, proc)
        return [proc for proc in self._known.values() if proc.alive]

    def titled(self, words: str) -> list[Proc]:
        """The processes below it whose title has these words."""
        return [proc for proc in self.tree() if words in proc.command]

    @property
    def zygote(self) -> Proc:
        """Its zygote; the newest, if there are several."""
        return max(self.titled("jobwarden: zygote"), key=lambda proc: proc.start_time)

    def signal(self, number: signal.Signals) -> None:
        """Send the supervisor a signal."""
        assert self.process is not None
        self.tree()
        self.process.send_signal(number)

    def wait(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; the exit code."""
        assert self.process is not None
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still there after {seconds:g} s:\n{self.log}") from None

    def kill(self) -> None:
        """SIGKILL the supervisor alone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def drain(self) -> None:
        """TERM, and wait until it has ended well."""
        self.signal(signal.SIGTERM)
        code = self.wait()
        assert code == 0, f"exit code {code}:\n{self.log}"

    def gone(self) -> None:
        """Wait until no process of it is left."""
        eventually(lambda: not self.tree(), PATIENCE, why=lambda: [proc.command for proc in self.tree()])

    def end(self) -> None:
        """Whatever it does now, end all of it."""
        if self.process is None:
            return
        if self.running:
            self.tree()
            # Who made a PID namespace is signalled, not who runs in it: SIGKILL ends both, QUIT neither.
            self.process.send_signal(signal.SIGKILL if self._apart else signal.SIGQUIT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for proc in self.tree():
            proc.signal(signal.SIGKILL)
        eventually(lambda: not self.tree(), PATIENCE)


class Reaper(Worker):
    """A reaper as a process of its own; ``role`` is local or global."""

    def __init__(self, url: str, runtime_dir: Path, role: str, **wishes: Any) -> None:
        super().__init__(url, runtime_dir, **wishes)
        before = wishes.get("before", ())
        self._command = [*before, sys.executable, "-m", "jobwarden.cli", f"reap-{role}"]

    def await_lease(self) -> Self:
        """Wait until it leads."""
        self.expect("holds the lease")
        return self


class Scheduler(Worker):
    """A scheduler as a process of its own, of an application if one is named."""

    def __init__(self, url: str, runtime_dir: Path, app: str | None = None, **wishes: Any) -> None:
        super().__init__(url, runtime_dir, **wishes)
        named = ["-A", app] if app else []
        self._command = [sys.executable, "-m", "jobwarden.cli", *named, "schedule"]


#: Put before a command: it runs in a PID namespace of its own, and ends with this process.
IN_OWN_PIDS = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
#: As well, below an init that reaps: so it may be killed there, and may end without all the others.
BELOW_AN_INIT = (*IN_OWN_PIDS, "sh", "-c", '"$@" & while :; do wait; sleep 0.1; done', "init")


def await_state(handle: JobHandle, *states: str) -> JobHandle:
    """Wait until a job is in one of the states."""

    def there() -> bool:
        return handle.refresh().state.value in states

    eventually(there, PATIENCE, interval=0.02, why=lambda: f"{handle.id} is {handle.state}, not {states}")
    return handle


def await_said(rows: Factories, handle: JobHandle, count: int = 1) -> list[dict[str, Any]]:
    """Wait until so many lines of a job are in the database."""

    def said() -> list[dict[str, Any]]:
        lines = rows.logs_of(handle.id)
        return lines if len(lines) >= count else []

    return eventually(said, PATIENCE, interval=0.02, why=lambda: f"{handle.id} is {handle.refresh().state}")


def await_beats(rows: Factories, role: str, count: int, but: str | None = None) -> None:
    """Wait until a daemon of the role has beaten so many times more."""
    seen: set[Any] = set()

    def enough() -> bool:
        with rows.database.read() as transaction:
            found = transaction.connection.execute(schema.workers.select()).mappings().all()
        seen.update(row["heartbeat_at"] for row in found if row["role"] == role and row["id"] != but)
        return len(seen) > count

    eventually(enough, PATIENCE)
