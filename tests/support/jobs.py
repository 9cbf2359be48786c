"""Jobs that each do one thing and are named for it.

`build` declares them on an app of its own, for tests that enqueue; ``jw`` is the app that daemons import.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import math
import mmap
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jobwarden import Backoff, Cancel, Context, Fail, JobWarden, Outcome, Park, Ref, Snooze
from jobwarden.runner.outcome import Outcomes

APP = "tests.support.jobs:jw"
SOON = Backoff(base=0.1, factor=1, cap=0.1, jitter=False)
Function = Callable[..., Any]
_noted: list[tuple[Function, dict[str, Any]]] = []
WEIRD: dict[str, Any] = {
    "nan": lambda: {"value": math.nan},
    "nul": lambda: {"text": "a\0b"},
    "surrogate": lambda: {"text": "a\ud800b"},
    "huge": lambda: {"number": 10**400},
    "deep": lambda: _nested(900),
    "emoji": lambda: {"text": "\U0001f600 é"},
}


class Order(BaseModel):
    """A model as a param."""

    number: int
    amount: Decimal
    lines: list[str] = []


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def _job(**options: Any) -> Callable[[Function], Function]:
    """Note a job, under its function's name."""

    def note(function: Function) -> Function:
        _noted.append((function, {"name": function.__name__, **options}))
        return function

    return note


def build(**settings: Any) -> JobWarden:
    """An app with all of these jobs."""
    app = JobWarden(**settings)
    for function, options in _noted:
        app.job(**options)(function)
    return app


@_job(idempotent=True)
def succeed(value: int = 42) -> int:
    return value


@_job(idempotent=True)
def ask_upstream(key: str, *, ctx: Context) -> Any:
    return ctx.upstream(key)


@_job(idempotent=True)
def ask_batch(*, ctx: Context) -> dict[str, Any]:
    now = ctx.batch()
    counts = {"running": now.counts.running, "succeeded": now.counts.succeeded}
    return {"name": now.name, "params": now.params, **counts}


@_job(idempotent=False)
def add_to_batch(*, ctx: Context) -> None:
    ctx.batch().add(jw.bind("ask_batch"))


@_job(idempotent=True, max_attempts=3, backoff=SOON)
def grow(parts: list[int], at_once: bool = False, mishap: str = "", *, ctx: Context) -> dict[str, Any]:
    """Adds a member for each part, and one that sums them up; in its first attempt something may happen to it."""
    batch = ctx.batch()
    added = batch.fan_out([jw.bind("succeed", {"value": Ref("grow", "parts", n)}) for n in range(len(parts))])
    batch.add(jw.bind("ask_batch"), "sums", after=added)
    if at_once:
        assert batch.enqueue() in (len(parts) + 1, 0)
    if ctx.attempt_number == 1 and mishap == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if ctx.attempt_number == 1 and mishap == "fails":
        raise ValueError(mishap)
    if mishap == "wrong":
        batch.add(jw.bind("ask_batch"), "late", after="nobody")
    return {"parts": parts}


@_job(idempotent=False)
def grow_and_complete_in_own(*, ctx: Context) -> None:
    ctx.batch().add(jw.bind("ask_batch"), "late")
    with jw.database.engine.connect() as connection, connection.begin():
        ctx.complete_in(connection)


@_job(idempotent=False)
def complete_in_own(ctx: Context, seconds: float = 5.0) -> None:
    """Succeeds in a transaction of its own, and takes its time to leave."""
    with jw.database.engine.connect() as connection, connection.begin():
        ctx.complete_in(connection, {"paid": 1})
    time.sleep(seconds)


@_job(idempotent=True)
def who() -> dict[str, Any]:
    """What this process knows of itself, to hold against its stamp."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    fd = os.pidfd_open(os.getpid())
    found = {"pid": os.getpid(), "start_time": int(fields[19]), "inode": os.fstat(fd).st_ino}
    os.close(fd)
    title = Path("/proc/self/cmdline").read_text().rstrip("\0")
    return {**found, "nonce": os.environ["JOBWARDEN_NONCE"], "session": os.getsid(0), "title": title}


@_job(idempotent=True)
def wall_clock() -> float:
    """What this host's clock says, right or wrong."""
    return time.time()


@_job(idempotent=True)
def environment() -> list[str]:
    """The names of the variables that a child has."""
    return sorted(os.environ)


@_job(idempotent=False)
def charge(amount: int = 7) -> int:
    return amount


@_job(idempotent=True)
async def async_sleep(seconds: float = 0.01) -> str:
    await asyncio.sleep(seconds)
    return "slept"


@_job(idempotent=True)
def give_back(value: Any) -> Any:
    return value


@_job(idempotent=True)
def takes_model(order: Order) -> dict[str, Any]:
    return {"kind": type(order).__name__, "double": order.amount * 2, "order": order}


