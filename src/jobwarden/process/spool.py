"""The spool: everything a seat says, in files outside of it, so that last words survive any death.

``.out`` is the seat's fd 1: raw bytes from whoever writes there, and framed records (log, text for sys.stderr,
progress, artifact, step), each written by one ``write`` to a file opened for appending, so their order is exact.
``.err`` is the raw fd 2 of C code and subprocesses. Writing never raises into the job, and reading never refuses bytes:
what is not UTF-8 becomes U+FFFD and a NUL becomes U+2400. Parsing depends on the bytes alone, so any reader may go on
from any offset that another reader came to.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from jobwarden.process.kernel import punch_hole
from jobwarden.process.runtime_dir import RuntimeDir

LOG, ERROR_TEXT, PROGRESS, ARTIFACT, STEP, BEGIN = "l", "e", "p", "a", "s", "b"
LINE_LIMIT = 65_536
READ_LIMIT = 4 * 1024 * 1024
_MARK = "\x1e"
_PAGE = 4096
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_DEPTH = 16  # MariaDB keeps JSON of 32 levels
_encode = json.JSONEncoder(separators=(",", ":"), default=repr).encode


class Line(NamedTuple):
    """One thing that was said; ``source`` is stdout, stderr, log, progress or artifact, ``context`` is JSON data."""

    level: str
    message: str
    step: str | None
    context: dict[str, Any] | None
    source: str


class SpoolWriter:
    """The seat's pen. A full or broken disk costs the record, never the job; ``lost`` counts such records."""

    def __init__(self, nonce: str, fd: int = 1) -> None:
        self._fd = fd
        self._mark = f"{_MARK}{nonce}".encode()
        self.lost = 0

    def emit(self, kind: str, record: dict[str, Any]) -> None:
        """Append one record of that kind."""
        try:
            os.write(self._fd, b"%b%b%b\n" % (self._mark, kind.encode(), _encode(record).encode()))
        except Exception:  # logging can never change an outcome
            self.lost += 1

    def begin(self, attempt_id: str) -> None:
        """Note that an attempt's handler is about to be entered: without this note it provably was not."""
        try:
            os.write(self._fd, _begin_note(self._mark, attempt_id))
        except OSError:
            self.lost += 1


def _begin_note(mark: bytes, attempt_id: str) -> bytes:
    return b'%b%b"%b"\n' % (mark, BEGIN.encode(), attempt_id.encode())


def spoken() -> tuple[int, int]:
    """How long this seat's ``.out`` and ``.err`` are now: where an attempt's output ends and the next one's begins."""
    return _end_of(1), _end_of(2)


def open_spool(runtime: RuntimeDir, nonce: str) -> None:
    """Make this process's fd 1 and 2 its spool; where a file cannot be made, output is dropped."""
    out, err = runtime.spool_paths(nonce)
    _onto(1, out)
    _onto(2, err)


class Spool:
    """A seat's spool, as its reader sees it. Keeps no file open."""

    def __init__(self, runtime: RuntimeDir, nonce: str) -> None:
        self.nonce = nonce
        self._out, self._err = runtime.spool_paths(nonce)
        self._marker = f"{_MARK}{nonce}".encode()
        self._step: str | None = None
        self._next = -1

    def sizes(self) -> tuple[int, int]:
        """How long the two files are; a missing file is 0."""
        return _size(self._out), _size(self._err)

    def read(
        self, out_from: int, err_from: int, out_to: int | None = None, err_to: int | None = None, *, final: bool = False
    ) -> tuple[list[Line], int, int]:
        """What was said between the offsets, and the offsets at which to go on.

        Lines that are not complete yet are held back unless ``final``. At most `READ_LIMIT` bytes of each file are read
        at once: call again while the returned offsets lie before ``out_to`` and ``err_to``.
        """
        if out_from != self._next:
            self._step = None
        out, out_ends = _fetch(self._out, out_from, out_to)
        err, err_ends = _fetch(self._err, err_from, err_to)
        lines, out_used, self._step = parse_out(out, self._marker, self._step, final and out_ends)
        raw, err_used = parse_raw(err, "stderr", self._step, final and err_ends)
        self._next = -1 if final and out_ends else out_from + out_used
        return lines + raw, out_from + out_used, err_from + err_used

    def began(self, attempt_id: str) -> bool | None:
        """Whether an attempt's handler was about to be entered; None if the file that would tell is not there.

        What was recorded may be forgotten here, so ask only of attempts that nothing was recorded of.
        """
        try:
            with open(self._out, "rb") as file:
                return _begin_note(self._marker, attempt_id) in file.read()
        except OSError:
            return None

    def forget(self, out: int, err: int) -> None:
        """Give back the memory of what lies before the offsets, which keep their meaning."""
        for path, end in ((self._out, out), (self._err, err)):
            if end >= _PAGE:
                _punch(path, end - end % _PAGE)


