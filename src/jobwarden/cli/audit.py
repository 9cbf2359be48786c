"""The audit at the command line: who did what, and whether the chain holds: `audit`."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from jobwarden.cli import output
from jobwarden.cli.opening import Opening
from jobwarden.cli.read import json_option
from jobwarden.store.audit import Verified, verify
from jobwarden.views.audit import AuditFilter, AuditLine, listed

_moment = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"])


@click.command()
@click.option("--actor", help="Only what this one did.")
@click.option("--action", metavar="PREFIX", help="Only this action or this kind, like job.cancel or schedule.")
@click.option(
    "--target", metavar="ID", help="Only what was done to this job, batch, schedule, ...: its whole id or name."
)
@click.option("--since", type=_moment, help="From this moment on, in UTC.")
@click.option("--until", type=_moment, help="Before this moment, in UTC.")
@click.option("--before", type=int, metavar="NUMBER", help="The next page: the number that the last page ended with.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--verify", "verified", is_flag=True, help="Walk the whole chain; exit code 1 if it is broken.")
@click.option(
    "--expect", metavar="HASH", help="With --verify: a hash that was kept elsewhere and must be in the chain."
)
@json_option
@click.pass_obj
def audit(
    opening: Opening,
    /,
    before: int | None,
    limit: int,
    verified: bool,
    expect: str | None,
    as_json: bool,
    **wanted: str | datetime | None,
) -> int:
    """Who did what to what, and why; the newest first.

    With --verify, whether the record was changed afterwards, and the hash to keep elsewhere.
    """
    if expect is not None and not verified:
        raise click.UsageError("--expect needs --verify.")
    if verified:
        return _told(opening.read(lambda transaction: verify(transaction, expect=expect)), expect, as_json)
    chosen = AuditFilter(**{name: _aware(value) for name, value in wanted.items()})  # type: ignore[arg-type]
    page = opening.read(lambda transaction: listed(transaction, chosen, before, limit))
    if as_json:
        output.as_json({"data": page.entries, "next": page.next})
    elif page.entries:
        headings = ("number", "when", "who", "what", "to", "why", "before", "after")
        output.table(headings, [_row(entry) for entry in page.entries], right=("number",))
    else:
        output.say("Nothing is recorded that fits.")
    return 0


def _row(entry: AuditLine) -> list[output.Cell]:
    who = f"{entry.actor or '-'} ({entry.address})" if entry.address else entry.actor or "-"
    changes = [output.compact(data) if data is not None else "" for data in (entry.before, entry.after)]
    at = output.instant(entry.at) or ""
    return [str(entry.seq), at, who, entry.action, entry.target or "", entry.reason or "", *changes]


def _told(found: Verified, expect: str | None, as_json: bool) -> int:
    absent = expect is not None and found.expected is None and found.head.hash != expect
    broken = found.broken is not None or absent
    if as_json:
        output.as_json({"holds": not broken, "head": found.head, "broken": found.broken, "expected_at": found.expected})
        return int(broken)
    if found.broken is not None:
        output.say(output.state("fail"), f"The chain is broken at row {found.broken.seq}: {found.broken.why}.")
    elif absent:
        output.say(output.state("fail"), f"The chain holds, and no row has the hash {expect}: it was rewritten.")
    else:
        output.say(output.state("ok"), f"The chain holds: {found.head.seq} rows. Keep this hash of its end elsewhere:")
    output.say(found.head.hash)
    return int(broken)


def _aware(value: str | datetime | None) -> str | datetime | None:
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else value


COMMANDS = (audit,)
