"""The demonstration's application: one job counts a part of the library, the last one merges what they found.

Both are idempotent: counting again gives the same numbers, and merging again writes the same chart.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jobwarden import Backoff, Context, JobWarden
from jobwarden.demo import source
from jobwarden.demo.chart import bar_chart

app = JobWarden()

PART, MERGE, LANE = "census.part", "census.merge", "demo"
_SOON = Backoff(base=0.3, cap=5.0, jitter=False)


@app.job(idempotent=True, name=PART, lane=LANE, backoff=_SOON)
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


@app.job(idempotent=True, name=MERGE, lane=LANE, backoff=_SOON)
def merge(parts: list[str], chart: str, *, ctx: Context) -> dict[str, Any]:
    """Merge the results of the parts (given as job ids) into one table, and draw it."""
    rows = [app.job_handle(job_id).result for job_id in parts]
    rows.sort(key=lambda row: -row["lines"])
    total = {key: sum(row[key] for row in rows) for key in ("modules", "lines", "functions", "classes", "refused")}
    total["nesting"] = max(row["nesting"] for row in rows)
    ctx.log.info("%(modules)d modules with %(lines)d lines", total)
    _write(Path(chart), bar_chart("Lines of Python by package", [(row["package"], row["lines"]) for row in rows]))
    ctx.artifact("census.svg", Path(chart), type="chart", content_type="image/svg+xml")
    return {"rows": rows, "total": total}


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
