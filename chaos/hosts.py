"""Hosts: each a PID namespace with a keeper, and a network namespace joined to the server's by a virtual cable.

All hosts share the machine's id, as containers of one machine do. Processes are found from outside by their titles and
named by the pid and start time that they have inside.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.evidence import Life
from chaos.journal import HOST_VARIABLE, boottime

BRIDGE, NETWORK = "wires", "10.87.0"
SERVER_ADDRESS = f"{NETWORK}.1"
_NOWHERE = "02:00:00:00:00:ff"
_TITLES = (
    ("seat", re.compile(r"jobwarden: seat \(idle\)")),
    ("zygote", re.compile(r"jobwarden: zygote")),
    ("supervisor", re.compile(r"jobwarden: supervisor")),
    ("local reaper", re.compile(r"jobwarden: local[ -]reaper")),
    ("global reaper", re.compile(r"jobwarden: global[ -]reaper")),
    ("child", re.compile(r"jobwarden: ")),
)


@dataclass(frozen=True, slots=True)
class Found:
    """A process of a host: ``pid`` as seen from outside, ``inner`` as it calls itself."""

    pid: int
    inner: int
    start_time: int
    role: str
    title: str
    nonce: str
    parent: int

    def signal(self, number: signal.Signals) -> bool:
        """Send it a signal if it is still the same process; whether it was."""
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if _start_time(self.pid) != self.start_time:
                return False
            signal.pidfd_send_signal(fd, number)
        except OSError:
            return False
        finally:
            os.close(fd)
        return True


class Host:
    """One host; ``networked`` gives it an address of its own, otherwise it shares the campaign's network."""

    def __init__(
        self, ordinal: int, folder: Path, commands: Mapping[str, Sequence[str]], env: Mapping[str, str], networked: bool
    ) -> None:
        self.name, self.networked = f"host{ordinal + 1}", networked
        self.folder, self.runtime_dir = folder / self.name, folder / f"{self.name}-run"
        self.lives: list[Life] = []
        self._address = f"{NETWORK}.{ordinal + 10}"
        self._mac = f"02:00:00:00:00:{ordinal + 10:02x}"
        self._commands = {name: list(command) for name, command in commands.items()}
        self._env = {
            **os.environ,
            **env,
            HOST_VARIABLE: self.name,
            "JOBWARDEN_RUNTIME_DIR": str(self.runtime_dir),
        }
        self._outer: subprocess.Popen[str] | None = None
        self._first = 0
        self.folder.mkdir(parents=True)

    def connect(self) -> None:
        """Lay its cable; once, before the first start."""
        if not self.networked:
            return
        space, near, far = self.name, f"{self.name}w", "eth0"
        _ip("netns", "add", space)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", space)
        _ip("link", "set", near, "master", BRIDGE, "up")
        for words in (
            ("link", "set", far, "address", self._mac),
            ("addr", "add", f"{self._address}/24", "dev", far),
            ("link", "set", far, "up"),
            ("link", "set", "lo", "up"),
        ):
            _ip("-n", space, *words)

    def start(self) -> None:
        """Start its first process, which starts the rest."""
        words = [sys.executable, "-m", "chaos.keeper", self.name, str(self.folder), json.dumps(self._commands)]
        inside = ["ip", "netns", "exec", self.name] if self.networked else []
        with (self.folder / "keeper.log").open("a") as log:
            self._outer = subprocess.Popen(
                [*inside, *words],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._outer.stdout is not None
        self._first = int(self._outer.stdout.readline())
        self.lives.append(Life(self.name, os.stat(f"/proc/{self._first}/ns/pid").st_ino, boottime()))

    @property
    def running(self) -> bool:
        """Whether its first process is there."""
        return self._outer is not None and self._outer.poll() is None

    def stop(self, grace: float = 12.0) -> None:
        """Ask everything to end, and end what does not."""
        if self._outer is None or not self.running:
            return
        self._outer.send_signal(signal.SIGTERM)
        try:
            self._outer.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill_first()
        self.lives[-1].ended = min(self.lives[-1].ended, boottime())

    def kill_first(self) -> None:
        """Kill its first process, and so all of them in one instant."""
        assert self._outer is not None
        os.kill(self._first, signal.SIGKILL)
        self._outer.wait()
        self.lives[-1].ended = boottime()

    def processes(self) -> list[Found]:
        """What lives on it, by age; its first process is left out."""
        scope = self.lives[-1].scope
        found = [proc for pid in _pids() if pid != self._first and (proc := _look(pid, scope))]
        return sorted(found, key=lambda proc: (proc.start_time, proc.pid))

    def wipe(self) -> None:
        """Remove everything in its runtime directory."""
        for path in list(self.runtime_dir.iterdir()) if self.runtime_dir.is_dir() else ():
            shutil.rmtree(path, ignore_errors=True)

    def cut(self, way: str) -> None:
        """Lose every packet: ``in`` those from the server, ``out`` those to it, or ``both``; nobody is told."""
        if way in ("in", "both"):
            _ip("neigh", "replace", self._address, "lladdr", _NOWHERE, "nud", "permanent", "dev", BRIDGE)
        if way in ("out", "both"):
            far = ("lladdr", _NOWHERE, "nud", "permanent", "dev", "eth0")
            _ip("-n", self.name, "neigh", "replace", SERVER_ADDRESS, *far)

    def heal(self) -> None:
        """Undo `cut`."""
        _ip("neigh", "del", self._address, "dev", BRIDGE, check=False)
        _ip("-n", self.name, "neigh", "del", SERVER_ADDRESS, "dev", "eth0", check=False)


def lay_wires() -> None:
    """The bridge that the cables of all hosts end at; the server's address is on it."""
    _ip("link", "add", BRIDGE, "type", "bridge")
    _ip("addr", "add", f"{SERVER_ADDRESS}/24", "dev", BRIDGE)
    _ip("link", "set", BRIDGE, "up")


def _ip(*words: str, check: bool = True) -> None:
    subprocess.run(["ip", *words], check=check, capture_output=not check)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdecimal())


def _look(pid: int, scope: int) -> Found | None:
    """A living process of that PID namespace."""
    try:
        if os.stat(f"/proc/{pid}/ns/pid").st_ino != scope:
            return None
        title = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        names = Path(f"/proc/{pid}/status").read_text()
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    inner = int(names.partition("NSpid:")[2].partition("\n")[0].split()[-1])
    if fields[0] in "ZX":
        return None
    return Found(pid, inner, int(fields[19]), _role(title), title, nonce_of(pid), int(fields[1]))


def nonce_of(pid: int) -> str:
    """The nonce that a process carries in its environment, or nothing."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    return next((value[16:].decode() for value in variables if value.startswith(b"JOBWARDEN_NONCE=")), "")


def _role(title: str) -> str:
    return next((role for role, pattern in _TITLES if pattern.match(title)), "")


def _start_time(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    except (OSError, IndexError):
        return -1
