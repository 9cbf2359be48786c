"""The context: what a handler knows of its attempt, and all it can say while it runs.

What is said leaves at once through a channel that the runner provides, and saying never raises for lack of room. Only
`batch`, `upstream`, `lost_attempt` and `complete_in` need the database, which is opened by the first of them.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import math
import mimetypes
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from pydantic_core import to_json

from jobwarden.batch import CurrentBatch
from jobwarden.domain.claims import LostAttempt, Purpose
from jobwarden.domain.dag import Node
from jobwarden.errors import ArtifactRefused, BatchRefused, ResultTooLarge
from jobwarden.options import Bound
from jobwarden.outcomes import Stopped
from jobwarden.store.ids import new_id

INLINE_LIMIT = 1_048_576
_READ = 1_048_576


class Inquiry(Protocol):
    """What a running attempt may ask of the database."""

    def batch(self, batch_id: str) -> Any:
        """The batch as it stands."""
        ...

    def followed(self, job_id: str) -> str:
        """The id of the batch that the job follows; raises LookupError if there is none."""
        ...

    def upstream(self, job_id: str, key: str) -> Any:
        """The result of the dependency with that key in the job's batch; raises LookupError if there is none."""
        ...

    def neighbours(self, job_id: str) -> tuple[datetime | None, datetime | None]:
        """The occurrences of the job's schedule before and after the one that it stands for."""
        ...

    def lost_attempt(self, job_id: str, number: int) -> LostAttempt:
        """The last attempt before this number that was there to run the job; raises LookupError if there is none."""
        ...

    def grow(
        self,
        claim: Mapping[str, Any],
        nodes: Sequence[Node],
        calls: Sequence[Bound],
        *,
        success: bool = False,
        result: str | None = None,
    ) -> int:
        """Add members to the job's batch; with ``success`` the attempt is settled so in the same transaction.

        Gives how many are new. Raises `BatchRefused` and its kind, or `FencedOut`.
        """
        ...

    def complete(self, connection: Any, claim: Mapping[str, Any], result: str | None) -> None:
        """Settle the attempt as succeeded, its result being JSON text, inside the caller's transaction.

        Raises `FencedOut` if its token has moved.
        """
        ...


