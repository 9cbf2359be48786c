"""Bodies of requests: what may be said, checked before anything is done. Answers are the views' own dataclasses."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from jobwarden.domain.orders import Verb, Verdict
from jobwarden.domain.search import parse
from jobwarden.domain.states import JobState
from jobwarden.views.jobs import Filter

T = TypeVar("T")
_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")


def _is_instant(given: Any) -> Any:
    """Only texts (RFC 3339) are instants here: a number could be seconds, or milliseconds."""
    if isinstance(given, int | float) or (isinstance(given, str) and not _DATE.match(given)):
        raise ValueError("an instant is a text like 2026-03-29T01:30:00Z")
    return given


#: An id in whole.
WHOLE_ID = r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
LANE = r"^[^\x00]*[^\s\x00][^\x00]*$"
Instant = Annotated[AwareDatetime, BeforeValidator(_is_instant)]
StrictBool = Annotated[bool, Field(strict=True)]
Words = Annotated[str, Field(max_length=4000, pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00]*$")]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False, strict=True)]
Ids = Annotated[list[Annotated[str, Field(min_length=1, max_length=40)]], Field(min_length=1, max_length=500)]
Tags = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=200)]], Field(max_length=100)
]


class Body(BaseModel):
    """A body in which nothing unknown is said."""

    model_config = ConfigDict(extra="forbid")


class Why(Body):
    """A reason, for the ledger."""

    reason: Words | None = None

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "the upstream was down"}]})


class EnqueueBody(Body):
    """A job to enqueue: its registered name, its parameters by name, and options of this one run."""

    job: Name
    params: dict[str, Any] = {}
    label: Name | None = None
    lane: Annotated[str, Field(max_length=100, pattern=LANE)] | None = None
    priority: Annotated[int, Field(ge=-32768, le=32767, strict=True)] | None = None
    delay: Seconds | None = None
    available_at: Instant | None = None
    idempotency_key: Name | None = None
    tags: Tags | None = None
    max_attempts: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    timeout: Seconds | None = None
    max_runtime: Seconds | None = None
    grace: Seconds | None = None

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"job": "import_catalog", "params": {"store_id": "store-42"}, "lane": "imports", "delay": 60}]
        },
    )

    def options(self) -> dict[str, Any]:
        """What `using` takes."""
        given = self.model_dump(exclude={"job", "params"})
        return {name: value for name, value in given.items() if value is not None}


class EnqueueMany(Body):
    """Jobs to enqueue in one transaction, all or none."""

    jobs: Annotated[list[EnqueueBody], Field(min_length=1, max_length=1000)]

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"jobs": [{"job": "import_catalog", "params": {"store_id": name}} for name in ("1", "2")]}]
        },
    )


def _one_or_many(given: Any) -> str:
    return "many" if isinstance(given, EnqueueMany) or (isinstance(given, dict) and "jobs" in given) else "one"


#: One job, or many.
Enqueue = Annotated[
    Annotated[EnqueueBody, Tag("one")] | Annotated[EnqueueMany, Tag("many")], Discriminator(_one_or_many)
]


class ActBody(Why):
    """What is asked of a job: ``force`` repeats work that is not idempotent, ``attempts`` are its tries afterwards."""

    force: StrictBool = False
    attempts: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None


class ResolveBody(Body):
    """What a parked job did, and how that is known."""

    verdict: Verdict
    reason: Annotated[str, Field(min_length=1, max_length=4000, pattern=r"^[^\x00]*$")]

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"verdict": "ran", "reason": "the bank has the payment"}]}
    )


class ActOnBody(ActBody):
    """An action on some jobs by their ids."""

    action: Verb
    ids: Ids
    verdict: Verdict | None = None


class FilterBody(Body):
    """Which jobs; all that is given must fit."""

    states: list[JobState] = []
    lane: str | None = None
    job: str | None = None
    label: str | None = None
    batch: Annotated[str, Field(pattern=WHOLE_ID)] | None = None
    created_by: str | None = None
    tags: Tags = {}
    q: Annotated[str, Field(max_length=4000)] = ""

    model_config = ConfigDict(json_schema_extra={"examples": [{"lane": "imports", "q": "state:failed newer:2h"}]})

    def filter(self) -> Filter:
        """As the views take it. Raises `SearchRefused`."""
        return Filter(**self.model_dump(exclude={"q"}), search=parse(self.q))


class ActOnAllBody(ActBody):
    """An action on all that a filter finds, 500 at a time: go on with ``after`` as the last answer's ``next``."""

    action: Verb
    filter: FilterBody
    after: Annotated[str, Field(pattern=WHOLE_ID)] | None = None


