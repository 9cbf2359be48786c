"""A seat's process tree: finding all of it, and ending it for certain.

A process belongs to a seat if it descends from it, is in its session or carries its nonce. Each signal goes through a
pidfd whose identity was checked after it was opened, and a tree counts as ended only when a search finds none of it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass

from jobwarden.domain.stamp import ProcessId
from jobwarden.process import pidfd, probe

_PACE = 0.01


@dataclass(frozen=True, slots=True)
class Member:
    """One living process of a tree."""

    process: ProcessId
    command: str


def members(root: ProcessId, nonce: str | None) -> list[Member]:
    """Everything that belongs to the seat and can still act, the seat itself included, parents before children."""
    everyone = {found.pid: found for found in probe.everyone()}
    ours = _related(root, nonce, everyone)
    return [
        Member(ProcessId(pid, everyone[pid].start_time), probe.command_line(pid))
        for pid in ours
        if everyone[pid].running
    ]


def descendants(root: ProcessId) -> list[Member]:
    """Everything below a process by parentage alone, without itself; zombies are left out."""
    everyone = {found.pid: found for found in probe.everyone()}
    below = _below({root.pid}, everyone) - {root.pid}
    return [
        Member(ProcessId(pid, everyone[pid].start_time), probe.command_line(pid))
        for pid in sorted(below)
        if everyone[pid].running
    ]


def strike(targets: Iterable[Member], number: int) -> int:
    """Send a signal to each, its identity checked first; how many got it."""
    return sum(_strike(target.process, number) for target in targets)


def end_tree(root: ProcessId, nonce: str | None, *, grace: float, patience: float = 5.0) -> list[Member]:
    """TERM to all, after ``grace`` seconds KILL, until a search finds none; who is left ``patience`` seconds later.

    What is left cannot be ended (it sleeps in the kernel, or belongs to somebody else): its seat must not be reused.
    """
    left = members(root, nonce)
    if left and grace > 0:
        strike(left, signal.SIGTERM)
        left = _await_none(root, nonce, grace)
    limit = time.monotonic() + patience
    while left and time.monotonic() < limit:
        strike(left, signal.SIGKILL)
        left = _await_none(root, nonce, min(0.2, patience))
    return left


def _await_none(root: ProcessId, nonce: str | None, seconds: float) -> list[Member]:
    limit = time.monotonic() + seconds
    while left := members(root, nonce):
        if time.monotonic() >= limit:
            break
        time.sleep(_PACE)
    return left


def _related(root: ProcessId, nonce: str | None, everyone: dict[int, probe.Stat]) -> list[int]:
    found = everyone.get(root.pid)
    seeds: set[int] = set()
    if found is not None and found.start_time == root.start_time:
        seeds.add(root.pid)
    if found is None or found.start_time == root.start_time:
        # a pid is not given out again while it still names a session
        seeds |= {pid for pid, stat in everyone.items() if stat.session == root.pid and _not_older(stat, root)}
    if nonce:
        seeds |= {pid for pid, stat in everyone.items() if pid not in seeds and _carries(stat, root, nonce)}
    return sorted(_below(seeds, everyone), key=lambda pid: (everyone[pid].start_time, pid))


def _not_older(stat: probe.Stat, root: ProcessId) -> bool:
    return stat.start_time >= root.start_time


def _carries(stat: probe.Stat, root: ProcessId, nonce: str) -> bool:
    return stat.running and _not_older(stat, root) and probe.nonce(stat.pid) == nonce


def _below(seeds: set[int], everyone: dict[int, probe.Stat]) -> set[int]:
    offspring: dict[int, list[int]] = {}
    for pid, stat in everyone.items():
        offspring.setdefault(stat.parent, []).append(pid)
    found, waiting = set(seeds), list(seeds)
    while waiting:
        for child in offspring.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    found.discard(os.getpid())
    return found


def _strike(process: ProcessId, number: int) -> bool:
    try:
        return pidfd.signal_checked(process, number)
    except PermissionError:
        return False


def end_children(grace: float = 1.0, patience: float = 5.0, quiet: frozenset[int] = frozenset()) -> list[Member]:
    """End every child of this process, its orphaned descendants included (it is their subreaper), and reap them.

    TERM, after ``grace`` seconds KILL, until the kernel says that there is no child. Gives who was found alive; the
    pids in ``quiet`` end by themselves and are not mentioned unless they do not.
    """
    found: dict[int, Member] = {}
    started = time.monotonic()
    while _reap_dead() and time.monotonic() < started + grace + patience:
        late = time.monotonic() >= started + grace
        for pid in probe.children():
            stat = probe.stat(pid)
            if stat is None or not stat.running:
                continue
            if late or (pid not in found and pid not in quiet):
                found.setdefault(pid, Member(ProcessId(pid, stat.start_time), probe.command_line(pid)))
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)  # our own child keeps its pid until reaped
        time.sleep(_PACE)
    return list(found.values())


def _reap_dead() -> bool:
    """Reap the children that have ended; whether any are left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return False
    return True