class Channel(Protocol):
    """Where a context says things; the runner's attempt is one."""

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked this attempt to stop."""
        ...

    def emit(self, kind: str, record: dict[str, Any]) -> None:
        """Say something; never raises."""
        ...


class Step:
    """A named part of the run: lines said from here on carry its name; as a context manager, until its block ends."""

    __slots__ = ("_go_back",)

    def __init__(self, go_back: Callable[[], None]) -> None:
        self._go_back = go_back

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._go_back()


class Context:
    """One attempt, as its handler sees it. A handler gets it by annotating a parameter with this class."""

    __jobwarden_context__ = True
    __slots__ = ("_batch", "_channel", "_claim", "_given", "_inquiry", "_log", "_saw_stop", "_step")

    def __init__(self, claim: Mapping[str, Any], channel: Channel, inquiry: Callable[[], Inquiry]) -> None:
        self._claim = claim
        self._channel = channel
        self._inquiry = inquiry
        self._batch: CurrentBatch | None = None
        self._given: tuple[Any] | None = None
        self._log: logging.Logger | None = None
        self._saw_stop = False
        self._step: str | None = None

    # -- what it is

    @property
    def job_id(self) -> str:
        """The job's id."""
        return str(self._claim["job_id"])

    @property
    def attempt_id(self) -> str:
        """This attempt's id."""
        return str(self._claim["attempt_id"])

    @property
    def attempt_number(self) -> int:
        """Which attempt of the job this is, from 1."""
        return int(self._claim["attempt_number"])

    @property
    def purpose(self) -> Purpose:
        """What this attempt is for: to ``run`` the job, or to ``reconcile`` what a lost attempt did."""
        return Purpose(self._claim.get("purpose", Purpose.RUN))

    @property
    def fencing_token(self) -> int:
        """The number that rises with each attempt: an outside system that keeps the highest can refuse late writers."""
        return int(self._claim["token"])

    @property
    def job(self) -> str:
        """The job's name."""
        return str(self._claim["job"])

    @property
    def label(self) -> str | None:
        """The shown name of this run."""
        return self._claim.get("label")

    @property
    def lane(self) -> str:
        """The lane it waited in."""
        return str(self._claim["lane"])

    @property
    def tags(self) -> dict[str, str]:
        """Its tags."""
        return dict(self._claim.get("tags") or {})

    @property
    def batch_id(self) -> str | None:
        """The id of the batch it belongs to."""
        return self._claim.get("batch_id")

    @property
    def scheduled_for(self) -> datetime | None:
        """The instant (in UTC) of the schedule's occurrence that it stands for."""
        text = self._claim.get("scheduled_for")
        return datetime.fromisoformat(text) if text else None

    @property
    def previous_scheduled_for(self) -> datetime | None:
        """The occurrence before ``scheduled_for``, by the schedule as it is now; None for the first, or without one."""
        return self._neighbours()[0]

    @property
    def next_scheduled_for(self) -> datetime | None:
        """The occurrence after ``scheduled_for``, by the schedule as it is now; None if there is none."""
        return self._neighbours()[1]

    def _neighbours(self) -> tuple[datetime | None, datetime | None]:
        return self._inquiry().neighbours(self.job_id) if self.scheduled_for is not None else (None, None)

    # -- what it says

    def progress(self, fraction: float, message: str = "") -> None:
        """Show how far the run is: ``fraction`` from 0 to 1 (clamped), and what it is doing."""
        number = float(fraction)
        known = 0.0 if math.isnan(number) else min(1.0, max(0.0, number))
        self._channel.emit("p", {"fraction": known, "message": str(message)})

    def result(self, value: Any) -> None:
        """Set the result, for handlers that do not return it; a returned value other than None wins."""
        self._given = (value,)

    def artifact(
        self,
        name: str,
        content: str | os.PathLike[str] | bytes | Any,
        *,
        type: str = "file",
        content_type: str | None = None,
        meta: Mapping[str, Any] | None = None,
    ) -> str:
        """Record something the run made and give its id.

        A ``str`` or path names a file: it stays where it is, and its size and SHA-256 are noted. ``bytes`` and any
        other value (as JSON) are kept with the job, up to 1 MiB. Raises `ArtifactRefused`.
        """
        body = _from_file(name, content) if isinstance(content, (str, os.PathLike)) else _inline(name, content)
        if content_type is not None:
            body["content_type"] = content_type
        artifact_id = new_id()
        self._channel.emit("a", {"id": artifact_id, "type": type, "name": name, "meta": dict(meta or {}), **body})
        return artifact_id

    @property
    def log(self) -> logging.Logger:
        """The job's logger; extra fields (``extra={...}``) become the line's context."""
        if self._log is None:
            self._log = logging.getLogger(f"jobwarden.job.{self.job}")
        return self._log

    def step(self, name: str) -> Step:
        """Name the part of the run that begins now; ``with ctx.step("load"):`` ends it with the block."""
        previous = self._step
        self._enter(str(name))
        return Step(lambda: self._enter(previous))

    # -- what it may be asked

    @property
    def stop_requested(self) -> bool:
        """Whether somebody wants this run to end early; a handler that saw True and returns is recorded as stopped."""
        if self._channel.stop_requested:
            self._saw_stop = True
        return self._saw_stop

    def raise_if_stop_requested(self) -> None:
        """End the run here if a stop is requested: raises `Stopped`."""
        if self.stop_requested:
            raise Stopped("stop requested")

    # -- what needs the database

    def batch(self) -> CurrentBatch:
        """The batch this job belongs to, or follows, as it stands now; raises LookupError if there is none.

        It has name, state, params, labels, ``counts`` (total, pending, running, succeeded, failed, canceled) and
        ``failures``, each with key, state and error. What is added to it is written in one transaction with this run's
        success.
        """
        now = self._inquiry().batch(self.batch_id or self._inquiry().followed(self.job_id))
        if self._batch is None:
            self._batch = CurrentBatch(now, self.job_id[-8:], self._grow)
        self._batch.now = now
        return self._batch

    def _grow(self, nodes: Sequence[Node], calls: Sequence[Bound], **success: Any) -> int:
        if self.batch_id is None and self._batch is not None:
            rule = "this job follows it, and only a member of it can make it grow"
            raise BatchRefused(name=self._batch.name, rule=rule, way_out="enqueue a batch of its own")
        return self._inquiry().grow(self._claim, nodes, calls, **success)

    def upstream(self, key: str) -> Any:
        """The result of the batch member ``key`` that this job waited for; raises LookupError if there is none."""
        return self._inquiry().upstream(self.job_id, key)

    @property
    def lost_attempt(self) -> LostAttempt:
        """In a reconcile hook: the attempt that it is asked about. Raises LookupError in a run."""
        if self.purpose is not Purpose.RECONCILE:
            raise LookupError("only a reconcile hook is asked about a lost attempt")
        return self._inquiry().lost_attempt(self.job_id, self.attempt_number)

    def complete_in(self, connection: Any, result: Any = None) -> None:
        """Record success inside the caller's own transaction: if that commits, the job has succeeded, else it has not.

        It is fenced: raises if another attempt has taken over, and the caller's transaction must then be rolled back;
        also while members that were added to the batch are not written. Call it last, return soon after the commit, and
        return nothing else.
        """
        body = to_json(result)
        limit = self._claim["results_max_bytes"]
        if len(body) > limit:
            raise ResultTooLarge(job=self.job, size=len(body), limit=limit)
        if self._batch is not None and self._batch.open:
            rule = f"{self._batch.open} members were added to it and not written"
            way_out = "call its enqueue() first: a success of your own transaction does not carry them"
            raise BatchRefused(name=self._batch.name or self._batch.id, rule=rule, way_out=way_out)
        self._inquiry().complete(connection, self._claim, None if result is None else body.decode())
        self._given = (result,)

    # -- for the runner

    def settle_with_growth(self, result: str | None) -> None:
        """Record success, with its result as JSON text, in one transaction with what was added to the batch."""
        nodes, calls = self._batch.pending() if self._batch is not None else ((), ())
        if nodes:
            self._grow(nodes, calls, success=True, result=result)

    @property
    def given_result(self) -> Any:
        """What `result` was given, or None."""
        return self._given[0] if self._given else None

    @property
    def saw_stop(self) -> bool:
        """Whether the handler looked and was told to stop."""
        return self._saw_stop

    def _enter(self, step: str | None) -> None:
        self._step = step
        self._channel.emit("s", {"name": step})


