"""Faults from outside: servers that die, connections that are cut, code that is missing or broken, disks that are full.

Nothing is lost, nothing runs twice that may not, and the supervisor stays.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from jobwarden import JobHandle, JobWarden
from jobwarden.store import schema
from jobwarden.store.migrate import migrate
from tests.acceptance.conftest import Start
from tests.support.binaries import ENGINES
from tests.support.factories import Factories
from tests.support.hosts import PATIENCE, ROOT, Worker, await_said, await_state
from tests.support.jobs import WEIRD, build
from tests.support.servers import SERVERS, NetworkServer
from tests.support.waiting import eventually

# -- the database -----------------------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A server to be killed, of each engine that has one."""
    if "shaky" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--engine") or ENGINES
        names = [name for name in ("postgresql", "mariadb") if name in chosen]
        params = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in names]
        metafunc.parametrize("shaky", params, indirect=True, scope="module")


@pytest.fixture(scope="module")
def shaky(request: pytest.FixtureRequest) -> Iterator[NetworkServer]:
    kind = SERVERS[request.param]
    assert issubclass(kind, NetworkServer)
    with kind() as server:
        server.prepare(_migrate)
        yield server


@pytest.fixture
def client(shaky: NetworkServer) -> Iterator[JobWarden]:
    client = build(database_url=shaky.create_database())
    yield client
    client.database.dispose()


def _migrate(url: str) -> None:
    app = build(database_url=url)
    migrate(app.database)
    app.database.dispose()


def _url(client: JobWarden) -> str:
    return client.settings.database_url


def _marks(path: Path) -> Counter[str]:
    return Counter(path.read_text().split()) if path.exists() else Counter()


@pytest.mark.parametrize("way", ["killed", "restarted"])
def test_a_database_that_goes_away_loses_nothing(
    shaky: NetworkServer, client: JobWarden, runtime_dir: Path, tmp_path: Path, way: str
) -> None:
    rows, gate, marks = Factories(client.database), tmp_path / "gate", tmp_path / "marks"
    with Worker(_url(client), runtime_dir, capacity=4) as worker:
        worker.await_ready()
        through = client.enqueue("wait_for", {"gate": str(gate), "lines": 50})
        await_said(rows, through)
        jobs = {f"{n}": _marking(client, n, marks) for n in range(40)}
        eventually(lambda: len(_marks(marks)) >= 5, PATIENCE)
        shaky.kill() if way == "killed" else shaky.stop("fast")
        worker.expect("the database cannot be used")
        gate.touch()  # it ends while there is no database
        shaky.start()
        assert await_state(through, "succeeded").result >= 50
        for job in jobs.values():
            await_state(job, "succeeded")
        worker.expect("the database answers again")
        assert worker.running, "the supervisor was not restarted"
        worker.drain()
        worker.gone()
    assert _marks(marks) == Counter(list(jobs))
    assert [line["seq"] for line in rows.logs_of(through.id)] == list(range(1, through.result + 1))
    assert rows.counted() == {("default", "succeeded"): len(jobs) + 1}
    for job in jobs.values():
        row = rows.read(schema.jobs, job.id)
        assert row["attempt_count"] - row["unspent_count"] == 1, "no budget is spent on an outage"


def test_a_worker_that_is_told_to_end_waits_for_a_database_only_if_it_has_something_to_tell(
    shaky: NetworkServer, client: JobWarden, runtime_dir: Path, tmp_path: Path
) -> None:
    rows, gate = Factories(client.database), tmp_path / "gate"
    with (
        Worker(_url(client), runtime_dir, capacity=1) as busy,
        Worker(_url(client), runtime_dir, capacity=1, lanes=["nobody"]) as idle,
    ):
        for worker in (busy, idle):
            worker.await_ready()
            worker.expect("local reaper")
        job = client.enqueue("wait_for", {"gate": str(gate), "lines": 1})
        await_said(rows, job)
        shaky.stop("fast")
        for worker in (busy, idle):
            worker.expect("the database cannot be used")
            worker.signal(signal.SIGTERM)
        assert idle.wait() == 0
        assert "this worker ends without telling it" in idle.log
        assert idle.titled("local reaper"), "it cannot know yet whether something is left for it to watch"
        gate.touch()
        eventually(lambda: list(runtime_dir.glob("*/outcomes/*.json")), PATIENCE)
        assert busy.running, "it has an outcome to tell"
        shaky.start()
        assert busy.wait() == 0
        busy.gone()
        idle.gone()
        assert job.refresh().state == "succeeded"


