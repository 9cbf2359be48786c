"""Nothing of a campaign is left, however it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from chaos import sandbox
from tests.support.processes import descendants
from tests.support.waiting import eventually

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0
_HOLDS = """
import subprocess, sys
from chaos import sandbox
from chaos.hosts import lay_wires

def main():
    lay_wires()
    open("/dev/shm/left-by-a-campaign", "w").close()
    subprocess.Popen(["setsid", "--fork", "sleep", "600"])
    print("ready", flush=True)
    sys.stdin.read()
    return 5

assert sandbox.run(lambda: 3) == 3, "one after another, as the short campaign does"
sys.exit(sandbox.run(main))
"""


def held() -> subprocess.Popen[str]:
    """A sandbox with an address, a file, and a process in a session of its own."""
    command = [sys.executable, "-c", _HOLDS]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def test_without_root_the_command_says_so_in_one_sentence() -> None:
    words = "import os, sys; from chaos.__main__ import main; os.seteuid(os.geteuid() or 65534); sys.exit(main([]))"
    done = subprocess.run([sys.executable, "-c", words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("chaos: the campaign needs root")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("number", "code"), [(None, 5), (signal.SIGTERM, 130), (signal.SIGKILL, -9)])
def test_everything_in_a_sandbox_is_gone_with_it(number: signal.Signals | None, code: int) -> None:
    if sandbox.missing():
        return  # the test above has shown what is said then
    process = held()
    inside = descendants(process.pid)
    assert len(inside) >= 2
    if number is None:
        assert process.stdin is not None
        process.stdin.close()
    else:
        process.send_signal(number)
    assert process.wait(PATIENCE) == code
    eventually(lambda: not any(proc.alive for proc in inside), PATIENCE)
    assert not Path("/dev/shm/left-by-a-campaign").exists()
    assert "wires" not in Path("/proc/net/dev").read_text()
