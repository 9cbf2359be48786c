"""Batches for people: lists, one batch, its members, its picture."""

from __future__ import annotations

from collections.abc import Sequence

from jobwarden.cli import output
from jobwarden.cli.output import duration, fields, heading, instant, say, since, table
from jobwarden.cli.picture import picture
from jobwarden.domain.layout import Layout
from jobwarden.views.batches import BatchLine, Counts, Failure, MemberLine, Page
from jobwarden.views.ids import short


def batches(page: Page) -> None:
    """A page of batches."""
    if not page.batches:
        say("No such batch.")
        return
    rows: list[list[output.Cell]] = [
        [
            short(line.id),
            line.name or "",
            output.state(line.state, " (held)" if line.held_at else ""),
            str(line.counts.total),
            *(str(number) for number in _buckets(line.counts).values()),
            since(line.created_at, page.now),
        ]
        for line in page.batches
    ]
    names = list(_buckets(page.batches[0].counts))
    table(["batch", "name", "state", "members", *names, "made"], rows, right=["members", *names])
    if page.next:
        say(f"more: --before {page.next}")


def batch(line: BatchLine, failures: Sequence[Failure]) -> None:
    """One batch."""
    policy = line.failure_policy + (f" ({line.failure_threshold:g})" if line.failure_threshold is not None else "")
    took = (line.summary or {}).get("duration_ms")
    numbers = ", ".join(f"{number:,} {name}" for name, number in _buckets(line.counts).items() if number)
    pairs: list[tuple[str, output.Cell]] = [
        ("batch", line.id),
        ("name", line.name or ""),
        ("state", output.state(line.state)),
        ("members", f"{line.counts.total:,}: {numbers}" if numbers else "none"),
        ("failure policy", policy),
        ("made", f"{instant(line.created_at)}" + (f" by {line.created_by}" if line.created_by else "")),
    ]
    if line.held_at is not None:
        by = f" by {line.held_by}" if line.held_by else ""
        pairs.append(("held", f"since {instant(line.held_at)}{by}: {line.held_reason or '-'}"))
    if line.labels:
        pairs.append(("labels", ", ".join(f"{name}={value}" for name, value in line.labels.items())))
    if line.params:
        pairs.append(("params", output.compact(line.params)))
    if line.cancel_reason:
        pairs.append(("canceled because", line.cancel_reason))
    if line.finished_at is not None:
        pairs.append(("over", f"{instant(line.finished_at)}" + (f" after {duration(took / 1000)}" if took else "")))
    fields(pairs)
    if failures:
        heading("Ended without success")
        rows: list[list[output.Cell]] = [[short(f.id), f.key, output.state(f.state), f.error or ""] for f in failures]
        table(["job", "member", "state", "because"], rows)


def members(found: Sequence[MemberLine]) -> None:
    """Every member."""
    heading("Members")
    rows: list[list[output.Cell]] = [
        [
            short(member.id),
            member.key + (" (finalizer)" if member.finalizer else ""),
            member.label or member.job,
            output.state(member.state),
            str(member.blocked_by or ""),
            str(member.attempt_count or ""),
        ]
        for member in found
    ]
    table(["job", "member", "name", "state", "waits for", "attempts"], rows, right=["waits for", "attempts"])


def graph(layout: Layout, width: int) -> None:
    """Its picture."""
    heading("Graph")
    say(picture(layout, width))


def _buckets(counts: Counts) -> dict[str, int]:
    return {
        "pending": counts.pending,
        "running": counts.running,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
        "canceled": counts.canceled,
    }
