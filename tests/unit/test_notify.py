"""What is said to a service manager, over a real socket."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from jobwarden.daemons.notify import Systemd
from tests.support.manager import Manager
from tests.support.waiting import eventually


@pytest.mark.parametrize("kind", ["a path", "the abstract namespace"])
def test_everything_is_said_once_and_in_order(tmp_path: Path, kind: str) -> None:
    with Manager(tmp_path / "notify" if kind == "a path" else None) as manager:
        systemd = Systemd({"NOTIFY_SOCKET": manager.address})
        assert systemd.listens
        for _ in range(2):
            systemd.status("serving\nlanes  a, b")
            systemd.ready()
        before = time.monotonic_ns() // 1000
        for _ in range(2):
            systemd.reloading()
        systemd.ready()
        for _ in range(2):
            systemd.stopping()
        systemd.ready()
        systemd.reloading()
        said = manager.listen()
        told = int(said.pop(3).removeprefix("MONOTONIC_USEC="))
        assert before <= told <= time.monotonic_ns() // 1000
        assert said == ["STATUS=serving lanes a, b", "READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


def test_signs_of_life_come_as_often_as_the_watchdog_needs_and_not_more() -> None:
    with Manager() as manager:
        systemd = Systemd(
            {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": f"{os.getpid()}"}
        )
        for _ in range(1000):
            systemd.alive()
        assert (systemd.watchdog, manager.listen()) == (60.0, ["WATCHDOG=1"])
        quick = Systemd({"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "3000"})

        def several() -> bool:
            quick.alive()
            return len(manager.listen()) > 5

        eventually(several, 10)


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}])
def test_nobody_asked_to_be_told_of_life_is_not(environ: dict[str, str]) -> None:
    with Manager() as manager:
        systemd = Systemd({"NOTIFY_SOCKET": manager.address, **environ})
        systemd.alive()
        assert (systemd.watchdog, manager.listen()) == (0.0, [])


@pytest.mark.parametrize(
    ("address", "spoken"),
    [
        ("", False),
        ("vsock:2:1234", False),
        ("/nobody/listens/here", True),
        ("@nobody-listens-here", True),
        ("/" + "x" * 300, True),
    ],
)
def test_whatever_is_wrong_with_the_socket_nothing_fails(address: str, spoken: bool) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"})
    assert systemd.listens is spoken
    systemd.ready()
    systemd.alive()
    systemd.status("\ud800")
    systemd.stopping()


def test_a_manager_that_does_not_read_blocks_nobody() -> None:
    with Manager() as manager:
        systemd = Systemd({"NOTIFY_SOCKET": manager.address})

        def chatter() -> None:
            for n in range(5000):
                systemd.status(f"{n}")

        done = threading.Thread(target=chatter, daemon=True)
        done.start()
        done.join(30)
        assert not done.is_alive()


def test_the_environment_is_left_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.setenv(name, "1")
    assert not Systemd().listens
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)