def parse_out(data: bytes, marker: bytes, step: str | None, final: bool) -> tuple[list[Line], int, str | None]:
    """The lines in a piece of ``.out``, how many of its bytes they are, and the step that is current after them."""
    parser = _Parser(marker, step)
    start = 0
    while (end := data.find(b"\n", start)) >= 0:
        parser.take(data[start:end], start)
        start = end + 1
    if start < len(data) and (final or len(data) - start >= LINE_LIMIT):
        start = parser.take_open(data[start:], start, final)
    if parser.open_at is not None and not final:
        return parser.lines, parser.open_at, parser.step
    parser.close_text()
    return parser.lines, start, parser.step


def parse_raw(data: bytes, source: str, step: str | None, final: bool) -> tuple[list[Line], int]:
    """The lines in a piece of a raw stream, and how many of its bytes they are."""
    end = len(data) if final else data.rfind(b"\n") + 1
    if not end and len(data) >= LINE_LIMIT:
        end = len(data) - _split_character(data)
    body = data[:end].removesuffix(b"\n") if end else b""
    if not end:
        return [], 0
    return [line for raw in body.split(b"\n") for line in _raw_lines(raw, source, step)], end


class _Parser:
    """Reads ``.out`` line by line; text for sys.stderr comes in pieces that make a line together."""

    def __init__(self, marker: bytes, step: str | None) -> None:
        self.lines: list[Line] = []
        self.step = step
        self.open_at: int | None = None
        self._marker = marker
        self._text = ""

    def take(self, raw: bytes, at: int) -> None:
        if self._marker not in raw:
            self.close_text()
            self.lines.extend(_raw_lines(raw, "stdout", self.step))
            return
        before, *records = raw.split(self._marker)
        if before:
            self.close_text()
            self.lines.extend(_raw_lines(before, "stdout", self.step))
        at += len(before)
        for record in records:
            self._take_record(record, at)
            at += len(self._marker) + len(record)

    def take_open(self, raw: bytes, at: int, final: bool) -> int:
        if not final:
            if self._marker in raw:
                return at
            raw = raw[: len(raw) - _split_character(raw)]
        self.take(raw, at)
        return at + len(raw)

    def close_text(self) -> None:
        if self._text:
            self._say(self._text)
        self._text, self.open_at = "", None

    def _take_record(self, record: bytes, at: int) -> None:
        try:
            content = _loads(record[1:])
            line = self._read(chr(record[0]), content, at)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
            self.close_text()
            self.lines.extend(_raw_lines(record, "stdout", self.step))
            return
        if line is not None:
            self.close_text()
            self.lines.append(line)

    def _read(self, kind: str, content: dict[str, Any], at: int) -> Line | None:
        match kind:
            case "e":
                self._add_text(content["text"], at)
                return None
            case "b":
                return None
            case "s":
                self.close_text()
                self.step = content["name"]
                return None
            case "l":
                return Line(content["level"], clean(content["message"]), self.step, content.get("context"), "log")
            case "p":
                message = clean(content.get("message") or "")
                return Line("info", message, self.step, {"fraction": content["fraction"]}, "progress")
            case "a":
                return Line("info", clean(content["name"]), self.step, content, "artifact")
            case _:
                raise ValueError(kind)

    def _add_text(self, text: str, at: int) -> None:
        *whole, rest = (self._text + text).split("\n")
        for line in whole:
            self._say(line)
        self.open_at = None if not rest else (at if whole or self.open_at is None else self.open_at)
        self._text = rest
        if whole and rest:
            self.close_text()  # a record is read once: what it ends with cannot be held back without its beginning
        elif len(rest) >= LINE_LIMIT:
            self.close_text()

    def _say(self, text: str) -> None:
        self.lines.append(Line("warning", clean(text.removesuffix("\r")), self.step, None, "stderr"))