@_job(idempotent=True, max_attempts=3)
def big_result(size: int = 1 << 20) -> str:
    return "x" * size


@_job(idempotent=True, max_attempts=1)
def weird_result(kind: str) -> Any:
    return WEIRD[kind]()


@_job(idempotent=True, max_attempts=1)
def weird_error(kind: str) -> None:
    raise ValueError(f"{WEIRD[kind]()}", "a\0b", "a\ud800b")


@_job(idempotent=True)
def weird_lines(kind: str, *, ctx: Context) -> None:
    ctx.step("a\0b\ud800" + "s" * 500)
    ctx.log.info("a\0b\ud800 %s", kind, extra={"value": WEIRD[kind](), "a\0b": 1})
    ctx.progress(float("nan"), "a\0b\ud800")
    ctx.artifact("n" * 500, {"rows": 3}, type="t" * 100, meta={"value": WEIRD[kind]()})
    print("a\0b\ud800")


@_job(idempotent=True)
def fill_runtime_dir() -> int:
    """Write into the folder of the seats until nothing more fits."""
    written = 0
    filler = Path(os.environ["JOBWARDEN_SEAT"]) / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            written += file.write(b"x" * 512)
    return written


@_job(idempotent=True)
def empty_runtime_dir() -> None:
    (Path(os.environ["JOBWARDEN_SEAT"]) / "filler").unlink()


@_job(idempotent=False)
def append_guarded(path: str, text: str, seconds: float = 0.0) -> None:
    """`append` for what must never run twice."""
    with open(path, "a") as file:
        file.write(f"{text}\n")
    time.sleep(seconds)


@_job(idempotent=True)
def nap(seconds: float, *, ctx: Context) -> str:
    ctx.log.info("napping")
    time.sleep(seconds)
    ctx.log.info("rested")
    return "rested"


@_job(idempotent=True)
def wait_deaf(gate: str, lines: int = 0, *, ctx: Context) -> int:
    """`wait_for` that hears no signal meanwhile, as one long native call does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGURG})
    try:
        return int(wait_for(gate, lines, ctx=ctx))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGURG})


@_job(idempotent=True)
def wait_for(gate: str, lines: int = 0, *, ctx: Context) -> int:
    """Say lines while the gate is shut, and go on once the file is there."""
    said = 0
    while not Path(gate).exists() or said < lines:
        if said < lines:
            said += 1
            print("line", said)
        time.sleep(0.005)
    return said


@_job(idempotent=False)
def wait_outside_of_python(lock: str) -> str:
    """Wait in C code that keeps the interpreter to itself, as a native library may, for a lock that another has."""
    print("waiting", flush=True)
    with open(lock, "w") as held:
        ctypes.PyDLL(None).flock(held.fileno(), fcntl.LOCK_EX)
    return "back"


@_job(idempotent=True)
def wait_with_a_thread(gate: str) -> int:
    """Wait for a thread that waits for the gate."""

    def in_the_thread() -> None:
        while not Path(gate).exists():
            time.sleep(0.005)

    helper = threading.Thread(target=in_the_thread, name="helper")
    helper.start()
    print("waiting", flush=True)
    helper.join()
    return 1


@_job(idempotent=True)
def wait_without_files(gate: str, *, ctx: Context) -> int:
    """`wait_for`, having closed every descriptor that it did not open itself, and put its own in their places."""
    print("waiting", flush=True)
    for name in os.listdir("/proc/self/fd"):
        place = f"/proc/self/fd/{name}"
        if os.path.exists(place) and "memfd" in os.readlink(place):
            theirs = os.open(f"{gate}-data", os.O_RDWR | os.O_CREAT)
            os.dup2(theirs, int(name))
    return int(wait_for(gate, 0, ctx=ctx))


@_job(idempotent=True)
def wait_with_a_child(gate: str) -> None:
    """Wait for a process that outlasts every test, while the gate is shut."""
    child = subprocess.Popen(["sleep", "987"])
    print("waiting", flush=True)
    while not Path(gate).exists():
        time.sleep(0.005)
    child.kill()
    child.wait()


@_job(idempotent=False)
def charge_at_the_gate(gate: str) -> int:
    """Something that must not be done twice, done while the gate is shut. See https://runbook.example/gates first."""
    print("charging", flush=True)
    while not Path(gate).exists():
        time.sleep(0.005)
    return 7


@_job(idempotent=True)
def append(path: str, text: str = "x", seconds: float = 0.0) -> None:
    """Leave a mark that cannot be undone, so that a second run shows."""
    with open(path, "a") as file:
        file.write(f"{text}\n")
    time.sleep(seconds)


@_job(idempotent=True, max_attempts=2, backoff=SOON)
def fail(message: str = "it broke") -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise RuntimeError(message) from error


