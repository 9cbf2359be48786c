"""The seat: a process that waits for claims and runs them one at a time.

One attempt's story: start, the start barrier, the handler, an empty process tree, the outcome file, the outcome, its
acknowledgement. A handler that is not idempotent is entered only after the start was committed. When the socket breaks,
the supervisor is gone: the running handler finishes, and the seat settles for itself; what has not begun never does.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol, TypeAlias

from setproctitle import setproctitle

from jobwarden.context import Context, Inquiry
from jobwarden.process import probe, stack
from jobwarden.process.kernel import Timer
from jobwarden.process.limits import MemoryLimit
from jobwarden.process.reaping import has_children
from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.spool import LOG, spoken
from jobwarden.process.tree import Member, end_children
from jobwarden.process.wire import CHUNK, Frame, Inbox, pack, pack_json, to_json
from jobwarden.process.zygote import LOOK_UP, set_handler
from jobwarden.runner import handler
from jobwarden.runner.capture import Capture, trace_of
from jobwarden.runner.last_fence import LastFence
from jobwarden.runner.outcome import Alone, Meter, Outcomes

IDLE_TITLE = "jobwarden: seat (idle)"
_LEFTOVER_GRACE = 1.0
_UNKNOWN_DELAY = (5.0, 300.0)
_SIGTERM, _DONTWAIT = int(signal.SIGTERM), int(socket.MSG_DONTWAIT)
_HELD_FRAMES = 32
_HELD_SECONDS = 0.005
_HELPERS = (
    ("resource_tracker", "_resource_tracker", "_fd", "_pid"),
    ("forkserver", "_forkserver", "_forkserver_alive_fd", "_forkserver_pid"),
)


#: Goes on as a fresh interpreter, given the nonce, the socket and the frames that were read already.
Become: TypeAlias = Callable[[str, socket.socket, bytes], NoReturn]


class Registry(Protocol):
    """The application's jobs, as far as a seat needs them."""

    def find(self, name: str) -> handler.Job:
        """The job with that name or alias; raises LookupError."""
        ...


class Attempt:
    """The attempt that runs now: the channel its context speaks through."""

    __slots__ = ("_capture", "claim", "context", "job", "stop_requested")

    def __init__(self, claim: Frame, job: handler.Job, capture: Capture, inquiry: Callable[[], Inquiry]) -> None:
        self.claim = claim
        self.job = job
        self.stop_requested = False
        self._capture = capture
        self.context = Context(claim, self, inquiry)

    def emit(self, kind: str, record: dict[str, Any]) -> None:
        """Say something; never raises."""
        self._capture.emit(kind, record)

    def stop(self) -> None:
        """A stop is wished: set the flag, and tell a class job that wants to know; once."""
        if self.stop_requested:
            return
        self.stop_requested = True
        try:
            if self.job.on_terminate(self.context):
                self.emit(LOG, {"level": "info", "message": "on_terminate ran"})
        except BaseException as error:
            self.emit(LOG, {"level": "warning", "message": f"on_terminate raised: {trace_of(error)}"})


