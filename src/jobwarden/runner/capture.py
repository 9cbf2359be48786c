"""Capturing what a job says: logging, ``sys.stderr`` and ``sys.stdout``, each into the seat's spool, in order.

Set up once in the zygote, before the application is imported, so that handlers which the application makes write into
our streams; a fork then only names its pen. Nothing here may raise into the job.
"""

from __future__ import annotations

import faulthandler
import io
import logging
import os
import sys
import traceback
from typing import Any, TextIO

from jobwarden.process.spool import ERROR_TEXT, LOG, SpoolWriter

_PIECE = 60_000
_LEVELS = ((50, "critical"), (40, "error"), (30, "warning"), (20, "info"))
JOB_LOGGER = "jobwarden.job"
_ORDINARY = frozenset(vars(logging.LogRecord("", 0, "", 0, "", None, None))) | {"message", "asctime", "taskName"}


class Capture:
    """The streams and the log handler of this process; before `begin` they write where everything else does.

    ``fd`` is where records go.
    """

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._pen: SpoolWriter | None = None
        self._stdout: TextIO | None = None
        self.errors = ErrorText(self)
        self.handler = SpoolHandler(self)

    def install(self) -> None:
        """Take over the streams; before the application is imported."""
        self.flush()
        buffer = io.BufferedWriter(Dropping(1))
        self._stdout = io.TextIOWrapper(buffer, encoding="utf-8", errors="backslashreplace", line_buffering=True)
        sys.stdout, sys.stderr = self._stdout, self.errors
        faulthandler.enable(2, all_threads=True)

    def prepare(self) -> None:
        """Put our handler in the root logger, in place of those that would say the same a second time."""
        root = logging.getLogger()
        if root.level == logging.WARNING and not root.handlers:
            root.setLevel(logging.INFO)
        for logger in (root, *_propagating()):
            for handler in list(logger.handlers):
                if self._repeats(handler):
                    logger.removeHandler(handler)
        root.addHandler(self.handler)
        logging.getLogger(JOB_LOGGER).setLevel(logging.DEBUG)

    def begin(self, nonce: str) -> SpoolWriter:
        """From now on this process is that seat."""
        self._pen = SpoolWriter(nonce, self._fd)
        return self._pen

    def emit(self, kind: str, record: dict[str, Any]) -> None:
        """Write a record, after what was printed before it."""
        if self._pen is None:
            return
        self.flush()
        self._pen.emit(kind, record)

    def began(self, attempt_id: str) -> None:
        """Note that the handler is about to be entered."""
        if self._pen is not None:
            self._pen.begin(attempt_id)

    def flush(self) -> None:
        """Write what is printed but not a whole line yet."""
        for stream in (self._stdout, sys.stdout):
            try:
                if stream is not None:
                    stream.flush()
            except Exception:  # a stream that the job closed or filled
                continue

    def error_text(self, text: str) -> None:
        """Write text for sys.stderr; a line's beginning and its rest are separate records that the reader joins."""
        if self._pen is None:
            _to_fd2(text)
            return
        head, newline, rest = text.rpartition("\n")
        for piece in (head + newline, rest):
            for start in range(0, len(piece), _PIECE):
                self.emit(ERROR_TEXT, {"text": piece[start : start + _PIECE]})

    def _repeats(self, handler: logging.Handler) -> bool:
        if handler is self.handler:
            return True
        streams = (self.errors, self._stdout, sys.__stderr__, sys.__stdout__)
        return isinstance(handler, logging.StreamHandler) and handler.stream in streams


class Dropping(io.RawIOBase):
    """A descriptor for writing that drops what it cannot write, because a full disk is no reason for a job to fail."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, data: Any) -> int:
        """Write what can be written."""
        try:
            return os.write(self._fd, data)
        except OSError:
            return len(data)

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def writable(self) -> bool:
        """It is for writing."""
        return True


class ErrorText(io.TextIOBase):
    """``sys.stderr`` of a seat: each write is in the spool before it returns."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def write(self, text: str) -> int:
        """Write text; never raises for lack of room."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._capture.error_text(text)
        return len(text)

    def fileno(self) -> int:
        """Raw writers (subprocesses, C code) use the descriptor itself."""
        return 2

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def isatty(self) -> bool:
        """Nobody looks at it directly."""
        return False

    def close(self) -> None:
        """It is not closed: others still need it."""


class SpoolHandler(logging.Handler):
    """Writes log records into the spool, one ``write`` each, without a lock."""

    def __init__(self, capture: Capture) -> None:
        super().__init__()
        self._capture = capture
        self._formatter = logging.Formatter()

    def handle(self, record: logging.LogRecord) -> bool:
        """Write the record if the filters let it; one write needs no lock."""
        if not self.filter(record):
            return False
        self.emit(record)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; one that cannot be formatted is said as it is."""
        try:
            message = self._message(record)
        except Exception as problem:
            message = f"{record.msg!r} {record.args!r} (cannot be formatted: {problem})"
        line: dict[str, Any] = {"level": _level(record.levelno)}
        context = {key: value for key, value in record.__dict__.items() if key not in _ORDINARY}
        if not record.name.startswith(JOB_LOGGER):
            context["logger"] = record.name
        if context:
            line["context"] = context
        for start in range(0, len(message) or 1, _PIECE):
            self._capture.emit(LOG, {**line, "message": message[start : start + _PIECE]})
            line.pop("context", None)

    def _message(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        parts = [message, record.exc_text, record.stack_info and str(record.stack_info)]
        return "\n".join(part for part in parts if part)


def say(text: str) -> None:
    """Say something of the engine's own in the seat's raw stderr; never raises."""
    _to_fd2(f"jobwarden: {text}\n")


def trace_of(error: BaseException) -> str:
    """The traceback as Python prints it."""
    return "".join(traceback.format_exception(error))


def _to_fd2(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        return


def _level(number: int) -> str:
    for least, name in _LEVELS:
        if number >= least:
            return name
    return "debug"


def _propagating() -> list[logging.Logger]:
    loggers = logging.getLogger().manager.loggerDict.values()
    return [logger for logger in loggers if isinstance(logger, logging.Logger) and logger.propagate]