@_job(idempotent=True, backoff=SOON)
def fail_once(*, ctx: Context) -> int:
    if ctx.attempt_number == 1:
        raise OSError("not yet")
    return ctx.attempt_number


@_job(idempotent=True, backoff=SOON)
def fail_at_the_gate(gate: str, *, ctx: Context) -> int:
    if ctx.attempt_number == 1:
        ctx.log.info("at the gate")
        while not Path(gate).exists():
            time.sleep(0.005)
        raise OSError("the gate was opened")
    return ctx.attempt_number


@_job(idempotent=True, max_attempts=1)
def exit3() -> None:
    sys.exit(3)


@_job(idempotent=True)
def end_as(kind: str, *, ctx: Context) -> str:
    if ctx.attempt_number > 1:
        return f"attempt {ctx.attempt_number}"
    raise {
        "snooze": Snooze(0.1, "later"),
        "fail": Fail("never again"),
        "park": Park("ask Ann"),
        "cancel": Cancel("not needed"),
    }[kind]


@_job(idempotent=True, grace=20)
def stop_at_checkpoint(*, ctx: Context) -> None:
    ctx.log.info("waiting")
    while True:
        ctx.raise_if_stop_requested()
        time.sleep(0.005)


@_job(idempotent=True, max_attempts=1)
def kill_self_after_stderr() -> None:
    os.write(2, b"native last words\n")
    sys.stderr.write("my last wor")
    sys.stderr.write("ds")
    os.kill(os.getpid(), signal.SIGKILL)


@_job(idempotent=False)
def die_unexplained() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@_job(idempotent=True, backoff=SOON)
def die_once(*, ctx: Context) -> str:
    if ctx.attempt_number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


@_job(idempotent=False)
def die_after_outcome() -> str:
    """Be killed when the outcome is noted, and before anybody is told."""
    keep = Outcomes.keep

    def keep_and_die(self: Outcomes, *given: Any) -> bytes:
        keep(self, *given)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")

    Outcomes.keep = keep_and_die  # type: ignore[method-assign,assignment]
    return "done"


@_job(idempotent=False)
class Pay:
    """Enters a payment in a book that is outside of the database, ``when`` it is "before" or "after" a gate.

    Its hook looks into the book, or does as ``hook`` says.
    """

    book: str
    gate: str
    when: str = "before"
    hook: str = "look"

    def run(self, ctx: Context) -> dict[str, Any]:
        if self.when == "before":
            self._enter(ctx)
        print("at the gate", flush=True)
        while not Path(self.gate).exists():
            time.sleep(0.005)
        if self.when == "after":
            self._enter(ctx)
        return {"paid by": ctx.attempt_number}

    def reconcile(self, ctx: Context) -> Any:
        lost = ctx.lost_attempt
        ctx.log.info("asked about attempt %d, %s", lost.number, lost.id)
        if (answer := _HOOKS.get(self.hook)) is not None:
            return answer(ctx)
        while self.hook == "gate" and not Path(self.gate).exists():
            time.sleep(0.005)
        if not Path(self.book).exists():
            return Outcome.did_not_run("nothing is in the book")
        return Outcome.ran({"found": Path(self.book).read_text().split()})

    def _enter(self, ctx: Context) -> None:
        with open(self.book, "a") as file:
            file.write(f"{ctx.attempt_number}\n")


def _ask_until_stopped(ctx: Context) -> None:
    while True:
        ctx.raise_if_stop_requested()
        time.sleep(0.005)


def _snooze_once(ctx: Context) -> Outcome:
    if ctx.attempt_number == ctx.lost_attempt.number + 1:
        raise Snooze(0.1, "the bank is closed")
    return Outcome.unknown("the bank was open")


def _raise(ctx: Context) -> None:
    raise OSError("the bank does not answer")


_HOOKS: dict[str, Callable[[Context], Any]] = {
    "unknown": lambda ctx: Outcome.unknown("two payments look alike"),
    "failed": lambda ctx: Outcome.failed("the card was refused"),
    "nothing": lambda ctx: None,
    "raise": _raise,
    "die": lambda ctx: os.kill(os.getpid(), signal.SIGKILL),
    "snooze": _snooze_once,
    "wait": _ask_until_stopped,
}


@_job(idempotent=True, memory="200MiB", max_attempts=1)
def eat_memory(megabytes: int = 600) -> int:
    return len([bytearray(1 << 20) for _ in range(megabytes)])


@_job(idempotent=True, memory="200MiB", max_attempts=1)
def eat_shared_memory(megabytes: int = 300) -> None:
    """Memory that no soft limit sees: only who watches from outside does."""
    block = mmap.mmap(-1, megabytes << 20)
    for page in range(0, len(block), mmap.PAGESIZE):
        block[page] = 1
    time.sleep(600)


