"""What a type checker knows of a declared job: its parameters, its result, and what does not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_SAMPLE = """
from dataclasses import dataclass
from typing import Any

from jobwarden import Bound, Context, JobHandle, JobWarden

jw = JobWarden()

@jw.job(idempotent=True, lane="imports")
def plain(store: str, limit: int = 3) -> dict[str, int]:
    return {store: limit}

@jw.job(idempotent=True)
def told(ctx: Context, store: str) -> int:
    return len(store)

@jw.job(idempotent=True)
async def later(n: int) -> int:
    return n

@dataclass
class Charge:
    customer: int
    def run(self, ctx: Context) -> None: ...

charge = jw.job(idempotent=False)(Charge)

handle: JobHandle = plain.enqueue("a", limit=1)
bound: Bound = plain.using(lane="hot").bind("a")
found: dict[str, int] = plain("a")
told.enqueue("a")
count: int = told(ctx, "a") if (ctx := None) else 1
charge.enqueue(customer=1)
made: Charge = charge(1)

async def main() -> None:
    one: JobHandle = await plain.aenqueue("a")
    two: int = await later(1)

plain.enqueue(1)
plain.enqueue("a", store="b")
plain.using(lane=3).enqueue("a")
plain.using().bind()
told.enqueue(3)
charge.enqueue("x")
wrong: str = plain("a")
"""


def test_calls_are_typed_by_the_functions_own_signature(tmp_path: Path) -> None:
    sample = tmp_path / "sample.py"
    sample.write_text(_SAMPLE)
    first_wrong = _SAMPLE[: _SAMPLE.index("plain.enqueue(1)")].count("\n") + 1
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--cache-dir", str(tmp_path / "cache")]
    run = subprocess.run([*command, str(sample)], cwd=root, capture_output=True, text=True, check=False)
    lines = {int(line.split(":")[1]) for line in run.stdout.splitlines() if ": error:" in line and "sample.py" in line}
    assert lines == set(range(first_wrong, first_wrong + 7)), run.stdout