class RetryBatchBody(ActBody):
    """What failed in a batch is run again; ``start``: from the member with this key down."""

    start: Name | None = None


class CapBody(Why):
    """How many of a lane may run at once; null: no limit."""

    most: Annotated[int, Field(ge=0, le=1_000_000, strict=True)] | None


class _Timing(Why):
    """When a schedule is due: ``cron``, ``every`` (seconds) or ``at``; and by which policies."""

    cron: Annotated[str, Field(max_length=200)] | None = None
    every: Annotated[float, Field(ge=1, le=1e9, strict=True)] | None = None
    at: Instant | None = None
    timezone: Annotated[str, Field(max_length=64)] | None = None
    missed: Annotated[str, Field(max_length=16)] | None = None
    overlap: Annotated[str, Field(max_length=16)] | None = None
    catch_up_window: Seconds | None = None
    max_catch_up: Annotated[int, Field(ge=1, le=1_000_000, strict=True)] | None = None
    jitter: Seconds | None = None
    starts_at: Instant | None = None
    ends_at: Instant | None = None
    lane: Annotated[str, Field(max_length=100, pattern=LANE)] | None = None
    priority: Annotated[int, Field(ge=-32768, le=32767, strict=True)] | None = None
    tags: Tags | None = None

    @property
    def when(self) -> str | datetime | None:
        """The pattern or the one instant."""
        return self.at or self.cron

    def policies(self) -> dict[str, Any]:
        """What `schedule.define` takes beside the time; a bound that is null is none."""
        said = {name: getattr(self, name) for name in _POLICIES if name in self.model_fields_set}
        given = {name: value for name, value in said.items() if value is not None or name in _BOUNDS}
        if self.every is not None:
            given["every"] = timedelta(seconds=self.every)
        return given

    def options(self) -> dict[str, Any]:
        """What `using` takes."""
        given = {"priority": self.priority, "tags": self.tags}
        return {name: value for name, value in given.items() if value is not None}


_BOUNDS = ("catch_up_window", "max_catch_up", "jitter", "starts_at", "ends_at")
_POLICIES = ("timezone", "missed", "overlap", "lane", *_BOUNDS)


class ScheduleBody(_Timing):
    """A schedule of a registered job or command: ``cron``, ``every`` (seconds) or ``at`` says when."""

    job: Name
    params: dict[str, Any] = {}

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "job": "import_catalog",
                    "params": {"store_id": "store-42"},
                    "cron": "0 3 * * *",
                    "timezone": "Europe/Oslo",
                    "missed": "run_latest",
                    "overlap": "skip",
                    "reason": "the shop opens at six",
                }
            ]
        },
    )


class NewScheduleBody(ScheduleBody):
    """A schedule that is not there yet."""

    name: Name

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"name": "hourly", "job": "import_catalog", "params": {"store_id": "1"}, "every": 3600}]
        },
    )


class ScheduleChange(_Timing):
    """What of a schedule is said anew."""

    job: Name | None = None
    params: dict[str, Any] | None = None

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"cron": "30 3 * * *", "reason": "after the backup"}]}
    )


class BackfillBody(Why):
    """A past window, ends included."""

    begin: Instant
    end: Instant


class EnableBody(Why):
    """Let a schedule be due again; ``backfill``: make up for what it missed."""

    backfill: StrictBool = False


class PageOf(BaseModel, Generic[T]):
    """A page: what there is, and the cursor of the next page (null: this is the last)."""

    data: list[T]
    next: str | None = None


class ActionAnswer(BaseModel):
    """What became of an action for one job: its state now, the ``new`` job that runs instead, or the ``error``."""

    id: str
    state: str | None
    new: str | None = None
    error: str | None = None


class Created(BaseModel):
    """A job that was enqueued, or was there."""

    id: str
    created: bool


class CreatedMany(BaseModel):
    """Jobs that were enqueued in one transaction; ``created`` is how many are new."""

    created: int
    ids: list[str]


class Count(BaseModel):
    """How many, exactly."""

    count: int


class BiteAnswer(BaseModel):
    """What became of the next jobs; ``next`` is where to go on (null: that was the last)."""

    done: int
    refused: list[ActionAnswer]
    next: str | None


class Changed(BaseModel):
    """Whether anything was changed."""

    name: str
    changed: bool


class Back(StrEnum):
    """How far back the history goes."""

    THREE_HOURS = "3h"
    DAY = "24h"
    WEEK = "7d"
    QUARTER = "90d"


class Moment(BaseModel):
    """An instant of the database's clock."""

    now: datetime
