"""Something of everything, for pages to show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from jobwarden import JobWarden
from jobwarden.domain.errorprint import print_of
from jobwarden.domain.states import JobState
from jobwarden.store import errors, schema
from jobwarden.store.database import Transaction
from jobwarden.store.ids import new_id
from tests.support.factories import Factories, Values
from tests.support.jobs import build
from tests.views.test_jobs import tag

ERROR = {"class": "ConnectionError", "message": "host 10.0.0.7 is down: Connection reset by peer"}
#: What would do harm if a page believed it: markup, terminal escapes, a turned direction, a very long line.
HOSTILE = "<script>document.title='owned'</script>\x1b[2J\u202egnp.exe" + "x" * 300


@dataclass
class Scene:
    """The ids of what is there."""

    jobs: dict[str, Values]
    batch: str
    worker: str


def set_up(database_url: str, factories: Factories) -> Scene:
    """Jobs in every state, a batch with a graph, a schedule, a paused lane, a worker, a kind of error, history."""
    jobs = {
        state.value: factories.job(state, id=new_id(), lane="imports", name=f"{state.value} one") for state in JobState
    }
    failed: dict[str, Any] = {"last_error": ERROR, "error_print": print_of(ERROR).print, "lane": "imports"}
    jobs["failed"] = factories.job(JobState.FAILED, id=new_id(), name="nightly import", **failed)
    jobs["harmful"] = factories.job(JobState.FAILED, id=new_id(), name="charge", idempotent=False, **failed)
    jobs["hostile"] = factories.job(
        JobState.QUEUED, id=new_id(), lane="odd", name=HOSTILE[:200], params={HOSTILE[:50]: HOSTILE}
    )
    tag(factories.database, jobs["failed"]["id"], store="42")
    worker = factories.worker(hostname="worker-1", assurance="B", python_version="3.12.1")
    with factories.database.write() as transaction:
        errors.seen(transaction, [print_of(ERROR)])
        _past(transaction, transaction.now())
    jw = build(database_url=database_url, nudge=False, notify=False)
    batch = _batch(jw)
    jw.schedules.put("nightly", "0 3 * * *", jw.bind("succeed", {"value": 1}))
    jw.lanes.pause("mail", reason="the server is down", actor="ann")
    jw.database.dispose()
    return Scene(jobs, batch, str(worker["id"]))


def _batch(jw: JobWarden) -> str:
    batch = jw.batch("nightly sync", labels={"customer": "acme"})
    call = jw.bind("succeed", {"value": 1})
    fetch = batch.add(call, "fetch")
    parts = [batch.add(call, f"part-{n}", after=[fetch]) for n in range(12)]
    batch.add(call, "report", after=parts)
    return str(batch.enqueue().id)


def _past(transaction: Transaction, now: datetime) -> None:
    """Some attempts that began and ended within the last hours."""
    for minutes in range(5, 100, 5):
        for kind, outcome in (("wait", ""), ("run", "succeeded"), ("run", "failed")):
            row = {
                "span": "minute",
                "at": now - timedelta(minutes=minutes),
                "kind": kind,
                "lane": "imports",
                "job": "import",
                "outcome": outcome,
                "cause": "",
                "actor": "worker",
                "bucket": 3,
                "number": minutes,
                "seconds": 1.5 * minutes,
            }
            transaction.connection.execute(sa.insert(schema.history).values(**row))
