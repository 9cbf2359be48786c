"""Every error of the package, drawn as one tree.

    JobWardenError
    ├── ConfigurationError
    ├── ExtraMissing · PlatformUnsupported
    ├── DefinitionError (TypeError)
    │   ├── IdempotencyUndeclared
    │   └── DuplicateJob
    ├── BindingError (TypeError)
    │   ├── UnknownParam · MissingParam · DoubledParam · InvalidParam · UnstorableParam
    ├── InvalidOption (ValueError)
    ├── BatchRefused (ValueError)
    │   ├── DuplicateKey · UnknownDependency · DoubledDependency · DependencyCycle
    ├── ScheduleRefused (ValueError)
    ├── BatchGone
    ├── SearchRefused (ValueError)
    ├── UnknownJob (LookupError)
    ├── IdempotencyConflict
    ├── CommandFailed
    ├── ResultRefused
    │   ├── ResultTooLarge · ResultUnstorable
    ├── UnsupportedConnection (TypeError)
    ├── JobNotFound (LookupError) · BatchNotFound (LookupError)
    ├── MemberNotFound (LookupError) · ScheduleNotFound (LookupError)
    ├── WorkerNotFound (LookupError) · AmbiguousId (LookupError) · ArtifactNotFound (LookupError)
    ├── WrongState
    │   └── OnlyAsNew · WrongBatchState · WrongLaneState
    ├── RoleRequired · AccessRefused (ValueError) · NameTaken
    ├── TokenNotFound (LookupError) · UserNotFound (LookupError)
    ├── NoLook · WorkerNotLive · ForceRequired · WaitTimeout (TimeoutError) · BatchUnfinished (TimeoutError)
    ├── DatabaseProblem
    │   ├── DatabaseUnavailable · DatabaseTooOld · DatabaseReadOnly · NotMigrated · MigrationNewer
    ├── ApplicationImportError
    ├── FencedOut
    ├── ArtifactRefused
    ├── ArchiveUnusable · RuntimeDirUnusable
    ├── IdentityUnknown
    └── IllegalTransition

A class's docstring is its message; the facts given at the raise fill it in.
"""

from __future__ import annotations

import inspect


class JobWardenError(Exception):
    """JobWarden could not do this: {why}."""

    def __init__(self, message: str | None = None, /, **facts: object) -> None:
        self.facts = facts
        template = " ".join((inspect.getdoc(type(self)) or "").split())
        super().__init__(message if message is not None else template.format(**facts))


class ConfigurationError(JobWardenError):
    """The setting {name} = {value!r} cannot be used: {rule}; {way_out}."""


class ExtraMissing(JobWardenError):
    """{what} needs the library {library}, which is not installed: pip install 'jobwarden[{extra}]'."""


class PlatformUnsupported(JobWardenError):
    """{what} needs Linux (this is {platform}): run it on a Linux host; enqueueing and reading work here."""


class DefinitionError(JobWardenError, TypeError):
    """The job {name!r} cannot be declared: {rule}; {way_out}."""


class IdempotencyUndeclared(DefinitionError):
    """The job {name!r} must say idempotent=True or idempotent=False; there is no default. Choose True only if running
    it twice does no harm, because a lost attempt is then run again, and False otherwise, because a lost attempt then
    waits for a person."""


class DuplicateJob(DefinitionError):
    """The job name {name!r} is taken by {other}: give one of the two another name=."""


class BindingError(JobWardenError, TypeError):
    """The arguments of {job!r} do not fit: {rule}; {way_out}."""


class UnknownParam(BindingError):
    """{job!r} has no parameter {param!r}: it takes {known}."""


class MissingParam(BindingError):
    """{job!r} needs the parameter {param!r}, which was not given: pass it by name or position."""


class DoubledParam(BindingError):
    """{job!r} got the parameter {param!r} more than once: pass it by position or by name, not both."""


class InvalidParam(BindingError):
    """{job!r} cannot take {param}={value}: {rule}; pass a value that its annotation {annotation} accepts."""


class UnstorableParam(BindingError):
    """{job!r} cannot store {param}={value}: {rule}; {way_out}."""


class InvalidOption(JobWardenError, ValueError):
    """The option {option} = {value!r} of {job!r} cannot be used: it must be {rule}."""


class BatchRefused(JobWardenError, ValueError):
    """The batch {name!r} cannot be made: {rule}; {way_out}."""


class DuplicateKey(BatchRefused):
    """The batch {name!r} has two members with the key {key!r}: give one of them another key."""


class UnknownDependency(BatchRefused):
    """The member {key!r} of the batch {name!r} waits for {upstream!r}, which is no member of it: add that one, or
    correct the key."""


class DoubledDependency(BatchRefused):
    """The member {key!r} of the batch {name!r} waits for {upstream!r} both to succeed and to end: give it in after= or
    in after_completion=, not in both."""


class DependencyCycle(BatchRefused):
    """The members of the batch {name!r} wait for each other in a circle ({cycle}): leave one of these edges out."""


class ScheduleRefused(JobWardenError, ValueError):
    """The schedule {name!r} cannot be made: {rule}; {way_out}."""


class BatchGone(JobWardenError):
    """The job {id} is {state} and belongs to a batch that is no longer kept, so {action} cannot bring it back: run it
    anew, outside of the batch, with rerun."""


class SearchRefused(JobWardenError, ValueError):
    """The search cannot be understood at {value!r} (character {position}): {rule}."""


class UnknownJob(JobWardenError, LookupError):
    """No job is registered as {name!r}: {known}."""


