"""Archives: rows of jobs as lines of JSON that are safe on the disk before anything goes, or as Parquet files."""

from __future__ import annotations

import json
import os
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import sqlalchemy as sa

from jobwarden.errors import ArchiveUnusable, ExtraMissing
from jobwarden.store.belongings import PARTS
from jobwarden.store.database import Instant
from jobwarden.store.ids import new_id
from jobwarden.store.schema import batches

_ROWS = 10_000
_TABLES = {"batch": batches, **{kind: column.table for kind, column in PARTS.items()}}


class JsonLines:
    """A new file in a folder, made with the first row: each line is ``{"type": ..., "data": {...}}``.

    Raises `ArchiveUnusable` for a folder that cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"jobwarden-{new_id()}.jsonl"
        self.rows = 0
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, kind: str, data: Mapping[str, Any]) -> None:
        """One row more."""
        with _usable(self.path):
            if self._file is None:
                self._file = self._made()
            self._file.write(json.dumps({"type": kind, "data": data}, ensure_ascii=False, default=str) + "\n")
        self.rows += 1

    def secure(self) -> None:
        """All of it is on the disk from here on."""
        if self._file is not None:
            with _usable(self.path):
                self._file.flush()
                os.fsync(self._file.fileno())

    def _made(self) -> IO[str]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        made = self.path.open("x", encoding="utf-8", errors="surrogatepass")
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return made


class _usable:  # noqa: N801 - reads as a word
    """A file that cannot be written, told in one sentence."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if isinstance(error, OSError):
            raise ArchiveUnusable(path=str(self._path), rule=error.strerror or str(error)) from error


# -- Parquet ----------------------------------------------------------------------------------------------------------


def check_parquet() -> None:
    """Raises `ExtraMissing` where the library is."""
    try:
        import pyarrow.parquet  # noqa: F401, PLC0415
    except ImportError as error:
        raise ExtraMissing(what="--format parquet", library="pyarrow", extra="parquet") from error


def to_parquet(lines: Path, told: Callable[[int], None] = lambda rows: None) -> list[Path]:
    """Make Parquet files of an archive of lines, one for each kind of row, and remove the lines once those are safe.

    Columns have the tables' types: instants in UTC with microseconds, whole numbers, floats, bytes; JSON is text.
    """
    import pyarrow as pa  # noqa: PLC0415
    import pyarrow.parquet as pq  # noqa: PLC0415

    writers: dict[str, Any] = {}
    paths: dict[str, Path] = {}
    try:
        for kind, rows in _grouped(lines):
            schema = pa.schema([(column.name, _arrow(pa, column)) for column in _TABLES[kind].columns])
            if kind not in writers:
                paths[kind] = lines.with_name(f"{lines.stem}-{kind}.parquet")
                writers[kind] = pq.ParquetWriter(paths[kind], schema, compression="zstd")
            writers[kind].write_table(pa.Table.from_pylist([_typed(kind, row) for row in rows], schema=schema))
            told(len(rows))
    finally:
        for writer in writers.values():
            writer.close()
    for path in paths.values():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    lines.unlink()
    return sorted(paths.values())


def _grouped(lines: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with lines.open(encoding="utf-8", errors="surrogatepass") as file:
        for line in file:
            told = json.loads(line)
            rows = waiting[told["type"]]
            rows.append(told["data"])
            if len(rows) == _ROWS:
                yield told["type"], waiting.pop(told["type"])
    yield from waiting.items()


def _arrow(pa: Any, column: sa.Column[Any]) -> Any:
    if isinstance(column.type, Instant):
        return pa.timestamp("us", tz="UTC")
    if isinstance(column.type, sa.Boolean):
        return pa.bool_()
    if isinstance(column.type, sa.Integer):
        return pa.int64()
    if isinstance(column.type, sa.Float):
        return pa.float64()
    return pa.binary() if isinstance(column.type, sa.LargeBinary) else pa.string()


def _typed(kind: str, row: Mapping[str, Any]) -> dict[str, Any]:
    return {column.name: _value(column, row[column.name]) for column in _TABLES[kind].columns}


def _value(column: sa.Column[Any], value: Any) -> Any:
    if value is None or isinstance(column.type, sa.Integer | sa.Float | sa.Boolean):
        return bool(value) if isinstance(column.type, sa.Boolean) and value is not None else value
    if isinstance(column.type, Instant):
        return datetime.fromisoformat(value)
    if isinstance(column.type, sa.LargeBinary):
        return b64decode(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
