"""What may happen: every edge of the job's and the attempt's state machine, with those who may take it.

The tables are the whole truth. ``store.transition`` makes an edge happen, ``lifecycle`` gives it a verb, and the
diagram in the documentation is drawn from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from jobwarden.domain.states import Actor, AttemptState, JobState
from jobwarden.errors import IllegalTransition

_J, _A = JobState, AttemptState
_WORKER, _SUPERVISOR, _SCHEDULER = Actor.WORKER, Actor.SUPERVISOR, Actor.SCHEDULER
_REAPER, _OPERATOR, _SYSTEM = Actor.REAPER, Actor.OPERATOR, Actor.SYSTEM
_REPORTERS = frozenset({_WORKER, _SUPERVISOR, _REAPER, _SYSTEM})
_JUDGES = frozenset({_REAPER, _OPERATOR, _SYSTEM})

JobEdges: TypeAlias = Mapping[tuple[JobState, JobState], frozenset[Actor]]
AttemptEdges: TypeAlias = Mapping[tuple[AttemptState, AttemptState], frozenset[Actor]]

JOB: JobEdges = {
    (_J.PENDING, _J.QUEUED): frozenset({_SUPERVISOR, _SCHEDULER, _SYSTEM}),  # admit: due, and nothing blocks it
    (_J.PENDING, _J.CANCELED): frozenset({_OPERATOR, _SYSTEM}),
    (_J.QUEUED, _J.RUNNING): frozenset({_SUPERVISOR, _WORKER}),  # claim
    (_J.QUEUED, _J.CANCELED): frozenset({_OPERATOR, _SYSTEM}),
    (_J.QUEUED, _J.PENDING): frozenset({_OPERATOR}),  # its batch is held
    (_J.RUNNING, _J.SUCCEEDED): _REPORTERS,
    (_J.RUNNING, _J.FAILED): _REPORTERS,
    (_J.RUNNING, _J.RETRYING): _REPORTERS,
    (_J.RUNNING, _J.ORPHANED): _REPORTERS,  # park
    (_J.RUNNING, _J.CANCELED): _REPORTERS | {_OPERATOR},
    (_J.RUNNING, _J.STOPPED): _REPORTERS | {_OPERATOR},
    (_J.RUNNING, _J.QUEUED): _REPORTERS,  # release: the handler provably never began
    (_J.RUNNING, _J.PENDING): _REPORTERS,  # release for later: snoozed, or a name this worker does not know
    (_J.RETRYING, _J.QUEUED): frozenset({_SUPERVISOR, _SCHEDULER, _SYSTEM}),
    (_J.RETRYING, _J.CANCELED): frozenset({_OPERATOR, _SYSTEM}),
    (_J.ORPHANED, _J.RETRYING): _JUDGES,
    (_J.ORPHANED, _J.FAILED): _JUDGES,
    (_J.ORPHANED, _J.STOPPED): _JUDGES,
    (_J.ORPHANED, _J.CANCELED): _JUDGES,
    (_J.ORPHANED, _J.SUCCEEDED): frozenset({_OPERATOR}),  # a person found that it had run completely
    (_J.ORPHANED, _J.QUEUED): frozenset({_OPERATOR}),  # restart
    (_J.STOPPED, _J.QUEUED): frozenset({_OPERATOR}),  # restart
    (_J.FAILED, _J.QUEUED): frozenset({_OPERATOR}),  # retry
    (_J.ORPHANED, _J.PENDING): frozenset({_OPERATOR}),  # restart or retry, in a batch that is held
    (_J.STOPPED, _J.PENDING): frozenset({_OPERATOR}),
    (_J.FAILED, _J.PENDING): frozenset({_OPERATOR}),
    (_J.CANCELED, _J.PENDING): frozenset({_SYSTEM}),  # revive: the batch undoes its own cascade
}

ATTEMPT: AttemptEdges = {
    (_A.DISPATCHED, _A.RUNNING): frozenset({_WORKER, _SUPERVISOR}),  # start
    (_A.DISPATCHED, _A.ORPHANED): frozenset({_REAPER, _SYSTEM}),
    (_A.DISPATCHED, _A.CANCELED): _REPORTERS | {_OPERATOR},  # released before it began
    (_A.DISPATCHED, _A.STOPPED): _REPORTERS | {_OPERATOR},
    (_A.DISPATCHED, _A.SUCCEEDED): _REPORTERS,  # start and outcome arrived in one commit
    (_A.DISPATCHED, _A.FAILED): _REPORTERS,
    (_A.RUNNING, _A.SUCCEEDED): _REPORTERS,
    (_A.RUNNING, _A.FAILED): _REPORTERS,
    (_A.RUNNING, _A.ORPHANED): frozenset({_REAPER, _SYSTEM}),
    (_A.RUNNING, _A.CANCELED): _REPORTERS | {_OPERATOR},
    (_A.RUNNING, _A.STOPPED): _REPORTERS | {_OPERATOR},
}


def check_job(origin: JobState, target: JobState, actor: Actor) -> None:
    """Raise `IllegalTransition` unless the table lets ``actor`` take a job from ``origin`` to ``target``."""
    if actor not in JOB.get((origin, target), ()):
        raise IllegalTransition(entity="a job", origin=origin.value, target=target.value, actor=actor.value)


def check_attempt(origin: AttemptState, target: AttemptState, actor: Actor) -> None:
    """Raise `IllegalTransition` unless the table lets ``actor`` take an attempt from ``origin`` to ``target``."""
    if actor not in ATTEMPT.get((origin, target), ()):
        raise IllegalTransition(entity="an attempt", origin=origin.value, target=target.value, actor=actor.value)
