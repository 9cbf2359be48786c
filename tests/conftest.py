"""Fixtures for all tests: every test that asks for an engine runs on all three, each on a fresh real database.

An engine that cannot run fails the run; nothing is skipped. ``--engine`` narrows a run, and says so. With ``-n`` each
pytest process has its own servers and ends what it started; the one that hands out the tests starts nothing.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support import binaries
from tests.support.engines import Engines
from tests.support.leaks import Leaks
from tests.support.processes import MARK
from tests.support.servers import JANITOR, SERVERS, Server, fast_folder
from tests.support.waiting import eventually as _eventually

hypothesis.settings.register_profile("steady", deadline=None, derandomize=True, database=None, max_examples=50)
hypothesis.settings.load_profile("steady")

_LEAKS = pytest.StashKey[Leaks]()
_ENGINES = pytest.StashKey[Engines]()
_PRIVATE = pytest.StashKey[Path]()
_LEAKED = pytest.StashKey[list[str]]()
_reran: list[str] = []

#: Where daemons race with real time, so that a machine that stands still for seconds can lose a test for them.
_TIMED = ("acceptance", "chaos", "cli", "console", "faults", "runner")
#: So many may need their second chance in one run; more are no accident.
_MOST_RERUN = 5


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--engine`` narrows the run."""
    parser.addoption(
        "--engine",
        action="append",
        choices=binaries.ENGINES,
        help="run the tests of this engine only (may be repeated); default: all three, none ever skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Begin without settings and folders from outside, and mark everything that will be started."""
    if name := os.environ.get("PYTEST_XDIST_WORKER"):  # our neighbours' processes are not ours
        os.environ[MARK] = f"{os.environ.get(MARK, '')}-{name}"
    for name in [name for name in os.environ if name.startswith("JOBWARDEN_")]:
        del os.environ[name]
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's background jobs have it, and hand it on
        signal.signal(signal.SIGINT, signal.default_int_handler)
    private = config.stash[_PRIVATE] = Path(tempfile.mkdtemp(prefix="jobwarden-run-", dir=fast_folder()))
    os.environ["XDG_RUNTIME_DIR"] = str(private)  # where a daemon that is told nothing puts its files
    JANITOR.watch(private)
    engines = config.stash[_ENGINES] = Engines(_migrate)
    config.stash[_LEAKS] = Leaks(engines.pids)
    config.stash[_LEAKED] = []


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Which engines run; loud when not all do."""
    return [_words_on_engines(config)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One run of a test for each engine, if it asks for one; a single run where the kind of engine plays no part."""
    if "engine_name" in metafunc.fixturenames:
        names = _selected(metafunc.config)
        names = names[:1] if metafunc.definition.get_closest_marker("any_engine") else names
        params = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in names]
        metafunc.parametrize("engine_name", params, indirect=True, scope="session")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give what races with real time one more chance, which is listed."""
    timed = [Path(__file__).parent / name for name in _TIMED]
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in timed):
            item.add_marker(pytest.mark.flaky(reruns=1, only_rerun=[".*"]))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the second chances."""
    if str(report.outcome) == "rerun":  # a word of the plugin's own
        _reran.append(report.nodeid)


