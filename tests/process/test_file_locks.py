"""Who holds a lock on a byte of a file."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobwarden.process.file_locks import writers

_HOLD = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX if sys.argv[2] == "write" else fcntl.LOCK_SH, 3, 120)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "locked"
    path.write_bytes(b"x" * 200)
    return path


@contextmanager
def held(file: Path, kind: str = "write") -> Iterator[int]:
    """Bytes 120 to 122 are locked by another process."""
    command = [sys.executable, "-c", _HOLD, str(file), kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process.pid


def test_the_holder_of_a_byte_is_named_as_long_as_it_holds_it(file: Path) -> None:
    with held(file) as pid:
        assert {byte: writers(str(file), byte) for byte in (119, 120, 122, 123)} == {
            119: [],
            120: [pid],
            122: [pid],
            123: [],
        }
    assert writers(str(file), 120) == []


def test_readers_and_holders_of_other_files_are_nobody(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"x")
    with held(file, "read"), held(other):
        assert writers(str(file), 120) == []
    assert writers(str(tmp_path / "none"), 120) == []


def test_to_ask_costs_no_lock_of_our_own(file: Path) -> None:
    with file.open("r+b") as ours:
        fcntl.lockf(ours, fcntl.LOCK_EX, 1, 120)
        assert writers(str(file), 120) == [os.getpid()]
        probe = "import fcntl, sys; fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 120)"
        refused = subprocess.run([sys.executable, "-c", probe, str(file)], stderr=subprocess.DEVNULL)
        assert refused.returncode