class Child:
    """One seat's life, from its first claim to its exit code."""

    def __init__(
        self,
        runtime: RuntimeDir,
        registry: Registry,
        capture: Capture,
        *,
        alone: Callable[[str], Alone],
        inquiry: Callable[[], Inquiry],
        become: Become | None,
        last_fence: LastFence,
    ) -> None:
        self._sock: socket.socket
        self._nonce, self._pid = "", 0
        self._registry = registry
        self._capture = capture
        self._inquiry = inquiry
        self._become = become
        self._last_fence = last_fence
        self._outcomes = Outcomes(runtime, alone)
        self._inbox = Inbox()
        self._claims: deque[Frame] = deque()
        self._outbox: list[bytes] = []
        self._open: set[str] = set()  # attempts whose barrier is open, that were refused, that shall stop
        self._refused, self._stopped = set[str](), set[str]()
        self._recalled = ""
        self._glancing = self._term_due = False
        self._attempt: Attempt | None = None
        self._entered = False
        self._fresh = True
        self._quick: str | None = None
        self._start_told = False
        self._timer: Timer | None = None
        self._alone = False
        self._bye = False
        self._leaving = False
        self._told_to_leave = False
        self._withheld: set[str] = set()
        self._left: list[int] = []
        self._meter = Meter()
        self._spoken = (0, 0)

    def serve(self, nonce: str, sock: socket.socket, first: bytes = b"") -> int:
        """Run claims until there are no more for this seat; the exit code. ``first``: frames that were read already."""
        self._nonce, self._sock, self._pid = nonce, sock, os.getpid()
        self._capture.begin(nonce)
        self._outcomes.begin(nonce)
        set_handler(_SIGTERM, self._on_term)
        set_handler(LOOK_UP, self._on_look_up)
        stack.listen()
        self._last_fence.look(nonce, running=False)
        if first:
            self._obey(self._inbox.feed(first))
        code = 0
        while (claim := self._next_claim()) is not None:
            if claim["isolation"] == "exec" and self._become is not None:
                self._become(self._nonce, self._sock, pack(claim) + self._inbox.rest)
            ended_with = self._run(claim)
            if claim["isolation"] != "pool":
                code = ended_with
                break
        self._await_acknowledgements()
        self._leave()
        return code

    # -- waiting

    def _next_claim(self) -> Frame | None:
        while not self._claims and not self._alone and not self._bye and not self._leaving:
            self._send()
            if self._attempt is not None:
                self._attempt = None
                setproctitle(IDLE_TITLE)
            self._receive()
        return self._claims.popleft() if self._claims and not self._alone and not self._leaving else None

    def _await_acknowledgements(self) -> None:
        self._send()
        while len(self._outcomes) and not self._alone and not self._told_to_leave:
            self._receive()

    def _leave(self) -> None:
        """Nothing is lost by going: what nobody acknowledged is settled from here.

        But what was asked to end, or left somebody behind, counts only when nothing of it is alive, and we are: its
        outcome file is for whoever proves that.
        """
        self._attempt = None
        if self._alone and not self._told_to_leave:
            for claim in self._claims:
                report = self._unstarted(claim, "its supervisor was gone before it began")
                self._outcomes.keep(claim, report, spoken(), spoken())
            self._outcomes.settle_alone(self._withheld)

    def _receive(self, flags: int = 0) -> None:
        try:
            data = self._sock.recv(CHUNK, flags)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._alone = True
            return
        self._obey(self._inbox.feed(data))

    def _obey(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            match frame["op"]:
                case "claim":
                    self._claims.append(frame)
                case "ack":
                    self._outcomes.acknowledged(frame["attempt_ids"])
                case "bye":
                    self._bye = True
                case "leave":
                    self._leaving = self._told_to_leave = True
                case "recall":
                    self._recalled = frame["behind"]
                case verb:
                    {"go": self._open, "refuse": self._refused, "stop": self._stopped}[verb].add(frame["attempt_id"])

    def _send(self) -> None:
        if not self._outbox:
            return
        data = b"".join(self._outbox)
        self._outbox.clear()
        self._start_told = True
        if self._timer is not None:
            self._timer.disarm()
        try:
            self._sock.sendall(data)
        except OSError:
            self._alone = True

    # -- one attempt

    def _run(self, claim: Frame) -> int:
        """Run one claim; its exit code."""
        if claim["isolation"] == "pool":
            self._receive(_DONTWAIT)
        attempt_id = claim["attempt_id"]
        if self._alone:
            self._claims.appendleft(claim)
            return 0
        if attempt_id in self._refused:
            self._refused.discard(attempt_id)
            return 0
        begin = self._spoken
        report = self._refusal(claim)
        if report is None:
            report = self._start_and_run(claim, begin)
        if report is None:
            return 0
        self._report(claim, report, begin)
        return _exit_code(report)

    def _refusal(self, claim: Frame) -> dict[str, Any] | None:
        """Why this claim cannot run here, or None; then the attempt is ready."""
        try:
            job = self._registry.find(claim["job"])
        except LookupError as error:
            base, cap = _UNKNOWN_DELAY
            return handler.unstarted(str(error), min(cap, base * 2.0 ** min(claim.get("unspent", 0), 10)))
        self._attempt = Attempt(claim, job, self._capture, self._inquiry)
        return None

    def _start_and_run(self, claim: Frame, begin: tuple[int, int]) -> dict[str, Any] | None:
        attempt = self._attempt
        assert attempt is not None
        call, report = handler.load(attempt.job, claim["params"], attempt.context.upstream)
        if report is not None:
            return report
        if claim["attempt_id"] in self._stopped:
            return self._stopped_before(claim)
        if self._start_told:  # whoever knows that an attempt runs must learn of its end before another says anything
            self._send()
        self._start_told = False
        self._outbox.append(pack({"op": "start", "attempt_id": claim["attempt_id"], "out": begin[0], "err": begin[1]}))
        if not self._may_hold(claim):
            self._send()
        if not self._may_enter(claim):
            return None
        if claim["attempt_id"] in self._stopped:
            return self._stopped_before(claim)
        return self._enter(attempt, claim, call)

    def _stopped_before(self, claim: Frame) -> dict[str, Any]:
        self._stopped.discard(claim["attempt_id"])
        return handler.unstarted("it was asked to stop before its handler began")

    def _may_hold(self, claim: Frame) -> bool:
        """Whether frames may wait for those of the next attempts, because this one should be over in no time.

        A send that wakes the other side costs more than a small attempt. A timer sends what is held if the attempt
        takes longer than its kind did before.
        """
        if claim["job"] != self._quick or not claim["idempotent"] or len(self._outbox) >= _HELD_FRAMES:
            return False
        if self._timer is None:
            self._timer = Timer(LOOK_UP, _HELD_SECONDS)
        if not self._timer.available:
            return False
        self._timer.arm()
        return True

    def _may_enter(self, claim: Frame) -> bool:
        """The start barrier: what is not idempotent waits until its start is committed."""
        attempt_id = claim["attempt_id"]
        if not claim["idempotent"]:
            while attempt_id not in self._open and attempt_id not in self._refused and not self._alone:
                self._receive()
        opened = claim["idempotent"] or attempt_id in self._open
        self._open.discard(attempt_id)
        self._refused.discard(attempt_id)
        if self._alone:
            self._claims.appendleft(claim)
        return opened and not self._alone

    def _enter(self, attempt: Attempt, claim: Frame, call: Any) -> dict[str, Any]:
        setproctitle(handler.text_of_claim(claim))
        if self._fresh:
            handler.reseed()
            self._fresh = False
        pooled = claim["isolation"] == "pool"
        if claim["idempotent"]:  # the start of any other is in the database already
            self._capture.began(claim["attempt_id"])
        self._meter.start()
        gc.enable()
        self._entered = True
        if claim["attempt_id"] in self._stopped:
            attempt.stop()
        work = handler.run if claim.get("purpose", "run") == "run" else handler.reconcile
        if pooled or claim.get("memory") is None:
            report = work(attempt.job, call, attempt.context, claim["results_max_bytes"])
        else:
            with MemoryLimit(claim["memory"]):
                report = work(attempt.job, call, attempt.context, claim["results_max_bytes"])
        if os.getpid() != self._pid:
            self._end_as_a_fork(report)
        self._entered = False
        if attempt.stop_requested:
            self._withheld.add(claim["attempt_id"])
        self._stopped.discard(claim["attempt_id"])
        if has_children():
            self._end_leftovers(claim)
        report["usage"] = self._meter.usage()
        self._quick = claim["job"] if pooled and report["usage"]["wall_ms"] == 0 else None
        return report

    def _end_as_a_fork(self, report: dict[str, Any]) -> NoReturn:
        """Something that the handler forked came out of it as if it were the seat: it has no outcome to tell."""
        words = f"process {os.getpid()}, forked by the handler, came out of it ({report['outcome']}) and is ended"
        self._capture.emit(LOG, {"level": "warning", "message": f"{words}: {report.get('reason') or 'it returned'}"})
        self._capture.flush()
        os._exit(_exit_code(report))

    def _report(self, claim: Frame, report: dict[str, Any], begin: tuple[int, int]) -> None:
        self._capture.flush()
        end = self._spoken = spoken()
        body = self._outcomes.keep(claim, {"attempt_id": claim["attempt_id"], **report}, begin, end)
        self._outbox.append(_outcome(body, end, self._left))

    def _end_leftovers(self, claim: Frame) -> None:
        """The attempt is not over while something of it runs: end it, and say what it was."""
        found = end_children(_LEFTOVER_GRACE, quiet=_dismiss_python_helpers())
        self._left = [member.process.pid for member in found if probe.alive(member.process)]
        if self._left:  # what cannot be ended takes its seat with it
            self._leaving = True
            self._withheld.add(claim["attempt_id"])
        if found:
            self._capture.emit(LOG, {"level": "warning", "message": _leftover_words(found, self._left)})

    def _unstarted(self, claim: Frame, reason: str) -> dict[str, Any]:
        return {"attempt_id": claim["attempt_id"], **handler.unstarted(reason)}

    # -- signals

    def _on_term(self, number: int, frame: object) -> None:
        """A stop wish. It names its attempt by a frame sent before it; a bare signal means whatever runs now."""
        attempt = self._attempt
        if not self._entered or attempt is None:
            if attempt is None and not self._claims and not len(self._outcomes):
                os._exit(0)
            return
        if self._glancing:
            self._term_due = True
            return
        self._glance()
        named, self._stopped = self._stopped, set()
        if not named or attempt.claim["attempt_id"] in named:
            attempt.stop()
        self._stopped = named - {attempt.claim["attempt_id"]}

    def _glance(self) -> None:
        """Take up what came meanwhile, from a signal's handler; another's that interrupts it must not."""
        self._glancing = True
        self._receive(_DONTWAIT)
        self._glancing = False

    def _give_back(self, running: Attempt) -> None:
        """What waits behind an attempt that takes longer than expected is not begun here, if it is asked for."""
        if self._recalled != running.claim["attempt_id"]:
            return
        self._recalled = ""
        while self._claims:
            claim = self._claims.popleft()
            reason = f"it waited behind attempt {running.claim['attempt_id']}, which takes longer than its kind did"
            body = self._outcomes.keep(claim, self._unstarted(claim, reason), self._spoken, self._spoken)
            self._outbox.append(_outcome(body, self._spoken))
        self._send()

    def _on_look_up(self, number: int, frame: object) -> None:
        """The attempt takes longer than expected: what was held for it goes out now; or the zygote is gone."""
        if os.getpid() != self._pid:  # something that the handler forked
            return
        stack.add_others()
        if self._entered and self._attempt is not None:
            self._send()
            if not self._glancing:
                self._glance()
                self._give_back(self._attempt)
            if self._term_due:
                self._term_due = False
                self._on_term(number, frame)
        self._last_fence.look(self._nonce, running=self._entered)


def _outcome(body: bytes, end: tuple[int, int], left: Sequence[int] = ()) -> bytes:
    """The frame that tells an outcome: its report, how far the seat had spoken, and who could not be ended."""
    more = b',"left":%b' % to_json(left) if left else b""
    return pack_json(b'{"op":"outcome","report":%b,"out":%d,"err":%d%b}' % (body, *end, more))


def _exit_code(report: Mapping[str, Any]) -> int:
    if report["outcome"] != "failed":
        return 0
    return int(report.get("exit_code", 1))


def _leftover_words(found: Sequence[Member], left: Sequence[int]) -> str:
    names = ", ".join(f"{member.process.pid} {member.command}"[:80] for member in found[:8])
    fate = f"could not end {', '.join(map(str, left))}" if left else "ended"
    return f"left {len(found)} process{'es' if len(found) > 1 else ''} behind: {names}; {fate}"


def _dismiss_python_helpers() -> frozenset[int]:
    """Let go of multiprocessing's own helpers, which ignore TERM and end once nobody holds their pipe; their pids."""
    ours, pids = probe.children(), []
    for module, name, pipe, number in _HELPERS:
        helper = getattr(sys.modules.get(f"multiprocessing.{module}"), name, None)
        pid, fd = getattr(helper, number, None), getattr(helper, pipe, None)
        if pid in ours and fd is not None:
            os.close(fd)
            setattr(helper, pipe, None)
            setattr(helper, number, None)
            pids.append(pid)
    return frozenset(pids)
