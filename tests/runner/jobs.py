"""An application whose jobs each do one thing."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from jobwarden.app import JobWarden
from jobwarden.context import Context
from jobwarden.outcomes import Cancel, Fail, Outcome, Park, Snooze, Stopped

jw = JobWarden()
libc = ctypes.CDLL(None)
print("imported", os.getpid())

module_log = logging.getLogger("some.library")
logging.basicConfig(stream=sys.stderr, level=logging.INFO)


@jw.job(idempotent=True, name="noop")
def noop() -> None: ...


@jw.job(idempotent=True, name="add")
def add(a: int, b: int) -> int:
    return a + b


@jw.job(idempotent=False, name="who")
def who() -> dict[str, Any]:
    return {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "nonce": os.environ["JOBWARDEN_NONCE"],
        "threads": threading.active_count(),
        "title": Path("/proc/self/cmdline").read_text().rstrip("\0"),
        "fds": sorted(int(fd) for fd in os.listdir("/proc/self/fd")),
        "random": __import__("random").random(),
        "argv": sys.argv,
    }


@jw.job(idempotent=True, name="facts")
def facts(*, ctx: Context) -> dict[str, Any]:
    return {
        "job_id": ctx.job_id,
        "attempt_id": ctx.attempt_id,
        "number": ctx.attempt_number,
        "token": ctx.fencing_token,
        "job": ctx.job,
        "label": ctx.label,
        "lane": ctx.lane,
        "tags": ctx.tags,
        "batch": ctx.batch_id,
        "scheduled": ctx.scheduled_for,
    }


@jw.job(idempotent=True, name="fail")
def fail(message: str = "it broke", odd: bool = False) -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise RuntimeError(message + " \ud800\0" * odd) from error


@jw.job(idempotent=True, name="leave")
def leave(code: int = 3) -> None:
    sys.exit(code)


@jw.job(idempotent=True, name="raise_ending")
def raise_ending(kind: str) -> None:
    try:
        raise {
            "snooze": Snooze(7.5),
            "fail": Fail("never again"),
            "park": Park("ask Ann"),
            "cancel": Cancel("not needed"),
            "stopped": Stopped(),
        }[kind]
    except Exception as error:  # what careless code does around a checkpoint
        raise AssertionError("an ending was swallowed") from error


@jw.job(idempotent=True, name="big")
def big(size: int) -> str:
    return "x" * size


@jw.job(idempotent=True, name="unstorable")
def unstorable() -> Any:
    return object()


@jw.job(idempotent=True, name="sleep_async")
async def sleep_async(*, ctx: Context) -> str:
    await asyncio.sleep(0.001)
    ctx.log.info("slept")
    return "slept"


@jw.job(idempotent=True, name="snooze_in_group")
async def snooze_in_group() -> None:
    async def one() -> None:
        raise Snooze(3)

    async with asyncio.TaskGroup() as group:
        group.create_task(one())


@jw.job(idempotent=True, name="wait_for_stop")
def wait_for_stop(look: bool = True, *, ctx: Context) -> str:
    print("waiting", flush=True)
    if look:
        while not ctx.stop_requested:
            time.sleep(0.005)
    else:
        signal.sigtimedwait([], 0) if False else time.sleep(0.3)
    return "done"


@jw.job(idempotent=True, name="stop_at_checkpoint")
def stop_at_checkpoint(*, ctx: Context) -> None:
    print("waiting", flush=True)
    while True:
        ctx.raise_if_stop_requested()
        time.sleep(0.005)


@jw.job(idempotent=True, name="Told")
class Told:
    reason: str

    def run(self, ctx: Context) -> str:
        self.heard = ""
        print("waiting", flush=True)
        while not self.heard:
            time.sleep(0.005)
        return f"{self.reason}: {self.heard}"

    def on_terminate(self, ctx: Context) -> None:
        self.heard = "told"


class NeverEntered:
    """A job whose handler must not be entered."""

    def run(self, ctx: Context) -> None:
        print("ENTERED", flush=True)


def _answer(kind: str, ctx: Context) -> Any:
    match kind:
        case "raise":
            raise OSError("the bank does not answer")
        case "fail":
            raise Fail("refused for good")
        case "snooze":
            raise Snooze(7.5)
        case "park":
            raise Park("ask Ann")
        case "stop":
            print("waiting", flush=True)
            while not ctx.stop_requested:
                time.sleep(0.005)
            return None
    answers = {
        "ran": Outcome.ran({"paid": 3}),
        "ran without a result": Outcome.ran(),
        "ran with too much": Outcome.ran("x" * 100_000),
        "did not run": Outcome.did_not_run("no such payment"),
        "failed": Outcome.failed("the card was refused"),
        "unknown": Outcome.unknown("two payments look alike"),
        "wrong": "paid",
    }
    return answers.get(kind)


@jw.job(idempotent=False, name="Asks")
class Asks(NeverEntered):
    kind: str

    def reconcile(self, ctx: Context) -> Any:
        ctx.log.info("asking, to %s", ctx.purpose)
        return _answer(self.kind, ctx)


@jw.job(idempotent=False, name="AsksAsync")
class AsksAsync(NeverEntered):
    kind: str

    async def reconcile(self, ctx: Context) -> Any:
        await asyncio.sleep(0.001)
        return _answer(self.kind, ctx)


@jw.job(idempotent=False, name="Hookless")
class Hookless(NeverEntered):
    kind: str


@jw.job(idempotent=True, name="talk")
def talk(lines: int, *, ctx: Context) -> None:
    for n in range(lines):
        ctx.log.info("line %d", n)


@jw.job(idempotent=True, name="mixed")
def mixed(*, ctx: Context) -> None:
    print("1 print")
    ctx.log.warning("2 log", extra={"store": 42})
    print("3 stderr", file=sys.stderr)
    subprocess.run(["/bin/echo", "4 subprocess"], check=True)
    libc.write(1, b"5 native\n", 9)
    with ctx.step("load"):
        module_log.info("6 in a step")
    ctx.log.info("7 after it")
    ctx.progress(0.5, "8 half")
    print("9 no newline", end="")
    ctx.log.error("10 after the fragment")
    ctx.artifact("report.json", {"rows": 3}, type="report")
    libc.write(2, b"native on fd 2\n", 15)


@jw.job(idempotent=True, name="bytes_out")
def bytes_out() -> None:
    os.write(1, b"good\nbad \xff\xfe and \x00 nul\n" + "h\u00e9llo".encode() + b"\nlast without newline")


@jw.job(idempotent=True, name="last_words")
def last_words() -> None:
    sys.stderr.write("my last wor")
    sys.stderr.write("ds")
    os.kill(os.getpid(), signal.SIGKILL)


@jw.job(idempotent=True, name="segfault")
def segfault() -> None:
    ctypes.string_at(0)


@jw.job(idempotent=True, name="leave_grandchild")
def leave_grandchild(deaf: bool = False) -> int:
    script = "import os,time,signal\nos.setsid()\n" + ("signal.signal(15, signal.SIG_IGN)\n" if deaf else "")
    script += "print('up', flush=True)\ntime.sleep(600)"
    child = subprocess.Popen([sys.executable, "-S", "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    return child.pid


@jw.job(idempotent=True, name="leave_orphan_and_die")
def leave_orphan_and_die() -> None:
    """A double-forked process in a session of its own, its parent killed."""
    ready, wrote = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(wrote, b"x")
            time.sleep(600)
        os._exit(0)
    os.read(ready, 1)
    os.wait()
    os.kill(os.getpid(), signal.SIGKILL)


@jw.job(idempotent=True, name="use_multiprocessing")
def use_multiprocessing() -> int:
    from multiprocessing import shared_memory

    block = shared_memory.SharedMemory(create=True, size=16)
    block.close()
    block.unlink()
    return block.size


@jw.job(idempotent=True, name="eat")
def eat(megabytes: int) -> int:
    return len([bytearray(1 << 20) for _ in range(megabytes)])


@jw.job(idempotent=True, name="fill_disk")
def fill_disk(limit: int, *, ctx: Context) -> str:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    for n in range(2000):
        ctx.log.info("filling %d %s", n, "x" * 100)
        print("filling", n, "x" * 100)
        print("filling", n, file=sys.stderr)
    return "survived"


@jw.job(idempotent=True, name="set_global")
def set_global(value: str) -> str | None:
    before = globals().get("LEFT_BEHIND")
    globals()["LEFT_BEHIND"] = value
    return before


@jw.job(idempotent=False, name="touch")
def touch(path: str) -> None:
    Path(path).write_text("entered")


@jw.job(idempotent=True, name="nap")
def nap(seconds: float) -> str:
    print("napping", flush=True)
    time.sleep(seconds)
    return "rested"
