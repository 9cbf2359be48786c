"""``/api/jobs``: enqueue, list, look, act; logs by cursor and as a stream; artifacts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Body, Header, Path, Query, Request, Response

from jobwarden.domain.orders import Answer, Verb
from jobwarden.domain.search import parse
from jobwarden.domain.states import JobState
from jobwarden.service.jobs import Wish
from jobwarden.views.explain import Explanation
from jobwarden.views.jobs import ArtifactView, AttemptView, EventView, Filter, JobLine, JobView
from jobwarden.views.logs import LogLine
from jobwarden.views.processes import Card
from jobwarden.web import models
from jobwarden.web.asks import AnyId, Cursor, Desk, Limit, Who, leads_to, refusals
from jobwarden.web.downloads import handed_out
from jobwarden.web.guards import Polled
from jobwarden.web.models import WHOLE_ID, PageOf
from jobwarden.web.streams import Streams

router = APIRouter(tags=["jobs"], route_class=Polled)
_UUID = Path(pattern=WHOLE_ID, description="An artifact's whole id.")
_TAG = re.compile(r"tag\[(.{1,64})\]\Z", re.DOTALL)
_streams = Streams(most=50)
_LARGEST = (1 << 63) - 1
Known = Annotated[int, Query(ge=0, le=_LARGEST, description="What is known already: what follows is given.")]
T = TypeVar("T")


# -- enqueue ----------------------------------------------------------------------------------------------------------


_OF_ONE = (
    "shown",
    "attempts",
    "events",
    "explained",
    "logs",
    "artifacts",
    "cancel",
    "stop",
    "retry",
    "rerun",
    "resolve",
    "process",
    "look",
)
_FROM_ONE = leads_to(201, "/id", "job_id", *(f"jobs_{name}" for name in _OF_ONE))


@router.post("/jobs", status_code=201, responses={200: {"model": models.Created}, **_FROM_ONE, **refusals(409)})
def enqueue(
    body: models.Enqueue,
    response: Response,
    desk: Desk,
    who: Who,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> models.Created | models.CreatedMany:
    """Enqueue a job, or up to a thousand in one transaction, all or none.

    200 with the job that is there, where the idempotency key of a single one (also as a header) is taken.
    """
    if isinstance(body, models.EnqueueMany):
        each = desk.jobs.enqueue_many(who, [(one.job, one.params, one.options()) for one in body.jobs])
        return models.CreatedMany(created=sum(one.created for one in each), ids=[one.id for one in each])
    options = body.options()
    if idempotency_key and "idempotency_key" not in options:
        options["idempotency_key"] = idempotency_key
    told = desk.jobs.enqueue(who, body.job, body.params, options)
    response.status_code = 201 if told.created else 200
    return models.Created(id=told.id, created=told.created)


@router.get("/job-names", responses=refusals())
def registered(desk: Desk, who: Who) -> list[str]:
    """The names of the jobs that can be enqueued."""
    return desk.jobs.registered(who)


# -- see --------------------------------------------------------------------------------------------------------------


@router.get("/jobs", responses=refusals())
def listed(
    request: Request,
    desk: Desk,
    who: Who,
    state: Annotated[list[JobState] | None, Query(description="Repeatable.")] = None,
    lane: Annotated[str | None, Query(max_length=100)] = None,
    job: Annotated[str | None, Query(max_length=200, description="The job's name.")] = None,
    label: Annotated[str | None, Query(max_length=200)] = None,
    batch: Annotated[str | None, Query(pattern=WHOLE_ID, description="A batch's whole id.")] = None,
    created_by: Annotated[str | None, Query(max_length=200)] = None,
    q: Annotated[str, Query(max_length=4000, description="Words of a search, as in `state:failed store:42`.")] = "",
    before: Cursor = None,
    limit: Limit = 50,
) -> PageOf[JobLine]:
    """Jobs, the newest first. ``tag[NAME]=VALUE`` narrows by tags: VALUE may end in ``*``, or be empty (any).

    A page may have less than ``limit`` although there is a ``next``: then much was looked at, and little found.
    """
    tags = _tags(request.query_params)
    wanted = Filter(state or (), lane, job, label, batch, created_by, tags, before, limit, parse(q))
    page = desk.jobs.page(who, wanted)
    return PageOf(data=page.jobs, next=page.next)


def _tags(given: Mapping[str, str]) -> dict[str, str]:
    found = ((match, value) for name, value in given.items() if (match := _TAG.match(name)))
    return {match[1]: value for match, value in found}


@router.get("/jobs/{job_id}", responses=refusals(404, 409))
def shown(job_id: AnyId, desk: Desk, who: Who) -> JobView:
    """One job with its attempts, ledger, artifacts and tags. Poll it until it is at rest: its result is there."""
    return desk.jobs.one(who, job_id)


@router.get("/jobs/{job_id}/attempts", responses=refusals(404, 409))
def attempts(job_id: AnyId, desk: Desk, who: Who, after: Known = 0, limit: Limit = 200) -> PageOf[AttemptView]:
    """Its attempts, first to last; ``after`` is the number of the last one that is known."""
    found = desk.jobs.attempts(who, job_id, after, limit + 1)
    return _page(found, limit, lambda attempt: attempt.attempt_number)


@router.get("/jobs/{job_id}/events", responses=refusals(404, 409))
def events(job_id: AnyId, desk: Desk, who: Who, after: Known = 0, limit: Limit = 200) -> PageOf[EventView]:
    """Its ledger, in order; ``after`` is the id of the last row that is known."""
    found = desk.jobs.events(who, job_id, after, limit + 1)
    return _page(found, limit, lambda event: event.id)


def _page(found: list[T], limit: int, key: Callable[[T], int]) -> PageOf[T]:
    """A page of what was read, one more than it may hold."""
    return PageOf(data=found[:limit], next=str(key(found[limit - 1])) if len(found) > limit else None)


@router.get("/jobs/{job_id}/explain", responses=refusals(404, 409))
def explained(job_id: AnyId, desk: Desk, who: Who) -> Explanation:
    """Why it is not running."""
    return desk.jobs.explain(who, job_id)


@router.get("/jobs/{job_id}/logs", responses=refusals(404, 409))
def logs(
    job_id: AnyId,
    desk: Desk,
    who: Who,
    after: Known = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[LogLine]:
    """Its lines in order; ``after`` is the id of the last one that is known."""
    return desk.jobs.logs(who, job_id, after, limit)


@router.get("/jobs/{job_id}/logs/stream", responses=refusals(404, 409), response_class=Response)
async def follow(
    job_id: AnyId,
    desk: Desk,
    who: Who,
    last_event_id: Annotated[int, Header(ge=0, le=_LARGEST)] = 0,
) -> Any:
    """Its lines as they come, as server-sent events; it ends when the job is at rest and all is told."""
    return await _streams.of(desk, who, job_id, last_event_id)


@router.get("/jobs/{job_id}/artifacts", responses=refusals(404, 409))
def artifacts(job_id: AnyId, desk: Desk, who: Who) -> list[ArtifactView]:
    """What it left behind."""
    return desk.jobs.artifacts(who, job_id)


@router.get("/jobs/{job_id}/artifacts/{artifact_id}", responses=refusals(404, 409), response_class=Response)
def download(job_id: AnyId, artifact_id: Annotated[str, _UUID], desk: Desk, who: Who) -> Response:
    """One artifact's content, to be saved: never shown as a page of this address."""
    return handed_out(desk.jobs.artifact(who, job_id, artifact_id))


