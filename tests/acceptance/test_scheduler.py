"""The scheduler as a daemon: what is declared and what is due happens, once, whoever is killed or stopped meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from jobwarden import JobWarden
from jobwarden.store import schema
from tests.acceptance.conftest import QUICK, Start
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, ROOT, Scheduler, await_state
from tests.support.waiting import eventually

Launch = Callable[..., Scheduler]
#: An application in a file of its own, to be deployed again with other words.
DEPLOYED = """
from datetime import timedelta
from jobwarden import Context, JobWarden
jw = JobWarden()

@jw.job(idempotent=True, name="note")
def note(ctx: Context, word: str = "x"):
    spoken = (ctx.previous_scheduled_for, ctx.scheduled_for, ctx.next_scheduled_for)
    return [moment and moment.isoformat() for moment in spoken]

jw.command("greet", ["sh", "-c", "echo hello; echo $WORD >&2; exit ${CODE:-0}"], env={"WORD": "world"})
jw.command("fail", ["sh", "-c", "echo now; exit 3"])
jw.command("linger", ["sh", "-c", "trap 'echo asked; exit 0' TERM; echo begun; while :; do sleep 0.1; done"])
"""
EVERY_SECOND = 'jw.schedule("beat", None, note.using(tags={"kind": "beat"}).bind("y"), every=timedelta(seconds=1))\n'
EVERY_YEAR = 'jw.schedule_command("yearly", "0 0 1 1 *", "greet", timezone="Europe/Oslo")\n'


@pytest.fixture
def launch(database_url: str, runtime_dir: Path) -> Iterator[Launch]:
    """Start a scheduler; whatever is left of it is ended after the test."""
    with ExitStack() as stack:

        def launched(app: str | None = None, cwd: Path = ROOT) -> Scheduler:
            daemon = stack.enter_context(Scheduler(database_url, runtime_dir, app, cwd=cwd, env=QUICK))
            daemon.expect("started")
            return daemon

        yield launched


def runs_of(rows: Factories, name: str) -> list[dict[str, Any]]:
    """All runs of a schedule, oldest first, each with its job's state."""
    query = (
        sa.select(schema.schedule_runs, schema.jobs.c.state)
        .select_from(
            schema.schedules.join(
                schema.schedule_runs, schema.schedule_runs.c.schedule_id == schema.schedules.c.id
            ).outerjoin(schema.jobs, schema.jobs.c.id == schema.schedule_runs.c.job_id)
        )
        .where(schema.schedules.c.name == name)
        .order_by(schema.schedule_runs.c.occurrence_time)
    )
    with rows.database.read() as transaction:
        return [dict(row) for row in transaction.connection.execute(query).mappings()]


def schedule_of(rows: Factories, name: str) -> dict[str, Any]:
    """The row of a schedule, empty if there is none."""
    with rows.database.read() as transaction:
        found = transaction.connection.execute(schema.schedules.select().where(schema.schedules.c.name == name))
        return next((dict(row) for row in found.mappings()), {})


def deploy(folder: Path, *schedules: str) -> str:
    """Write the application with these schedules."""
    folder.mkdir(exist_ok=True)
    (folder / "deployed.py").write_text(DEPLOYED + "".join(schedules))
    return "deployed:jw"


def test_what_is_declared_is_made_runs_and_is_disabled_by_the_deploy_that_drops_it(
    app: JobWarden, rows: Factories, start: Start, launch: Launch, tmp_path: Path
) -> None:
    folder = tmp_path / "deployed"
    spec = deploy(folder, EVERY_SECOND, EVERY_YEAR)
    start(app=spec, cwd=folder, capacity=2, env=QUICK)
    scheduler = launch(spec, folder)
    scheduler.expect("schedules made as the application declares: beat, yearly")
    eventually(lambda: [run for run in runs_of(rows, "beat") if run["state"] == "succeeded"], PATIENCE)
    first = next(run for run in runs_of(rows, "beat") if run["state"] == "succeeded")
    moment, second = first["occurrence_time"], timedelta(seconds=1)
    job = app.job_handle(first["job_id"]).refresh()
    assert job.result == [at.isoformat() for at in (moment - second, moment, moment + second)]
    row = rows.read(schema.jobs, first["job_id"])
    assert (row["lane"], row["created_by"]) == ("scheduled", "schedule:beat")
    assert row["tags"] == {
        "kind": "beat",
        "schedule": "beat",
        "scheduled_for": moment.isoformat().replace("+00:00", "Z"),
    }
    deploy(folder, EVERY_YEAR)
    scheduler.drain()
    assert [row["state"] for row in _daemons(rows)] == ["stopped"]
    launch(spec, folder).expect("schedules disabled as the application declares: beat")
    dropped = schedule_of(rows, "beat")
    assert (bool(dropped["enabled"]), dropped["next_due_at"]) == (False, None)
    assert "deployed:jw no longer declares it" in dropped["last_error"]
    assert schedule_of(rows, "yearly")["enabled"]


