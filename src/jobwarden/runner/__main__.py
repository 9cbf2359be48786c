"""The entry of zygotes (``--control-fd``) and of seats in a fresh interpreter (``--seat-fd``). Started by the engine.

Streams are captured before the application is imported, so that whatever it sets up writes to them.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from setproctitle import setproctitle

from jobwarden.config import Settings
from jobwarden.process import identity
from jobwarden.process.cgroup import Cgroups
from jobwarden.process.limits import limit_open_files
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.wire import send_packet
from jobwarden.process.zygote import ZygoteServer, become_seat
from jobwarden.runner import handler
from jobwarden.runner.application import describe, jobs_of, load_application, one_sentence, prepare
from jobwarden.runner.capture import Capture, say, trace_of
from jobwarden.runner.child import IDLE_TITLE, Become, Child, Registry
from jobwarden.runner.last_fence import LastFence
from jobwarden.runner.rehearsal import rehearse


class Runner:
    """One runner process, as its arguments want it."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = options
        self._spec = options["--app"]
        self._runtime = RuntimeDir.at(options["--runtime-dir"])
        self._cgroups = Cgroups(Path(options["--cgroup"])) if "--cgroup" in options else None
        self._capture = Capture()
        self._app: Any = None
        self._zygote = int(options.get("--zygote", os.getpid()))
        self._unborn: Child

    def run(self) -> int:
        """Be a zygote or a seat; the exit code."""
        return self._be_zygote() if "--control-fd" in self._options else self._be_seat()

    # -- the zygote

    def _be_zygote(self) -> int:
        control = socket.socket(fileno=int(self._options["--control-fd"]))
        control.set_inheritable(False)
        setproctitle(f"jobwarden: zygote {self._spec}")
        server = ZygoteServer(control, self._runtime, self._fork_main, self._command, self._cgroups)
        self._capture.install()
        try:
            self._import()
            if (files := self._app.settings.open_files) is not None:
                limit_open_files(files)
            prepare(self._app)
            _with_database()
            with open(os.devnull, "wb") as nowhere:
                mute = Capture(nowhere.fileno())
                rehearse(lambda registry: self._child(registry, mute, None))
            setproctitle(f"jobwarden: zygote {self._spec}")
            self._unborn = self._child(self._app, self._capture, self._become)
            os.environ["JOBWARDEN_SEAT"] = str(self._runtime.path)
            greeting = {"op": "ready", "app": self._spec, **describe(self._app), **_whoami()}
        except BaseException as error:
            cause = error.__cause__ or error
            send_packet(control, {"op": "broken", "error": one_sentence(error), "trace": trace_of(cause)})
            return 1
        self._capture.flush()
        server.serve(greeting)
        return 0

    def _fork_main(self, nonce: str, sock: socket.socket) -> int:
        setproctitle(IDLE_TITLE)
        return self._unborn.serve(nonce, sock)

    def _become(self, nonce: str, sock: socket.socket, frames: bytes) -> NoReturn:
        """Go on as a fresh interpreter: same process, same start time, same socket."""
        memory = os.memfd_create("jobwarden-frames", 0)
        os.write(memory, frames)
        sock.set_inheritable(True)
        command = self._command(sock.fileno(), nonce)
        self._capture.flush()
        os.execv(command[0], [*command, "--frames-fd", str(memory)])

    def _command(self, fd: int, nonce: str) -> list[str]:
        command = [sys.executable, "-m", "jobwarden.runner", "--app", self._spec, "--seat-fd", str(fd)]
        command += ["--nonce", nonce, "--zygote", str(self._zygote)]
        return [*command, "--runtime-dir", str(self._runtime.path)]

    # -- a seat in a fresh interpreter

    def _be_seat(self) -> int:
        sock = socket.socket(fileno=int(self._options["--seat-fd"]))
        sock.set_inheritable(False)
        nonce = os.environ["JOBWARDEN_NONCE"] = self._options["--nonce"]
        os.environ["JOBWARDEN_SEAT"] = str(self._runtime.path)
        become_seat(nonce, self._runtime, self._cgroups)
        setproctitle(IDLE_TITLE)
        self._capture.install()
        self._capture.begin(nonce)
        frames = self._inherited_frames()
        try:
            self._import()
        except BaseException as error:
            say(trace_of(error.__cause__ or error))
            self._app = _Unimported(one_sentence(error))
            self._child(self._app, self._capture, None).serve(nonce, sock, frames)
            return 1
        return self._child(self._app, self._capture, None).serve(nonce, sock, frames)

    def _inherited_frames(self) -> bytes:
        if "--frames-fd" not in self._options:
            return b""
        with open(int(self._options["--frames-fd"]), "rb") as file:
            file.seek(0)
            return file.read()

    # -- both

    def _import(self) -> None:
        self._app = load_application(self._spec)
        jobs_of(self._app)
        self._capture.prepare()

    def _child(self, registry: Registry, capture: Capture, become: Become | None) -> Child:
        settings, runtime = self._app.settings, self._runtime
        return Child(
            runtime,
            registry,
            capture,
            alone=lambda nonce: _with_database().SettlesAlone(settings, runtime, nonce),
            inquiry=lambda: _with_database().DatabaseInquiry(settings, runtime.worker_id),
            become=become,
            last_fence=LastFence(runtime, self._cgroups, self._zygote),
        )


class _Unimported:
    """An application that did not import: it has no jobs and says why; its settings are those of the environment."""

    def __init__(self, why: str) -> None:
        self._why = why
        self.settings = Settings()

    def find(self, name: str) -> handler.Job:
        """There is none."""
        raise LookupError(self._why)


def _with_database() -> Any:
    """What needs the database: loaded in a zygote for all its forks, and in a fresh interpreter only when needed."""
    return import_module("jobwarden.runner.alone")


def _whoami() -> dict[str, Any]:
    me = identity.myself()
    return {"pid": me.pid, "start_time": me.start_time, "inode": me.inode, "python": platform.python_version()}


def main(arguments: list[str]) -> int:
    """Run as the arguments say: pairs of a name and a value."""
    return Runner(dict(zip(arguments[::2], arguments[1::2], strict=True))).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