def pytest_collection_finish(session: pytest.Session) -> None:
    """End the run at once if an engine is needed and cannot be had."""
    needed = tuple(name for name in binaries.ENGINES if any(item.get_closest_marker(name) for item in session.items))
    reasons = binaries.missing_engines(needed)
    if reasons:
        raise pytest.UsageError("; ".join(reasons.values()))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Note what a test has started and not ended yet."""
    item.config.stash[_LEAKS].look(item.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the servers; fail the run if a process of the tests is left."""
    config = session.config
    if not _hands_out(config):
        config.stash[_LEAKED] += config.stash[_LEAKS].end()
    config.stash[_ENGINES].close()
    shutil.rmtree(config.stash[_PRIVATE], ignore_errors=True)
    if hasattr(config, "workeroutput"):
        config.workeroutput["leaked"] = config.stash[_LEAKED]
    if config.stash[_LEAKED] or len(_reran) > _MOST_RERUN:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over what one of several pytest processes found at its end."""
    node.config.stash[_LEAKED] += getattr(node, "workeroutput", {}).get("leaked", [])


def _hands_out(config: pytest.Config) -> bool:
    """Whether this process runs no test itself: its children do."""
    return bool(config.getoption("numprocesses", None)) and not hasattr(config, "workeroutput")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Name the processes that were left, and the engines that were left out."""
    for story in config.stash.get(_LEAKED, []):
        terminalreporter.write_line(f"LEAKED PROCESS, killed: {story}", red=True, bold=True)
    if len(_reran) > _MOST_RERUN:
        words = f"TOO MANY SECOND CHANCES: {len(_reran)} tests needed one, and {_MOST_RERUN} may"
        terminalreporter.write_line(words, red=True, bold=True)
    if len(_selected(config)) < len(binaries.ENGINES):
        terminalreporter.write_line(_words_on_engines(config), yellow=True, bold=True)


def _selected(config: pytest.Config) -> tuple[str, ...]:
    return tuple(config.getoption("--engine") or binaries.ENGINES)


def _words_on_engines(config: pytest.Config) -> str:
    left_out = [name for name in binaries.ENGINES if name not in _selected(config)]
    return f"engines: {', '.join(_selected(config))}" + (
        f"  ** NARROWED: NOT {', '.join(left_out)} **" * bool(left_out)
    )


def _migrate(url: str) -> None:
    from jobwarden.config import Settings
    from jobwarden.store.database import Database
    from jobwarden.store.migrate import migrate

    database = Database(Settings(database_url=url))
    try:
        migrate(database)
    finally:
        database.dispose()


@pytest.fixture(scope="session")
def engine_name(request: pytest.FixtureRequest) -> str:
    """The engine this run of the test is on."""
    return str(request.param)


@pytest.fixture(scope="session")
def engines(request: pytest.FixtureRequest) -> Engines:
    """The run's servers."""
    return request.config.stash[_ENGINES]


@pytest.fixture
def server(engines: Engines, engine_name: str) -> Server:
    """The run's shared server: not to be stopped or killed; see `own_server`."""
    return engines.server(engine_name)


@pytest.fixture
def own_server(engine_name: str) -> Iterator[Server]:
    """A server for this test alone, migrated on `create_database`, to be killed, stopped and paused at will."""
    with SERVERS[engine_name]() as server:
        server.prepare(_migrate)
        yield server


@pytest.fixture
def database_url(engines: Engines, engine_name: str) -> Iterator[str]:
    """The address of a fresh, migrated database."""
    with engines.database(engine_name) as url:
        yield url


@pytest.fixture
def empty_database_url(engines: Engines, engine_name: str) -> Iterator[str]:
    """The address of a database without any table."""
    with engines.empty_database(engine_name) as url:
        yield url


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    """A private runtime directory in memory, where there is memory for it."""
    folder = Path(tempfile.mkdtemp(prefix="jobwarden-run-", dir=fast_folder()))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def settings(database_url: str, runtime_dir: Path) -> Any:
    """Settings for the fresh database."""
    from jobwarden.config import Settings

    return Settings(database_url=database_url, runtime_dir=runtime_dir)


@pytest.fixture
def database(settings: Any) -> Iterator[Any]:
    """The fresh database, opened; closed after the test."""
    from jobwarden.store.database import Database

    database = Database(settings)
    yield database
    database.dispose()


@pytest.fixture
def eventually() -> Any:
    """`tests.support.waiting.eventually`, for those who would rather ask for it."""
    return _eventually


@pytest.fixture
def factories(database: Any) -> Any:
    """Rows in any state; see `tests.support.factories.Factories`."""
    from tests.support.factories import Factories

    return Factories(database)