def _from_file(name: str, given: str | os.PathLike[str]) -> dict[str, Any]:
    path = Path(given).absolute()
    digest, size = hashlib.sha256(), 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(_READ):
                digest.update(chunk)
                size += len(chunk)
    except OSError as problem:
        rule = f"{path} cannot be read: {problem.strerror}"
        raise ArtifactRefused(name=name, rule=rule, way_out="give the path of a finished file") from problem
    return {
        "path": str(path),
        "size_bytes": size,
        "checksum": f"sha256:{digest.hexdigest()}",
        "content_type": mimetypes.guess_type(path.name)[0] or "application/octet-stream",
    }


def _inline(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, (bytes, bytearray, memoryview)):
        body, kind = bytes(value), mimetypes.guess_type(name)[0] or "application/octet-stream"
    else:
        body, kind = _as_json(name, value), "application/json"
    if len(body) > INLINE_LIMIT:
        rule = f"it is {len(body)} bytes and at most {INLINE_LIMIT} are kept with the job"
        raise ArtifactRefused(name=name, rule=rule, way_out="write it to a file and give the path")
    return {
        "size_bytes": len(body),
        "checksum": f"sha256:{hashlib.sha256(body).hexdigest()}",
        "content_type": kind,
        "content": base64.b64encode(body).decode(),
    }


def _as_json(name: str, value: Any) -> bytes:
    try:
        return to_json(value)
    except ValueError as problem:
        rule = f"it is no JSON data ({problem})"
        raise ArtifactRefused(name=name, rule=rule, way_out="give bytes, a path or JSON data") from problem
