"""The runtime directory, outcome files, journals and frames."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobwarden.domain.report import Outcome, Report
from jobwarden.domain.stamp import ProcessId
from jobwarden.errors import RuntimeDirUnusable
from jobwarden.process.exits import Exit, Leftover
from jobwarden.process.journal import Journal
from jobwarden.process.runtime_dir import RuntimeDir, default_base, in_memory
from jobwarden.process.wire import Inbox, pack, receive_packet, send_packet


@pytest.fixture
def runtime(tmp_path: Path) -> RuntimeDir:
    made = RuntimeDir(tmp_path / "base", "w")
    made.create()
    return made


def test_a_runtime_directory_is_its_owners_alone(runtime: RuntimeDir) -> None:
    assert runtime.path.stat().st_mode & 0o777 == 0o700
    runtime.path.chmod(0o755)
    runtime.create()
    assert runtime.path.stat().st_mode & 0o777 == 0o700
    assert RuntimeDir.at(runtime.path).path == runtime.path
    runtime.remove()
    assert not runtime.path.exists()


def test_a_link_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "w").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RuntimeDirUnusable, match="set runtime_dir"):
        RuntimeDir(tmp_path, "w").create()


def test_a_place_that_is_a_file_is_one_clear_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeDirUnusable, match=r"cannot be used \(.*\): set runtime_dir"):
        RuntimeDir(tmp_path / "file", "w").create()


def test_a_full_file_system_is_one_clear_sentence(tmp_path: Path) -> None:
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(tmp_path)]).returncode:
        pytest.skip("no small tmpfs can be mounted here")
    try:
        runtime = RuntimeDir(tmp_path, "w")
        runtime.create()
        (tmp_path / "filler").write_bytes(b"x" * (4096 * os.statvfs(tmp_path).f_bavail))
        with pytest.raises(RuntimeDirUnusable, match="free space there"):
            runtime.check_room()
        with pytest.raises(OSError, match="No space left"):
            runtime.write_outcome(Report("a", Outcome.SUCCEEDED))
        assert list(runtime.outcomes()) == []
        assert runtime.read_outcome("a") is None
    finally:
        subprocess.run(["umount", str(tmp_path)])


def test_the_base_is_the_setting_else_in_memory_if_it_can_be(tmp_path: Path) -> None:
    assert default_base(tmp_path, {}) == tmp_path
    assert default_base(None, {"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/user/7/jobwarden")
    assert default_base(None, {}).is_absolute()
    assert in_memory(Path("/dev/shm")) or not Path("/dev/shm").is_mount()
    assert not in_memory(Path("/proc"))


def test_an_outcome_is_there_completely_or_not_at_all(runtime: RuntimeDir) -> None:
    assert runtime.read_outcome("a") is None
    runtime.write_outcome(Report("a", Outcome.SUCCEEDED, result='"é"'))
    assert runtime.read_outcome("a") == Report("a", Outcome.SUCCEEDED, result='"é"')
    assert list(runtime.outcomes()) == ["a"]
    runtime.remove_outcome("a")
    runtime.remove_outcome("a")
    assert list(runtime.outcomes()) == []


@pytest.mark.parametrize("torn", [b"", b'{"attempt_id":"a","outc', b"[]", b'{"attempt_id":"b","outcome":"succeeded"}'])
def test_a_torn_or_foreign_outcome_counts_as_none(runtime: RuntimeDir, torn: bytes) -> None:
    (runtime.path / "outcomes/a.json").write_bytes(torn)
    assert runtime.read_outcome("a") is None
    assert runtime.read_outcome("a") is None


def test_a_journal_tells_what_is_not_acknowledged(runtime: RuntimeDir) -> None:
    journal = Journal(runtime.journal_path("abcdefgh"))
    reports = {name: Report(name, Outcome.SUCCEEDED, result="1") for name in "abc"}
    for report in reports.values():
        journal.append(report.to_json())
    with open(runtime.journal_path("abcdefgh"), "ab") as file:
        file.write(b'{"attempt_id":"d","outc')
    assert runtime.read_outcome("b") == reports["b"]
    assert runtime.read_outcome("d") is None
    assert list(runtime.outcomes()) == ["a", "b", "c"]
    journal.keep_only([])
    assert list(runtime.outcomes()) == []
    journal.append(reports["a"].to_json())
    assert list(runtime.outcomes()) == ["a"]
    runtime.remove_spool("abcdefgh")
    assert list(runtime.outcomes()) == []


def test_a_grown_journal_forgets_what_is_settled(runtime: RuntimeDir) -> None:
    path = runtime.journal_path("abcdefgh")
    journal = Journal(path)
    while not journal.grown:
        journal.append(Report("old", Outcome.SUCCEEDED, result='"' + "x" * 60_000 + '"').to_json())
    keep = Report("new", Outcome.SUCCEEDED).to_json()
    journal.append(keep)
    journal.keep_only([keep])
    assert os.path.getsize(path) == len(keep) + 1
    journal.append(Report("newer", Outcome.SUCCEEDED).to_json())
    assert list(runtime.outcomes()) == ["new", "newer"]


def test_an_exit_is_found_under_the_process_it_was(runtime: RuntimeDir) -> None:
    process = ProcessId(123, 456, 789)
    end = Exit(process, "abcdefgh", 9, 1, 2, 3, (Leftover(5, "sleep"),))
    assert (end.signal, end.code) == (9, None)
    runtime.write_exit(end)
    assert runtime.read_exit(process) == end
    assert runtime.read_exit(ProcessId(123, 457)) is None


def test_frames_survive_any_cut() -> None:
    frames = [{"op": "claim", "text": "é\n\0 \ud800", "n": n, "big": 10**30} for n in range(5)]
    stream = b"".join(map(pack, frames))
    for step in (1, 3, 1000):
        inbox, got = Inbox(), list[Any]()
        for start in range(0, len(stream), step):
            got += inbox.feed(stream[start : start + step])
        assert got == frames
        assert inbox.rest == b""


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_packet_carries_descriptors_whatever_its_size(size: int) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    read, write = os.pipe()
    with ours, theirs:
        send_packet(ours, {"text": "x" * size}, [write])
        packet = receive_packet(theirs)
        assert packet is not None
        message, (fd,) = packet
        assert message == {"text": "x" * size}
        assert not os.get_inheritable(fd)
        os.write(fd, b"through")
        assert os.read(read, 10) == b"through"
        with pytest.raises(BlockingIOError):
            receive_packet(theirs)
        ours.close()
        assert receive_packet(theirs) is None
    for opened in (fd, read, write):
        os.close(opened)