# -- act --------------------------------------------------------------------------------------------------------------


def _acting(verb: Verb) -> Any:
    def act(job_id: AnyId, desk: Desk, who: Who, body: Annotated[models.ActBody | None, Body()] = None) -> Any:
        given = body or models.ActBody()
        answer = desk.jobs.act(who, Wish(verb, given.reason, given.force, given.attempts), job_id)
        return desk.jobs.one(who, answer.new or answer.id)

    act.__doc__ = _SAID[verb]
    return act


_SAID = {
    Verb.CANCEL: "Cancel a job: at once if it waits, when its process is proved gone if it runs. Gives the job.",
    Verb.STOP: "Ask a running job to stop at its next checkpoint; one that waits is canceled. Gives the job.",
    Verb.RETRY: "Run a job again that failed or is parked. Gives the job.",
    Verb.RESTART: "Run a job again that was stopped, failed or is parked. Gives the job.",
    Verb.RERUN: "Run a job that is over again, as a new job; gives the new one.",
}
for _verb in _SAID:
    router.post(
        f"/jobs/{{job_id}}/{_verb.value}",
        name=_verb.value,
        response_model=JobView,
        status_code=201 if _verb is Verb.RERUN else 200,
        responses=refusals(404, 409),
    )(_acting(_verb))


