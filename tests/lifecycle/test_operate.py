"""What a person asks of jobs: every verb in every state, who and why in the ledger, many at once, never by halves."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.orders import TARGETS, VERDICTS, Answer, Order, Verb, Verdict
from jobwarden.domain.report import Outcome
from jobwarden.domain.states import JobState, WorkerState
from jobwarden.errors import JobNotFound, OnlyAsNew, WorkerNotFound, WorkerNotLive, WrongState
from jobwarden.lifecycle import operate
from jobwarden.store import schema
from jobwarden.store.database import Database, Transaction
from tests.lifecycle.claimants import Claimant
from tests.support.factories import Factories, Values

WISHED = {"cancel_requested", "cancel_mode", "cancel_reason", "cancel_actor", "cancel_requested_at"}
NOBODY = "00000000-0000-7000-8000-000000000000"


def orders() -> list[Order]:
    """Every verb, and each verdict."""
    plain = [Order(verb, "why", "ann", force=True) for verb in TARGETS]
    return plain + [Order(Verb.RESOLVE, "why", "ann", verdict=verdict) for verdict in Verdict]


def named(order: Order) -> str:
    return f"{order.verb}-{order.verdict}" if order.verdict else order.verb.value


def one(database: Database, order: Order, job: Values) -> Answer:
    [answer] = operate.carry_out(database, order, [job["id"]])
    return answer


def everything(database: Database) -> list[list[tuple[Any, ...]]]:
    tables = (schema.jobs, schema.attempts, schema.events, schema.counters, schema.tags)
    with database.read() as transaction:
        return [
            [tuple(row) for row in transaction.execute(sa.select(table).order_by(*table.primary_key))]
            for table in tables
        ]


@pytest.mark.parametrize("order", orders(), ids=named)
def test_each_verb_does_in_each_state_what_the_table_says_and_nothing_else(
    database: Database, factories: Factories, order: Order
) -> None:
    for state in JobState:
        job = factories.job(state, max_attempts=1)
        target, before = order.target(state), everything(database)
        answer = one(database, order, job)
        if target is None:
            assert isinstance(answer.refused, WrongState), state
            assert f"Job {job['id']} is {state}, and {order.verb} needs it to be " in str(answer.refused)
            assert (answer.state, answer.new) == (state, None)
            assert everything(database) == before
            continue
        assert (answer.refused, answer.state) == (None, target)
        assert factories.read(schema.jobs, job["id"])["state"] == target
        event = factories.events_of(job["id"])[-1]
        assert (event["from_state"], event["to_state"], event["reason"]) == (state, target, "why")
        assert (event["actor_type"], event["actor_id"]) == ("operator", "ann")


def test_the_plain_verbs_give_the_state_or_raise(database: Database, factories: Factories) -> None:
    one_id, other, parked = (factories.job(s)["id"] for s in (JobState.FAILED, JobState.STOPPED, JobState.ORPHANED))
    with database.write() as transaction:
        assert operate.retry(transaction, one_id, None, None) is JobState.QUEUED
        assert operate.restart(transaction, other, None, None, attempts=3) is JobState.QUEUED
        for verb in (operate.retry, operate.restart, operate.cancel, operate.stop):
            with pytest.raises(JobNotFound):
                verb(transaction, NOBODY, None, None)
        assert operate.resolve(transaction, parked, Verdict.RAN, "seen", "ann") is JobState.SUCCEEDED
        with pytest.raises(WrongState):
            operate.resolve(transaction, parked, Verdict.RAN, "seen", "ann")


# -- a job that runs --------------------------------------------------------------------------------------------------


def test_w29_a_wish_about_a_running_job_is_in_its_ledger_with_who_and_why(
    database: Database, factories: Factories
) -> None:
    job = factories.job(JobState.RUNNING)
    assert one(database, Order(Verb.CANCEL, "wrong day", "ann"), job).state is JobState.RUNNING
    [event] = factories.events_of(job["id"])
    assert (event["from_state"], event["to_state"], event["attempt_id"]) == (
        "running",
        "running",
        job["current_attempt_id"],
    )
    assert (event["actor_type"], event["actor_id"], event["reason"]) == ("operator", "ann", "wrong day")
    assert event["context"]["wish"] == "cancel"
    row = factories.read(schema.jobs, job["id"])
    assert (row["cancel_mode"], row["cancel_actor"], row["cancel_reason"]) == ("cancel", "ann", "wrong day")


@pytest.mark.parametrize(
    ("first", "second", "stands"),
    [
        (Verb.CANCEL, Verb.CANCEL, ("cancel", "ann", "one")),
        (Verb.STOP, Verb.STOP, ("stop", "ann", "one")),
        (Verb.CANCEL, Verb.STOP, ("cancel", "ann", "one")),
        (Verb.STOP, Verb.CANCEL, ("cancel", "ben", "two")),
    ],
)
def test_asking_twice_is_written_down_and_never_makes_the_wish_weaker(
    database: Database, factories: Factories, first: Verb, second: Verb, stands: tuple[str, str, str]
) -> None:
    job = factories.job(JobState.RUNNING)
    one(database, Order(first, "one", "ann"), job)
    one(database, Order(second, "two", "ben"), job)
    row = factories.read(schema.jobs, job["id"])
    assert (row["cancel_mode"], row["cancel_actor"], row["cancel_reason"]) == stands
    told = factories.events_of(job["id"])
    assert [(e["actor_id"], e["reason"], e["context"]["wish"]) for e in told] == [
        ("ann", "one", first),
        ("ben", "two", second),
    ]
    assert (told[1]["context"]["before"], told[1]["context"]["before_by"]) == (first, "ann")


def test_a_cancel_after_a_stop_makes_the_end_a_canceled_one(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    factories.job()
    [claim] = claimant.claim(database)
    with database.write() as transaction:
        operate.stop(transaction, claim.job_id, None, "ann")
        operate.cancel(transaction, claim.job_id, None, "ben")
        operate.stop(transaction, claim.job_id, None, "cid")
    claimant.settle(database, claim, Outcome.STOPPED)
    assert factories.read(schema.jobs, claim.job_id)["state"] == "canceled"


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED, JobState.STOPPED])
@pytest.mark.parametrize("verb", [Verb.CANCEL, Verb.STOP])
def test_w30_a_job_that_is_over_keeps_its_row_and_the_wish_is_refused(
    database: Database, factories: Factories, verb: Verb, state: JobState
) -> None:
    job = factories.job(
        state, cancel_requested=True, cancel_mode="cancel", cancel_reason="the first", cancel_actor="ann"
    )
    assert isinstance(one(database, Order(verb, "another", "ben"), job).refused, WrongState)
    assert factories.read(schema.jobs, job["id"]) == job
    assert factories.events_of(job["id"]) == []


@pytest.mark.parametrize("text", ["x" * 300_000, "é😀 '; -- %s :rows ?\n\t"])
@pytest.mark.parametrize("state", [JobState.RUNNING, JobState.QUEUED, JobState.FAILED])
def test_w46_a_reason_may_be_as_long_as_it_is(
    database: Database, factories: Factories, state: JobState, text: str
) -> None:
    job = factories.job(state)
    verb = Verb.RETRY if state is JobState.FAILED else Verb.CANCEL
    assert one(database, Order(verb, text, "é" * 200), job).refused is None
    assert factories.events_of(job["id"])[-1]["reason"] == text
    if state is JobState.RUNNING:
        assert factories.read(schema.jobs, job["id"])["cancel_reason"] == text


# -- running again ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.RESTART])
@pytest.mark.parametrize(
    ("columns", "attempts", "most"),
    [
        ({"attempt_count": 1, "max_attempts": 4}, None, 4),
        ({"attempt_count": 4, "max_attempts": 4}, None, 5),
        ({"attempt_count": 9, "unspent_count": 5, "max_attempts": 4}, None, 5),
        ({"attempt_count": 9, "unspent_count": 6, "max_attempts": 4}, None, 4),
        ({"attempt_count": 4, "max_attempts": 4}, 3, 7),
        ({"attempt_count": 9, "unspent_count": 5, "max_attempts": 4}, 3, 7),
        ({"attempt_count": 1, "max_attempts": 10}, 1, 2),
    ],
)
def test_w40_running_again_leaves_one_try_at_least_and_as_many_as_were_asked_for(
    database: Database, factories: Factories, verb: Verb, columns: dict[str, Any], attempts: int | None, most: int
) -> None:
    job = factories.job(JobState.FAILED, **columns)
    one(database, Order(verb, "again", "ann", attempts=attempts), job)
    row = factories.read(schema.jobs, job["id"])
    assert row["max_attempts"] == most
    assert (
        row["max_attempts"] - (row["attempt_count"] - row["unspent_count"])
        == (attempts or most - (job["attempt_count"] - job["unspent_count"]))
        >= 1
    )
    context = factories.events_of(job["id"])[-1]["context"]
    assert (context["before"], context.get("attempts")) == ("failed", attempts)
    assert context.get("max_attempts") == ([job["max_attempts"], most] if most != job["max_attempts"] else None)


def test_w40_each_try_that_was_given_is_really_made(
    database: Database, factories: Factories, claimant: Claimant
) -> None:
    job = factories.job(JobState.QUEUED, max_attempts=1, backoff={"base": 0, "factor": 1, "cap": 0, "jitter": False})

    def fails() -> str:
        [claim] = claimant.claim(database)
        claimant.settle(database, claim, Outcome.FAILED)
        return str(factories.read(schema.jobs, job["id"])["state"])

    assert fails() == "failed"
    one(database, Order(Verb.RETRY, attempts=2), job)
    assert fails() == "retrying"
    with database.write() as transaction:
        transaction.execute(sa.update(schema.jobs).values(state="queued"))
    assert fails() == "failed"
    assert len(factories.attempts_of(job["id"])) == 3


def test_running_again_begins_anew(database: Database, factories: Factories, claimant: Claimant) -> None:
    with database.read() as transaction:
        later = transaction.now().replace(year=2199)
    wish: dict[str, Any] = {
        "cancel_requested": True,
        "cancel_mode": "stop",
        "cancel_reason": "r",
        "cancel_actor": "a",
        "cancel_requested_at": later,
    }
    job = factories.job(
        JobState.ORPHANED, idempotent=False, purpose="reconcile", wait_reason="lost", available_at=later, **wish
    )
    answer = one(database, Order(Verb.RESTART, "checked", "ann", force=True), job)
    assert answer.state is JobState.QUEUED
    row = factories.read(schema.jobs, job["id"])
    assert {name: row[name] for name in WISHED} == {**dict.fromkeys(WISHED), "cancel_requested": False}
    assert (row["purpose"], row["wait_reason"], row["finished_at"]) == ("run", None, None)
    assert row["available_at"] < later
    context = factories.events_of(job["id"])[-1]["context"]
    assert (context["verb"], context["before"], context["force"]) == ("restart", "orphaned", True)
    [claim] = claimant.claim(database)
    assert (claim.job_id, claim.attempt_number, claim.token) == (job["id"], 2, 2)
    assert factories.counted() == {("default", "running"): 1}


@pytest.mark.parametrize("verb", [Verb.RETRY, Verb.RESTART, Verb.RERUN])
def test_w32_without_force_what_is_not_idempotent_is_left_as_it_is(
    database: Database, factories: Factories, verb: Verb
) -> None:
    job = factories.job(JobState.FAILED, idempotent=False)
    before = everything(database)
    answer = one(database, Order(verb), job)
    assert "is not idempotent" in str(answer.refused)
    assert answer.state is JobState.FAILED
    assert everything(database) == before


@pytest.mark.parametrize(("verdict", "state"), VERDICTS.items())
def test_a_persons_verdict_is_the_end_of_what_nobody_knew(
    database: Database, factories: Factories, verdict: Verdict, state: JobState
) -> None:
    """A verdict needs no force: it says that somebody has checked."""
    job = factories.job(JobState.ORPHANED, idempotent=False, wait_reason="lost", max_attempts=1)
    one(database, Order(Verb.RESOLVE, "the bank says so", "ann", verdict=verdict), job)
    row = factories.read(schema.jobs, job["id"])
    assert (row["state"], row["wait_reason"]) == (state, None)
    assert (row["finished_at"] is None) == (state is JobState.QUEUED)
    assert row["max_attempts"] == (2 if state is JobState.QUEUED else 1)
    event = factories.events_of(job["id"])[-1]
    assert (event["reason"], event["context"]["verdict"]) == ("the bank says so", verdict)
    assert factories.counted() == {("default", state): 1}


# -- as a new job -----------------------------------------------------------------------------------------------------

OPTIONS: Values = {
    "job": "shop:pay",
    "name": "order 7",
    "lane": "hot",
    "params": {"order": 7, "lines": ["é😀", None, 1.5]},
    "priority": 3,
    "idempotent": False,
    "max_attempts": 9,
    "backoff": {"base": 1, "factor": 2, "cap": 3, "jitter": False},
    "isolation": "exec",
    "on_lost": "fail",
    "timeout_sec": 1.5,
    "max_runtime_sec": 2.5,
    "grace_sec": 3.5,
    "memory_bytes": 1 << 30,
    "tags": {"store": "42"},
    "reconciles": True,
}


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.CANCELED, JobState.FAILED, JobState.STOPPED])
def test_w41_what_is_over_runs_again_as_a_new_job_that_points_to_it(
    database: Database, factories: Factories, claimant: Claimant, state: JobState
) -> None:
    old = factories.job(state, idempotency_key="k", created_by="app", wait_reason="w", **OPTIONS)
    with database.write() as transaction:
        transaction.execute(sa.insert(schema.tags).values(job_id=old["id"], name="store", value="42"))
    answer = one(database, Order(Verb.RERUN, "once more", "ann", force=True), old)
    assert answer.new is not None
    new = factories.read(schema.jobs, answer.new)
    assert {name: new[name] for name in OPTIONS} == OPTIONS
    assert (new["state"], new["rerun_of"], new["created_by"]) == ("queued", old["id"], "ann")
    fresh = (
        "idempotency_key",
        "current_attempt_id",
        "result",
        "last_error",
        "wait_reason",
        "started_at",
        "finished_at",
    )
    assert [new[name] for name in fresh] == [None] * len(fresh)
    assert (new["attempt_count"], new["unspent_count"], new["cancel_requested"], new["purpose"]) == (0, 0, False, "run")
    assert factories.read(schema.jobs, old["id"]) == old

    [born] = factories.events_of(new["id"])
    assert (born["from_state"], born["to_state"], born["actor_type"], born["actor_id"]) == (
        None,
        "queued",
        "operator",
        "ann",
    )
    assert (born["reason"], born["context"]["rerun_of"], born["context"]["before"]) == ("once more", old["id"], state)
    noted = factories.events_of(old["id"])[-1]
    assert (noted["to_state"], noted["reason"], noted["context"]["rerun_as"]) == (state, "once more", new["id"])
    assert factories.counted() == {("hot", state): 1, ("hot", "queued"): 1}
    with database.read() as transaction:
        query = sa.select(schema.tags.c.value).where(schema.tags.c.job_id == new["id"])
        assert transaction.execute(query).scalars().all() == ["42"]
    claimant.lanes = ["hot"]
    assert [claim.job_id for claim in claimant.claim(database)] == [new["id"]]


def test_w41_a_new_run_has_as_many_tries_as_were_asked_for(database: Database, factories: Factories) -> None:
    old = factories.job(JobState.SUCCEEDED, max_attempts=2)
    answers = [one(database, Order(Verb.RERUN, attempts=attempts), old) for attempts in (None, 7)]
    assert [factories.read(schema.jobs, str(answer.new))["max_attempts"] for answer in answers] == [2, 7]


def test_w41_a_plain_retry_of_what_is_final_names_the_way_out(database: Database, factories: Factories) -> None:
    for state in (JobState.SUCCEEDED, JobState.CANCELED):
        refused = one(database, Order(Verb.RETRY), factories.job(state)).refused
        assert isinstance(refused, OnlyAsNew)
        assert "`--as-new`" in str(refused)


# -- many at once -----------------------------------------------------------------------------------------------------


def test_many_are_answered_one_by_one_in_their_order(database: Database, factories: Factories) -> None:
    failed, over, running = (
        factories.job(JobState.FAILED),
        factories.job(JobState.SUCCEEDED),
        factories.job(JobState.RUNNING),
    )
    upper = failed["id"].upper()
    wanted = [over["id"], NOBODY, failed["id"], running["id"], "nonsense", over["id"]]
    answers = operate.carry_out(database, Order(Verb.RETRY, "again", "ann"), wanted)
    assert [answer.id for answer in answers] == wanted[:-1], "each once"
    assert [type(answer.refused) for answer in answers] == [OnlyAsNew, JobNotFound, type(None), WrongState, JobNotFound]
    assert [answer.state for answer in answers] == ["succeeded", None, "queued", "running", None]
    [answer] = operate.carry_out(database, Order(Verb.CANCEL), [upper])
    assert (answer.id, answer.state) == (upper, "canceled")


def test_more_than_fit_a_transaction_are_moved_all_the_same(
    database: Database, factories: Factories, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operate, "BITE", 7)
    made = [job["id"] for job in factories.jobs(20, JobState.FAILED)]
    answers = operate.carry_out(database, Order(Verb.RETRY, "all of it", "ann"), made)
    assert [(answer.id, answer.state) for answer in answers] == [(job_id, "queued") for job_id in made]
    assert factories.counted() == {("default", "queued"): 20}
    reruns = operate.carry_out(database, Order(Verb.RERUN, force=True), made)
    assert {type(answer.refused) for answer in reruns} == {WrongState}


class Amnesiac(Database):
    """Loses the answer of its first commit."""

    lost = False

    def attempt(self, work: Any, tries: int = 5, pause: Any = None, *, reads: bool = False) -> Any:
        def forgetful(transaction: Transaction) -> Any:
            done = work(transaction)
            if not self.lost:
                self.lost = True
                transaction.connection.commit()
                raise ConnectionResetError("the answer")
            return done

        try:
            return super().attempt(forgetful)
        except ConnectionResetError:
            return super().attempt(forgetful)


@pytest.mark.parametrize("order", orders(), ids=named)
def test_an_order_whose_answer_was_lost_is_not_carried_out_twice(
    settings: Any, factories: Factories, order: Order
) -> None:
    job = next(factories.job(state, max_attempts=1) for state in JobState if order.target(state) is not None)
    missing = factories.job(JobState.RUNNING if order.verb not in (Verb.CANCEL, Verb.STOP) else JobState.SUCCEEDED)
    database = Amnesiac(settings)
    answers = operate.carry_out(database, order, [job["id"], missing["id"]])
    database.dispose()
    assert database.lost
    assert (answers[0].state, answers[0].refused) == (order.target(JobState(job["state"])), None)
    assert isinstance(answers[1].refused, WrongState)
    assert len(factories.events_of(job["id"])) == 1
    born = answers[0].new
    assert (born is not None) == (order.verb is Verb.RERUN)
    if born is not None:
        assert len(factories.events_of(born)) == 1


def test_a_failing_transaction_leaves_nothing(database: Database, factories: Factories) -> None:
    made = factories.jobs(3, JobState.FAILED)
    before = everything(database)

    def break_off() -> None:
        with database.write() as transaction:
            operate.obey(transaction, Order(Verb.RETRY), [job["id"] for job in made])
            operate.obey(transaction, Order(Verb.CANCEL), [job["id"] for job in made])
            raise RuntimeError("the caller's own")

    with pytest.raises(RuntimeError):
        break_off()
    assert everything(database) == before


# -- workers ----------------------------------------------------------------------------------------------------------


def drained(database: Database, worker_id: str, reason: str | None, actor: str | None) -> WorkerState:
    with database.write() as transaction:
        return operate.drain(transaction, worker_id, reason, actor)


def test_a_worker_is_asked_to_drain_and_keeps_who_asked_first(database: Database, factories: Factories) -> None:
    worker = factories.worker()
    assert drained(database, worker["id"].upper(), "a deploy", "ann") is WorkerState.ACTIVE
    drained(database, worker["id"], "the same", "ben")
    row = factories.read(schema.workers, worker["id"])
    assert (row["wish"], row["wish_actor"], row["wish_reason"], row["state"]) == ("drain", "ann", "a deploy", "active")
    with database.read() as transaction:
        told = transaction.execute(sa.select(schema.events).order_by(schema.events.c.id)).mappings().all()
    assert [(e["level"], e["actor_id"], e["reason"], e["context"]) for e in told] == [
        ("worker", "ann", "a deploy", {"wish": "drain", "worker": worker["id"]}),
        ("worker", "ben", "the same", {"wish": "drain", "worker": worker["id"], "before": "drain"}),
    ]


@pytest.mark.parametrize("state", WorkerState)
def test_only_a_live_worker_can_be_drained(database: Database, factories: Factories, state: WorkerState) -> None:
    worker = factories.worker(state)
    if state in (WorkerState.STOPPED, WorkerState.DEAD):
        with pytest.raises(WorkerNotLive, match=f"Worker {worker['id']} is {state}"):
            drained(database, worker["id"], None, None)
        assert factories.read(schema.workers, worker["id"])["wish"] is None
    else:
        assert drained(database, worker["id"], None, None) is state


@pytest.mark.parametrize("name", [NOBODY, "nonsense", NOBODY[:-1] + "1"])
def test_a_worker_that_is_not_there_is_not_found(database: Database, name: str) -> None:
    with pytest.raises(WorkerNotFound):
        drained(database, name, None, None)
