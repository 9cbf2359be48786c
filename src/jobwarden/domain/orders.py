"""Orders: what a person asks of jobs, in which states that is possible, and what became of it for each of them.

The table `TARGETS` is the whole truth about which verb does what in which state; the page on the life of a job shows
it, and a test compares the two. Every other combination is refused with the state that the job is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from jobwarden.domain.states import ENDED, WAITING, Actor, JobState
from jobwarden.errors import ForceRequired, InvalidOption, JobWardenError, OnlyAsNew, WrongState

_NAME = 200
_MOST_ATTEMPTS = 1_000_000


class Verb(StrEnum):
    """What a person can ask of a job."""

    CANCEL = "cancel"  # call it off; if it runs, end its process first
    STOP = "stop"  # let a running job end at its next checkpoint, and end it after its grace
    RETRY = "retry"  # run a job again that failed or is parked
    RESTART = "restart"  # the same, also for one that was stopped
    RERUN = "rerun"  # run a job that is over again, as a new job that points to it
    RESOLVE = "resolve"  # say what a parked job did


class Verdict(StrEnum):
    """What a person found that a parked job did."""

    RAN = "ran"
    DID_NOT_RUN = "did_not_run"
    RAN_PARTLY = "ran_partly"
    FAILED = "failed"


_J = JobState
_AGAIN = _J.QUEUED

#: Verb, then the state a job is in: the state that it is in afterwards.
TARGETS: Mapping[Verb, Mapping[JobState, JobState]] = {
    Verb.CANCEL: {
        **dict.fromkeys(sorted(WAITING), _J.CANCELED),
        _J.RUNNING: _J.RUNNING,
        _J.ORPHANED: _J.CANCELED,
    },
    Verb.STOP: {
        **dict.fromkeys(sorted(WAITING), _J.CANCELED),
        _J.RUNNING: _J.RUNNING,
        _J.ORPHANED: _J.STOPPED,
    },
    Verb.RETRY: {_J.FAILED: _AGAIN, _J.ORPHANED: _AGAIN},
    Verb.RESTART: {_J.FAILED: _AGAIN, _J.ORPHANED: _AGAIN, _J.STOPPED: _AGAIN},
    Verb.RERUN: {state: state for state in sorted(ENDED)},
}
#: Where a verdict takes a parked job.
VERDICTS: Mapping[Verdict, JobState] = {
    Verdict.RAN: _J.SUCCEEDED,
    Verdict.DID_NOT_RUN: _AGAIN,
    Verdict.RAN_PARTLY: _J.FAILED,
    Verdict.FAILED: _J.FAILED,
}
_NEEDED = {
    Verb.CANCEL: "waiting, running or parked",
    Verb.STOP: "waiting, running or parked",
    Verb.RETRY: "failed or parked",
    Verb.RESTART: "stopped, failed or parked",
    Verb.RERUN: "over (succeeded, failed, canceled or stopped)",
    Verb.RESOLVE: "parked",
}
_REPEATS = frozenset({Verb.RETRY, Verb.RESTART, Verb.RERUN})
_FINAL = frozenset({_J.SUCCEEDED, _J.CANCELED})


@dataclass(frozen=True, slots=True)
class By:
    """Who changes something, why, and from which address; raises `InvalidOption` for what could not be written down."""

    actor: str | None = None
    reason: str | None = None
    kind: Actor = Actor.OPERATOR
    address: str | None = None

    def __post_init__(self) -> None:
        check_words("change", self.reason, self.actor)


@dataclass(frozen=True, slots=True)
class Order:
    """A verb with who asks for it and why; raises `InvalidOption` for what could not be written down.

    ``force`` allows repeating work that is not idempotent; ``attempts`` is how many tries the job has afterwards
    (None: what is left of its budget, and one at least); ``verdict`` is what `Verb.RESOLVE` says;
    ``address`` is where it came from, if over a network.
    """

    verb: Verb
    reason: str | None = None
    actor: str | None = None
    force: bool = False
    attempts: int | None = None
    verdict: Verdict | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        check_words(self.verb.value, self.reason, self.actor)
        rule = f"a whole number from 1 to {_MOST_ATTEMPTS}"
        self._check("attempts", self.attempts, _is_count(self.attempts), rule)
        if self.verb is Verb.RESOLVE:
            self._check("verdict", self.verdict, self.verdict in VERDICTS, f"one of {', '.join(Verdict)}")
            told = bool((self.reason or "").strip())
            self._check("reason", self.reason, told, "a text that says how it is known what the job did")

    @property
    def by(self) -> By:
        """Who asks, and why."""
        return By(self.actor, self.reason, address=self.address)

    def target(self, state: JobState) -> JobState | None:
        """The state that a job in ``state`` is in afterwards; None: it is refused."""
        if self.verb is Verb.RESOLVE:
            return VERDICTS[self.verdict] if self.verdict and state is JobState.ORPHANED else None
        return TARGETS[self.verb].get(state)

    def refusal(self, job_id: str, job: str, state: JobState, idempotent: bool) -> JobWardenError | None:
        """Why the order cannot be carried out on such a job; None: it can."""
        if self.target(state) is None:
            facts = {"id": job_id, "state": state.value, "action": self.verb.value, "needed": _NEEDED[self.verb]}
            return OnlyAsNew(**facts) if self.verb in _REPEATS and state in _FINAL else WrongState(**facts)
        if self.verb in _REPEATS and not idempotent and not self.force:
            return ForceRequired(id=job_id, job=job, state=state.value, action=self.verb.value)
        return None

    def _check(self, option: str, value: object, fits: bool, rule: str) -> None:
        _check(self.verb.value, option, value, fits, rule)


def check_words(verb: str, reason: str | None, actor: str | None) -> None:
    """Raise `InvalidOption` for a reason or an actor that the ledger could not keep."""
    _check(verb, "reason", reason, _is_storable(reason), "a text without NUL characters")
    rule = f"a text of at most {_NAME} characters, without NUL"
    _check(verb, "actor", actor, _is_storable(actor) and len(actor or "") <= _NAME, rule)


def _check(verb: str, option: str, value: object, fits: bool, rule: str) -> None:
    if not fits:
        raise InvalidOption(option=option, value=value, job=verb, rule=rule)


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an order for one job.

    ``state`` is the one that it is in now (None: there is no such job), ``refused`` why nothing was done, ``new`` the
    id of the job that runs instead of it (`Verb.RERUN`).
    """

    id: str
    state: JobState | None
    refused: JobWardenError | None = None
    new: str | None = None


def _is_storable(text: str | None) -> bool:
    """Whether every database can keep the text: it is Unicode, without NUL."""
    if text is None:
        return True
    if not isinstance(text, str) or "\0" in text:
        return False
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _is_count(value: int | None) -> bool:
    if value is None:
        return True
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST_ATTEMPTS