@router.get("/jobs/{job_id}/process", responses=refusals(404, 409))
def process(job_id: AnyId, desk: Desk, who: Who) -> Card | None:
    """The process of its last attempt: verified now on this host, else as the daemon that watches it saw it last."""
    return desk.jobs.process(who, job_id)


@router.post("/jobs/{job_id}/look", status_code=202, responses=refusals(404, 409))
def look(job_id: AnyId, desk: Desk, who: Who) -> Card | None:
    """Have the daemon that watches it look at its process and ask it for its Python stack.

    Poll `/process`: the answer is there, with a later `stack_at` and no `asked_at`, within a heartbeat or two.
    """
    desk.jobs.look(who, job_id)
    return desk.jobs.process(who, job_id)


@router.post("/jobs/{job_id}/resolve", responses=refusals(404, 409))
def resolve(job_id: AnyId, body: models.ResolveBody, desk: Desk, who: Who) -> JobView:
    """Say what a parked job did: ran, did_not_run, ran_partly or failed."""
    answer = desk.jobs.act(who, Wish(Verb.RESOLVE, body.reason, verdict=body.verdict), job_id)
    return desk.jobs.one(who, answer.id)


@router.post("/actions", responses=refusals(404, 409))
def act_on(body: models.ActOnBody, desk: Desk, who: Who) -> list[models.ActionAnswer]:
    """Act on up to 500 jobs; each is answered for itself, in the order given."""
    wish = Wish(body.action, body.reason, body.force, body.attempts, body.verdict)
    return [answered(answer) for answer in desk.jobs.act_on(who, wish, body.ids)]


@router.post("/actions/preview", responses=refusals())
def preview(body: models.FilterBody, desk: Desk, who: Who) -> models.Count:
    """How many jobs a filter finds, exactly."""
    return models.Count(count=desk.jobs.count(who, body.filter()))


@router.post("/actions/matching", responses=refusals())
def act_on_matching(body: models.ActOnAllBody, desk: Desk, who: Who) -> models.BiteAnswer:
    """Act on the next 500 jobs that a filter finds. Ask again with ``after`` as ``next`` until that is null."""
    bite = desk.jobs.act_on_next(
        who, Wish(body.action, body.reason, body.force, body.attempts), body.filter.filter(), body.after
    )
    refused = [answered(answer) for answer in bite.answers if answer.refused is not None]
    return models.BiteAnswer(done=len(bite.answers) - len(refused), refused=refused, next=bite.next)


def answered(answer: Answer) -> models.ActionAnswer:
    """What became of an order for one job, as it is told."""
    return models.ActionAnswer(
        id=answer.id,
        state=answer.state.value if answer.state else None,
        new=answer.new,
        error=str(answer.refused) if answer.refused else None,
    )
