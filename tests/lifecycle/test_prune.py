"""What was kept long enough goes, with all that belongs to it and nothing else, whoever does what meanwhile."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.ids import first_at
from jobwarden.domain.orders import By, Order, Verb
from jobwarden.domain.retention import retention
from jobwarden.domain.states import ENDED, BatchState, JobState, WorkerState
from jobwarden.errors import BatchGone, ScheduleRefused
from jobwarden.lifecycle import prune
from jobwarden.lifecycle.operate import carry_out
from jobwarden.lifecycle.prune import Place, Pruned, Pruner
from jobwarden.lifecycle.schedules import backfill
from jobwarden.store import schema
from jobwarden.store.audit import verify
from jobwarden.store.database import Database
from jobwarden.store.ids import new_ids
from jobwarden.views import audit
from jobwarden.views.health import check
from tests.support.factories import Factories, new_id
from tests.support.plans import explained, scans

J = JobState
ME = By("ann", "spring cleaning")
RULES = ("*=10d", "workers=10d", "runs=10d")
OF_JOBS = (
    schema.jobs, schema.attempts, schema.events, schema.logs, schema.artifacts, schema.tags, schema.dependencies
)  # fmt: skip


class Attic:
    """Rows as old as a test wants them, in one database, and the pruner."""

    def __init__(self, database: Database, factories: Factories) -> None:
        self.database, self.factories = database, factories
        with database.read() as transaction:
            self.now = transaction.now()

    def id(self, days: float) -> str:
        """An id that was made so many days ago."""
        return first_at(self.now - timedelta(days=days))[:-12] + f"{random.getrandbits(48):012x}"

    def job(self, state: JobState, days: float, **columns: Any) -> str:
        """A job that ended so many days ago, with a row in every table that belongs to jobs."""
        at = self.now - timedelta(days=days)
        over = at if state in ENDED else None
        given: dict[str, Any] = {"id": self.id(days), "created_at": at, "finished_at": over} | columns
        job_id = str(self.factories.job(state, **given)["id"])
        attempt = new_id()
        self.insert(schema.events, job_id=job_id, level="job", to_state="queued", actor_type="client", created_at=at)
        self.log(job_id, attempt, 1)
        self.insert(
            schema.artifacts, id=new_id(), job_id=job_id, type="file", name="x", content=b"\0\xff", created_at=at
        )
        self.insert(schema.tags, job_id=job_id, name="store", value="42")
        self.insert(schema.dependencies, job_id=job_id, depends_on_job_id=new_id(), edge_condition="on_success")
        return job_id

    def log(self, job_id: str, attempt: str, seq: int) -> None:
        said = {"seq": seq, "ts": self.now, "level": "info", "source": "log", "body_ref": f"line {seq}"}
        self.insert(schema.logs, job_id=job_id, attempt_id=attempt, **said)

    def batch(self, state: BatchState, days: float, **columns: Any) -> str:
        """A batch that was finished so many days ago."""
        at = self.now - timedelta(days=days)
        over = {"finished_at": None if state is BatchState.RUNNING else at}
        return str(self.factories.batch(state, **{"id": self.id(days), **over, **columns})["id"])

    def insert(self, table: sa.Table, **columns: Any) -> None:
        with self.database.write() as transaction:
            transaction.connection.execute(sa.insert(table).values(**columns))

    def pruner(self, *rules: str, **wishes: Any) -> Pruner:
        return Pruner(retention(rules or RULES), ME, **wishes)

    def pass_(self, pruner: Pruner | None = None, most: int = 1000) -> Pruned:
        """One pass, or its first bites."""
        done, place = Pruned(), Place()
        pruner = pruner or self.pruner()
        for _ in range(most):
            bite = self.database.attempt(partial(pruner.bite, place=place))
            done += bite.pruned
            if bite.next is None:
                break
            place = bite.next
        return done

    def ids(self, table: sa.Table = schema.jobs, column: str = "id") -> set[str]:
        with self.database.read() as transaction:
            return {str(found) for found in transaction.execute(sa.select(table.c[column])).scalars()}


@pytest.fixture
def attic(database: Database, factories: Factories) -> Attic:
    return Attic(database, factories)


def _rows(attic: Attic) -> dict[str, int]:
    return {table.name: attic.factories.count(table) for table in schema.metadata.sorted_tables}


def test_jobs_go_by_state_and_lane_when_they_are_over_and_old(attic: Attic) -> None:
    kept = {attic.job(state, 500) for state in JobState if state not in ENDED}
    kept |= {attic.job(J.SUCCEEDED, 9.9), attic.job(J.FAILED, 19), attic.job(J.SUCCEEDED, 400, lane="law")}
    kept |= {attic.job(J.FAILED, 11, lane="imports")}
    gone = {attic.job(J.SUCCEEDED, 10.1), attic.job(J.FAILED, 21), attic.job(J.CANCELED, 400), attic.job(J.STOPPED, 11)}
    gone |= {attic.job(J.SUCCEEDED, 2, lane="imports", id=attic.id(2))}
    rules = ("*=10d", "failed=20d", "law:*=never", "imports:succeeded=1d")
    assert attic.pass_(attic.pruner(*rules)).jobs == len(gone)
    assert attic.ids() == kept


def test_with_a_job_goes_all_that_belongs_to_it_and_nothing_else(attic: Attic) -> None:
    stays = attic.job(J.SUCCEEDED, 1)
    before = _rows(attic)
    goes = [attic.job(J.FAILED, 20, lane="b") for _ in range(3)]
    counted = attic.factories.counted()
    assert counted["b", "failed"] == 3
    assert attic.pass_() == Pruned(jobs=3)
    for table in OF_JOBS:
        column = "id" if table is schema.jobs else "job_id"
        left = attic.ids(table, column)
        assert stays in left, table.name
        assert not left & set(goes), table.name
    after = _rows(attic)
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {
        "jobwarden_audit": 1,
        "jobwarden_counters": 4,
    }
    assert attic.factories.counted() == {("default", "succeeded"): 1}
    with attic.database.read() as transaction:
        assert not check(transaction)


def test_a_batch_goes_as_a_whole_when_its_verdict_was_kept_long_enough(attic: Attic) -> None:
    old = attic.batch(BatchState.SUCCEEDED, 11)
    attic.insert(schema.batch_labels, batch_id=old, name="customer", value="acme")
    young, running = attic.batch(BatchState.SUCCEEDED, 9), attic.batch(BatchState.RUNNING, 50)
    goes = {attic.job(J.SUCCEEDED, 12, batch_id=old), attic.job(J.FAILED, 30, batch_id=old)}
    stays = {attic.job(J.SUCCEEDED, 20, batch_id=batch) for batch in (young, running)}
    assert attic.pass_() == Pruned(jobs=2, batches=1)
    assert attic.ids() == stays
    assert attic.ids(schema.batches) == {young, running}
    assert not attic.ids(schema.batch_labels, "batch_id")
    assert not goes & attic.ids(schema.tags, "job_id")


def test_what_is_left_of_a_batch_that_is_going_cannot_be_tried_again(attic: Attic) -> None:
    old = attic.batch(BatchState.FAILED, 11)
    member = attic.job(J.FAILED, 12, batch_id=old)
    assert attic.pass_(most=1) == Pruned(batches=1)
    for verb in (Verb.RETRY, Verb.RESTART):
        [answer] = carry_out(attic.database, Order(verb, "once more", "ann", force=True), [member])
        assert isinstance(answer.refused, BatchGone)
        assert "run it anew, outside of the batch, with rerun" in " ".join(str(answer.refused).split())
    [answer] = carry_out(attic.database, Order(Verb.RERUN, "once more", "ann", force=True), [member])
    assert answer.new is not None
    assert attic.pass_() == Pruned(jobs=1)
    assert attic.ids() == {answer.new}


def test_a_member_that_ran_again_as_its_batch_went_is_not_taken_along(attic: Attic) -> None:
    old = attic.batch(BatchState.FAILED, 11)
    ran_again = attic.job(J.SUCCEEDED, 12, batch_id=old, finished_at=attic.now)
    goes = attic.job(J.FAILED, 12, batch_id=old)
    assert attic.pass_() == Pruned(jobs=1, batches=1)
    assert (goes in attic.ids(), ran_again in attic.ids()) == (False, True)


def test_a_pass_that_ends_anywhere_is_taken_up_by_the_next(attic: Attic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "JOBS", 2)
    batch = attic.batch(BatchState.CANCELED, 11)
    for days in range(11, 20):
        attic.job(J.SUCCEEDED, days)
        attic.job(J.CANCELED, days, batch_id=batch)
    worker = str(
        attic.factories.worker(WorkerState.DEAD, id=attic.id(20), heartbeat_at=attic.now - timedelta(20))["id"]
    )
    done = Pruned()
    for most in (1, 2, 3, 1000):
        done += attic.pass_(most=most)
    assert done == Pruned(jobs=18, batches=1, workers=1)
    assert not attic.ids()
    assert worker not in attic.ids(schema.workers)


def test_what_is_foretold_is_what_goes_and_nothing_is_written(attic: Attic) -> None:
    batch = attic.batch(BatchState.PARTIAL, 11)
    attic.job(J.SUCCEEDED, 30)
    attic.job(J.FAILED, 30, batch_id=batch)
    attic.job(J.RUNNING, 30)
    attic.factories.worker(WorkerState.STOPPED, id=attic.id(20), stopped_at=attic.now - timedelta(days=20))
    before = _rows(attic)
    foretold = attic.pass_(attic.pruner(foretold=True))
    assert _rows(attic) == before
    assert foretold == attic.pass_() == Pruned(jobs=2, batches=1, workers=1)


def test_who_pruned_and_by_which_rules_stands_once_in_the_audit(attic: Attic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "JOBS", 1)
    attic.pass_()
    assert not attic.ids(schema.audit, "seq"), "nothing went"
    for days in (20, 30, 40):
        attic.job(J.SUCCEEDED, days)
    attic.pass_(attic.pruner("succeeded=10d", "law:failed=never"))
    with attic.database.read() as transaction:
        [entry] = audit.listed(transaction, audit.AuditFilter(), None, 10).entries
        assert verify(transaction).broken is None
    assert (entry.action, entry.actor, entry.reason) == ("fleet.prune", "ann", "spring cleaning")
    assert entry.after is not None
    assert (entry.after["succeeded"], entry.after["law:failed"]) == ("10 days, 0:00:00", "never")


def test_a_long_log_goes_in_bites_before_its_job(attic: Attic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "LINES", 4)
    chatty, quiet = attic.job(J.SUCCEEDED, 30), attic.job(J.SUCCEEDED, 20)
    [attempt] = attic.factories.attempts_of(chatty)
    for seq in range(2, 11):
        attic.log(chatty, attempt["id"], seq)
    with attic.database.write() as transaction:
        told = sa.update(schema.attempts).where(schema.attempts.c.id == attempt["id"]).values(log_seq=10)
        transaction.connection.execute(told)
    assert attic.pass_(most=2) == Pruned(lines=4)
    assert len(attic.factories.logs_of(chatty)) == 6
    assert attic.ids() == {chatty, quiet}
    assert attic.pass_() == Pruned(jobs=2, lines=4)
    assert not attic.ids(schema.logs, "job_id")


def test_what_others_hold_is_passed_over(attic: Attic) -> None:
    held, free = attic.job(J.FAILED, 30), attic.job(J.FAILED, 20)
    if not attic.database.facts.skips_locked:
        assert attic.pass_().jobs == 2, "one writer at a time: nothing is held beside it"
        return
    with attic.database.write() as transaction:
        locked = sa.select(schema.jobs.c.id).where(schema.jobs.c.id == held).with_for_update()
        transaction.execute(locked).all()
        assert attic.pass_().jobs == 1
        assert attic.ids() == {held}
    assert attic.pass_().jobs == 1
    assert free not in attic.ids()


def test_a_retry_and_a_pass_at_once_leave_each_job_whole_or_nothing_of_it(
    attic: Attic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "JOBS", 5)
    made = [attic.job(J.FAILED, 20 + n, idempotent=True) for n in range(60)]
    gun = threading.Barrier(2)
    refused: list[str] = []

    def retry() -> None:
        gun.wait()
        for job_id in made[::-1][:40]:
            answers = carry_out(attic.database, Order(Verb.RETRY, None, "bob"), [job_id])
            refused.extend(answer.id for answer in answers if answer.refused is not None)

    thread = threading.Thread(target=retry)
    thread.start()
    gun.wait()
    done = attic.pass_()
    thread.join()
    done += attic.pass_()
    left = attic.ids()
    assert done.jobs + len(left) == 60
    assert left == set(made[::-1][:40]) - set(refused)
    states = {attic.factories.read(schema.jobs, job_id)["state"] for job_id in left}
    assert states <= {"queued"}
    assert attic.factories.counted() == ({("default", "queued"): len(left)} if left else {})
    assert attic.ids(schema.tags, "job_id") == left


# -- workers, runs, errors --------------------------------------------------------------------------------------------


def test_daemons_go_when_they_left_long_ago_and_nothing_of_theirs_is_kept(attic: Attic) -> None:
    long_ago = attic.now - timedelta(days=11)
    gone: dict[str, Any] = {"stopped_at": long_ago, "heartbeat_at": long_ago}
    names = ("stopped", "dead", "busy", "recent", "living")
    ids = dict(zip(names, [attic.id(12) for _ in names], strict=True))
    attic.factories.worker(WorkerState.STOPPED, id=ids["stopped"], **gone)
    attic.factories.worker(WorkerState.DEAD, id=ids["dead"], heartbeat_at=long_ago)
    attic.factories.worker(WorkerState.STOPPED, id=ids["busy"], **gone)
    attic.factories.worker(WorkerState.STOPPED, id=ids["recent"], stopped_at=attic.now)
    attic.factories.worker(WorkerState.ACTIVE, id=ids["living"], heartbeat_at=long_ago)
    job = attic.job(J.SUCCEEDED, 5)
    with attic.database.write() as transaction:
        its = sa.update(schema.attempts).where(schema.attempts.c.job_id == job).values(worker_id=ids["busy"])
        transaction.connection.execute(its)
    assert attic.pass_() == Pruned(workers=2)
    assert attic.ids(schema.workers) == {ids["busy"], ids["recent"], ids["living"]}


def test_runs_go_but_for_the_last_and_what_is_forgotten_is_not_made_up_for(attic: Attic) -> None:
    schedule = _schedule(attic)
    for days in range(30, 5, -5):
        _run(attic, schedule, days)
    _run(attic, schedule, 40, live="runs")
    assert attic.pass_() == Pruned(runs=4)
    left = sorted(attic.now - row.occurrence_time for row in _runs(attic))
    assert [round(age / timedelta(days=1)) for age in left] == [10, 40]
    begin, end = attic.now - timedelta(days=35), attic.now - timedelta(days=12)
    with (
        pytest.raises(ScheduleRefused, match=r"no longer known, and could run twice"),
        attic.database.write() as transaction,
    ):
        backfill(transaction, "nightly", begin, end, ME)
    with attic.database.write() as transaction:
        told = backfill(transaction, "nightly", attic.now - timedelta(days=14, hours=12), end, ME)
    assert told.made > 0


def _schedule(attic: Attic) -> str:
    schedule = new_id()
    attic.insert(
        schema.schedules,
        id=schedule,
        name="nightly",
        job="tests:succeed",
        params={},
        cron_expression="0 0 * * *",
        created_at=attic.now,
        updated_at=attic.now,
    )
    return schedule


def _run(attic: Attic, schedule: str, days: float, live: str | None = None) -> None:
    at = attic.now - timedelta(days=days)
    told = {"occurrence_time": at, "detected_at": at, "action": "enqueued", "created_at": at - timedelta(days=1)}
    attic.insert(schema.schedule_runs, id=attic.id(days + 1), schedule_id=schedule, live=live, **told)


def _runs(attic: Attic) -> list[Any]:
    with attic.database.read() as transaction:
        return list(transaction.execute(sa.select(schema.schedule_runs)))


def test_kinds_of_errors_go_when_no_job_has_them_any_more(attic: Attic) -> None:
    for name, days in (("old", 30), ("used", 30), ("new", 1)):
        at = attic.now - timedelta(days=days)
        words = {"class_name": "OSError", "message": name, "first_seen": at, "last_seen": at}
        attic.insert(schema.errors, print=name, **words)
    attic.job(J.FAILED, 5, error_print="used")
    assert attic.pass_() == Pruned(errors=1)
    assert attic.ids(schema.errors, "print") == {"used", "new"}


# -- archives ---------------------------------------------------------------------------------------------------------


class Shelf:
    """An archive in memory, whose disk may be full."""

    def __init__(self, room: Callable[[], bool] = lambda: True) -> None:
        self.rows: list[tuple[str, Mapping[str, Any]]] = []
        self.room = room

    def add(self, kind: str, data: Mapping[str, Any]) -> None:
        self.rows.append((kind, data))

    def secure(self) -> None:
        if not self.room():
            raise OSError("no space left on device")


def test_all_that_goes_is_in_the_archive_as_it_was(attic: Attic) -> None:
    batch = attic.batch(BatchState.SUCCEEDED, 11)
    jobs = {attic.job(J.SUCCEEDED, 12, batch_id=batch), attic.job(J.FAILED, 12)}
    shelf = Shelf()
    attic.pass_(attic.pruner(archive=shelf))
    kinds = [kind for kind, _ in shelf.rows]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "batch": 1, "job": 2, "attempt": 2, "event": 2, "log": 2, "artifact": 2, "tag": 2, "dependency": 2
    }  # fmt: skip
    assert {data["id"] for kind, data in shelf.rows if kind == "job"} == jobs
    [content] = {data["content"] for kind, data in shelf.rows if kind == "artifact"}
    assert content == "AP8="
    finished = next(data["finished_at"] for kind, data in shelf.rows if kind == "batch")
    assert datetime.fromisoformat(finished).astimezone(UTC) == attic.now - timedelta(days=11)


def test_what_does_not_fit_into_the_archive_stays(attic: Attic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "JOBS", 1)
    made = {attic.job(J.SUCCEEDED, days) for days in (12, 13, 14)}
    before = attic.factories.counted()
    left = iter([True, False])
    with pytest.raises(OSError, match="no space"):
        attic.pass_(attic.pruner(archive=Shelf(lambda: next(left))))
    assert len(attic.ids() & made) == 2
    assert attic.factories.counted() == {key: number - 1 for key, number in before.items()}


def test_a_long_log_is_archived_line_by_line_once(attic: Attic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prune, "LINES", 3)
    job = attic.job(J.SUCCEEDED, 30)
    [attempt] = attic.factories.attempts_of(job)
    for seq in range(2, 9):
        attic.log(job, attempt["id"], seq)
    with attic.database.write() as transaction:
        transaction.connection.execute(sa.update(schema.attempts).values(log_seq=8))
    shelf = Shelf()
    attic.pass_(attic.pruner(archive=shelf))
    assert [data["body_ref"] for kind, data in shelf.rows if kind == "log"] == [f"line {n}" for n in range(1, 9)]


# -- cost -------------------------------------------------------------------------------------------------------------


def test_a_bite_looks_at_few_rows_however_many_there_are(attic: Attic) -> None:
    """The statements of a bite walk along the primary key: none reads the table of jobs from end to end."""
    with attic.database.write() as transaction:
        rows = [_bare(job_id, attic.now) for job_id in new_ids(3000)]
        transaction.connection.execute(sa.insert(schema.jobs), rows)
    attic.job(J.SUCCEEDED, 30)
    with attic.database.write() as transaction:
        transaction.connection.exec_driver_sql(
            f"ANALYZE {'TABLE ' * (attic.database.engine.dialect.name == 'mysql')}jobwarden_jobs"
        )
    with explained(attic.database) as plans:
        assert attic.pass_().jobs == 1
    assert plans
    assert [plan for plan in plans if scans(plan)] == []


def _bare(job_id: str, now: datetime) -> dict[str, Any]:
    told = {"job": "x", "lane": "default", "params": {}, "priority": 0, "state": "queued", "idempotent": True}
    return {"id": job_id, **told, "max_attempts": 1, "available_at": now, "created_at": now, "updated_at": now}
