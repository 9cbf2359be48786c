"""The rehearsal: a zygote runs a seat's whole way a few times before its first fork, with a job that does nothing.

The interpreter specialises code and fills caches where it runs it, in the memory that every fork shares. What was
rehearsed is written once here, and not copied again in each child.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from jobwarden.context import Context
from jobwarden.jobs import JobDefinition, Submitter
from jobwarden.options import Options
from jobwarden.process import probe, stack
from jobwarden.process.wire import pack
from jobwarden.process.zygote import LOOK_UP
from jobwarden.runner.child import Child

_TIMES = 20
_ID = "rehearsal-{}"


class Rehearsal:
    """The jobs of the rehearsal: one that takes a parameter and a context, and gives a result."""

    def __init__(self) -> None:
        self._job: JobDefinition[..., ..., Any] = JobDefinition(
            _play, "rehearsal", (), Options(idempotent=True), cast(Submitter, None)
        )

    def find(self, name: str) -> JobDefinition[..., ..., Any]:
        """The one job."""
        return self._job


def rehearse(make_child: Callable[[Any], Child]) -> None:
    """Let a child run the rehearsal in this very process; left out where the application has children or threads."""
    if probe.children() or probe.thread_count() > 1:
        return
    registry = Rehearsal()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, LOOK_UP)}
    with suppress(Exception):  # nothing depends on it
        for n in range(_TIMES):
            make_child(registry).serve("rehearse", cast(socket.socket, _Prompter(_ID.format(n))))
    for number, handler in before.items():
        signal.signal(number, handler)
    stack.deafen()


class _Prompter:
    """Stands in for the socket: gives the claim, hears the outcome, acknowledges it."""

    def __init__(self, attempt_id: str) -> None:
        acknowledgement = {"op": "ack", "attempt_ids": [attempt_id]}
        self._frames = [pack(_claim(attempt_id)), pack(acknowledgement)]

    def recv(self, size: int, flags: int = 0) -> bytes:
        """The next frame."""
        return self._frames.pop(0) if self._frames else b""

    def sendall(self, data: bytes) -> None:
        """What the child says is not needed."""


def _play(text: str = "", *, ctx: Context) -> None:
    return None


def _claim(attempt_id: str) -> dict[str, Any]:
    return {
        "op": "claim",
        "job_id": attempt_id,
        "attempt_id": attempt_id,
        "attempt_number": 1,
        "token": 1,
        "job": "rehearsal",
        "params": '{"text":"x"}',
        "lane": "default",
        "tags": {},
        "idempotent": True,
        "isolation": "fork",
        "results_max_bytes": 65536,
    }