def _daemons(rows: Factories) -> list[dict[str, Any]]:
    with rows.database.read() as transaction:
        found = transaction.connection.execute(schema.workers.select().where(schema.workers.c.role == "scheduler"))
        return [dict(row) for row in found.mappings()]


def test_of_several_schedulers_some_are_killed_and_some_stopped_and_no_second_is_lost_or_doubled(
    app: JobWarden, rows: Factories, launch: Launch
) -> None:
    app.schedules.put("beat", None, app.bind("succeed"), every=1.0, missed="run_all", overlap="allow", actor="ann")
    killed, stopped, steady = launch(), launch(), launch()
    for number, count in enumerate((4, 8, 12)):
        eventually(lambda: len(runs_of(rows, "beat")) >= count, PATIENCE)  # noqa: B023
        if number == 0:
            stopped.signal(signal.SIGSTOP)
        if number == 1:
            killed.kill()
            stopped.signal(signal.SIGCONT)
    steady.kill()
    had = len(runs_of(rows, "beat"))
    eventually(lambda: len(runs_of(rows, "beat")) > had, PATIENCE)
    runs = runs_of(rows, "beat")
    moments = [run["occurrence_time"] for run in runs]
    begin = schedule_of(rows, "beat")["created_at"]
    expected = [moments[0] + timedelta(seconds=n) for n in range(len(moments))]
    assert moments == expected
    assert timedelta() < moments[0] - begin <= timedelta(seconds=1)
    assert {run["action"] for run in runs} == {"enqueued"}
    assert all(run["detected_at"] >= run["occurrence_time"] for run in runs), "nothing is early"
    with rows.database.read() as transaction:
        made = transaction.connection.execute(sa.select(schema.jobs.c.id, schema.jobs.c.scheduled_for)).all()
    assert sorted(row.id for row in made) == sorted(run["job_id"] for run in runs)
    assert sorted(row.scheduled_for for row in made) == moments


@pytest.mark.any_engine
def test_one_time_fires_once_and_a_wish_to_drain_ends_a_scheduler(
    app: JobWarden, rows: Factories, start: Start, launch: Launch
) -> None:
    start(capacity=1, env=QUICK)
    scheduler = launch()
    app.schedules.put("digest", datetime.now(UTC) + timedelta(seconds=1), app.bind("succeed"))
    eventually(lambda: runs_of(rows, "digest"), PATIENCE)
    [run] = runs_of(rows, "digest")
    await_state(app.job_handle(run["job_id"]), "succeeded")
    assert schedule_of(rows, "digest")["next_due_at"] is None
    [daemon] = _daemons(rows)
    app.drain(daemon["id"], "moving house", "ann")
    assert scheduler.wait() == 0
    assert "moving house" in scheduler.log
    assert [row["state"] for row in _daemons(rows)] == ["stopped"]


@pytest.mark.any_engine
def test_w26_a_scheduler_whose_statements_fail_for_good_ends_loudly(
    app: JobWarden, rows: Factories, launch: Launch
) -> None:
    scheduler = launch()
    with rows.database.write() as transaction:
        transaction.connection.exec_driver_sql(f"ALTER TABLE {schema.schedules.name} RENAME TO schedules_mislaid")
    assert scheduler.wait() != 0
    assert schema.schedules.name in scheduler.log.rsplit("Traceback", 1)[-1]


@pytest.mark.any_engine
def test_a_command_is_a_job_whose_exit_code_decides(
    app: JobWarden, rows: Factories, start: Start, database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "deployed"
    start(app=deploy(folder), cwd=folder, capacity=3, env=QUICK)
    there = JobWarden(database_url=database_url)
    there.command("greet", ["true"])
    there.command("fail", ["true"])
    there.command("linger", ["true"])
    greeted, failed, lingers = (there.enqueue(name) for name in ("greet", "fail", "linger"))
    await_state(greeted, "succeeded")
    assert {(line["source"], line["body_ref"]) for line in rows.logs_of(greeted.id)} >= {
        ("stdout", "hello"),
        ("stderr", "world"),
    }
    await_state(failed, "failed")
    assert "exit code 3" in str(rows.read(schema.jobs, failed.id)["last_error"])
    eventually(lambda: "begun" in [line["body_ref"] for line in rows.logs_of(lingers.id)], PATIENCE)
    there.stop(lingers.id, "enough", "ann")
    await_state(lingers, "stopped")
    assert "asked" in [line["body_ref"] for line in rows.logs_of(lingers.id)]
    endless = there.enqueue("linger", timeout=1, grace=0.2)
    await_state(endless, "failed")
    [attempt] = rows.attempts_of(endless.id)
    assert attempt["cause"] == "timed out"
    there.database.dispose()
