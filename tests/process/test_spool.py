"""What is read back from a spool."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from jobwarden.process.runtime_dir import RuntimeDir
from jobwarden.process.spool import LINE_LIMIT, READ_LIMIT, Line, Spool, SpoolWriter

NONCE = "abcdefgh"


@pytest.fixture
def runtime(tmp_path: Path) -> RuntimeDir:
    made = RuntimeDir(tmp_path, "w")
    made.create()
    return made


@pytest.fixture
def out(runtime: RuntimeDir) -> int:
    return os.open(runtime.spool_paths(NONCE)[0], os.O_WRONLY | os.O_CREAT | os.O_APPEND)


@pytest.fixture
def pen(out: int) -> SpoolWriter:
    return SpoolWriter(NONCE, out)


@pytest.fixture
def spool(runtime: RuntimeDir) -> Spool:
    return Spool(runtime, NONCE)


def log(message: str) -> dict[str, str]:
    return {"level": "info", "message": message}


def messages(spool: Spool) -> list[str]:
    return [line.message for line in spool.read(0, 0, final=True)[0]]


def test_a_spool_that_is_not_there_is_empty(spool: Spool) -> None:
    assert spool.read(0, 0) == ([], 0, 0)
    assert spool.sizes() == (0, 0)


def test_every_kind_comes_back_as_it_was_said(pen: SpoolWriter, out: int, spool: Spool) -> None:
    pen.emit("l", {"level": "error", "message": "broken", "context": {"store": 42}})
    pen.emit("s", {"name": "load"})
    os.write(out, b"raw\n")
    pen.emit("e", {"text": "warned\n"})
    pen.emit("p", {"fraction": 0.5, "message": "half"})
    pen.emit("a", {"name": "report", "size_bytes": 3})
    assert spool.read(0, 0)[0] == [
        Line("error", "broken", None, {"store": 42}, "log"),
        Line("info", "raw", "load", None, "stdout"),
        Line("warning", "warned", "load", None, "stderr"),
        Line("info", "half", "load", {"fraction": 0.5}, "progress"),
        Line("info", "report", "load", {"name": "report", "size_bytes": 3}, "artifact"),
    ]


def test_reading_in_any_pieces_gives_the_same_lines(pen: SpoolWriter, out: int, spool: Spool) -> None:
    for n in range(40):
        os.write(out, f"fragment {n}".encode())
        pen.emit("l", log(f"log {n}"))
        pen.emit("e", {"text": f"err {n}"})
        pen.emit("e", {"text": "\n"})
        os.write(out, f"line {n}\nrest ".encode())
    whole = spool.read(0, 0, final=True)[0]
    size = spool.sizes()[0]
    for step in (1, 7, 113):
        got: list[Line] = []
        at = 0
        for end in [*range(step, size, step), size]:
            lines, at, _ = spool.read(at, 0, end, 0, final=end == size)
            got += lines
        assert got == whole, f"read {step} bytes at a time"


def test_an_unfinished_line_is_held_back_until_the_end(out: int, pen: SpoolWriter, spool: Spool) -> None:
    os.write(out, b"done\nnot yet")
    lines, at, _ = spool.read(0, 0)
    assert [line.message for line in lines] == ["done"]
    assert spool.read(at, 0) == ([], at, 0)
    os.write(out, b" but now\n")
    assert [line.message for line in spool.read(at, 0)[0]] == ["not yet but now"]
    pen.emit("e", {"text": "last wor"})
    pen.emit("e", {"text": "ds"})
    assert messages(spool)[-1] == "last words"


def test_bytes_that_are_no_text_lose_nothing_else(out: int, spool: Spool) -> None:
    os.write(out, bytes(range(256)) + b"\n" + "é".encode()[:1] + b"\nend\n")
    assert messages(spool)[-1] == "end"
    text = "\n".join(messages(spool))
    assert "\0" not in text
    assert "\u2400" in text
    assert text.count("\ufffd") >= 100


def test_text_in_records_is_made_storable(pen: SpoolWriter, spool: Spool) -> None:
    pen.emit("l", {**log("a\0b \ud800 c"), "context": {"key\0": "\ud800"}})
    (line,) = spool.read(0, 0)[0]
    assert line.message == "a\u2400b \ufffd c"
    assert json.dumps(line.context).encode().count(b"\\u0000") == 0


def test_a_torn_record_costs_only_itself(out: int, pen: SpoolWriter, spool: Spool) -> None:
    os.write(out, f'\x1e{NONCE}l{{"level":"info","mess'.encode())
    pen.emit("l", log("whole"))
    os.write(out, f"\x1e{NONCE}?{{}}\n\x1e{NONCE}\n".encode())
    pen.emit("l", log("after"))
    assert [message for message in messages(spool) if message in ("whole", "after")] == ["whole", "after"]


def test_a_long_line_is_cut_between_characters(out: int, spool: Spool) -> None:
    text = "é" * LINE_LIMIT
    os.write(out, b"x" + text.encode() + b"\n")
    parts = messages(spool)
    assert len(parts) == 3
    assert "".join(parts) == "x" + text
    os.write(out, b"y" * (2 * LINE_LIMIT))
    lines, _, _ = spool.read(spool.sizes()[0] - 2 * LINE_LIMIT, 0)
    assert sum(len(line.message) for line in lines) == 2 * LINE_LIMIT, "an endless line does not wait for its end"


def test_a_huge_spool_is_read_in_bounded_bites(out: int, spool: Spool) -> None:
    os.write(out, b"0123456789abcde\n" * (READ_LIMIT // 8))
    lines, at, _ = spool.read(0, 0, final=True)
    assert at == READ_LIMIT
    more, end, _ = spool.read(at, 0, final=True)
    assert end == spool.sizes()[0]
    assert len(lines) + len(more) == READ_LIMIT // 8


def test_what_is_forgotten_keeps_the_offsets_of_the_rest(out: int, pen: SpoolWriter, spool: Spool) -> None:
    os.write(out, b"x" * 9999 + b"\n")
    _, at, _ = spool.read(0, 0)
    pen.emit("l", log("after"))
    spool.forget(at, 0)
    assert [line.message for line in spool.read(at, 0)[0]] == ["after"]


def test_writing_where_nothing_can_be_written_is_silent() -> None:
    pen = SpoolWriter(NONCE, 999)
    pen.emit("l", log("lost"))
    pen.emit("l", {"level": "info", "message": "cyclic", "context": _cycle()})
    assert pen.lost == 2


def _cycle() -> dict[str, object]:
    cycle: dict[str, object] = {}
    cycle["self"] = cycle
    return cycle


def test_a_beginning_is_noted_and_is_no_line(out: int, pen: SpoolWriter, spool: Spool) -> None:
    assert spool.began("first") is False
    os.write(out, b"half a line")
    pen.begin("first")
    pen.emit("l", log("after"))
    assert (spool.began("first"), spool.began("second"), spool.began("fir")) == (True, False, False)
    assert messages(spool) == ["half a line", "after"]


def test_without_a_spool_nobody_knows_whether_anything_began(spool: Spool) -> None:
    assert spool.began("first") is None
