"""Jobs: the list with its search, one with its process, its past and its words, and what can be done to them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response

from jobwarden.binding import Field
from jobwarden.domain.orders import Verb
from jobwarden.domain.search import Search, parse
from jobwarden.domain.states import ENDED, WAITING, JobState
from jobwarden.errors import InvalidOption, SearchRefused
from jobwarden.service.jobs import Wish
from jobwarden.views.deaths import certificates
from jobwarden.views.jobs import Filter, JobView
from jobwarden.web.asks import Cursor
from jobwarden.web.console.previews import preview
from jobwarden.web.console.shell import Acting, Form, Looking, Paged, Visitor, redirect
from jobwarden.web.downloads import disposition
from jobwarden.web.models import WHOLE_ID

router = APIRouter(include_in_schema=False, route_class=Paged)
_Text = Annotated[str, Query(max_length=4000)]
_Like = Annotated[str | None, Query(max_length=64)]
_Named = Annotated[str | None, Query(max_length=200)]
_LINES, _PAGE = 200, 50
_TABS = ("logs", "attempts", "ledger", "result", "process")
#: What can be done to a job by the state it is in, the likeliest first.
VERBS: dict[JobState, tuple[Verb, ...]] = {
    **dict.fromkeys(sorted(WAITING), (Verb.CANCEL,)),
    JobState.RUNNING: (Verb.STOP, Verb.CANCEL),
    JobState.ORPHANED: (Verb.RETRY, Verb.CANCEL, Verb.STOP),
    JobState.FAILED: (Verb.RETRY, Verb.RERUN),
    JobState.STOPPED: (Verb.RESTART, Verb.RERUN),
    JobState.SUCCEEDED: (Verb.RERUN,),
    JobState.CANCELED: (Verb.RERUN,),
}
BULK = (Verb.RETRY, Verb.RESTART, Verb.CANCEL, Verb.STOP)


@router.get("/jobs")
def listed(visitor: Looking, q: _Text = "", before: Cursor = None, jump: bool = False) -> Response:
    """A page of what the search finds; with ``jump`` the job itself, where it is the only one."""
    search, wrong = _searched(q)
    page = visitor.service.jobs.page(visitor.who, Filter(search=search, before=before, limit=_PAGE))
    if jump and search and len(page.jobs) == 1 and page.next is None:
        return redirect(visitor.request, f"/jobs/{page.jobs[0].id}")
    lanes = [lane.name for lane in visitor.service.fleet.lanes(visitor.who) if lane.name != "*"]
    facts = {"search": search, "q": q, "wrong": wrong, "before": before, "bulk": BULK}
    return visitor.page("jobs.html", "Jobs", page=page, lanes=lanes, **facts)


def _searched(text: str) -> tuple[Search, str | None]:
    """What a text asks for, and what is wrong with it: then it asks for nothing."""
    try:
        return parse(text), None
    except SearchRefused as error:
        return Search(), str(error)


@router.get("/jobs/new")
def new(visitor: Looking, like: _Like = None, job: _Named = None) -> Response:
    """A form for a job of the application's, with its parameters by name, filled as another one was."""
    desk, who = visitor.service.jobs, visitor.who
    known = desk.one(who, like) if like else None
    name = known.job if known is not None else job
    given = known.params if known is not None and isinstance(known.params, dict) else {}
    facts: dict[str, Any] = {"known": known, "name": name, "names": desk.registered(who), "given": given}
    facts |= {"fields": desk.form(who, name) if name else [], "runbook": desk.runbooks(who).get(name or "")}
    return visitor.page("new.html", "Enqueue a job", **facts)


@router.post("/jobs/new")
def enqueue(visitor: Acting) -> Response:
    """Enqueue it; its parameters are checked as everywhere."""
    form, name = visitor.form, visitor.form.get("job", "")
    options: dict[str, Any] = {each: form[each] for each in ("label", "lane", "idempotency_key") if form.get(each)}
    fields = visitor.service.jobs.form(visitor.who, name)
    params = _by_name(fields, form) if form.get("by") == "name" else _params(form.get("params", ""))
    made = visitor.service.jobs.enqueue(visitor.who, name, params, options)
    return visitor.back("Enqueued." if made.created else "There was one with that key.", to=f"/jobs/{made.id}")


def _by_name(fields: Sequence[Field], form: Form) -> dict[str, Any]:
    """The parameters that were filled in; what is left empty is not passed, so that the code's default holds."""
    given = {field.name: form.get(f"param:{field.name}", "") for field in fields}
    return {field.name: _value(field, given[field.name]) for field in fields if given[field.name] != ""}


def _value(field: Field, text: str) -> Any:
    if field.text:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # whether that fits is for the signature to say