@_job(idempotent=True, timeout=0.5, grace=0.3, max_attempts=1)
def ignore_term() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("deaf", flush=True)
    while True:
        time.sleep(60)


@_job(idempotent=True, timeout=0.3, grace=20, max_attempts=1)
def heed_timeout(*, ctx: Context) -> str:
    while not ctx.stop_requested:
        time.sleep(0.005)
    return "tidied up"


@_job(idempotent=True)
def leave_grandchild() -> int:
    script = "import os,time\nos.setsid()\nprint('up', flush=True)\ntime.sleep(600)"
    child = subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    return child.pid


@_job(idempotent=True, max_attempts=1)
def leave_orphan_and_die() -> None:
    """A grandchild in a session of its own, whose parent and whose seat are both dead."""
    ready, wrote = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            print("orphan", os.getpid(), flush=True)
            os.write(wrote, b"x")
            time.sleep(600)
        os._exit(0)
    os.read(ready, 1)
    os.wait()
    os.kill(os.getpid(), signal.SIGKILL)


@_job(idempotent=True, grace=0.5)
def breed(heed: bool = True, *, ctx: Context) -> None:
    """Start two grandchildren in sessions of their own, deaf to TERM, one of them with nothing in its environment."""
    ready, wrote = os.pipe()
    for bare in (False, True):
        _escape(wrote, bare)
    told = b""
    while told.count(b" ") < 2:
        told += os.read(ready, 100)
    print("bred", os.getpid(), *map(int, told.split()))
    while True:
        if heed:
            ctx.raise_if_stop_requested()
        time.sleep(0.01)


def _escape(wrote: int, bare: bool) -> None:
    if os.fork():
        os.wait()
        return
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.write(wrote, b"%d " % os.getpid())
        if bare:
            os.execve("/bin/sleep", ["sleep", "600"], {})
        time.sleep(600)
    os._exit(0)


@_job(idempotent=True, grace=0.2)
def swarm(count: int = 100, *, ctx: Context) -> None:
    """Watchers in sessions of their own, each with a child that it starts once more when that dies."""
    for _ in range(count):
        if os.fork() == 0:
            _breed_twice()
    print("swarms", flush=True)
    time.sleep(600)


def _breed_twice() -> None:
    os.setsid()
    for _ in range(2):
        if os.fork() == 0:
            time.sleep(600)
        os.wait()
    time.sleep(600)


@_job(idempotent=True, grace=20)
class Tidy:
    """Wants to know that it is to stop, and returns then; or raises in telling."""

    broken: bool = False

    def run(self, ctx: Context) -> str:
        ctx.log.info("working")
        while not ctx.stop_requested:
            time.sleep(0.005)
        return "half of it"

    def on_terminate(self, ctx: Context) -> None:
        if self.broken:
            raise RuntimeError("no time")


@_job(idempotent=True, timeout=0.5, grace=0.2, max_attempts=1)
def breed_too_long(*, ctx: Context) -> None:
    breed(heed=False, ctx=ctx)


@_job(idempotent=True)
def count_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@_job(idempotent=False)
def forks_that_come_back(path: str) -> str:
    """Forks as a careless library does: what it forked runs on as if it were the handler, and returns or raises."""
    for fate in ("return", "raise"):
        if os.fork() == 0:
            if fate == "raise":
                raise OSError("this is not the attempt's own end")
            return "this is not the attempt's own result"
        os.wait()
    Path(path).write_text("alone")
    return "its own"


@_job(idempotent=True, memory="400MiB", max_attempts=1)
def eat_memory_together(megabytes: int = 200, *, ctx: Context) -> None:
    """Three processes, none of which is over the limit alone."""
    for _ in range(3):
        if os.fork() == 0:
            block = bytearray(os.urandom(1 << 20)) * megabytes
            time.sleep(600 + len(block) * 0)
    print("eating", flush=True)
    time.sleep(600)


@_job(idempotent=True)
def chatter(lines: int = 10_000, *, ctx: Context) -> int:
    for n in range(1, lines + 1):
        if n % 3:
            ctx.log.info("line %d", n)
        else:
            print("line", n)
    return lines


@_job(idempotent=True)
def mumble(*, ctx: Context) -> None:
    """All the ways to say something, in an order that must be kept."""
    print("1 print")
    ctx.log.warning("2 log", extra={"store": 42})
    print("3 stderr", file=sys.stderr)
    subprocess.run(["/bin/echo", "4 subprocess"], check=True)
    with ctx.step("load"):
        ctx.log.info("5 in a step")
    ctx.progress(0.5, "half")
    os.write(1, b"6 bad \xff bytes and \x00 nul\n")
    ctx.artifact("report.json", {"rows": 3}, type="report")
    print("7 no newline", end="")


jw = build()