def _marking(client: JobWarden, n: int, marks: Path) -> JobHandle:
    name = ("append", "append_guarded")[n % 2]
    return client.enqueue(
        name, {"path": str(marks), "text": f"{n}", "seconds": 0.01}, isolation=("fork", "pool")[n // 2 % 2]
    )


def test_a_storm_of_cut_connections_loses_nothing(
    shaky: NetworkServer, client: JobWarden, runtime_dir: Path, tmp_path: Path
) -> None:
    rows, marks = Factories(client.database), tmp_path / "marks"
    jobs = {f"{n}": _marking(client, n, marks) for n in range(60)}
    with Worker(_url(client), runtime_dir, capacity=4) as worker:
        worker.await_ready()
        for _ in range(12):
            done = _succeeded(rows)
            _cut_all(shaky, _url(client))
            eventually(_more_than(rows, min(done, len(jobs) - 1)), PATIENCE, why=lambda: worker.log)
        for job in jobs.values():
            await_state(job, "succeeded")
        worker.drain()
    assert _marks(marks) == Counter(list(jobs))
    assert rows.counted() == {("default", "succeeded"): len(jobs)}


def _more_than(rows: Factories, count: int) -> Callable[[], bool]:
    return lambda: _succeeded(rows) > count


def _succeeded(rows: Factories) -> int:
    """How many have, over a connection that may be cut at any moment."""
    count = sa.select(sa.func.count()).where(schema.jobs.c.state == "succeeded")
    return int(rows.database.attempt(lambda transaction: transaction.execute(count).scalar_one(), tries=20))


def _cut_all(server: NetworkServer, url: str) -> None:
    name = sa.make_url(url).database
    if server.engine == "postgresql":
        server.admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        return
    with server._connect() as connection:
        ids = connection.exec_driver_sql("SELECT id FROM information_schema.processlist WHERE db = %s", (name,))
        for (thread,) in ids.all():
            try:
                connection.exec_driver_sql(f"KILL {thread}")
            except sa.exc.DBAPIError:
                continue  # it went by itself


# -- the code ---------------------------------------------------------------------------------------------------------

_ROLLED_OUT = """
from jobwarden import JobWarden
jw = JobWarden()

@jw.job(idempotent=True, name="newcomer", max_attempts=1)
def newcomer() -> str:
    return "at last"
"""


def test_a_job_that_this_worker_does_not_know_waits_for_one_that_does(
    app: JobWarden, rows: Factories, start: Start, tmp_path: Path
) -> None:
    @app.job(idempotent=True, name="newcomer", max_attempts=1)
    def newcomer() -> str:
        raise NotImplementedError

    old = start(capacity=2)
    job, neighbour = newcomer.enqueue(), app.enqueue("succeed")
    eventually(lambda: rows.read(schema.jobs, job.id)["unspent_count"] >= 2, PATIENCE)
    await_state(neighbour, "succeeded")
    old.drain()
    row = rows.read(schema.jobs, job.id)
    assert row["state"] in ("pending", "queued")
    assert "'newcomer' is not registered" in row["wait_reason"] or row["state"] == "queued"
    assert row["attempt_count"] == row["unspent_count"], "no budget is spent"
    assert row["last_error"] is None
    released = [event for event in rows.events_of(job.id) if event["attempt_to"] == "canceled"]
    assert all("'newcomer' is not registered" in event["reason"] for event in released)
    delays = [event["context"]["delay"] for event in released]
    assert delays == sorted(delays), "it is looked at ever more rarely"
    assert delays[0] < delays[1]
    (tmp_path / "rolled_out.py").write_text(_ROLLED_OUT)
    start(capacity=2, app="rolled_out:jw", cwd=tmp_path)
    assert await_state(job, "succeeded", "failed").result == "at last"


@pytest.mark.any_engine
def test_an_app_that_does_not_import_is_shown_and_tried_again(
    app: JobWarden, rows: Factories, database_url: str, runtime_dir: Path, tmp_path: Path, gate: Path
) -> None:
    module, env = tmp_path / "broken_app.py", {"PYTHONDONTWRITEBYTECODE": "1"}
    good = "from tests.support.jobs import build\njw = build()\n"
    module.write_text("1 / 0  # the mistake\n")
    job = app.enqueue("succeed")
    with Worker(database_url, runtime_dir, app="broken_app:jw", cwd=tmp_path, env=env, capacity=2) as worker:
        worker.expect("ZeroDivisionError: division by zero")
        worker.expect("does not import")
        assert "1 / 0  # the mistake" in worker.log
        module.write_text(good)
        worker.await_ready()
        await_state(job, "succeeded")

        running = app.enqueue("wait_for", {"gate": str(gate), "lines": 1})
        await_said(rows, running)
        module.write_text("raise RuntimeError('the second mistake')\n")
        worker.signal(signal.SIGHUP)
        worker.expect("the second mistake")
        waiting = app.enqueue("succeed", {"value": 1})
        gate.touch()
        await_state(running, "succeeded")
        assert worker.running
        assert waiting.refresh().state == "queued", "nothing is claimed that nobody could run"
        module.write_text(good)
        await_state(waiting, "succeeded")
        worker.drain()


# -- values -----------------------------------------------------------------------------------------------------------


def test_a_value_that_cannot_be_kept_costs_its_own_job_only(app: JobWarden, rows: Factories, start: Start) -> None:
    calls = [(name, kind) for name in ("weird_result", "weird_error", "weird_lines") for kind in WEIRD]
    made = [[app.enqueue(*call, isolation="pool"), app.enqueue("succeed", isolation="pool")] for call in _params(calls)]
    worker = start(capacity=4)
    for _, neighbour in made:
        await_state(neighbour, "succeeded")
    for (name, kind), (job, _) in zip(calls, made, strict=True):
        await_state(job, "succeeded", "failed", "orphaned")
        assert job.state == ("failed" if name == "weird_error" else job.state), kind
        assert job.state != "orphaned", (name, kind)
        assert name != "weird_lines" or job.state == "succeeded", "saying something changes no outcome"
        if job.state == "failed":
            assert job.error is not None, (name, kind)
            assert job.error["message"], (name, kind)
    kept = {kind: job for (name, kind), (job, _) in zip(calls, made, strict=True) if name == "weird_result"}
    assert kept["emoji"].result == {"text": "\U0001f600 é"}
    assert kept["huge"].state == "failed" or kept["huge"].result == {"number": 10**400}
    worker.drain()
    assert "Traceback" not in worker.log
    for (name, kind), (job, _) in zip(calls, made, strict=True):
        if name == "weird_lines":
            said = [(line["source"], line["body_ref"]) for line in rows.logs_of(job.id)]
            assert said == [
                ("log", f"a\u2400b\ufffd {kind}"),
                ("artifact", "n" * 500),
                ("stdout", "a\u2400b\\ud800"),
            ]


def _params(calls: list[tuple[str, str]]) -> list[tuple[str, dict[str, str]]]:
    return [(name, {"kind": kind}) for name, kind in calls]


# -- company ----------------------------------------------------------------------------------------------------------

_CLIENT = """
import sys
from tests.support.jobs import build
app = build(database_url=sys.argv[1])
for n in range(20):
    params = {"path": sys.argv[2], "text": f"{sys.argv[3]}-{n}", "seconds": 0.05}
    app.enqueue("append", params, isolation=("fork", "pool")[n % 2])
app.enqueue_many(app.bind("append", {"path": sys.argv[2], "text": f"{sys.argv[3]}-{n}"}) for n in range(20, 40))
"""


@pytest.mark.any_engine  # the hardest is one file
def test_several_supervisors_and_clients_share_one_database(
    database_url: str, rows: Factories, start: Start, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    workers = [start(capacity=2) for _ in range(2)]
    clients = [
        subprocess.Popen([sys.executable, "-c", _CLIENT, database_url, str(marks), f"{number}"], cwd=ROOT)
        for number in range(2)
    ]
    assert [client.wait(PATIENCE) for client in clients] == [0, 0]
    eventually(lambda: rows.counted() == {("default", "succeeded"): 80}, PATIENCE, why=rows.counted, interval=0.1)
    for worker in workers:
        worker.drain()
        assert "Traceback" not in worker.log
    assert _marks(marks) == Counter(f"{client}-{n}" for client in range(2) for n in range(40))
    with rows.database.read() as transaction:
        owners = transaction.execute(sa.select(schema.attempts.c.worker_id)).scalars().all()
    assert len(owners) == 80, "one attempt each"
    assert len(set(owners)) > 1, "the work was shared"


# -- disks ------------------------------------------------------------------------------------------------------------


def _on_small_disk(folder: Path, size: str, *, full: bool = False) -> list[str]:
    """What runs a command with a tiny file system at ``folder``, seen by that command and its children alone."""
    script = f'mount -t tmpfs -o size={size} none "{folder}" || exit 77\n'
    if full:
        script += f'head -c 1000000 /dev/zero > "{folder}/filler" 2>/dev/null\n'
    before = ["unshare", "--map-root-user", "--mount", "sh", "-c", f'{script}exec "$@"', "sh"]
    if not shutil.which("unshare") or subprocess.run([*before, "true"]).returncode:
        pytest.skip("a small file system cannot be mounted here: neither as root nor in a user namespace")
    return before


@pytest.mark.any_engine
def test_a_full_disk_at_the_start_is_one_clear_sentence(
    database_url: str, rows: Factories, runtime_dir: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    env = {"JOBWARDEN_RUNTIME_DIR": str(disk)}
    with Worker(database_url, runtime_dir, env=env, before=_on_small_disk(disk, "8k", full=True)) as worker:
        assert worker.wait() == 1
        [sentence] = worker.log.strip().splitlines()
    assert sentence.startswith(f"The runtime directory {disk}/")
    assert "No space left on device" in sentence
    assert "free space there" in sentence
    with rows.database.read() as transaction:
        assert transaction.execute(sa.select(schema.workers)).all() == [], "nothing is half done"


@pytest.mark.any_engine
def test_a_disk_that_fills_up_costs_lines_and_no_outcome(
    app: JobWarden, database_url: str, rows: Factories, runtime_dir: Path, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    env = {"JOBWARDEN_RUNTIME_DIR": str(disk)}
    before = _on_small_disk(disk, "256k")
    with Worker(database_url, runtime_dir, env=env, before=before, capacity=2) as worker:
        worker.await_ready(2)
        assert await_state(app.enqueue("fill_runtime_dir"), "succeeded").result > 0
        jobs = [
            app.enqueue(name, isolation=isolation)
            for name in ("succeed", "charge", "chatter", "exit3")
            for isolation in ("fork", "pool", "exec")
        ]
        states = [await_state(job, "succeeded", "failed", "orphaned", "retrying").state for job in jobs]
        assert states == ["succeeded"] * 9 + ["failed"] * 3
        await_state(app.enqueue("empty_runtime_dir"), "succeeded")
        again = await_state(app.enqueue("mumble"), "succeeded")
        eventually(lambda: len(rows.logs_of(again.id)) == 8, PATIENCE)
        worker.drain()
        assert "Traceback" not in worker.log
