"""Real children under one real supervisor: however a run ends, the rows say what happened, who did it and how."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.config import Settings
from jobwarden.domain.states import LIVE, JobState
from jobwarden.process import identity
from jobwarden.store import schema
from jobwarden.store.database import Database
from jobwarden.views.metrics import exposition
from tests.support.engines import Engines
from tests.support.factories import Factories
from tests.support.hosts import Worker
from tests.support.jobs import build
from tests.support.processes import Proc
from tests.support.servers import fast_folder
from tests.support.waiting import eventually
from tests.views.test_metrics import samples

Row = dict[str, Any]

CALLS: dict[str, tuple[str, Row, Row]] = {
    # how a test calls it: the job, its params, its options
    "succeed": ("succeed", {"value": 42}, {}),
    "who": ("who", {}, {"label": "the label"}),
    "who in a pool": ("who", {}, {"isolation": "pool"}),
    "who in a pool again": ("who", {}, {"isolation": "pool"}),
    "who in a fresh interpreter": ("who", {}, {"isolation": "exec"}),
    "charge": ("charge", {"amount": 7}, {}),
    "fail": ("fail", {"message": "it broke"}, {}),
    "fail_once": ("fail_once", {}, {}),
    "exit3": ("exit3", {}, {}),
    "kill_self_after_stderr": ("kill_self_after_stderr", {}, {}),
    "die_unexplained": ("die_unexplained", {}, {}),
    "die_once": ("die_once", {}, {}),
    "eat_memory": ("eat_memory", {}, {}),
    "eat_shared_memory": ("eat_shared_memory", {}, {}),
    "ignore_term": ("ignore_term", {}, {}),
    "heed_timeout": ("heed_timeout", {}, {}),
    "chatter": ("chatter", {"lines": 10_000}, {}),
    "mumble": ("mumble", {}, {}),
    "big_result": ("big_result", {}, {}),
    "async_sleep": ("async_sleep", {}, {}),
    "complete_in_own": ("complete_in_own", {}, {}),
    "takes_model": ("takes_model", {"order": {"number": 1, "amount": "2.50", "lines": ["a"]}}, {}),
    "leave_grandchild": ("leave_grandchild", {}, {}),
    "leave_orphan_and_die": ("leave_orphan_and_die", {}, {}),
    **{kind: ("end_as", {"kind": kind}, {}) for kind in ("snooze", "fail for good", "park", "cancel")},
}
CALLS["fail for good"] = ("end_as", {"kind": "fail"}, {})


@dataclass
class Story:
    """All rows of one job."""

    job: Row
    attempts: list[Row]
    events: list[Row]
    logs: list[Row]

    @property
    def attempt(self) -> Row:
        """The only attempt."""
        assert len(self.attempts) == 1
        return self.attempts[0]

    @property
    def error(self) -> Row:
        """What the job keeps of its last failure."""
        found: Row = self.job["last_error"]
        return found

    @property
    def path(self) -> list[tuple[str | None, str, str | None, str]]:
        """The ledger: the job's way, the attempt's new state, and who moved it."""
        return [(e["from_state"], e["to_state"], e["attempt_to"], e["actor_type"]) for e in self.events]

    def said(self, source: str | None = None) -> list[str]:
        """The lines in order, of one source if it is given."""
        return [line["body_ref"] for line in self.logs if source in (None, line["source"])]


@dataclass
class Ran:
    """What is left after a worker ran all calls to their end."""

    factories: Factories
    ids: dict[str, str]
    worker: Worker
    supervisor: Proc
    children: set[int]

    def story(self, call: str) -> Story:
        """All rows of one call."""
        key = self.ids[call]
        rows = self.factories
        return Story(rows.read(schema.jobs, key), rows.attempts_of(key), rows.events_of(key), rows.logs_of(key))

    def all(self, table: sa.Table) -> list[Row]:
        """A whole table."""
        with self.factories.database.read() as transaction:
            return [dict(row) for row in transaction.execute(sa.select(table)).mappings()]


@pytest.fixture(scope="module")
def ran(engines: Engines, engine_name: str) -> Iterator[Ran]:
    with engines.database(engine_name) as url, tempfile.TemporaryDirectory(dir=fast_folder()) as folder:
        app = build(database_url=url)
        ids = {call: app.enqueue(job, params, **options).id for call, (job, params, options) in CALLS.items()}
        with Worker(url, Path(folder), capacity=6) as worker:
            supervisor = Proc.of(worker.pid)
            assert supervisor is not None
            database = Database(Settings(database_url=url))
            factories = Factories(database)
            eventually(lambda: not _live(factories), 90, why=lambda: f"{_live(factories)}\n{worker.log}", interval=0.1)
            worker.drain()
            worker.gone()
            children = {attempt["child_pid"] for key in ids.values() for attempt in factories.attempts_of(key)}
            yield Ran(factories, ids, worker, supervisor, children)
            database.dispose()
            app.database.dispose()


def _live(factories: Factories) -> list[tuple[str, str]]:
    """The jobs that are not over yet, with their states."""
    states = sorted(LIVE - {JobState.ORPHANED})
    with factories.database.read() as transaction:
        found = sa.select(schema.jobs.c.job, schema.jobs.c.state).where(schema.jobs.c.state.in_(states))
        return [(row.job, row.state) for row in transaction.execute(found)]


@pytest.fixture
def story(ran: Ran) -> Callable[[str], Story]:
    return ran.story


Tell = Callable[[str], Story]

BORN = (None, "queued", None, "client")
CLAIMED = ("queued", "running", "dispatched", "supervisor")
STARTED = ("running", "running", "running", "worker")
BORN_AGAIN = ("retrying", "queued", None, "supervisor")


def _over(state: str, attempt: str, by: str = "worker") -> tuple[str, str, str, str]:
    return ("running", state, attempt, by)


# -- what was counted --------------------------------------------------------------------------------------------------


def test_the_metrics_say_what_the_tables_say(ran: Ran) -> None:
    with ran.factories.database.read() as transaction:
        found = samples(exposition(transaction))
    attempts, jobs = ran.all(schema.attempts), {row["id"]: row for row in ran.all(schema.jobs)}
    ended: Counter[tuple[str, str, str]] = Counter()
    for labels, value in found["jobwarden_attempts_ended_total"].items():
        told = dict(labels)
        ended[told["job"], told["outcome"], _remarkable(told["cause"])] += int(value)
    assert ended == Counter((jobs[row["job_id"]]["job"], row["state"], _remarkable(row["cause"])) for row in attempts)
    began = {dict(labels)["job"]: value for labels, value in found["jobwarden_attempt_wait_seconds_count"].items()}
    assert began == Counter(jobs[row["job_id"]]["job"] for row in attempts)
    seconds = {dict(labels)["job"]: value for labels, value in found["jobwarden_attempt_run_seconds_sum"].items()}
    for row in attempts:
        job = jobs[row["job_id"]]["job"]
        if began[job] == 1 and job != "complete_in_own":  # that one ended, and went on
            assert seconds[job] == pytest.approx((row["duration_ms"] or 0) / 1000, rel=0.5, abs=0.5)


def _remarkable(cause: str | None) -> str:
    """A cause; that a process simply exited is often known only after its attempt was settled."""
    return "" if cause in (None, "exited") else str(cause)


# -- how runs end -----------------------------------------------------------------------------------------------------


def test_a_result_is_kept(story: Tell) -> None:
    told = story("succeed")
    assert (told.job["state"], told.job["result"], told.job["last_error"]) == ("succeeded", 42, None)
    attempt = told.attempt
    assert (attempt["state"], attempt["cause"], attempt["exit_code"], attempt["term_signal"]) == (
        "succeeded",
        "exited",
        0,
        None,
    )
    assert [step for step in told.path if step != STARTED] == [BORN, CLAIMED, _over("succeeded", "succeeded")]
    assert told.job["attempt_count"] == 1
    assert told.job["current_attempt_id"] == attempt["id"]
    job = told.job
    assert job["created_at"] <= job["queued_at"] <= job["started_at"] <= job["finished_at"]
    assert attempt["created_at"] <= attempt["finished_at"]
    assert attempt["started_at"] <= attempt["finished_at"]


def test_what_may_not_run_twice_is_started_before_it_is_entered(story: Tell) -> None:
    told = story("charge")
    assert (told.job["state"], told.job["result"]) == ("succeeded", 7)
    assert told.path == [BORN, CLAIMED, STARTED, _over("succeeded", "succeeded")]


def test_a_success_in_a_transaction_of_the_handlers_own_is_the_one_that_counts(story: Tell) -> None:
    told = story("complete_in_own")
    assert (told.job["state"], told.job["result"], told.attempt["state"]) == ("succeeded", {"paid": 1}, "succeeded")
    assert told.path == [BORN, CLAIMED, STARTED, _over("succeeded", "succeeded")]
    assert (told.attempt["exit_code"], told.attempt["term_signal"]) == (0, None)


def test_an_exception_is_kept_with_its_place_and_the_one_before_it(story: Tell) -> None:
    told = story("fail")
    assert told.job["state"] == "failed"
    error = told.error
    assert (error["class"], error["message"]) == ("RuntimeError", "it broke")
    assert "tests/support/jobs.py:" in error["location"]
    assert "raise RuntimeError(message) from error" in error["trace"]
    assert error["previous"]["class"] == "KeyError"
    assert "jobwarden/runner" not in error["trace"]
    assert [(a["attempt_number"], a["state"], a["exit_code"]) for a in told.attempts] == [
        (1, "failed", 1),
        (2, "failed", 1),
    ]
    assert [step for step in told.path if step != STARTED] == [
        BORN,
        CLAIMED,
        _over("retrying", "failed"),
        BORN_AGAIN,
        CLAIMED,
        _over("failed", "failed"),
    ]
    assert [event["reason"] for event in told.events if event["attempt_to"] == "failed"] == ["it broke", "it broke"]


def test_a_second_attempt_succeeds_under_a_new_token(story: Tell) -> None:
    told = story("fail_once")
    assert (told.job["state"], told.job["result"], told.job["attempt_count"]) == ("succeeded", 2, 2)
    assert [(a["state"], a["fencing_token"]) for a in told.attempts] == [("failed", 1), ("succeeded", 2)]
    assert told.attempts[0]["child_pid"] != told.attempts[1]["child_pid"]
    assert told.error["class"] == "OSError"


def test_sys_exit_is_a_failure_and_the_process_exits_with_its_code(story: Tell) -> None:
    told = story("exit3")
    assert (told.job["state"], told.error["class"]) == ("failed", "SystemExit")
    assert (told.attempt["cause"], told.attempt["exit_code"], told.attempt["term_signal"]) == ("exited", 3, None)
    assert "sys.exit(3)" in told.events[-1]["reason"]


def test_the_last_words_of_a_killed_child_are_kept(story: Tell) -> None:
    told = story("kill_self_after_stderr")
    assert told.job["state"] == "failed"
    assert sorted(told.said("stderr")) == ["my last words", "native last words"]
    attempt = told.attempt
    assert (attempt["cause"], attempt["exit_code"], attempt["term_signal"]) == ("killed", None, 9)
    assert "SIGKILL" in told.error["message"]
    assert "without reporting" in told.error["message"]
    assert told.error["pid"] == attempt["child_pid"]
    assert told.events[-1]["context"]["outcome"] == "lost"


def test_what_may_not_run_twice_is_parked_when_its_process_is_lost(story: Tell) -> None:
    told = story("die_unexplained")
    assert (told.job["state"], told.job["finished_at"]) == ("orphaned", None)
    assert "SIGKILL" in told.job["wait_reason"]
    assert told.path == [BORN, CLAIMED, STARTED, _over("orphaned", "failed", by="supervisor")]


def test_what_may_run_twice_runs_again_when_its_process_is_lost(story: Tell) -> None:
    told = story("die_once")
    assert (told.job["state"], told.job["result"]) == ("succeeded", "alive")
    assert [(a["state"], a["cause"], a["term_signal"]) for a in told.attempts] == [
        ("failed", "killed", 9),
        ("succeeded", "exited", None),
    ]


def test_memory_beyond_the_limit_is_an_error_in_the_child(story: Tell) -> None:
    told = story("eat_memory")
    assert (told.job["state"], told.error["class"]) == ("failed", "MemoryError")
    assert told.attempt["cause"] == "out of memory"
    assert told.attempt["peak_rss_bytes"] < 400 << 20


def test_memory_that_no_soft_limit_sees_is_ended_from_outside(story: Tell) -> None:
    told = story("eat_shared_memory")
    assert (told.job["state"], told.error["class"]) == ("failed", "MemoryLimitExceeded")
    assert "its memory limit of 200 MiB" in told.error["message"]
    attempt = told.attempt
    assert (attempt["cause"], attempt["term_signal"]) == ("out of memory", 9)
    assert attempt["peak_rss_bytes"] > 200 << 20
    assert not any("grace" in line for line in told.said("supervisor")), "there is no grace for memory"


def test_a_timeout_ends_a_child_that_ignores_being_asked(story: Tell) -> None:
    told = story("ignore_term")
    assert (told.job["state"], told.error["class"]) == ("failed", "TimeoutExceeded")
    attempt = told.attempt
    assert (attempt["cause"], attempt["term_signal"]) == ("timed out", 9)
    assert 500 <= attempt["duration_ms"] < 20_000
    asked, killed, confirmed, end = told.said("supervisor")
    assert "its timeout is 0.5 s; 0.3 s of grace" in asked
    assert f"killed with everything below it ({attempt['child_pid']} jobwarden: ignore_term" in killed
    assert confirmed == "confirmed: nothing of it is alive"
    assert "SIGKILL" in end
    assert told.said("stdout") == ["deaf"]


def test_a_timeout_that_is_heeded_is_a_timeout_all_the_same(story: Tell) -> None:
    told = story("heed_timeout")
    assert (told.job["state"], told.job["result"], told.error["class"]) == ("failed", None, "TimeoutExceeded")
    assert (told.attempt["cause"], told.attempt["term_signal"], told.attempt["exit_code"]) == ("timed out", None, 0)


def test_a_result_that_is_too_large_fails_loudly_and_says_what_to_do(story: Tell) -> None:
    told = story("big_result")
    assert (told.job["state"], told.job["result"]) == ("failed", None)
    assert told.error["class"] == "jobwarden.errors.ResultTooLarge"
    assert "1048578 bytes" in told.error["message"]
    assert "ctx.artifact" in told.error["message"]
    assert len(told.attempts) == 1, "running it again would not make it smaller"


def test_an_async_handler_runs(story: Tell) -> None:
    told = story("async_sleep")
    assert (told.job["state"], told.job["result"]) == ("succeeded", "slept")
    assert told.attempt["duration_ms"] >= 10


def test_a_model_arrives_as_a_model(story: Tell) -> None:
    told = story("takes_model")
    assert told.job["result"] == {
        "kind": "Order",
        "double": "5.00",
        "order": {"number": 1, "amount": "2.50", "lines": ["a"]},
    }


def test_endings_that_a_handler_chooses(story: Tell) -> None:
    snoozed = story("snooze")
    assert (snoozed.job["state"], snoozed.job["result"]) == ("succeeded", "attempt 2")
    assert (snoozed.job["attempt_count"], snoozed.job["unspent_count"]) == (2, 1)
    failed = story("fail for good")
    assert (failed.job["state"], len(failed.attempts), failed.events[-1]["reason"]) == ("failed", 1, "never again")
    parked = story("park")
    assert (parked.job["state"], parked.job["wait_reason"]) == ("orphaned", "ask Ann")
    canceled = story("cancel")
    assert (canceled.job["state"], canceled.events[-1]["reason"]) == ("canceled", "not needed")


# -- what they leave behind -------------------------------------------------------------------------------------------


def test_a_grandchild_in_its_own_session_is_gone_and_named(story: Tell) -> None:
    told = story("leave_grandchild")
    grandchild = told.job["result"]
    assert told.job["state"] == "succeeded"
    assert Proc.of(grandchild) is None
    [line] = told.said("log")
    assert line.startswith(f"left 1 process behind: {grandchild} ")
    assert line.endswith("; ended")


def test_an_orphan_of_a_killed_child_is_gone_and_named(story: Tell) -> None:
    told = story("leave_orphan_and_die")
    orphan = int(told.said("stdout")[0].removeprefix("orphan "))
    assert Proc.of(orphan) is None
    assert f"left 1 process behind: {orphan} " in told.error["message"]


# -- what they say ----------------------------------------------------------------------------------------------------


def test_ten_thousand_lines_are_all_there_in_order(story: Tell) -> None:
    told = story("chatter")
    assert told.job["result"] == 10_000
    assert [line["seq"] for line in told.logs] == list(range(1, 10_001))
    assert told.said() == [f"line {n}" for n in range(1, 10_001)]
    assert {line["source"] for line in told.logs} == {"log", "stdout"}
    assert told.attempt["log_seq"] == 10_000


def test_every_way_of_saying_something_is_caught_in_order(story: Tell, ran: Ran) -> None:
    told = story("mumble")
    assert told.job["state"] == "succeeded"
    assert [(line["source"], line["level"], line["body_ref"]) for line in told.logs] == [
        ("stdout", "info", "1 print"),
        ("log", "warning", "2 log"),
        ("stderr", "warning", "3 stderr"),
        ("stdout", "info", "4 subprocess"),
        ("log", "info", "5 in a step"),
        ("stdout", "info", "6 bad \ufffd bytes and \u2400 nul"),
        ("artifact", "info", "report.json"),
        ("stdout", "info", "7 no newline"),
    ]
    assert told.logs[1]["context"] == {"store": 42}
    assert [line["step"] for line in told.logs if line["step"]] == ["load"]
    assert told.attempt["progress"] == {"fraction": 0.5, "message": "half"}
    [artifact] = [row for row in ran.all(schema.artifacts) if row["job_id"] == told.job["id"]]
    assert (artifact["name"], artifact["type"], artifact["size_bytes"]) == ("report.json", "report", 10)
    assert artifact["attempt_id"] == told.attempt["id"]
    assert artifact["content"] == b'{"rows":3}'


# -- the stamp --------------------------------------------------------------------------------------------------------

WHO = ("who", "who in a pool", "who in a pool again", "who in a fresh interpreter")


@pytest.mark.parametrize("call", WHO)
def test_the_stamp_is_the_very_process_that_ran(story: Tell, call: str) -> None:
    told = story(call)
    me, attempt = told.job["result"], told.attempt
    assert (attempt["child_pid"], attempt["child_start_time"], attempt["proc_nonce"]) == (
        me["pid"],
        me["start_time"],
        me["nonce"],
    )
    assert me["session"] == me["pid"], "a seat has a session of its own"
    assert attempt["isolation"] == {"pool": "pool", "exec": "exec"}.get(told.job["isolation"], "fork")
    assert attempt["isolation_reason"] is None
    if attempt["child_inode"] is not None:
        assert attempt["child_inode"] == me["inode"]
    assert me["title"] == f"jobwarden: who {told.job['name'] or attempt['id'][-8:]}"


def test_every_attempt_has_the_whole_stamp(ran: Ran) -> None:
    host = identity.this_host()
    attempts = ran.all(schema.attempts)
    assert len(attempts) == len(CALLS) + 4
    [worker] = [row for row in ran.all(schema.workers) if row["role"] == "supervisor"]
    assert (worker["pid"], worker["start_time"]) == (ran.supervisor.pid, ran.supervisor.start_time)
    for attempt in attempts:
        assert attempt["worker_id"] == worker["id"]
        assert (attempt["host_id"], attempt["pid_scope"]) == (host.machine, host.pid_scope)
        assert attempt["hostname"] == host.hostname
        assert (attempt["supervisor_pid"], attempt["supervisor_start_time"]) == (
            ran.supervisor.pid,
            ran.supervisor.start_time,
        )
        assert attempt["child_pid"] > 1
        assert attempt["child_start_time"] >= ran.supervisor.start_time
        assert len(attempt["proc_nonce"]) == 8
        assert attempt["fencing_token"] == attempt["attempt_number"]
        claimed = [event for event in ran.factories.events_of(attempt["job_id"]) if event["attempt_to"] == "dispatched"]
        assert attempt["id"] in [event["attempt_id"] for event in claimed]


def test_one_process_runs_one_attempt_except_in_a_pool(ran: Ran) -> None:
    attempts = ran.all(schema.attempts)
    forked = [a for a in attempts if a["isolation"] != "pool"]
    assert len({a["proc_nonce"] for a in forked}) == len(forked)
    pooled = {a["proc_nonce"] for a in attempts if a["isolation"] == "pool"}
    assert pooled.isdisjoint(a["proc_nonce"] for a in forked)
    inodes = {a["child_inode"] for a in attempts}
    assert inodes == {None} or None not in inodes


def test_every_attempt_says_how_its_process_ended_and_what_it_used(ran: Ran) -> None:
    for attempt in ran.all(schema.attempts):
        if attempt["isolation"] == "pool":
            continue
        assert attempt["cause"] in ("exited", "killed", "out of memory", "timed out")
        assert (attempt["exit_code"] is None) != (attempt["term_signal"] is None)
        for name in ("duration_ms", "user_ms", "system_ms"):
            assert attempt[name] >= 0, name
        assert attempt["peak_rss_bytes"] > 1 << 20


# -- afterwards -------------------------------------------------------------------------------------------------------


def test_the_counters_equal_a_recount(ran: Ran) -> None:
    counted: dict[tuple[str, str], int] = {}
    for job in ran.all(schema.jobs):
        key = (job["lane"], job["state"])
        counted[key] = counted.get(key, 0) + 1
    assert ran.factories.counted() == counted


def test_nothing_is_left_of_the_host(ran: Ran) -> None:
    assert all(Proc.of(pid) is None for pid in ran.children)
    [worker] = [row for row in ran.all(schema.workers) if row["role"] == "supervisor"]
    assert (worker["state"], worker["current_load"]) == ("stopped", 0)
    assert [path for path in ran.worker.runtime_dir.iterdir() if path.is_dir()] == []
    assert "Traceback" not in ran.worker.log
