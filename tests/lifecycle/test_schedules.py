"""Schedules on every engine: what is due gets its runs once, whoever looks; and what people may do to them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden.domain.occurrences import BITE, MANY, Missed, Overlap
from jobwarden.domain.report import Outcome
from jobwarden.domain.states import JobState
from jobwarden.domain.timing import Timing
from jobwarden.errors import ScheduleNotFound, ScheduleRefused
from jobwarden.lifecycle import evaluate as evaluating
from jobwarden.lifecycle import schedules as verbs
from jobwarden.store import schema
from jobwarden.store.database import Database
from tests.lifecycle.almanac import LATE, ME, MINUTELY, SCHEDULER, Almanac, definition, expected

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
ALLOW, QUEUE, SKIP = Overlap.ALLOW, Overlap.QUEUE, Overlap.SKIP


@pytest.fixture
def almanac(database: Database) -> Almanac:
    return Almanac(database)


# -- what is due ------------------------------------------------------------------------------------------------------


def test_a_new_schedule_begins_now_and_is_not_due(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=HOUR)))
    row = almanac.row()
    assert row.next_due_at == Timing(every=HOUR).next(row.last_evaluated_at)
    assert almanac.evaluate().decided == 0
    assert almanac.runs() == []


def test_each_due_occurrence_gets_one_run_and_its_job(almanac: Almanac) -> None:
    wanted = definition(missed=Missed.RUN_ALL, overlap=ALLOW, tags={"team": "a"}, priority=7)
    begin = almanac.set_back(almanac.put(wanted).name, 20 * MINUTE)
    told = almanac.evaluate()
    row = almanac.row()
    due = expected(wanted.timing, "s", begin, row.last_evaluated_at)
    assert [run.occurrence_time for run in almanac.runs()] == due
    assert set(almanac.actions()) == {"enqueued"}
    assert (told.jobs, told.decided) == (len(due), len(due))
    jobs = almanac.jobs()
    assert [job.scheduled_for for job in jobs] == due
    assert {run.job_id for run in almanac.runs()} == {job.id for job in jobs}
    assert {(job.lane, job.state, job.priority, job.name) for job in jobs} == {("scheduled", "queued", 7, "s")}
    assert jobs[0].params == {"n": 1}
    assert jobs[0].tags == {
        "team": "a",
        "schedule": "s",
        "scheduled_for": due[0].isoformat().replace("+00:00", "Z"),
    }
    assert row.next_due_at == wanted.timing.next(row.last_evaluated_at)
    assert row.last_enqueued_for == due[-1]


def test_looking_again_does_nothing(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=HOUR), missed=Missed.RUN_ALL, overlap=ALLOW), back=5 * HOUR)
    assert almanac.evaluate().decided == 5
    assert almanac.evaluate().decided == 0
    assert len(almanac.jobs()) == 5


def test_w52_a_replay_finds_its_occurrences_taken(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=HOUR), missed=Missed.RUN_ALL, overlap=ALLOW), back=5 * HOUR)
    almanac.evaluate()
    before = almanac.runs()
    almanac.set_back("s", 5 * HOUR)
    assert almanac.evaluate().jobs == 0
    assert almanac.runs() == before


def test_l101_a_recorded_occurrence_never_becomes_a_job_by_another_policy(almanac: Almanac) -> None:
    wanted = almanac.put(definition(timing=Timing(every=HOUR), missed=Missed.SKIP), back=5 * HOUR)
    almanac.evaluate()
    almanac.put(replace(wanted, rules=replace(wanted.rules, missed=Missed.RUN_ALL)))
    almanac.set_back("s", 5 * HOUR)
    almanac.evaluate()
    assert almanac.actions() == ["skipped"] * 5
    assert almanac.jobs() == []


def test_schedulers_side_by_side_make_each_run_once(almanac: Almanac) -> None:
    names = [f"s{n}" for n in range(12)]
    for name in names:
        almanac.put(definition(name, Timing(every=HOUR), missed=Missed.RUN_ALL, overlap=ALLOW), back=6 * HOUR)
    told = almanac.side_by_side(6)
    assert sum(each.jobs for each in told) == 72
    assert [len(almanac.jobs(name)) for name in names] == [6] * 12


def test_l102_a_broken_schedule_says_so_and_stops_nobody(almanac: Almanac) -> None:
    for name in ("a", "b", "c", "d"):
        almanac.put(definition(name, Timing(cron="*/5 * * * *"), missed=Missed.RUN_LATEST), back=HOUR)
    almanac.store("b", cron_expression="61 * * * *")
    almanac.store("c", missed_policy="whatever")
    told = almanac.evaluate()
    assert sorted(name for name, _ in told.broken) == ["b", "c"]
    assert "its minute field '61'" in almanac.row("b").last_error
    assert "'whatever' is not a valid Missed" in almanac.row("c").last_error
    assert [len(almanac.jobs(name)) for name in "abcd"] == [1, 0, 0, 1]
    assert almanac.evaluate().broken == [], "it is not tried again at once"
    almanac.store("b", cron_expression="*/5 * * * *", next_due_at=almanac.row("b").last_evaluated_at)
    almanac.evaluate()
    assert (len(almanac.jobs("b")), almanac.row("b").last_error) == (1, None), "nothing was lost meanwhile"


def test_a_schedule_whose_job_the_database_refuses_stops_nobody(almanac: Almanac) -> None:
    for name in ("a", "b", "c"):
        almanac.put(definition(name, Timing(every=HOUR)), back=HOUR)
    almanac.store("b", options={"priority": 10**9})
    told = almanac.evaluate()
    assert len(told.broken) in (0, 1), "one engine takes any number"
    assert [len(almanac.jobs(name)) for name in "ac"] == [1, 1]
    assert bool(almanac.row("b").last_error) == bool(told.broken)


def test_l107_a_malformed_tag_is_left_out(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=HOUR)), back=HOUR)
    almanac.store("s", tags={"good": "1", "": "x", "long": "y" * 300, "number": 3})
    almanac.evaluate()
    assert set(almanac.jobs()[0].tags) == {"good", "schedule", "scheduled_for"}


def test_w55_idle_schedules_are_not_read_or_written(almanac: Almanac) -> None:
    almanac.put(definition("idle", Timing(cron="@yearly")))
    almanac.put(definition("due", Timing(every=HOUR)), back=HOUR)
    before = almanac.row("idle")
    almanac.evaluate()
    assert almanac.row("idle") == before


# -- missed and overlap -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missed", list(Missed))
def test_w06_an_occurrence_on_time_runs_under_every_policy(almanac: Almanac, missed: Missed) -> None:
    every = Timing(every=timedelta(seconds=1))
    almanac.put(definition(timing=every, missed=missed, overlap=ALLOW), back=timedelta(seconds=3))
    almanac.evaluate()
    assert set(almanac.actions()) == {"enqueued"}
    assert len(almanac.jobs()) >= 3


def test_w52_of_very_many_the_newest_are_kept_and_all_are_recorded(almanac: Almanac) -> None:
    every = timedelta(seconds=10)
    wanted = definition(timing=Timing(every=every), missed=Missed.RUN_ALL, overlap=ALLOW, most=3)
    begin = almanac.set_back(almanac.put(wanted).name, (BITE + 700) * every)
    almanac.evaluate_all()
    due = expected(wanted.timing, "s", begin, almanac.row().last_evaluated_at)
    runs = almanac.runs()
    assert sum(run.number for run in runs) == len(due)
    assert len(runs) < 2 * MANY, "those alike share one"
    ran = [run.occurrence_time for run in runs if run.action == "enqueued"]
    assert ran == due[-len(ran) :]
    assert len([at for at in ran if almanac.row().last_evaluated_at - at > timedelta(seconds=LATE + 10)]) <= 3
    assert runs[0].reason == "missed, and only the newest 3 are made up for (max_catch_up)"


def test_the_window_is_recorded_as_the_reason(almanac: Almanac) -> None:
    wanted = definition(timing=Timing(every=HOUR), missed=Missed.RUN_ALL, overlap=ALLOW, window=150 * MINUTE)
    almanac.put(wanted, back=5 * HOUR)
    almanac.evaluate()
    assert sorted(almanac.actions()) in (
        ["enqueued"] * 2 + ["outside_window"] * 3,
        ["enqueued"] * 3 + ["outside_window"] * 2,
    )
    assert almanac.runs()[0].reason == "older than the catch-up window of 9000 s"


def test_w53_w54_queued_runs_go_one_after_another(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=HOUR), missed=Missed.RUN_ALL, overlap=QUEUE), back=4 * HOUR)
    almanac.evaluate()
    assert almanac.actions() == ["enqueued", "queued", "queued", "queued"]
    ran = []
    for _ in range(4):
        almanac.evaluate()
        assert almanac.evaluate().jobs == 0, "the one before it is not over"
        ran.append([job.scheduled_for for job in almanac.jobs() if job.state == "queued"])
        assert almanac.finish() == 1
    assert almanac.evaluate().jobs == 0
    assert ran == [[run.occurrence_time] for run in almanac.runs()]
    assert almanac.actions() == ["enqueued"] * 4
    assert almanac.states() == [JobState.SUCCEEDED] * 4


def test_waiting_runs_are_released_once_by_schedulers_side_by_side(almanac: Almanac) -> None:
    for n in range(6):
        almanac.put(definition(f"s{n}", Timing(every=HOUR), missed=Missed.RUN_ALL, overlap=QUEUE), back=3 * HOUR)
    almanac.evaluate()
    almanac.finish()
    assert sum(each.jobs for each in almanac.side_by_side(6)) == 6
    assert [len(almanac.jobs(f"s{n}")) for n in range(6)] == [2] * 6


def test_skip_records_what_was_active(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=HOUR)), back=HOUR)
    almanac.evaluate()
    [job] = almanac.jobs()
    almanac.store("s", last_evaluated_at=almanac.row().last_evaluated_at + 2 * HOUR - 3 * HOUR)
    _due_again(almanac)
    assert almanac.evaluate().jobs == 0
    lapped = [run for run in almanac.runs() if run.action == "overlapped"]
    assert [run.reason for run in lapped] == [f"job {job.id} of this schedule is queued"]
    almanac.finish()
    _due_again(almanac, shift=-2 * HOUR)
    assert almanac.evaluate().jobs == 1


def _due_again(almanac: Almanac, shift: timedelta = timedelta()) -> None:
    """Have one earlier hour undecided: as good as a later one, which a test cannot wait for."""
    first = almanac.runs()[0].occurrence_time
    begin = first - HOUR + shift - timedelta(seconds=1)
    now = almanac.do(lambda transaction: transaction.now())
    almanac.store("s", last_evaluated_at=begin, next_due_at=now - timedelta(seconds=1), ends_at=first - HOUR + shift)


def test_w09_a_parked_job_does_not_stop_a_schedule_unless_it_shall(almanac: Almanac) -> None:
    for name, counts in (("goes-on", False), ("stops", True)):
        almanac.put(definition(name, Timing(every=HOUR), parked_counts=counts), back=HOUR)
    almanac.evaluate()
    assert almanac.finish(Outcome.PARKED) == 2
    for name in ("goes-on", "stops"):
        [parked] = almanac.jobs(name)
        assert parked.state == "orphaned"
        begin = almanac.runs(name)[0].occurrence_time - HOUR - timedelta(seconds=1)
        now = almanac.do(lambda transaction: transaction.now())
        almanac.store(name, last_evaluated_at=begin, next_due_at=now, ends_at=begin + MINUTE)
    almanac.evaluate()
    [first, _] = almanac.runs("goes-on")
    assert first.action == "enqueued"
    assert "is parked, which does not count as active here" in first.reason
    [first, _] = almanac.runs("stops")
    assert first.action == "overlapped"
    assert "is parked, which counts as active here, and waits for a person" in first.reason


def test_run_now_counts_as_active_and_waits_for_nobody(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=HOUR), priority=5, tags={"team": "a"}), back=HOUR)
    job_id = almanac.do(verbs.run_now, "s", ME)
    almanac.evaluate()
    [due, asked] = almanac.runs()
    assert (asked.cause, asked.actor, asked.job_id) == ("manual", "ann", job_id)
    assert asked.reason == "asked for by ann: because"
    assert due.action == "overlapped"
    [job] = almanac.jobs()
    assert (job.priority, job.tags["team"], job.created_by) == (5, "a", "ann")
    assert almanac.ledger()[-1].context == {"schedule": "s", "run_now": job_id}


def test_asking_twice_with_one_wish_runs_once(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(cron="@yearly")))
    ask = verbs.Ask()
    assert almanac.do(verbs.run_now, "s", ME, ask) == almanac.do(verbs.run_now, "s", ME, ask)
    assert len(almanac.jobs()) == 1


# -- once -------------------------------------------------------------------------------------------------------------


def test_w08_a_one_off_fires_once_whatever_is_pruned(almanac: Almanac) -> None:
    now = almanac.do(lambda transaction: transaction.now())
    wanted = almanac.put(definition(timing=Timing(run_at=now - 3 * HOUR), overlap=ALLOW))
    assert almanac.evaluate().jobs == 1
    row = almanac.row()
    assert row.next_due_at is None
    with almanac.database.write() as transaction:
        transaction.connection.execute(sa.delete(schema.schedule_runs))
        transaction.connection.execute(sa.delete(schema.jobs))
    almanac.put(replace(wanted, tags={"a": "b"}))
    assert almanac.do(verbs.disable, "s", ME)
    assert almanac.do(verbs.enable, "s", ME, backfill=True)
    assert almanac.evaluate().jobs == 0
    assert almanac.row().next_due_at is None
    assert almanac.row().updated_at > row.updated_at


def test_w08_an_idle_one_off_is_not_written(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(run_at=datetime(2120, 1, 1, tzinfo=UTC))))
    before = almanac.row()
    almanac.evaluate()
    assert almanac.row() == before


def test_a_one_off_that_is_set_anew_fires_anew(almanac: Almanac) -> None:
    now = almanac.do(lambda transaction: transaction.now())
    wanted = almanac.put(definition(timing=Timing(run_at=now - HOUR), overlap=ALLOW))
    almanac.evaluate()
    almanac.put(replace(wanted, timing=Timing(run_at=now - MINUTE)))
    assert almanac.evaluate().jobs == 1
    assert len(almanac.jobs()) == 2


# -- changes ----------------------------------------------------------------------------------------------------------


def test_w55_editing_recomputes_what_is_due_and_is_in_the_ledger(almanac: Almanac) -> None:
    wanted = almanac.put(definition(timing=Timing(cron="@yearly")))
    assert almanac.do(verbs.put, wanted, ME) is False, "nothing changed"
    timing = Timing(cron="0 * * * *", zone="Europe/Oslo")
    assert almanac.do(verbs.put, replace(wanted, timing=timing), ME)
    row = almanac.row()
    assert row.next_due_at == timing.next(row.last_evaluated_at)
    [made, edited] = almanac.ledger()
    assert (made.actor_type, made.actor_id, made.reason, made.to_state) == ("operator", "ann", "because", "enabled")
    assert edited.context["changes"] == {
        "cron_expression": ["@yearly", "0 * * * *"],
        "timezone": ["UTC", "Europe/Oslo"],
    }


def test_editing_decides_first_what_is_due_by_the_old_timing(almanac: Almanac) -> None:
    wanted = almanac.put(definition(timing=Timing(every=HOUR), missed=Missed.RUN_LATEST), back=3 * HOUR)
    almanac.put(replace(wanted, timing=Timing(every=timedelta(seconds=90))))
    assert almanac.actions() == ["skipped", "skipped", "enqueued"]
    assert almanac.evaluate().decided <= 1, "the new one counts from now"


def test_w23_enabling_starts_from_now_unless_backfill_is_asked_for(almanac: Almanac) -> None:
    for name in ("now", "all"):
        almanac.put(definition(name, Timing(every=HOUR), missed=Missed.RUN_ALL, overlap=ALLOW))
        assert almanac.do(verbs.disable, name, ME)
        assert almanac.row(name).next_due_at is None
        begin = almanac.do(lambda transaction: transaction.now()) - 5 * HOUR
        almanac.store(name, last_evaluated_at=begin)
        assert almanac.evaluate().decided == 0, "disabled is not due"
    almanac.do(verbs.enable, "now", ME)
    almanac.do(verbs.enable, "all", ME, backfill=True)
    almanac.evaluate()
    assert (almanac.actions("now"), almanac.actions("all")) == ([], ["enqueued"] * 5)
    assert [row.to_state for row in almanac.ledger("now")] == ["enabled", "disabled", "enabled"]
    assert almanac.do(verbs.enable, "now", ME) is False


def test_disabling_calls_off_what_waits(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=HOUR), missed=Missed.RUN_ALL, overlap=QUEUE), back=3 * HOUR)
    almanac.evaluate()
    almanac.do(verbs.disable, "s", ME)
    assert almanac.actions() == ["enqueued", "skipped", "skipped"]
    almanac.finish()
    assert almanac.evaluate().jobs == 0


def test_removing_leaves_jobs_and_ledger(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=HOUR)), back=HOUR)
    almanac.evaluate()
    almanac.do(verbs.remove, "s", ME)
    with almanac.database.read() as transaction:
        assert transaction.execute(sa.select(sa.func.count()).select_from(schema.jobs)).scalar_one() == 1
        left = transaction.execute(sa.select(schema.events.c.to_state).where(schema.events.c.level == "schedule"))
        assert left.scalars().all() == ["enabled", "removed"]
    for verb in (verbs.remove, verbs.enable, verbs.disable, verbs.run_now):
        with pytest.raises(ScheduleNotFound, match="No schedule has the name 's'"):
            almanac.do(verb, "s", ME)


# -- backfill ---------------------------------------------------------------------------------------------------------


def test_a_backfill_runs_what_has_no_job_one_after_another(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=HOUR), missed=Missed.RUN_LATEST), back=3 * HOUR)
    almanac.evaluate()
    assert almanac.actions() == ["skipped", "skipped", "enqueued"]
    last = almanac.runs()[-1].occurrence_time
    told = almanac.do(verbs.backfill, "s", last - 5 * HOUR, last, ME)
    assert (told.made, told.there) == (5, 1)
    assert almanac.actions() == ["queued"] * 5 + ["enqueued"]
    assert "it was skipped before" in almanac.runs()[3].reason
    for _ in range(6):
        almanac.evaluate()
        assert almanac.finish() == 1
    assert almanac.states() == [JobState.SUCCEEDED] * 6
    assert almanac.do(verbs.backfill, "s", last - 5 * HOUR, last, ME).made == 0
    assert {run.cause for run in almanac.runs()} == {"due", "backfill"}


def test_a_backfill_of_what_may_overlap_starts_at_once(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=MINUTE), missed=Missed.SKIP, overlap=ALLOW), back=200 * MINUTE)
    almanac.evaluate()
    [many, *_] = almanac.runs()
    assert many.number > MANY
    first = many.occurrence_time
    told = almanac.do(verbs.backfill, "s", first, first + 9 * MINUTE, ME)
    assert (told.made, len(almanac.jobs())) == (10, 10 + almanac.actions().count("enqueued") - 10)
    assert [job.scheduled_for for job in almanac.jobs()][:10] == [first + n * MINUTE for n in range(10)]


def test_a_backfill_is_of_the_past_and_of_bearable_size(almanac: Almanac) -> None:
    almanac.put(definition(timing=Timing(every=timedelta(seconds=1))))
    now = almanac.do(lambda transaction: transaction.now())
    with pytest.raises(ScheduleRefused, match="is not in the past"):
        almanac.do(verbs.backfill, "s", now, now + HOUR, ME)
    with pytest.raises(ScheduleRefused, match="more than 10000 occurrences"):
        almanac.do(verbs.backfill, "s", now - 24 * HOUR, now - HOUR, ME)
    assert almanac.runs() == []


# -- what code declares -----------------------------------------------------------------------------------------------


def test_a_deploy_that_drops_a_schedule_disables_it_and_says_so(almanac: Almanac) -> None:
    kept, gone = definition("kept"), definition("gone")
    told = _sync(almanac, kept, gone)
    assert (told.made, told.changed, told.dropped) == (["gone", "kept"], [], [])
    assert _sync(almanac, kept, gone) == verbs.Synced()
    assert _sync(almanac, kept).dropped == ["gone"]
    row = almanac.row("gone")
    assert (row.enabled, row.next_due_at, row.last_error) == (
        False,
        None,
        "the application shop:jw no longer declares it",
    )
    assert almanac.ledger("gone")[-1].to_state == "disabled"
    assert _sync(almanac, kept) == verbs.Synced()
    assert _sync(almanac, kept, gone).changed == ["gone"]
    back = almanac.row("gone")
    assert (back.enabled, back.last_error) == (True, None)
    assert back.next_due_at == MINUTELY.next(back.last_evaluated_at)


def test_what_a_person_disabled_no_deploy_enables(almanac: Almanac) -> None:
    wanted = definition("s")
    _sync(almanac, wanted)
    almanac.do(verbs.disable, "s", ME)
    _sync(almanac, replace(wanted, timing=Timing(every=HOUR)))
    assert (almanac.row().enabled, almanac.row().next_due_at) == (False, None)


def test_one_application_leaves_the_schedules_of_others_alone(almanac: Almanac) -> None:
    almanac.put(definition("by-hand"))
    _sync(almanac, definition("mine"))
    almanac.do(verbs.sync, [definition("theirs")], "other:jw", SCHEDULER)
    assert {name: almanac.row(name).enabled for name in ("by-hand", "mine", "theirs")} == {
        "by-hand": True,
        "mine": True,
        "theirs": True,
    }


def test_what_code_declares_is_changed_there(almanac: Almanac) -> None:
    _sync(almanac, definition("s"))
    for attempt in (lambda: almanac.put(definition("s", priority=3)), lambda: almanac.do(verbs.remove, "s", ME)):
        with pytest.raises(ScheduleRefused, match="the application shop:jw declares it"):
            attempt()


def _sync(almanac: Almanac, *wanted: Any) -> verbs.Synced:
    return almanac.do(verbs.sync, list(wanted), "shop:jw", SCHEDULER)


# -- jitter, and cost -------------------------------------------------------------------------------------------------


def test_jitter_moves_the_moment_and_not_the_occurrence(almanac: Almanac) -> None:
    timing = Timing(every=HOUR, jitter=timedelta(minutes=30))
    almanac.put(definition(timing=timing))
    row = almanac.row()
    assert row.next_due_at - timing.next(row.last_evaluated_at) == timing.delay("s")
    almanac.set_back("s", 3 * HOUR)
    almanac.evaluate()
    assert all(run.occurrence_time.minute == 0 for run in almanac.runs())


def test_a_look_takes_a_few_statements_however_many_are_due(almanac: Almanac) -> None:
    counts = []
    for many in (2, 40):
        for n in range(many):
            almanac.put(definition(f"{many}-{n}", Timing(every=HOUR)), back=HOUR)
        statements: list[str] = []
        note = _noting(statements)
        sa.event.listen(almanac.database.engine, "before_cursor_execute", note)
        assert almanac.evaluate().jobs == many
        sa.event.remove(almanac.database.engine, "before_cursor_execute", note)
        counts.append(len(statements))
    assert counts[0] == counts[1]
    assert evaluating.TURN > 40


def _noting(statements: list[str]) -> Any:
    def note(connection: Any, cursor: Any, sql: str, *more: Any) -> None:
        statements.append(sql)

    return note
