"""The audit on every engine: one row for each act with before and after, one chain whoever writes, tampering found."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.audit import Action
from jobwarden.domain.orders import By, Order, Verb, Verdict
from jobwarden.domain.states import BatchState, JobState
from jobwarden.domain.timing import Timing
from jobwarden.errors import JobWardenError
from jobwarden.lifecycle import access, batches, operate, schedules
from jobwarden.store.audit import head_of, record, record_enqueued, verify
from jobwarden.store.database import Database, Transaction
from jobwarden.store.schema import audit, audit_head
from jobwarden.views.audit import AuditFilter, listed
from jobwarden.views.health import check
from tests.lifecycle.almanac import definition
from tests.support.factories import Factories

BY = By("ann", "it was time", address="10.1.2.3")
HOUR = timedelta(hours=1)
LONG = "correct horse battery"
Act = Callable[[Database, Factories], Any]


def rows(database: Database) -> list[Any]:
    with database.read() as transaction:
        return list(transaction.execute(sa.select(audit).order_by(audit.c.seq)))


def writing(work: Callable[[Transaction], Any]) -> Act:
    return lambda database, factories: database.attempt(work)


def ordering(verb: Verb, state: JobState, **more: Any) -> Act:
    def act(database: Database, factories: Factories) -> None:
        job = factories.job(state)
        order = Order(verb, BY.reason, BY.actor, force=True, address=BY.address, **more)
        assert operate.carry_out(database, order, [job["id"]])[0].refused is None

    return act


def on_batch(work: Callable[[Database, str], Any], **columns: Any) -> Act:
    def act(database: Database, factories: Factories) -> None:
        batch = factories.batch(BatchState.RUNNING, **columns)
        factories.job(JobState.FAILED, batch_id=batch["id"], batch_key="m1")
        work(database, batch["id"])

    return act


def hold(database: Database, batch_id: str) -> None:
    batches.hold_batch(database, batch_id, BY.reason, BY.actor, address=BY.address)


def cancel(database: Database, batch_id: str) -> None:
    batches.cancel_batch(database, batch_id, BY.reason, BY.actor, address=BY.address)


def release(database: Database, batch_id: str) -> None:
    hold(database, batch_id)
    batches.release_batch(database, batch_id, BY.reason, BY.actor, BY.address)


def retry(database: Database, batch_id: str) -> None:
    order = Order(Verb.RETRY, BY.reason, BY.actor, force=True, address=BY.address)
    assert len(batches.retry_batch(database, batch_id, order)) == 1


def drain(database: Database, factories: Factories) -> None:
    worker = factories.worker()["id"]
    database.attempt(lambda t: operate.drain(t, worker, BY.reason, BY.actor, BY.address))


def put(transaction: Transaction) -> None:
    schedules.put(transaction, definition(timing=Timing(every=HOUR)), BY)


def on_schedule(work: Callable[[Transaction, str], Any]) -> Act:
    def act(database: Database, factories: Factories) -> None:
        database.attempt(put)
        database.attempt(lambda t: work(t, definition(timing=Timing(every=HOUR)).name))

    return act


def disable_enable(transaction: Transaction, name: str) -> None:
    schedules.disable(transaction, name, BY)
    schedules.enable(transaction, name, BY)


def backfill(transaction: Transaction, name: str) -> None:
    now = transaction.now()
    assert schedules.backfill(transaction, name, now - 3 * HOUR, now - HOUR, BY).made


def on_user(work: Callable[[Transaction], Any]) -> Act:
    def act(database: Database, factories: Factories) -> None:
        database.attempt(lambda t: access.create_user(t, "ben", LONG, "viewer", BY))
        database.attempt(work)

    return act


def revoked(transaction: Transaction) -> None:
    access.create_token(transaction, "ci", "operator", BY, None)
    access.revoke_token(transaction, "ci", BY)


def disabled_enabled(transaction: Transaction) -> None:
    access.disable_user(transaction, "ben", BY)
    access.enable_user(transaction, "ben", BY)


J, A = JobState, Action
ACTS: dict[Action, Act] = {
    A.JOB_ENQUEUE: writing(lambda t: record_enqueued(t, ["j1", "j2"], BY)),
    A.JOB_CANCEL: ordering(Verb.CANCEL, J.QUEUED),
    A.JOB_STOP: ordering(Verb.STOP, J.RUNNING),
    A.JOB_RETRY: ordering(Verb.RETRY, J.FAILED),
    A.JOB_RESTART: ordering(Verb.RESTART, J.STOPPED),
    A.JOB_RERUN: ordering(Verb.RERUN, J.SUCCEEDED),
    A.JOB_RESOLVE: ordering(Verb.RESOLVE, J.ORPHANED, verdict=Verdict.RAN),
    A.BATCH_CANCEL: on_batch(cancel),
    A.BATCH_RETRY: on_batch(retry),
    A.BATCH_HOLD: on_batch(hold),
    A.BATCH_RELEASE: on_batch(release),
    A.WORKER_DRAIN: drain,
    A.SCHEDULE_PUT: writing(put),
    A.SCHEDULE_ENABLE: on_schedule(disable_enable),
    A.SCHEDULE_DISABLE: on_schedule(lambda t, name: schedules.disable(t, name, BY)),
    A.SCHEDULE_REMOVE: on_schedule(lambda t, name: schedules.remove(t, name, BY)),
    A.SCHEDULE_RUN: on_schedule(lambda t, name: schedules.run_now(t, name, BY)),
    A.SCHEDULE_BACKFILL: on_schedule(backfill),
    A.TOKEN_CREATE: writing(lambda t: access.create_token(t, "ci", "viewer", BY, HOUR)),
    A.TOKEN_REVOKE: writing(revoked),
    A.USER_CREATE: writing(lambda t: access.create_user(t, "ben", LONG, "viewer", BY)),
    A.USER_PASSWORD: on_user(lambda t: access.set_password(t, "ben", LONG + "!", BY)),
    A.USER_DISABLE: on_user(lambda t: access.disable_user(t, "ben", BY)),
    A.USER_ENABLE: on_user(disabled_enabled),
    A.USER_ROLE: on_user(lambda t: access.set_role(t, "ben", "admin", BY)),
}
BEGIN = frozenset({A.JOB_ENQUEUE, A.SCHEDULE_PUT, A.TOKEN_CREATE, A.USER_CREATE})  # of what was not there before


def test_each_act_leaves_one_row_with_who_why_where_before_and_after(database: Database, factories: Factories) -> None:
    for action, act in ACTS.items():
        begin = len(rows(database))
        with database.write() as transaction:
            for table in ("schedules", "tokens", "users"):
                transaction.connection.execute(sa.text(database.spell(f"DELETE FROM jobwarden_{table}")))
        act(database, factories)
        [row] = [row for row in rows(database)[begin:] if row.action == action]
        assert (row.actor, row.reason, row.address) == ("ann", "it was time", "10.1.2.3")
        assert row.kind == action.kind
        assert (row.before is None) == (action in BEGIN)
        assert json.loads(row.after)
    with database.read() as transaction:
        assert verify(transaction).broken is None
        assert check(transaction) is not None


def test_a_set_is_one_row_and_what_is_refused_none(database: Database, factories: Factories) -> None:
    queued, over = [job["id"] for job in factories.jobs(2)], factories.job(JobState.SUCCEEDED)["id"]
    operate.carry_out(database, Order(Verb.CANCEL, "enough", "ann"), [over])
    assert rows(database) == []
    operate.carry_out(database, Order(Verb.CANCEL, "enough", "ann"), [*queued, over])
    [row] = rows(database)
    assert row.target is None
    assert json.loads(row.after)["jobs"] == {job_id: {"state": "canceled"} for job_id in queued}


def test_a_lost_answer_of_a_commit_leaves_one_row(database: Database, factories: Factories) -> None:
    bite = operate._Bite(Order(Verb.RETRY, "again", "ann", force=True), [factories.job(JobState.FAILED)["id"]])
    for _ in range(2):  # the first was committed, and nobody heard of it
        answers = database.attempt(bite.write)
    assert answers[0].refused is None
    assert [row.action for row in rows(database)] == ["job.retry"]


def test_what_is_rolled_back_leaves_none(database: Database) -> None:
    def fails(transaction: Transaction) -> None:
        put(transaction)
        raise JobWardenError("no")

    with pytest.raises(JobWardenError):
        database.attempt(fails)
    assert rows(database) == []


def test_four_who_write_at_once_make_one_chain_without_gaps(database: Database) -> None:
    gate = threading.Barrier(4)

    def write(name: str) -> None:
        gate.wait()
        for number in range(8):
            with database.write() as transaction:
                record(transaction, "job.cancel", "job", f"{name}-{number}", By(name), {"n": number}, None)

    threads = [threading.Thread(target=write, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [row.seq for row in rows(database)] == list(range(1, 33))
    with database.read() as transaction:
        assert verify(transaction).broken is None


@pytest.fixture
def written(database: Database) -> Database:
    with database.write() as transaction:
        for number in range(1, 6):
            record(transaction, "job.cancel", "job", f"j{number}", BY, {"é": number}, {"state": "canceled"})
    return database


TAMPERINGS: dict[str, tuple[Any, int]] = {
    "changed": (sa.update(audit).where(audit.c.seq == 3).values(actor="bob"), 3),
    "missing": (sa.delete(audit).where(audit.c.seq == 2), 3),
    "cut": (sa.delete(audit).where(audit.c.seq == 5), 5),
    "emptied": (sa.delete(audit), 1),
    "head moved": (sa.update(audit_head).values(seq=4), 4),
    "head gone": (sa.delete(audit_head), 1),
}


@pytest.mark.parametrize("how", TAMPERINGS)
def test_tampering_is_found_where_it_was(written: Database, how: str) -> None:
    statement, seq = TAMPERINGS[how]
    with written.write() as transaction:
        kept = verify(transaction).head.hash
        assert verify(transaction, expect=kept).expected == 5
        transaction.execute(statement)
    with written.read() as transaction:
        broken = verify(transaction).broken
        ends = [finding for finding in check(transaction) if finding.invariant == "audit_loose_end"]
    assert broken is not None
    assert broken.seq == seq
    assert bool(ends) == (how not in {"changed", "missing"})


def test_pages_and_filters(written: Database) -> None:
    with written.read() as transaction:
        page = listed(transaction, AuditFilter(action="job."), limit=3)
        assert [entry.seq for entry in page.entries] == [5, 4, 3]
        rest = listed(transaction, AuditFilter(actor="ann"), before=page.next, limit=3)
        assert [entry.target for entry in rest.entries] == ["j2", "j1"]
        assert rest.next is None
        assert rest.entries[0].before == {"é": 2}
        assert listed(transaction, AuditFilter(target="j4")).entries[0].seq == 4
        assert listed(transaction, AuditFilter(since=transaction.now() + HOUR)).entries == []
        assert head_of(transaction).seq == 5
