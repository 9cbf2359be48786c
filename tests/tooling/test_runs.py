"""What a test run does when something is missing, left out or left behind: it fails, or says so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import MARK, Proc
from tests.support.waiting import eventually

_ROOT = Path(__file__).parents[2]


def _run(folder: Path, test: str, *arguments: str, conftest: str = "") -> subprocess.CompletedProcess[str]:
    """A run of our own conftest over one test file in another folder."""
    (folder / "test_it.py").write_text(test)
    (folder / "conftest.py").write_text(conftest)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "-c"]
    command += [str(_ROOT / "pyproject.toml"), *arguments, str(folder)]
    env = {name: value for name, value in os.environ.items() if name != MARK}
    return subprocess.run(command, cwd=_ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_run_that_leaves_a_process_behind_fails_and_ends_it(tmp_path: Path, processes: str) -> None:
    test = """
        import subprocess
        def test_that_leaks():
            subprocess.Popen(["sleep", "61"], start_new_session=True)
        """
    run = _run(tmp_path, "if True:" + test, "-n", processes)
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "1 passed" in run.stdout
    [story] = [line for line in run.stdout.splitlines() if "LEAKED PROCESS, killed:" in line]
    assert "test_that_leaks)" in story
    pid = int(re.findall(r"killed: (\d+) sleep 61", story)[0])
    eventually(lambda: Proc.of(pid) is None)


def test_a_wait_that_ran_out_is_tried_once_more_and_named_and_an_assertion_is_not(tmp_path: Path) -> None:
    test = """
        from tests.support.waiting import eventually
        tries = []
        def test_that_waits():
            tries.append(1)
            eventually(lambda: len(tries) > 1, 0.01)
        def test_that_asserts():
            tries.append(1)
            assert len(tries) > 3
        """
    run = _run(tmp_path, "if True:" + test)
    assert "1 failed, 1 passed, 1 rerun" in run.stdout
    assert "RERUN test_it.py::test_that_waits" in run.stdout


def test_a_run_in_which_too_many_need_a_second_chance_fails(tmp_path: Path) -> None:
    test = """
        import pytest
        from tests.support.waiting import eventually
        tries = []
        @pytest.mark.parametrize("n", range(NUMBER))
        def test_that_waits(n):
            tries.append(n)
            eventually(lambda: tries.count(n) > 1, 0.01)
        """
    few = _run(tmp_path, "if True:" + test.replace("NUMBER", "5"))
    assert (few.returncode, "5 passed, 5 rerun" in few.stdout) == (0, True)
    many = _run(tmp_path, "if True:" + test.replace("NUMBER", "6"))
    assert many.returncode == pytest.ExitCode.TESTS_FAILED
    assert "TOO MANY SECOND CHANCES: 6" in many.stdout


def test_a_run_without_a_server_that_it_needs_fails_before_the_first_test(tmp_path: Path) -> None:
    conftest = """
        from tests.support import binaries
        def gone():
            raise binaries.ServerMissing("no MariaDB server found: install it")
        binaries.mariadb = gone
        """
    run = _run(tmp_path, "def test_it(engine_name): pass", conftest="if True:" + conftest)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no MariaDB server found: install it" in run.stderr + run.stdout
    assert "passed" not in run.stdout


def test_a_narrowed_run_says_what_it_left_out(tmp_path: Path) -> None:
    run = _run(tmp_path, "def test_it(engine_name): pass", "--engine", "sqlite")
    assert run.returncode == 0
    assert run.stdout.count("** NARROWED: NOT postgresql, mariadb **") == 2
    assert "1 passed" in run.stdout


def test_a_whole_run_has_three_engines(tmp_path: Path) -> None:
    run = _run(tmp_path, "def test_it(engine_name): pass")
    assert "3 passed" in run.stdout
    assert "engines: sqlite, postgresql, mariadb\n" in run.stdout


def test_settings_from_outside_do_not_reach_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOBWARDEN_DATABASE_URL", "sqlite:///elsewhere.db")
    run = _run(tmp_path, "import os\ndef test_it(): assert 'JOBWARDEN_DATABASE_URL' not in os.environ")
    assert run.returncode == 0, run.stdout