class IdempotencyConflict(JobWardenError):
    """The idempotency key {key!r} belongs to job {job_id} ({job}) with different {differs}: use another key, or pass
    what that job was enqueued with."""


class CommandFailed(JobWardenError):
    """The command {name!r} failed with {how}: its output is in the job's log."""


class ResultRefused(JobWardenError):
    """The result of {job!r} was refused: {rule}; {way_out}."""


class ResultTooLarge(ResultRefused):
    """The result of {job!r} is {size} bytes of JSON and at most {limit} are kept: store it with ctx.artifact(...) and
    return a reference, or raise results_max_bytes."""


class ResultUnstorable(ResultRefused):
    """The result of {job!r} is not JSON data ({rule}): return scalars, lists, dicts, dataclasses or pydantic models."""


class UnsupportedConnection(JobWardenError, TypeError):
    """using(connection=...) cannot join {kind}: {rule}; {way_out}."""


class JobNotFound(JobWardenError, LookupError):
    """No job has the id {id!r}: check it with `jobwarden jobs`."""


class BatchNotFound(JobWardenError, LookupError):
    """No batch has the id {id!r}: check it with `jobwarden batches`."""


class MemberNotFound(JobWardenError, LookupError):
    """The batch {id} has no member {key!r}: check it with `jobwarden batch {id} --members`."""


class ScheduleNotFound(JobWardenError, LookupError):
    """No schedule has the name {name!r}: check it with `jobwarden schedules`."""


class WorkerNotFound(JobWardenError, LookupError):
    """No worker has the id {id!r}: check it with `jobwarden workers --all`."""


class ArtifactNotFound(JobWardenError, LookupError):
    """The job {job!r} has no artifact {id!r}: look at its artifacts for those that it has."""


class AmbiguousId(JobWardenError, LookupError):
    """The id {id!r} fits several {kind} ({candidates}): give more characters."""


class WrongState(JobWardenError):
    """Job {id} is {state}, and {action} needs it to be {needed}."""


class NoLook(JobWardenError):
    """No daemon looked at the process of job {id}: it ended meanwhile, or whoever watches it is silent; `jobwarden
    workers` shows who is."""


class OnlyAsNew(WrongState):
    """Job {id} is {state}, and {action} needs it to be {needed}: what is {state} stays so, but `--as-new` runs it again
    as a new job that points to it."""


class WrongBatchState(WrongState):
    """Batch {id} is {state}, and {action} needs it to be {needed}."""


class WrongLaneState(WrongState):
    """The lane {name!r} is {state} and cannot be {action}: {way_out}."""


class RoleRequired(JobWardenError):
    """{actor} has the role {role} and may not {what}: that needs the role {needed}."""


class AccessRefused(JobWardenError, ValueError):
    """The {kind} {name!r} cannot be like that: {rule}."""


class NameTaken(JobWardenError):
    """There is a {kind} {name!r} already: choose another name."""


class TokenNotFound(JobWardenError, LookupError):
    """No token has the name or id {name!r}: check it with `jobwarden token list`."""


class UserNotFound(JobWardenError, LookupError):
    """No user has the name {name!r}: check it with `jobwarden user list`."""


class WorkerNotLive(JobWardenError):
    """Worker {id} is {state}, and only one that is starting, active or draining can be drained: see `jobwarden
    workers`."""


class ForceRequired(JobWardenError):
    """Job {id} ({job}) is not idempotent, and {action} may repeat what it did: check first, then use --force."""


class WaitTimeout(JobWardenError, TimeoutError):
    """Job {id} was still {state} after {seconds:g} seconds: wait longer, or look with `jobwarden explain {id}`."""


class BatchUnfinished(JobWardenError, TimeoutError):
    """Batch {id} was still {state} after {seconds:g} seconds: wait longer, or look with `jobwarden batch {id}`."""


class DatabaseProblem(JobWardenError):
    """The database {database} cannot be used: {rule}; {way_out}."""


class DatabaseUnavailable(DatabaseProblem):
    """The database {database} cannot be reached ({rule}): {way_out}."""


class DatabaseTooOld(DatabaseProblem):
    """The database {database} is {found}, and JobWarden needs {needed}: upgrade it, or point database_url elsewhere."""


class DatabaseReadOnly(DatabaseProblem):
    """The database {database} refuses writes ({rule}): {way_out}."""


class NotMigrated(DatabaseProblem):
    """The database {database} is at schema revision {found} and this version needs {needed}: run
    `jobwarden migrate`."""


class MigrationNewer(DatabaseProblem):
    """The database {database} is at schema revision {found}, which this version does not know: upgrade JobWarden
    here."""


class ApplicationImportError(JobWardenError):
    """The application {app!r} does not import ({rule}): {way_out}."""


class ArtifactRefused(JobWardenError):
    """The artifact {name!r} was refused: {rule}; {way_out}."""


class ArchiveUnusable(JobWardenError):
    """The archive {path} cannot be written ({rule}): free space, or choose another folder; nothing was removed that is
    not in it."""


class RuntimeDirUnusable(JobWardenError):
    """The runtime directory {path} cannot be used ({rule}): {way_out}."""


class IdentityUnknown(JobWardenError):
    """This process cannot tell which processes are its own ({rule}): {way_out}."""


class FencedOut(JobWardenError):
    """The attempt {attempt} has been taken over by another and may not complete: roll the transaction back."""


class IllegalTransition(JobWardenError):
    """{entity} may not go from {origin} to {target} by {actor}: it is not in the transition table."""
