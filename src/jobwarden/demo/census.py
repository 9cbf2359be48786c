"""The demonstration's application: a batch that fans out over the parts of the library, merges and reports.

One job counts a part, one merges what they found when all of them succeeded, and a finalizer tells what became of the
whole, whatever happened. All are idempotent: counting again gives the same numbers, merging again draws the same chart.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobwarden import Backoff, Context, JobWarden
from jobwarden.batch import Batch
from jobwarden.demo import source
from jobwarden.demo.chart import bar_chart

app = JobWarden()

LANE = "demo"
_SOON = Backoff(base=0.3, cap=5.0, jitter=False)


@app.job(idempotent=True, name="census.part", lane=LANE, backoff=_SOON)
def count_part(package: str, modules: tuple[str, ...] = (), *, ctx: Context) -> dict[str, Any]:
    """Count one part of the library, file by file."""
    files = source.files(package, modules)
    ctx.log.info("%d files", len(files))
    total: dict[str, Any] = dict.fromkeys(("modules", "lines", "functions", "classes", "nesting", "refused"), 0)
    for number, path in enumerate(files, 1):
        name = str(path.relative_to(source.library()))
        ctx.progress(number / len(files), name)
        try:
            found = source.count(path)
        except (SyntaxError, ValueError, RecursionError) as error:
            ctx.log.warning("%s is no Python that can be parsed: %s", name, error)
            total["refused"] += 1
            continue
        total["modules"] += 1
        for key in ("lines", "functions", "classes"):
            total[key] += getattr(found, key)
        if found.nesting > total["nesting"]:
            total |= {"nesting": found.nesting, "deepest": f"{name}:{found.line}"}
    return {"package": package, **total}


@app.job(idempotent=True, name="census.merge", lane=LANE, backoff=_SOON)
def merge(parts: list[str], chart: str, *, ctx: Context) -> dict[str, Any]:
    """Merge the results of the parts (given by their keys) into one table, and draw it."""
    rows = [ctx.upstream(key) for key in parts]
    rows.sort(key=lambda row: -row["lines"])
    total = {key: sum(row[key] for row in rows) for key in ("modules", "lines", "functions", "classes", "refused")}
    total["nesting"] = max(row["nesting"] for row in rows)
    ctx.log.info("%(modules)d modules with %(lines)d lines", total)
    _write(Path(chart), bar_chart("Lines of Python by package", [(row["package"], row["lines"]) for row in rows]))
    ctx.artifact("census.svg", Path(chart), type="chart", content_type="image/svg+xml")
    return {"rows": rows, "total": total}


@app.job(idempotent=True, name="census.report", lane=LANE, backoff=_SOON)
def report(path: str, *, ctx: Context) -> dict[str, Any]:
    """Tell what became of the census, whatever that was."""
    batch = ctx.batch()
    counts = batch.counts
    said = [f"{counts.succeeded} of {counts.total - 1} members succeeded"]
    said += [f"{failure.key} is {failure.state}: {failure.error}" for failure in batch.failures]
    for line in said:
        ctx.log.info("%s", line)
    _write(Path(path), "\n".join(said) + "\n")
    return {"succeeded": counts.succeeded, "failures": len(batch.failures)}


def census(parts: Sequence[source.Part], chart: Path, told: Path) -> Batch:
    """The whole as a batch, not enqueued yet: it draws a ``chart`` and tells what became of it in ``told``."""
    batch: Batch = app.batch("census", params={"library": str(source.library())})
    calls = [
        app.bind("census.part", {"package": part.name, "modules": part.modules}, label=part.name) for part in parts
    ]
    members = [batch.add(call, key=part.name) for call, part in zip(calls, parts, strict=True)]
    keys = [member.key for member in members]
    batch.add(app.bind("census.merge", {"parts": keys, "chart": str(chart)}, label="merge"), "merge", after=members)
    batch.add(app.bind("census.report", {"path": str(told)}, label="report"), "report", after_completion="merge")
    return batch


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