def clean(text: str) -> str:
    """The text as any database takes it: valid Unicode without NUL."""
    if "\0" in text:
        text = text.replace("\0", "\u2400")
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _loads(record: bytes) -> Any:
    content = json.loads(record)
    if "context" in content or "meta" in content or b"\\u0000" in record or b"\\ud" in record:
        return _tame(content, _DEPTH)
    return content


def _tame(value: Any, depth: int) -> Any:
    """A job's own data as JSON that every engine keeps: clean text, real numbers, and no deeper than ``depth``."""
    match value:
        case str():
            return clean(value)
        case float() if not math.isfinite(value):
            return str(value)
        case list() | dict() if depth == 0:
            return "..."
        case list():
            return [_tame(one, depth - 1) for one in value]
        case dict():
            return {clean(key): _tame(one, depth - 1) for key, one in value.items()}
        case _:
            return value


def _raw_lines(raw: bytes, source: str, step: str | None) -> Iterator[Line]:
    level = "info" if source == "stdout" else "warning"
    for piece in _pieces(raw.removesuffix(b"\r")):
        yield Line(level, piece.decode("utf-8", "replace").replace("\0", "\u2400"), step, None, source)


def _pieces(raw: bytes) -> Iterator[bytes]:
    start = 0
    while len(raw) - start > LINE_LIMIT:
        end = start + LINE_LIMIT
        end -= _split_character(raw[start:end])
        yield raw[start:end]
        start = end
    yield raw[start:]


def _split_character(raw: bytes) -> int:
    """How many bytes at the end are the beginning of a character whose rest is not there."""
    for back in range(1, min(4, len(raw)) + 1):
        byte = raw[-back]
        if byte & 0xC0 == 0x80:
            continue
        needs = 2 if byte >> 5 == 0b110 else 3 if byte >> 4 == 0b1110 else 4 if byte >> 3 == 0b11110 else 1
        return back if needs > back else 0
    return 0


def _fetch(path: str, start: int, end: int | None) -> tuple[bytes, bool]:
    """Bytes of a file from ``start``, at most `READ_LIMIT`, and whether that is all up to ``end``."""
    if end is not None and end <= start:
        return b"", True
    wanted = READ_LIMIT if end is None else min(READ_LIMIT, end - start)
    try:
        with open(path, "rb", buffering=0) as file:
            data = os.pread(file.fileno(), wanted, start)
    except OSError:
        return b"", True
    return data, len(data) < READ_LIMIT or (end is not None and start + len(data) >= end)


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _end_of(fd: int) -> int:
    try:
        return os.lseek(fd, 0, os.SEEK_END)
    except OSError:
        return 0


def _punch(path: str, end: int) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        punch_hole(fd, 0, end)
    finally:
        os.close(fd)


def _onto(target: int, path: str) -> None:
    try:
        fd = os.open(path, _APPEND, 0o600)
    except OSError:
        fd = os.open(os.devnull, os.O_WRONLY)
    os.dup2(fd, target)
    os.close(fd)
