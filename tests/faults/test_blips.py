"""Short faults of the database end no daemon: each goes on as the same process and the same row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jobwarden import JobWarden
from jobwarden.store import schema
from tests.faults.story import all_succeeded_once, enqueue_marks
from tests.support.factories import Factories
from tests.support.hosts import Reaper, Scheduler, Worker
from tests.support.processes import Proc
from tests.support.proxy import Proxy
from tests.support.waiting import eventually

#: Silent after 4.5 s, which is longer than a blip.
SCALED = {"JOBWARDEN_BEAT_INTERVAL": "0.3", "JOBWARDEN_MISSED_BEATS": "15", "JOBWARDEN_CONNECT_TIMEOUT": "2"}
BLIPS = 4


def test_w26_a_daemon_of_any_role_outlasts_the_blips_of_its_database(
    client: JobWarden, rows: Factories, proxy: Proxy, launch: Callable[..., Worker], through: str, tmp_path: Path
) -> None:
    worker, marks = launch(env=SCALED, capacity=2), tmp_path / "marks"
    worker.expect("holds the lease")
    client.schedules.put("beat", None, client.bind("succeed"), every=1.0, lane="nobody's")
    with (
        Reaper(through, tmp_path, "global", env=SCALED) as leader,
        Scheduler(through, tmp_path, env=SCALED) as scheduler,
    ):
        leader.await_lease()
        scheduler.expect("started")
        before = {row["id"] for row in _fleet(rows)}
        daemons = [
            *worker.titled("jobwarden: local reaper"),
            Proc.of(worker.pid),
            Proc.of(leader.pid),
            Proc.of(scheduler.pid),
        ]
        assert len(before) == len(daemons) == 4
        jobs = enqueue_marks(client, marks, 40, 0.2)
        for blip in range(1, BLIPS + 1):
            proxy.cut_all()
            proxy.refuse()
            for daemon, times in ((worker, 2 * blip), (leader, blip), (scheduler, blip)):
                daemon.expect("the database cannot be used", times)
            proxy.heal()
            for daemon, times in ((worker, 2 * blip), (leader, blip), (scheduler, blip)):
                daemon.expect("the database answers again", times)
        all_succeeded_once(rows, jobs, marks)
        assert all(daemon is not None and daemon.alive for daemon in daemons), worker.log + leader.log
        line = client.schedules.get("beat")
        eventually(lambda: client.schedules.get("beat").last_evaluated_at > line.last_evaluated_at)
        assert {(row["id"], row["state"]) for row in _fleet(rows)} == {(key, "active") for key in before}


def _fleet(rows: Factories) -> list[dict[str, Any]]:
    with rows.database.read() as transaction:
        return [dict(row) for row in transaction.connection.execute(schema.workers.select()).mappings()]