def _params(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError as error:
        raise InvalidOption(option="params", value=text[:60], job="enqueue", rule=f"JSON ({error})") from error
    if not isinstance(found, dict):
        raise InvalidOption(option="params", value=text[:60], job="enqueue", rule="an object, with parameters by name")
    return found


@router.get("/jobs/{job_id}")
def shown(job_id: str, visitor: Looking, tab: str = "logs", level: str = "") -> Response:
    """One job, whole."""
    desk, who = visitor.service.jobs, visitor.who
    job = desk.one(who, job_id)
    return visitor.page(
        "job.html",
        f"{job.label or job.job}",
        job=job,
        tab=tab if tab in _TABS else "logs",
        tabs=_TABS,
        level=level,
        verbs=VERBS[JobState(job.state)],
        rests=JobState(job.state) in ENDED,
        why=None if JobState(job.state) in ENDED else desk.explain(who, job.id),
        lines=desk.last_lines(who, job.id, _LINES),
        card=desk.process(who, job.id),
        steps=_steps(job),
        runbook=desk.runbooks(who).get(job.job),
        certificates=certificates(job),
        near=desk.neighbours(who, job.id) if job.batch_id else None,
    )


def _steps(job: JobView) -> list[dict[str, Any]]:
    """The ledger as a course: each step with how long the job stayed where it brought it."""
    moves = [event for event in job.events if event.level == "job"]
    ends = [*(event.created_at for event in moves[1:]), job.finished_at or job.now][: len(moves)]
    return [
        {"event": event, "lasted": max(0.0, (end - event.created_at).total_seconds())}
        for event, end in zip(moves, ends, strict=True)
    ]


@router.get("/jobs/{job_id}/artifacts/{artifact_id}")
def artifact(job_id: str, artifact_id: Annotated[str, Path(pattern=WHOLE_ID)], visitor: Looking) -> Response:
    """An artifact's beginning, as far as it can be shown harmlessly."""
    desk, who = visitor.service.jobs, visitor.who
    job, found = desk.one(who, job_id), desk.artifact(who, job_id, artifact_id)
    facts = {"job": job, "artifact": found, "artifact_id": artifact_id, "shown": preview(found)}
    return visitor.page("artifact.html", found.name, **facts)


@router.get("/jobs/{job_id}/log.txt")
def log(job_id: str, visitor: Looking) -> Response:
    """All its lines as a text to be saved."""
    desk, who = visitor.service.jobs, visitor.who
    job, said, cursor = desk.one(who, job_id), [], 0
    while page := desk.logs(who, job.id, cursor, 1000):
        said += [f"{line.ts.isoformat()} {line.level} {line.message}\n" for line in page]
        cursor = page[-1].id
    headers = {"Content-Disposition": disposition(f"{job.id}.txt")}
    return Response("".join(said), media_type="text/plain; charset=utf-8", headers=headers)


@router.post("/jobs/act")
def act_on_many(visitor: Acting) -> Response:
    """Do something to the jobs that were chosen, or begin to do it to all that a search finds."""
    form = visitor.form
    verb = Verb(form.get("verb", "")) if form.get("verb") in set(BULK) else None
    if verb is None:
        raise InvalidOption(option="verb", value=form.get("verb"), job="act", rule=f"one of {', '.join(BULK)}")
    if form.get("all") == "1":
        return _ask_about_all(visitor, verb, form.get("q", ""))
    ids = [job_id for job_id in form.get("ids", "").split(",") if job_id]
    if not ids:
        return visitor.back("Choose jobs first: with the boxes at the left, or x.", bad=True)
    answers = visitor.service.jobs.act_on(visitor.who, _wish(verb, visitor), ids)
    refused = [str(answer.refused) for answer in answers if answer.refused is not None]
    told = f"{verb}: {len(answers) - len(refused)} done, {len(refused)} refused. {' '.join(refused[:1])}"
    return visitor.back(told, bad=bool(refused))


def _wish(verb: Verb, visitor: Visitor) -> Wish:
    return Wish(verb, visitor.form.get("reason") or None, visitor.form.get("force") == "1")


def _ask_about_all(visitor: Visitor, verb: Verb, q: str) -> Response:
    search = parse(q)
    if not search:
        return visitor.back("Search for something first: without any words it would be all jobs.", bad=True)
    count = visitor.service.jobs.count(visitor.who, Filter(search=search))
    facts = {"verb": verb, "q": str(search), "count": count, "done": 0, "refused": 0, "after": "", "why": ""}
    return visitor.page("matching.html", f"{verb} all that match", **facts)


@router.post("/jobs/matching")
def act_on_all(visitor: Acting) -> Response:
    """The next bite of all that a search finds; the page that is shown goes on with the one after."""
    form = visitor.form
    verb = Verb(form["verb"]) if form.get("verb") in set(BULK) else Verb.RETRY
    wanted = Filter(search=parse(form.get("q", "")))
    after = form["after"] if re.fullmatch(WHOLE_ID, form.get("after", "")) else None
    bite = visitor.service.jobs.act_on_next(visitor.who, _wish(verb, visitor), wanted, after)
    refused = [str(answer.refused) for answer in bite.answers if answer.refused is not None]
    done = _number(form.get("done")) + len(bite.answers) - len(refused)
    missed = _number(form.get("missed")) + len(refused)
    if bite.next is None:
        return visitor.back(f"{verb}: {done:,} done, {missed:,} refused.", bad=bool(missed), to="/jobs")
    facts = {"verb": verb, "q": form.get("q", ""), "count": _number(form.get("count")), "done": done}
    facts |= {"refused": missed, "after": bite.next, "why": form.get("reason", "")}
    return visitor.page("matching.html", f"{verb} all that match", **facts)


def _number(text: str | None) -> int:
    return int(text) if text and text.isdecimal() and len(text) < 12 else 0


@router.post("/jobs/{job_id}/look")
def look(job_id: str, visitor: Acting) -> Response:
    """Ask for a look at its process, with its stack."""
    visitor.service.jobs.look(visitor.who, job_id)
    return visitor.back("Asked: the answer is here in a moment.")


@router.post("/jobs/{job_id}/{verb}")
def act(job_id: str, verb: str, visitor: Acting) -> Response:
    """Do something to one job."""
    if verb not in set(Verb) - {Verb.RESOLVE}:
        raise InvalidOption(option="verb", value=verb, job="act", rule="something that can be done to a job")
    answer = visitor.service.jobs.act(visitor.who, _wish(Verb(verb), visitor), job_id)
    if answer.new:
        return visitor.back("It runs again, as this job.", to=f"/jobs/{answer.new}")
    return visitor.back(f"{verb}: {answer.id[-8:]} is {answer.state}.")
