"""The zygote: holds the application, one thread and no connection, and forks seats ahead of need.

It never forks with a second thread alive, because a lock that another thread holds would stay locked in the child for
ever; it then starts each seat as a fresh interpreter and says why. It is the subreaper of its seats, and it outlives a
supervisor: exits that nobody listens to are left in the runtime directory, and it goes when its last child is gone.
When nobody who watches over its seats reaches the database any more, it ends them; should it be gone too, each
ends itself (`runner.last_fence`).
What it runs in a child is given to it, since the runner lies above.

A fork costs what parent and child write to afterwards: every page that either touches first is copied. So what a birth
needs is made before the fork, and the way from the fork to the first claim touches as little as it can.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

from jobwarden.domain.stamp import ProcessId
from jobwarden.process import pidfd, probe
from jobwarden.process.body import Body
from jobwarden.process.cgroup import Cgroups
from jobwarden.process.exits import Exit
from jobwarden.process.kernel import EnvironmentCell, become_subreaper, boottime, collapse_memory, die_with_parent
from jobwarden.process.reaping import Nursery
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.spool import open_spool
from jobwarden.process.wire import Frame, receive_packet, send_packet

_REMEMBERED = 1000
_FENCE_EVERY_MS = 500
_FENCE_SLACK = 1.25  # seconds that the supervisor and then a reaper have to do it before us; death_budget allows for 2
_DEAF_TO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
INTERNAL_ERROR = 70
#: What a seat is sent when its zygote ends; ignored by default, and used by hardly anybody.
LOOK_UP = int(signal.SIGURG)
ChildMain: TypeAlias = Callable[[str, socket.socket], int]
_NONCE_KEY = probe.NONCE_VARIABLE.encode()
#: ``signal.signal`` without the enums that it makes, which cost a fork forty copied pages.
set_handler: Callable[[int, Any], Any] = sys.modules["_signal"].signal
_DEFAULT, _INTERRUPT = int(signal.SIG_DFL), signal.default_int_handler


class ZygoteServer:
    """Serves forks over a control socket.

    ``child_main(nonce, socket)`` runs in each forked child and returns its exit code. ``command`` gives the argument
    vector of a fresh interpreter that serves the same seat on an inherited socket, for when forking is not safe.
    """

    def __init__(
        self,
        control: socket.socket,
        runtime: RuntimeDir,
        child_main: ChildMain,
        command: Callable[[int, str], list[str]],
        cgroups: Cgroups | None = None,
    ) -> None:
        self._control: socket.socket | None = control
        self._runtime = runtime
        self._child_main = child_main
        self._command = command
        self._cgroups = cgroups
        self._cell = EnvironmentCell(probe.NONCE_VARIABLE)
        self._nursery = Nursery()
        self._exits: deque[Exit] = deque(maxlen=_REMEMBERED)
        self._retired = False
        self._fence_at = 0.0
        self._poll = select.poll()
        self._wake = (-1, -1)
        self._to_default: tuple[int, ...] = ()

    def serve(self, greeting: Mapping[str, Any]) -> None:
        """Say that all is ready, then fork and reap until retired or abandoned, and the last child gone."""
        self._settle_in()
        self._tell(greeting)
        while self._control is not None or len(self._nursery):
            if self._retired and not len(self._nursery):
                return
            for fd, _ in self._poll.poll(_FENCE_EVERY_MS):
                if fd == self._wake[0]:
                    _drain(fd)
                else:
                    self._listen()
            self._reap()
            self._fence()

    def _settle_in(self) -> None:
        become_subreaper()
        self._nursery = Nursery(bystanders=probe.children())
        taken = [number for number in signal.valid_signals() if callable(signal.getsignal(number))]
        self._to_default = tuple({*map(int, taken), *map(int, _DEAF_TO), int(signal.SIGCHLD)} - {int(signal.SIGINT)})
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        for number in _DEAF_TO:
            signal.signal(number, signal.SIG_IGN)
        self._wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._wake[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _nothing)
        assert self._control is not None
        self._poll.register(self._control, select.POLLIN)
        self._poll.register(self._wake[0], select.POLLIN)
        gc.collect()
        gc.freeze()
        gc.disable()
        collapse_memory()

    def _listen(self) -> None:
        while self._control is not None:
            try:
                packet = receive_packet(self._control)
            except BlockingIOError:
                return
            except OSError:
                packet = None
            if packet is None:
                self._abandoned()
            else:
                self._obey(packet[0])

    def _obey(self, order: Frame) -> None:
        match order:
            case {"op": "fork", "n": int(count)}:
                for _ in range(count if not self._retired else 0):
                    self._bear()
            case {"op": "retire"}:
                self._retired = True

    def _bear(self) -> None:
        ours, theirs = socket.socketpair()
        nonce = os.urandom(4).hex()
        reason = thread_reason()
        try:
            with ours, theirs:
                pid = self._fork(nonce, ours, theirs) if reason is None else self._spawn(nonce, theirs)
                self._announce(pid, nonce, ours, reason)
        except OSError as problem:
            self._tell({"op": "unable", "error": f"a seat could not be started: {problem.strerror or problem}"})

    def _fork(self, nonce: str, ours: socket.socket, theirs: socket.socket) -> int:
        pid = os.fork()
        if pid == 0:
            self._be_born(nonce, ours, theirs)
        return pid

    def _be_born(self, nonce: str, ours: socket.socket, theirs: socket.socket) -> NoReturn:
        code = INTERNAL_ERROR
        try:
            self._leave()
            ours.close()
            os.setsid()
            become_subreaper()
            die_with_parent(LOOK_UP)
            if self._cgroups is not None:
                self._cgroups.join(nonce)
            self._cell.write(nonce.encode())
            _name_in_environment(nonce)
            open_spool(self._runtime, nonce)
            code = self._child_main(nonce, theirs)
        except BaseException:
            os.write(2, traceback.format_exc().encode("utf-8", "replace"))
        finally:
            os._exit(code)

    def _leave(self) -> None:
        """Close what is the zygote's and take back its signals; files that the application opened stay its own."""
        signal.set_wakeup_fd(-1)
        for number in self._to_default:
            set_handler(number, _DEFAULT)
        set_handler(2, _INTERRUPT)
        if self._control is not None:
            self._control.close()
        for fd in self._wake:
            os.close(fd)

    def _spawn(self, nonce: str, theirs: socket.socket) -> int:
        environment = {**os.environ, probe.NONCE_VARIABLE: nonce}
        child = subprocess.Popen(
            self._command(theirs.fileno(), nonce),
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        child.returncode = 0  # reaped here, not by the Popen object
        return child.pid

    def _announce(self, pid: int, nonce: str, sock: socket.socket, fallback: str | None) -> None:
        fd = os.pidfd_open(pid)
        try:
            process = pidfd.identify(pid, fd) or ProcessId(pid, 0)
            self._nursery.add(process, nonce)
            packet = {"op": "seat", "pid": pid, "start_time": process.start_time, "inode": process.inode}
            self._tell({**packet, "nonce": nonce, "fallback": fallback}, [sock.fileno(), fd])
        finally:
            os.close(fd)

    def _reap(self) -> None:
        for end in self._nursery.collect_all():
            self._exits.append(end)
            if self._control is not None:
                self._tell({"op": "exit", **end.dump()})
            else:
                self._leave_exit(end)

    def _fence(self) -> None:
        """End the seats if whoever watches over them has not reached the database for too long: it is stopped, or gone,
        and nobody took its place."""
        now = boottime()
        if now < self._fence_at or not len(self._nursery):
            return
        self._fence_at = now + _FENCE_EVERY_MS / 1000
        keeper = self._runtime.read_keeper()
        if keeper is None or not keeper.overdue(now, _FENCE_SLACK):
            return
        say = f"jobwarden: nobody who watches over these seats reached the database for {now - keeper.renewed:.1f} s: "
        sys.stderr.write(f"{say}they are ended\n")
        for process, nonce in self._nursery.seats():
            Body(nonce, process, self._cgroups).kill()

    def _tell(self, message: Mapping[str, Any], fds: list[int] | None = None) -> None:
        if self._control is None:
            return
        try:
            send_packet(self._control, message, fds or [])
        except OSError:
            self._abandoned()

    def _abandoned(self) -> None:
        """The supervisor is gone: from here on, exits are left in the runtime directory."""
        if self._control is None:
            return
        self._poll.unregister(self._control)
        self._control.close()
        self._control = None
        for end in self._exits:
            self._leave_exit(end)

    def _leave_exit(self, end: Exit) -> None:
        try:
            self._runtime.write_exit(end)
        except OSError as problem:
            sys.stderr.write(f"jobwarden: the exit of {end.process.pid} could not be noted: {problem}\n")


def _name_in_environment(nonce: str) -> None:
    """Show the nonce to what copies ``os.environ``; the C environment has it already, and putenv would move it."""
    os.environ._data[_NONCE_KEY] = nonce.encode()  # type: ignore[attr-defined]  # noqa: SLF001


def become_seat(nonce: str, runtime: RuntimeDir, cgroups: Cgroups | None) -> None:
    """Make a fresh interpreter a seat: own session, own group, own spool, parent of all its descendants."""
    if os.getsid(0) != os.getpid():
        os.setsid()
    become_subreaper()
    die_with_parent(LOOK_UP)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if cgroups is not None:
        cgroups.join(nonce)
    open_spool(runtime, nonce)


def thread_reason() -> str | None:
    """Why forking is not safe now, naming the threads, or None if this process has one thread."""
    if probe.thread_count() == 1:
        return None
    python_names = {thread.native_id: thread.name for thread in threading.enumerate()}
    others = {tid: name for tid, name in probe.threads().items() if tid != os.getpid()}
    if not others:
        return None
    names = ", ".join(sorted(python_names.get(tid) or f"{name} (native)" for tid, name in others.items()))
    count = len(others)
    return (
        f"the application runs {count} thread{'s' if count > 1 else ''} of its own after import ({names}), which makes"
        " forking unsafe: each seat is a fresh interpreter instead"
    )


def _drain(fd: int) -> None:
    try:
        os.read(fd, 65_536)
    except BlockingIOError:
        return


def _nothing(number: int, frame: object) -> None:
    """A handler must exist for the wake-up pipe to be written."""
